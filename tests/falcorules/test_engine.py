"""Events against loaded rules: what raises, in which order, and that shared evaluation changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falcorules import (
    Alert,
    Engine,
    EventError,
    LoadError,
    RecordedEvent,
    Replay,
    RuleError,
    as_line,
    load,
    read_events,
)

RULES = """
- macro: reads
  condition: (evt.type in (open, openat) and evt.is_open_read = true)
- rule: Shadow read
  desc: Someone reads the password file.
  condition: reads and fd.name = /etc/shadow
  output: Shadow read by %proc.name (parent %proc.pname, file %fd.name)
  priority: WARNING
  tags: [files, auth]
- rule: Etc read
  desc: Something under /etc is read.
  condition: reads and fd.name startswith /etc
  output: Etc read %fd.name
  priority: NOTICE
  tags: [files]
- rule: Shell
  desc: A shell starts.
  condition: evt.type = execve and proc.name in (bash, sh)
  output: Shell %proc.name
  priority: DEBUG
- rule: Anything
  desc: Off.
  condition: evt.num >= 0
  output: any
  priority: INFO
  enabled: false
  warn_evttypes: false
"""


def _engine(**options: Any) -> Engine:
    engine = Engine(**options)
    engine.load([("rules.yaml", RULES)])
    return engine


def _read(name: str = "/etc/shadow", **more: Any) -> RecordedEvent:
    values = {"evt.type": "openat", "evt.time": 1795407615177232855, "evt.is_open_read": True, "fd.name": name}
    return RecordedEvent({**values, "proc.name": "cat", "evt.num": 7, **more})


def test_first_matching_raises_the_rule_loaded_first() -> None:
    assert [alert.rule for alert in _engine().process(_read())] == ["Shadow read"]
    assert [alert.rule for alert in _engine(matching="all").process(_read())] == ["Shadow read", "Etc read"]
    assert _engine().process(_read("/tmp/x")) == []
    assert [rule.name for rule in _engine().matches(_read())] == ["Shadow read", "Etc read"]


def test_an_alert_has_the_engines_host_name_or_else_that_of_its_event() -> None:
    event = _read(**{"evt.hostname": "node-2"})
    assert _engine().process(event)[0].hostname == "node-2"
    assert _engine(hostname="node-1").process(event)[0].hostname == "node-1"
    assert _engine().process(_read())[0].hostname == ""


def test_an_event_of_a_type_that_no_rule_names_raises_nothing() -> None:
    assert _engine().process(RecordedEvent({"evt.type": "close", "fd.name": "/etc/shadow"})) == []


def test_generic_system_calls_are_one_event_to_the_index_of_rules(matches: Callable[..., bool]) -> None:
    assert matches("evt.type = capget", evt__type="capget")
    assert not matches("evt.type = capget", evt__type="sethostname")
    assert not matches("evt.type != capget", evt__type="sethostname")
    assert not matches("not evt.type in (capget)", evt__type="sethostname")
    assert matches("not (evt.type = capget and proc.name = a)", evt__type="sethostname", proc__name="b")
    assert matches("evt.type != openat", evt__type="sethostname")


def test_rules_below_the_priority_are_left_out() -> None:
    assert [rule.name for rule in _engine(priority="notice").active] == ["Shadow read", "Etc read"]
    with pytest.raises(RuleError, match="Unknown priority"):
        Engine(priority="loud")


def test_rules_are_selected_in_order_by_name_and_tag() -> None:
    engine = _engine()
    engine.select([{"disable": {"rule": "*"}}, {"enable": {"tag": "auth"}}, {"enable": {"rule": "Any*"}}])
    assert [rule.name for rule in engine.active] == ["Shadow read", "Anything"]
    with pytest.raises(RuleError, match=r"Unknown rule selection \{'disable': \{'name': 'x'\}\}") as caught:
        engine.select([{"disable": {"name": "x"}}])
    assert caught.value.hint == "Select by rule or by tag."


def test_loading_invalid_rules_raises_with_the_report_and_changes_nothing_silently() -> None:
    with pytest.raises(LoadError) as caught:
        Engine().load([("bad.yaml", "- rule: X\n")])
    assert caught.value.code == "LOAD_ERR_YAML_VALIDATE"
    assert not caught.value.report.successful
    assert "bad.yaml" in str(caught.value)


def test_a_rule_is_found_by_name_and_near_names_are_suggested() -> None:
    assert _engine().rule("shadow READ").priority == "Warning"
    with pytest.raises(RuleError, match="Did you mean 'Shadow read'"):
        _engine().rule("Shadow reed")


def test_a_real_falcos_events_raise_what_these_rules_say(events: list[RecordedEvent]) -> None:
    engine = _engine(matching="all")
    raised = [(event.get("evt.num"), alert.rule) for event in events for alert in engine.process(event)]
    expected = [
        (event.get("evt.num"), rule)
        for event in events
        for rule, true in (
            ("Shadow read", event.get("fd.name") == "/etc/shadow"),
            ("Etc read", str(event.get("fd.name")).startswith("/etc")),
            ("Shell", False),
        )
        if true and event.type in ("open", "openat") and event.get("evt.is_open_read")
    ]
    shells = [
        (event.get("evt.num"), "Shell")
        for event in events
        if event.type == "execve" and event.get("proc.name") in ("bash", "sh")
    ]
    assert sorted(raised) == sorted(expected + shells)
    assert raised


def test_published_rules_raise_what_a_real_falco_raised(upstream: list[Path], events: list[RecordedEvent]) -> None:
    raised_by_falco = {
        8307: ["Read sensitive file untrusted"],
        10354: ["Read sensitive file untrusted"],
        11614: ["Write below binary dir"],
        12238: ["Write below binary dir"],
        12810: ["Mkdir binary dirs"],
        13480: ["Modify binary dirs"],
        14046: ["Write below etc"],
        14892: ["Write below root"],
        15503: ["Launch Package Management Process in Container"],
        16281: ["Launch Package Management Process in Container"],
        16325: ["Launch Package Management Process in Container"],
        16326: ["Launch Package Management Process in Container"],
        16327: ["Launch Package Management Process in Container"],
        17123: ["Launch Suspicious Network Tool in Container"],
        17840: ["Netcat Remote Code Execution in Container", "Launch Suspicious Network Tool in Container"],
        19070: ["Search Private Keys or Passwords"],
        19735: ["Read ssh information"],
    }
    engine = Engine(matching="all")
    report = engine.load(upstream)
    assert not report.warnings
    assert len(engine.rules) == 93
    raised = {event.get("evt.num"): [alert.rule for alert in engine.process(event)] for event in events}
    assert {number: rules for number, rules in raised.items() if rules} == raised_by_falco


def test_recording_an_event_gives_the_same_alerts_again(events: list[RecordedEvent]) -> None:
    engine = _engine(matching="all")
    again = list(read_events(map(as_line, events)))
    assert len(again) == len(events)
    assert [a.to_dict() for e in again for a in engine.process(e)] == [
        a.to_dict() for e in events for a in engine.process(e)
    ]


_ATOMS = [
    "evt.type = openat",
    "evt.type in (open, execve)",
    "evt.type != close",
    "proc.name = cat",
    "proc.name = bash",
    "proc.name != cat",
    "proc.name in (cat, sh)",
    "fd.name startswith /etc",
    "fd.name startswith /tmp",
    "fd.name endswith w",
    "fd.name = oneof (/etc/shadow, /tmp/w)",
    "fd.name contains oneof (e, w)",
    "fd.num > 3",
    "fd.num in (3, 4)",
    "proc.aname = bash",
    "proc.aname[1] = bash",
    "tolower(proc.exe) = cat",
    "fd.ip = 10.0.0.1",
    "proc.pname exists",
]


def _conditions() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(_ATOMS),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' and '.join(parts)})"),
            st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' or '.join(parts)})"),
            inner.map("not ({})".format),
        ),
        max_leaves=10,
    )


_EVENTS = st.fixed_dictionaries(
    {"evt.type": st.sampled_from(["open", "openat", "execve", "close", "umask"]), "evt.time": st.just(0)},
    optional={
        "proc.name": st.sampled_from(["cat", "bash", "sh"]),
        "fd.name": st.sampled_from(["/etc/shadow", "/tmp/w", "/x"]),
        "fd.num": st.integers(2, 5),
        "proc.aname": st.sampled_from([["cat"], ["cat", "bash"], ["bash", "sh", "init"]]),
        "proc.exe": st.sampled_from(["CAT", "x"]),
        "fd.sip": st.sampled_from(["10.0.0.1", "1.1.1.1"]),
        "proc.pname": st.just("p"),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_conditions(), min_size=1, max_size=6), st.lists(_EVENTS, min_size=1, max_size=6))
def test_rules_evaluated_together_are_true_when_each_part_by_itself_says_so(
    conditions: list[str], values: list[dict[str, Any]]
) -> None:
    text = "".join(
        f"- rule: R{number}\n  desc: d\n  output: o\n  priority: INFO\n  condition: {condition}\n"
        for number, condition in enumerate(conditions)
    )
    engine = Engine(matching="all")
    engine.load([("rules.yaml", text)])
    for value in values:
        event = RecordedEvent(value)
        together = [alert.rule for alert in engine.process(event)]
        alone = [rule.name for rule in engine.rules if engine.why(rule.name, event).matched]
        assert together == alone


def test_five_hundred_levels_of_conditions_are_evaluated() -> None:
    condition = "evt.num = 1"
    for level in range(500):
        condition = f"(proc.name = n{level} or (fd.num != {level} and not ({condition})))"
    engine = Engine()
    engine.load(
        [("deep.yaml", RULES + f"- rule: Deep\n  desc: d\n  output: o\n  priority: INFO\n  condition: {condition}\n")]
    )
    event = RecordedEvent({"evt.type": "close", "evt.num": 1, "proc.name": "x", "fd.num": 1000})
    assert [alert.rule for alert in engine.process(event)] == ["Deep"]
    assert engine.why("Deep", event).matched


def test_why_names_the_comparisons_that_decided() -> None:
    engine = _engine()
    verdict = engine.why("Shadow read", _read("/etc/passwd"))
    assert not verdict.matched
    assert [(str(part.node), part.seen) for part in verdict.reasons] == [("fd.name = /etc/shadow", "/etc/passwd")]
    lines = str(verdict).splitlines()
    assert lines[0] == "'Shadow read' does not match openat (event 7). What decided (✓ true, ✗ false):"
    assert lines[1] == "  ✗ fd.name = /etc/shadow    [/etc/passwd]"
    assert "    ✓ evt.is_open_read = true    [true]" in lines
    assert "✗</span> fd.name = /etc/shadow" in verdict._repr_html_()


def test_why_takes_the_event_that_came_closest_or_the_one_asked_for() -> None:
    engine = _engine()
    other = RecordedEvent({"evt.type": "close", "evt.num": 3})
    events = [other, _read("/etc/passwd"), _read("/x")]
    assert engine.why("Shadow read", events).event.get("fd.name") == "/etc/passwd"
    assert engine.why("Shadow read", events, number=3).event is other
    with pytest.raises(EventError, match="No event has the number 4"):
        engine.why("Shadow read", events, number=4)
    with pytest.raises(EventError, match="There are no events"):
        engine.why("Shadow read", [])


def test_what_an_attendee_typed_is_text_in_html() -> None:
    engine = load([("x.yaml", RULES.replace("/etc/shadow", "<b>"))])
    event = RecordedEvent({"evt.type": "openat", "fd.name": "<i>", "proc.cmdline": "<script>"})
    page = engine.why("Shadow read", event)._repr_html_() + engine.explain("Shadow read")._repr_html_()
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    assert '<b>"' not in page
    assert "<script>" not in page


def test_long_values_are_cut_where_a_condition_is_explained() -> None:
    engine = _engine()
    for length, shown in ((100, "/" + "x" * 99), (101, "/" + "x" * 96 + "...")):
        assert f"fd.name = /etc/shadow    [{shown}]" in str(engine.why("Shadow read", _read("/" + "x" * (length - 1))))


def test_a_replay_is_a_table_of_alerts() -> None:
    engine = _engine()
    replay = engine.replay([_read("/etc/passwd"), _read("/etc/shadow")])
    assert (replay.events, replay.rules, len(replay)) == (2, ["Etc read", "Shadow read"], 2)
    assert repr(replay).splitlines()[0] == "2 events, 2 alerts"
    assert "Shadow read" in replay._repr_html_()
    assert repr(engine.replay([])) == "0 events, 0 alerts"
    assert engine.replay([])._repr_html_() == "<b>0 events, 0 alerts</b>"
    alert = Alert(10**9, "R", "Notice", "syscall", "", "", output_fields={"proc.cmdline": "x" * 70})
    long = replace(alert, rule="Rule", output_fields={"proc.cmdline": "x" * 71})
    assert repr(Replay(1000, (alert, long, replace(alert, output_fields={}, message="m")))).splitlines() == [
        "1,000 events, 3 alerts",
        f"  00:00:01.000  Notice  R     {'x' * 70}",
        f"  00:00:01.000  Notice  Rule  {'x' * 67}...",
        "  00:00:01.000  Notice  R     m",
    ]
    with pytest.raises(EventError, match="Can't read events from nowhere"):
        engine.replay("nowhere")


def test_an_explanation_says_what_a_rule_uses() -> None:
    explanation = _engine().explain("Shadow read")
    assert explanation.fields == ("evt.is_open_read", "evt.type", "fd.name")
    assert explanation.operators == ("=", "in")
    assert "macros       reads" in str(explanation)
    assert "fd.name = /etc/shadow" in explanation._repr_html_()


AWKWARD = """
- rule: Awkward
  desc: d
  condition: >
    evt.type in (open, openat) and (proc.name exists and not (not proc.aname in (sh))) and
    (toupper(basename(fd.name)) = SHADOW or fd.name startswith oneof (/bin, /usr) or proc.name = val(proc.pname))
    and not fd.ip = 10.0.0.1 and evt.dir = <
  output: o
  priority: NOTICE
  exceptions:
    - {name: pairs, fields: [proc.name, fd.name], comps: [=, startswith], values: [[ls, /etc/ld], [ps, /lib]]}
