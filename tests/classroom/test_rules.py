"""Attendees' rules: what is accepted comes out limited to a namespace, and nothing that harms others is accepted."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import falcorules
from classroom import rules
from classroom.rules import Checked, Worker

NAMESPACE, OTHER = "attendee-07", "attendee-08"
EVENTS = Path("custom-rules", "recorded", "visit.jsonl.gz")


def rule(condition: str = "spawned_process and container and proc.name = whoami", **keys: Any) -> str:
    item = {"rule": "Mine", "desc": "d", "condition": condition, "output": "who=%proc.cmdline", "priority": "NOTICE"}
    return yaml.safe_dump([{**item, **keys}], sort_keys=False, allow_unicode=True)


@pytest.fixture(scope="module")
def worker(workshop: Path) -> Iterator[Worker]:
    worker = Worker([falcorules.default_rules()], workshop / EVENTS)
    yield worker
    worker.close()


ACCEPTED = {
    "as the chapter has it": rule(),
    "two documents": rule() + "---\n" + rule(rule="Second"),
    "its own macro and list": "- list: mine\n  items: [whoami]\n- macro: m\n  condition: proc.name in (mine)\n"
    + rule("spawned_process and m"),
    "its own macro, appended to": "- macro: m\n  condition: proc.name = whoami\n"
    "- macro: m\n  condition: or proc.name = id\n  append: true\n" + rule("spawned_process and m"),
    "or, which binds less than and": rule(
        "spawned_process and proc.name = whoami or spawned_process and proc.name = id"
    ),
    "or with a closed parenthesis": rule("(spawned_process and proc.name = whoami) or (spawned_process)"),
    "not": rule("not container and spawned_process or spawned_process and not proc.name = x"),
    "of another namespace": rule(f'spawned_process and (k8s.ns.name = "{OTHER}" or proc.name = whoami)'),
    "exceptions": rule(exceptions=[{"name": "e", "fields": ["proc.pname"], "comps": ["="], "values": [["sh"]]}]),
    "quotes": rule(r'spawned_process and proc.cmdline contains "x\") or (evt.num > 0"'),
    "letters": rule(rule="Späher 🕵️", output="ö %proc.name 'x' \"y\""),
    "the name of another attendee's": rule(rule=f"Mine ({OTHER})"),
    "off": rule(enabled=False),
}

REFUSED = {
    "a shared rule is disabled": (
        "- rule: Terminal shell in container\n  enabled: false\n",
        "'Terminal shell in contai",
    ),
    "a shared rule is overridden": (
        "- rule: Terminal shell in container\n  condition: and proc.name = x\n  override: {condition: append}\n",
        "Falco's own, which the class shares",
    ),
    "a shared list is emptied": (
        "- list: shell_binaries\n  items: []\n" + rule(),
        "The list 'shell_binaries' is Falco's",
    ),
    "a shared macro is replaced": (
        "- macro: container\n  condition: (evt.num >= 0)\n" + rule(),
        "The macro 'container'",
    ),
    "a shared macro is appended to": (
        "- macro: container\n  condition: or proc.name = x\n  append: true\n" + rule(),
        "Give your macro another name.",
    ),
    "a parenthesis too many": (rule("spawned_process) or (evt.num > 0"), "LOAD_ERR_COMPILE_CONDITION at line"),
    "an unknown field": (rule("spawned_process and proc.nmae = whoami"), "Did you mean 'proc.name'"),
    "an unknown field in the output": (rule(output="%no.field"), "LOAD_ERR_COMPILE_OUTPUT"),
    "an unknown field, to be skipped": (
        rule("spawned_process and no.field = 1", **{"skip-if-unknown-filter": True}),
        "Falco would leave out 'Mine'",
    ),
    "macros in a circle": (
        "- macro: a\n  condition: b\n- macro: b\n  condition: a\n" + rule("a"),
        "Undefined macro 'b'",
    ),
    "an unknown priority": (rule(priority="LOUD"), "Invalid priority"),
    "a later engine": ("- required_engine_version: 999\n" + rule(), "Rules require engine version"),
    "a plugin": ("- required_plugin_versions:\n  - name: k8saudit\n    version: 0.7.0\n" + rule(), "k8saudit"),
    "another source": (rule(source="k8s_audit"), "Unknown source k8s_audit"),
    "always true": (rule("evt.num >= 0"), "LOAD_NO_EVTTYPE"),
    "always true, without a warning": (rule("evt.num >= 0", warn_evttypes=False), "would flood the class's log group"),
    "nearly always true": (rule("evt.type in (open, openat, read, write, close, mmap)"), "Narrow it down."),
    "a capture": (rule(capture=True), "the key 'capture', which writes files to the nodes"),
    "no YAML": ("- rule: [\n", "LOAD_ERR_YAML_PARSE"),
    "no rules": ("hello", "LOAD_ERR_YAML_VALIDATE"),
    "nothing": ("", "There is no rule in it"),
    "a list alone": ("- list: x\n  items: [a]\n", "There is no rule in it"),
    "a values file": ("customRules:\n  x.yaml: |-\n    - rule: x\n", "LOAD_ERR_YAML_VALIDATE"),
    "a megabyte": (rule() + "#" * (1 << 20), "larger than 32,000 bytes"),
    "many rules": ("".join(rule(rule=f"R{n}") for n in range(30)), "There are 30 rules in it; 20 are allowed."),
    "many values": (rule(f"spawned_process and proc.name in ({', '.join(f'p{n}' for n in range(900))})"), "902 values"),
    "many patterns": (
        rule(" and ".join(["spawned_process", *(f'proc.cmdline regex "(a|b)*c{n}"' for n in range(20))])),
        "There are 20 regular expressions",
    ),
    "a pattern that RE2 refuses": (
        rule('spawned_process and proc.name regex "((a{1,90}){1,90}){1,90}"'),
        "invalid regex",
    ),
    "a long output": (rule(output="x" * 3000), "a text of more than 2,000 characters"),
    "a long name": (rule(rule="x" * 200), "has more than 120 characters"),
    "what can't be printed": (rule(rule="a\u200bb\x1b"), "can't be printed"),
    "nesting": ("- " * 9000 + "x", "LOAD_ERR_YAML_PARSE"),
    "parentheses": (rule("(" * 5000 + "proc.name = x" + ")" * 5000), "exceeded max depth limit"),
    "a bomb of aliases": (
        "- list: a\n  items: &a [x, x, x, x]\n"
        + "".join(f"- list: a{n}\n  items: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(12))
        + rule(),
        "LOAD_ERR_YAML_VALIDATE",
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_accepted_is_limited_to_the_namespace(worker: Worker, case: str, workshop: Path) -> None:
    found = worker.check(NAMESPACE, ACCEPTED[case])
    assert found.problems == ()
    assert all(name.endswith(f" ({NAMESPACE})") for name in found.rules)
    engine = falcorules.Engine(matching="all")
    engine.load([falcorules.default_rules(), ("attendee-07.yaml", found.text)])
    shared = _shared()
    assert engine.rules[: len(shared)] == shared, "a shared rule has changed"
    assert [one.name for one in engine.rules[len(shared) :]] == list(found.rules)
    seen = {}
    for namespace in (NAMESPACE, OTHER, "default"):
        events = _events(workshop, namespace)
        seen[namespace] = {one.rule for one in engine.replay(events).alerts} & set(found.rules)
    assert bool(seen.pop(NAMESPACE)) == (case not in ("off", "exceptions", "quotes"))
    assert not any(seen.values()), "it sees another namespace"


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_harm_others_is_refused_with_a_reason(worker: Worker, case: str) -> None:
    text, said = REFUSED[case]
    found = worker.check(NAMESPACE, text)
    assert not found.accepted
    assert said in " ".join(found.problems)
    assert not found.text


def test_a_check_that_takes_too_long_ends_and_the_next_one_is_done(
    monkeypatch: pytest.MonkeyPatch, workshop: Path
) -> None:
    def forever(self: Any, namespace: str, text: str) -> Checked:
        if text == "slow":
            while True:
                pass
        return Checked(rules=("done",))

    monkeypatch.setattr(rules, "SECONDS", 1)
    monkeypatch.setattr(rules.Checker, "check", forever)
    checker = rules.Checker([falcorules.default_rules()], workshop / EVENTS)
    assert "takes more than 1 s" in rules._in_a_process(checker, NAMESPACE, "slow")
    assert json.loads(rules._in_a_process(checker, NAMESPACE, "quick"))["rules"] == ["done"]


def test_what_becomes_of_rules_has_room_in_a_config_map_for_thirty() -> None:
    assert 30 * rules.MAX_BYTES <= 1_000_000


@functools.cache
def _shared() -> list[Any]:
    return falcorules.load([falcorules.default_rules()]).rules


@functools.cache
def _events(workshop: Path, namespace: str) -> list[Any]:
    """What went on in a container, as if it were in that namespace."""
    events = falcorules.open_events(workshop / EVENTS)
    return [falcorules.RecordedEvent(event.to_dict() | {"k8s.ns.name": namespace}) for event in events]
