"""Chapter 02's exercise on the embedded lab: what predictions are told, and that the lab's Falco agrees with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.state import Endpoints
from falcorules import open_events
from labkit import Lab
from labkit.exercises import NotYet
from labkit.exercises.chapter02 import CHANGES, EVENT, OUTCOMES
from labkit.kube.rollout import wait_rollout

NAME = "02-other-values"
RIGHT = dict(zip(CHANGES, ("not shipped", "no alert", "two alerts", "without its pod", "one alert"), strict=True))


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    with pytest.raises(NotYet, match=r"couldn't be checked. Falco isn't installed"):
        lab.check(NAME, RIGHT)
    lab.ensure("falco", "nginx")
    return lab


def said(lab: Lab, answer: Any) -> str:
    with pytest.raises(NotYet) as caught:
        lab.check(NAME, answer)
    return caught.value.feedback.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"falco.json_output: false": "no alert"}, "4 of 5 are right. .*json_output.* What does Fluent Bit's filter"),
        ({"falco.priority: error": "one alert"}, "4 of 5 .*priority.* more or less severe"),
        ({"falco.rule_matching: all": "one alert"}, "4 of 5 .*rule_matching.* one looks at the path"),
        ({"falco.append_output: []": "one alert"}, "4 of 5 .*append_output.* does its output name the pod"),
        ({"tty: false": "late"}, "4 of 5 .*tty.* Does Falco 0.44 need both"),
        (dict.fromkeys(CHANGES, "one alert"), "1 of 5 is right. Think again about `falco.json_output: false`"),
        ({"tty: false": "an alert"}, "`tty: false` it is `'an alert'`, which is none .*Did you mean .*There are: one"),
        ({"tty: false": True}, "`tty: false` it is `True`, which is none of the outcomes. There are: one alert"),
        (
            {"tty": "late"},
            "Nothing was asked of `tty`. Did you mean .tty: false.*The keys are: falco.json_output: false",
        ),
    ],
)
def test_a_wrong_prediction_is_told_where_to_look(lab: Lab, answer: Any, told: str) -> None:
    text = said(lab, {**RIGHT, **answer})
    assert re.search(told, text), text


@pytest.mark.parametrize("answer", ["late", ["one alert"] * 5, 3])
def test_an_answer_of_another_form_is_told_the_form(lab: Lab, answer: Any) -> None:
    assert "has to be a dict, as the cell above began with: {'falco.json_output: false': ..." in said(lab, answer)


def test_a_right_prediction_is_told_what_becomes_of_each(lab: Lab) -> None:
    for answer in (RIGHT, {name: f" {outcome.upper()} " for name, outcome in reversed(RIGHT.items())}):
        lines = lab.check(NAME, answer).text.splitlines()
        assert lines == [f"`{name}`: {OUTCOMES[outcome]}" for name, outcome in RIGHT.items()]


@pytest.fixture
def configured(lab: Lab) -> Any:
    """Gives the lab's Falco another falco.yaml, and puts the former one back at the end."""
    config_map = lab.kube.get("ConfigMap", "falco", "falco")
    assert config_map is not None
    before = config_map["data"]["falco.yaml"]

    def put(text: str) -> None:
        lab.kube.core.patch_namespaced_config_map("falco", "falco", {"data": {"falco.yaml": text}})
        lab.kube.restart("DaemonSet", "falco", "falco")
        wait_rollout(lab.kube, "DaemonSet", "falco", "falco", timeout=60)

    yield lambda **changes: put(yaml.safe_dump({**yaml.safe_load(before), **changes}))
    put(before)


@pytest.mark.parametrize("change", [name for name in CHANGES if name.startswith("falco.")])
def test_the_labs_falco_does_what_the_exercise_says(lab: Lab, configured: Callable[..., None], change: str) -> None:
    configured(**CHANGES[change][0])
    since = lab.kube.now()
    lab.exec("deploy/nginx", "cat", "/usr/share/../../etc/shadow")
    lab.exec("deploy/nginx", "sh", "-c", "cp /bin/ls /tmp/last && /tmp/last -d / && rm /tmp/last")  # Critical
    pods = [pod["metadata"]["name"] for pod in lab.kube.list("Pod", "falco", labels="app.kubernetes.io/name=falco")]

    def printed() -> list[str] | None:
        logs = [lab.kube.logs(pod, "falco", container="falco", since=since) for pod in pods]
        lines = [line for log in logs for line in log.splitlines() if "/etc/shadow" in line or "/tmp/last" in line]
        return lines if any("Critical" in line and "/tmp/last" in line for line in lines) else None

    lines = [line for line in lab.wait_until(printed, "the last alert", timeout=60) if "/etc/shadow" in line]
    alerts = [json.loads(line) for line in lines if line.startswith("{")]
    seen = {
        "not shipped": len(lines) == 1 and not alerts,
        "no alert": not lines,
        "two alerts": len(alerts) == 2,
        "without its pod": len(alerts) == 1 and "k8s.pod.name" not in alerts[0]["output_fields"],
    }
    assert [name for name, so in seen.items() if so] == [RIGHT[change]]


def test_the_recorded_event_is_one_system_call(workshop: Path) -> None:
    (event,) = open_events(workshop / EVENT)
    assert "openat" in repr(event)
