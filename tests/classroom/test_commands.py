"""The commands that an attendee types in the shell that `labkit class env` makes theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml
from click.testing import CliRunner, Result

from labkit.cli import main
from labkit.kube.objects import LAB_LABELS, has_labels
from labkit.provision.custom_rules import rule_files
from labkit.provision.own_rules import rules_of, text_of
from labkit.provision.steps import STEPS
from tests.classroom.conftest import Attendee

Typed = Callable[..., Result]


@pytest.fixture
def typed(seven: Attendee, monkeypatch: pytest.MonkeyPatch) -> Typed:
    for name, value in seven.variables.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, words)

    return run


def test_status_is_that_of_the_class_and_no_second_lab_is_started(typed: Typed) -> None:
    found = typed("status")
    assert found.exit_code == 0, found.output
    assert "attendee 07's" in found.output
    assert "falco/falco-" in found.output
    for command in ("up", "env"):
        refused = typed(command)
        assert refused.exit_code == 1
        assert "no embedded lab is needed" in refused.output


@pytest.mark.parametrize(
    "words", [("status",), ("env", "08"), ("gate",), ("up", "--plan", "--attendees", "1"), ("down",)]
)
def test_what_is_the_instructors_says_so(typed: Typed, words: tuple[str, ...]) -> None:
    refused = typed("class", *words)
    assert refused.exit_code == 1
    assert "a class is its instructor's" in refused.output


def test_by_hand_is_what_an_attendee_may_do(typed: Typed, seven: Attendee) -> None:
    shown = typed("apply", "custom-rules", "--cli").output.partition("kubectl apply -f - <<")[2]
    item = yaml.safe_load(shown.partition("\n")[2].partition("RULES\n")[0])
    seven.lab.kube.apply_one(item)
    found = seven.lab.kube.get("ConfigMap", "falco-rules", "attendee-07")
    assert text_of(found) == rules_of(rule_files(seven.lab.target))
    assert has_labels(found, LAB_LABELS)
    seven.lab.kube.delete_one(item)
    assert "lambda" not in STEPS["findings-forwarder"].cli(seven.lab.target)
    shared = typed("apply", "falco").output
    assert "by hand, for the instructor:" in shared
    assert "by hand:" not in shared


def test_attacks_that_no_attendee_can_run_are_left_out(typed: Typed, seven: Attendee) -> None:
    refused = typed("attack", "run", "load-kernel-module")
    assert "has no nginx" in refused.output  # before the application is there, its pod is missing and nothing else
    seven.lab.apply("nginx")
    try:
        refused = typed("attack", "run", "load-kernel-module")
        assert refused.exit_code == 1
        assert "not in a class" in refused.output
        assert "kubectl label" not in refused.output
        missing = typed("attack", "run", "miner").output
        assert "the class's" in missing
        assert "LABKIT_RULE_TIERS" not in missing
        left = typed("attack", "run", "--all", "--tier", "incubating", "--timeout", "0s").output
        assert "left out: start-privileged-pod, start-capable-pod, mount-in-privileged-container." in left
    finally:
        seven.lab.undo("nginx")
