"""Exercise of chapter 02: what becomes of one system call when a value of the Falco chart is another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labkit.calls import near, short_repr
from labkit.errors import StepError
from labkit.exercises.exercise import Wrong, exercise, keyed
from labkit.target import Target

if TYPE_CHECKING:
    from falcorules import Alert

EVENT = "custom-rules/recorded/traversal.jsonl"

OUTCOMES = {
    "one alert": "an alert arrives in CloudWatch, as before",
    "two alerts": "two alerts of the same system call arrive",
    "without its pod": "an alert arrives, but it doesn't name the pod",
    "late": "an alert arrives, perhaps minutes later",
    "not shipped": "Falco prints it, and Fluent Bit drops it",
    "no alert": "Falco prints nothing",
}
"""What can become of the event, and what that means."""

# The value that is another, as an attendee reads it -> what it changes in falco.yaml, and where to look.
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "falco.json_output: false": (
        {"json_output": False},
        "Falco goes on alerting, as text. What does Fluent Bit's filter (chapter 01) say of such a line?",
    ),
    "falco.priority: error": (
        {"priority": "error"},
        "Rules less severe than this aren't evaluated. Is Warning more or less severe than Error?",
    ),
    "falco.rule_matching: all": (
        {"rule_matching": "all"},
        "Two rules describe this system call: one looks at the path, the other at the file.",
    ),
    "falco.append_output: []": (
        {"append_output": []},
        "Look at the rule as it is written: does its output name the pod, or what else does?",
    ),
    "tty: false": (
        {"tty": False},
        "Two settings are against buffering. Does Falco 0.44 need both?",
    ),
}


@exercise(
    "02-other-values",
    "Predict what becomes of an alert when a value is another",
    hints=(
        "Take one value at a time, and follow the event: does a rule match, does Falco print a line, is the line JSON, "
        "what is in it, when is it printed? The comments in the values file answer most of it.",
        "In a terminal, `labkit rules replay --default-rules --events custom-rules/recorded/traversal.jsonl --matching "
        "all` shows all rules that match, and what is in their alerts.",
    ),
)
def other_values(target: Target, predicted: Any) -> str:
    """`predicted`: one of `OUTCOMES` for each of `CHANGES`. It is tried with the running Falco's configuration."""
    keyed(predicted, CHANGES)
    said = {name: " ".join(text.lower().split()) for name, text in predicted.items() if isinstance(text, str)}
    for name, text in predicted.items():
        if said.get(name) not in OUTCOMES:
            also = near(said[name], OUTCOMES) if name in said else ""
            raise Wrong(
                f"For `{name}` it is `{short_repr(text)}`, which is none of the outcomes. {also}There are: "
                f"{', '.join(OUTCOMES)}."
            )
    config, rules = _running(target)
    found = {name: outcome(target, rules, {**config, **change}) for name, (change, _) in CHANGES.items()}
    wrong = [name for name in CHANGES if said[name] != found[name]]
    if wrong:
        right = len(CHANGES) - len(wrong)
        are = "is" if right == 1 else "are"
        raise Wrong(f"{right} of {len(CHANGES)} {are} right. Think again about `{wrong[0]}`. {CHANGES[wrong[0]][1]}")
    return "\n".join(f"`{name}`: {OUTCOMES[found[name]]}" for name in CHANGES)


def _running(target: Target) -> tuple[dict[str, Any], tuple[str, str]]:
    """The running Falco's falco.yaml, with the `tty` of its container, and its default rules."""
    import yaml

    from labkit.alerts.falco_rules import default_rules

    namespace = target.settings.falco_namespace
    rendered = target.kube.get("ConfigMap", "falco", namespace)
    daemonset = target.kube.get("DaemonSet", "falco", namespace)
    if rendered is None or daemonset is None:
        raise StepError("Falco isn't installed.", hint='lab.apply("falco")')
    containers = daemonset["spec"]["template"]["spec"]["containers"]
    tty = any(container["name"] == "falco" and container.get("tty") for container in containers)
    return {**yaml.safe_load(rendered["data"]["falco.yaml"]), "tty": tty}, default_rules(target)


def outcome(target: Target, rules: tuple[str, str], config: Mapping[str, Any]) -> str:
    """What becomes of the recorded event: one of `OUTCOMES`."""
    from falcorules import Engine, open_events

    appended = config.get("append_output") or []
    engine = Engine(
        matching=config["rule_matching"],
        priority=config["priority"],
        suggested_output=any(entry.get("suggested_output") for entry in appended),
    )
    engine.load([rules])
    alerts = [alert for event in open_events(target.settings.root / EVENT) for alert in engine.process(event)]
    lines = [_line(alert, config) for alert in alerts]
    if not lines:
        return "no alert"
    if not all(line.startswith("{") for line in lines):  # what Fluent Bit's filter asks for
        return "not shipped"
    if len(lines) > 1:
        return "two alerts"
    if config["buffered_outputs"] and not config["tty"]:
        return "late"
    return "one alert" if "k8s.pod.name" in json.loads(lines[0])["output_fields"] else "without its pod"


def _line(alert: Alert, config: Mapping[str, Any]) -> str:
    return alert.to_json() if config["json_output"] else alert.to_text()
