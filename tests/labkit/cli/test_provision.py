"""`labkit apply`, `teardown` and `audit`, as typed in a shell."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ekslab import client
from ekslab.state import Endpoints
from labkit import Lab
from labkit.cli import as_commands, main
from labkit.errors import TargetError


@pytest.fixture(scope="module")
def labkit(new_lab: Callable[..., Endpoints], workshop: Path) -> Callable[..., Result]:
    """A shell with a lab in which nothing is applied: each test leaves it so."""
    environment = {"LABKIT_HOME": str(new_lab().home), "LABKIT_ROOT": str(workshop)}
    return lambda *arguments: CliRunner().invoke(main, arguments, env=environment)


@pytest.mark.parametrize("command", [("preflight",), ("class", "up")])
def test_what_starts_a_lab_to_look_at_says_so(command: tuple[str, ...], labkit: Callable[..., Result]) -> None:
    assert "If no embedded lab is running, it starts " in labkit(*command, "--help").output


def test_apply_audit_and_teardown_in_a_shell(labkit: Callable[..., Result]) -> None:
    assert labkit("audit").exit_code == 0
    applied = labkit("apply", "fluent-bit-role")
    assert applied.exit_code == 0, applied.output
    assert "oidc-provider: created" in applied.output  # what it needs comes first
    assert "aws iam create-role --role-name falco-workshop-fluent-bit" in applied.output
    again = labkit("apply", "fluent-bit-role").output
    assert "fluent-bit-role: unchanged" in again
    assert "by hand" not in again
    assert "aws iam create-role" in labkit("apply", "--cli", "fluent-bit-role").output

    left = labkit("audit")
    assert left.exit_code == 1
    assert "IAM role" in left.output

    assert "removed  IAM role" in labkit("teardown", "fluent-bit-role").output
    assert labkit("teardown").exit_code == 0
    assert labkit("audit").output.strip() == "Nothing is left"
    assert labkit("teardown").output.strip() == "Nothing to take down"


def test_commands_can_be_shown_without_doing_anything(labkit: Callable[..., Result]) -> None:
    shown = labkit("apply", "--cli", "nginx")
    assert shown.output.splitlines()[1] == "kubectl -n default apply -f manifests/nginx/"
    assert labkit("audit").exit_code == 0


def test_a_policy_is_printed_with_its_names_filled_in(labkit: Callable[..., Result]) -> None:
    printed = labkit("policy", "fluent-bit-permissions")
    (statement,) = json.loads(printed.output)["Statement"]
    assert statement["Resource"] == ["arn:aws:logs:us-east-1:111122223333:log-group:falco:*"]
    for name in ("nope", "../iam/fluent-bit-trust"):
        refused = labkit("policy", name)
        assert refused.exit_code == 1
        assert f"There is no policy '{name}'." in refused.output
        assert "fluent-bit-permissions, fluent-bit-trust" in refused.output


def test_a_typo_in_a_step_is_answered_with_the_steps(labkit: Callable[..., Result]) -> None:
    result = labkit("apply", "fluentbit")
    assert result.exit_code == 2
    assert "fluent-bit-role" in result.output


def test_an_error_is_two_plain_sentences(labkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CLUSTER", "mine")
    result = labkit("apply", "oidc-provider")
    assert result.exit_code == 1
    assert "labkit: Step oidc-provider: There is no EKS cluster 'mine'" in result.output
    assert "What to do:" in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def ended(new_lab: Callable[..., Endpoints], workshop: Path) -> Callable[..., Result]:
    """A shell whose lab was killed."""
    lab = new_lab()
    os.kill(lab.pid, signal.SIGKILL)
    assert client._wait_for_exit(lab.pid, 10)
    environment = {"LABKIT_HOME": str(lab.home), "LABKIT_ROOT": str(workshop)}
    return lambda *arguments: CliRunner().invoke(main, arguments, env=environment)


def test_where_no_lab_runs_there_is_nothing_to_audit_and_to_take_down(tmp_path: Path) -> None:
    for command, said in (("audit", "Nothing is left"), ("teardown", "Nothing to take down")):
        result = CliRunner().invoke(main, [command], env={"LABKIT_HOME": str(tmp_path)})
        assert result.exit_code == 0
        assert result.output == f"{said}: No embedded lab is running in {tmp_path}.\n"
    assert client.find(tmp_path) is None


def test_commands_that_only_look_start_no_lab_in_place_of_one_that_ended(ended: Callable[..., Result]) -> None:
    for command, code in (("audit", 0), ("teardown", 0), ("alerts", 1)):
        result = ended(command)
        assert "has ended, and what was in it is gone." in result.output
        assert result.exit_code == code
    assert "has ended" in ended("apply", "log-group").stderr  # none of them had started one


@pytest.mark.parametrize(
    ("command", "then"),
    [
        ("shell", "labkit apply nginx"),
        ("exec deploy/nginx id", "labkit apply nginx"),
        ("attack run read-shadow", "labkit apply nginx"),
        ("alerts", "labkit up"),
        ("apply --cli nginx", "labkit up"),
    ],
)
def test_a_command_that_works_on_a_lab_s_contents_starts_no_empty_one(tmp_path: Path, command: str, then: str) -> None:
    result = CliRunner().invoke(main, command.split(), env={"LABKIT_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert result.stderr.startswith(f"labkit: No embedded lab is running in {tmp_path}.\n  What to do: ")
    assert f"`{then}`" in result.stderr
    assert client.find(tmp_path) is None


def test_a_command_tells_that_it_starts_a_lab_anew(ended: Callable[..., Result]) -> None:
    first, second = ended("apply", "log-group"), ended("apply", "log-group")
    assert "what was in it is gone: pods, logs, alarms. A new one was started" in first.stderr
    assert "log-group: created" in first.stdout
    assert second.stderr == ""


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ('lab.apply("falco") does.', "`labkit apply falco` does."),
        ("With `lab.apply('log-group')`, or", "With `labkit apply log-group`, or"),
        ('lab.undo("canary"), then lab.ensure("a", "b").', "`labkit teardown canary`, then `labkit apply a b`."),
        ('e.g. lab.exec("deploy/nginx", "id").', "e.g. `labkit exec deploy/nginx -- id`."),
        ("lab.status() shows the steps.", "`labkit apply --help` shows the steps."),
        ("labkit.attacks.catalogue() shows all.", "`labkit attack list` shows all."),
        ("Is it in lab.alerts()?", "Is it in `labkit alerts`?"),
        ("get new ones, then `Lab.connect()` again.", "get new ones, then run this again."),
        (
            "lab.falco_rules() lists.",
            "`kubectl exec -n falco daemonset/falco -c falco -- falco -L -o json_output=false` lists.",
        ),
        ("lab.draft() has them; lab.apply(step)", "lab.draft() has them; lab.apply(step)"),
    ],
)
def test_what_to_do_is_a_command_in_a_terminal(said: str, typed: str) -> None:
    assert as_commands(said) == typed


def test_an_error_of_a_step_names_the_command(labkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_LOG_GROUP", "none-yet")
    assert "Create it with `labkit apply log-group`" in labkit("alerts").stderr


def test_a_command_in_an_empty_lab_is_told_which_steps_to_apply(labkit: Callable[..., Result]) -> None:
    for words in (["attack", "run", "read-shadow"], ["exec", "deploy/nginx", "id"]):
        result = labkit(*words)
        assert result.exit_code == 1
        assert "labkit: Namespace default has no nginx. There are no pods there.\n" in result.output
        assert "the workshop's pods come with `labkit apply nginx falco fluent-bit`." in result.output


def test_a_lab_that_ends_under_a_step_is_said_to_have_ended(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    endpoints = new_lab()
    lab = Lab.connect(home=endpoints.home, root=workshop)
    os.kill(endpoints.pid, signal.SIGKILL)
    assert client._wait_for_exit(endpoints.pid, 10)
    for ask in (lambda: lab.apply("falco"), lambda: lab.apply("nginx"), lambda: lab.apply("log-group")):
        with pytest.raises(TargetError, match="does not answer") as caught:
            ask()
        assert "The embedded lab has ended" in caught.value.hint
        assert "labkit up" in caught.value.hint


def test_a_running_lab_does_not_get_another_number_of_nodes(labkit: Callable[..., Result]) -> None:
    refused = labkit("up", "--nodes", "3")
    assert refused.exit_code == 1
    assert "is already running, with 2 nodes, not 3.\n  What to do: Run `labkit down` first" in refused.output
    assert "The embedded lab was running." in labkit("up", "--nodes", "2").output