- rule: Never
  desc: d
  condition: evt.type = open and evt.type = close
  output: o
  priority: NOTICE
"""


def test_an_explanation_takes_apart_what_is_of_one_kind() -> None:
    engine = load([("awkward.yaml", AWKWARD)])
    assert engine.explain("Awkward").tree.splitlines() == [
        "all of",
        "  evt.type in (open, openat)",
        "  proc.name exists",
        "  not (not proc.aname in (sh))",
        "  any of",
        "    toupper(basename(fd.name)) = SHADOW",
        "    fd.name startswith oneof (/bin, /usr)",
        "    proc.name = val(proc.pname)",
        "  not fd.ip = 10.0.0.1",
        "  evt.dir = <",
        "  not",
        "    any of",
        "      (proc.name = ls and fd.name startswith /etc/ld)",
        "      (proc.name = ps and fd.name startswith /lib)",
    ]
    assert "event types  none: it can't match" in str(engine.explain("Never"))
    assert "none: it can&#x27;t match" in engine.explain("Never")._repr_html_()


def test_why_shows_the_values_that_were_compared() -> None:
    engine = load([("awkward.yaml", AWKWARD)])
    event = RecordedEvent(
        {
            "evt.type": "openat",
            "proc.name": "sh",
            "proc.pname": "bash",
            "proc.aname": ["sh", "bash", "sshd"],
            "fd.name": "/etc/shadow",
            "fd.cip": "10.0.0.2",
            "fd.sip": "10.0.0.3",
        }
    )
    verdict = engine.why("Awkward", event)
    assert not verdict.matched
    seen = {str(part.node): part.seen for part in verdict.reasons}
    assert seen == {"proc.aname in (sh)": "bash, sshd"}
    lines = [line.strip() for line in str(verdict).splitlines()]
    assert "✓ toupper(basename(fd.name)) = SHADOW    [SHADOW]" in lines
    assert "✗ proc.name = val(proc.pname)    [sh, bash]" in lines
    assert "✗ fd.ip = 10.0.0.1    [10.0.0.2, 10.0.0.3]" in lines
    assert "✓ evt.dir = <    [<]" in lines


def test_importing_is_cheap_and_loads_no_parser() -> None:
    code = "import sys, falcorules; print([m for m in ('yaml', 're2', 'falcorules.engine') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
