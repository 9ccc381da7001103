"""Rule, pod and priority are left to the service where it can tell, and no shape of an alert is lost by that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ekslab.aws.filter_patterns import compile_pattern
from labkit.alerts import PRIORITIES, insights, read, to_frame
from labkit.alerts.choice import Choice
from labkit.errors import LabError

RULES = [
    *(
        "Terminal shell in container",
        "Execution from /dev/shm",
        'A "quoted" rule',
        "Une règle à moi",
        "back\\slash here",
    ),
    *("R&D <b>", "x", "PTRACE anti-debug attempt", "Redirect STDOUT/STDIN to Network Connection in Container", "éé"),
]
PODS = ["web-0", "nginx-7c5ddbdf54-abcde"]


def alert(rule: str, priority: str, pod: str | None, namespace: str | None = "default") -> dict[str, Any]:
    fields = {"k8s.pod.name": pod, "k8s.ns.name": namespace, "proc.cmdline": "sh -c 'a \"b\" </x>'"}
    return {
        **{"time": "2026-11-23T04:20:15.177232855Z", "rule": rule, "priority": priority, "source": "syscall"},
        **{"hostname": "h", "output": f"Something | k8s_pod_name={pod}", "tags": ["T1059"], "output_fields": fields},
    }


def _falco(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _careful(found: dict[str, Any]) -> str:
    """As encoders for HTML write it: Go's and Gson's."""
    text = json.dumps(found)
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&'="}).replace("/", "\\/")


def _text(found: dict[str, Any]) -> str:
    fields = " ".join(f"{key.replace('.', '_')}={value}" for key, value in found["output_fields"].items())
    return f"04:20:15.177232855: {found['priority']} {found['output']} | {fields}"


SHAPES: dict[str, Callable[[dict[str, Any]], str]] = {
    "Falco's line": _falco,
    "of a careful encoder": _careful,
    "in capitals": lambda found: _falco({**found, "priority": found["priority"].upper()}),
    "in small letters": lambda found: _falco({**found, "priority": found["priority"].lower()}),
    "in a record": lambda found: json.dumps({"time": "x", "stream": "stdout", "_p": "F", "log": _falco(found)}),
    "in a record, by a careful encoder": lambda found: _careful({"log": _careful(found)}),
    "in docker's record": lambda found: json.dumps({"log": _falco(found) + "\n", "stream": "stdout"}),
    "merged": lambda found: json.dumps({"log": _falco(found), "stream": "stdout", **found}),
    "under log_processed": lambda found: json.dumps({"log": _falco(found), "log_processed": found}),
    "under data": lambda found: json.dumps({"data": found, "kubernetes": {"pod_name": "falco-x"}}),
    "a CRI line": lambda found: f"2026-11-23T04:20:15.2Z stdout F {_falco(found)}",
    "a CRI line in a record": lambda found: json.dumps({"log": f"2026-11-23T04:20:15.2Z stdout F {_falco(found)}"}),
    "text": _text,
    "text in a record": lambda found: json.dumps({"log": _text(found)}),
}

alerts = st.builds(alert, st.sampled_from(RULES), st.sampled_from(PRIORITIES), st.sampled_from([None, *PODS]))
choices = st.builds(
    Choice.of,
    st.none() | st.lists(st.sampled_from(RULES), min_size=1, max_size=3),
    st.none() | st.sampled_from([*PODS, "default/web-0", "other/web-0"]),
    st.none() | st.sampled_from(PRIORITIES),
)


@settings(max_examples=60, deadline=None)
@given(choices, st.lists(st.tuples(alerts, st.sampled_from(sorted(SHAPES))), min_size=1, max_size=8))
def test_what_the_service_drops_is_not_of_the_choice(choice: Choice, found: list[tuple[dict[str, Any], str]]) -> None:
    messages = [SHAPES[shape](one) for one, shape in found]
    wanted = choice.select(to_frame(messages))
    matches = compile_pattern(choice.pattern() or "").matches
    passed = choice.select(to_frame([message for message in messages if matches(message)]))
    pd.testing.assert_frame_equal(passed[wanted.columns], wanted, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_found_by_the_service(client: Any, group: Any, shape: str) -> None:
    wanted = alert("Terminal shell in container", "Error", "web-0")
    others = [alert("Other", "Error", "web-1"), alert("Terminal shell", "Notice", None)]
    group.put([SHAPES[shape](one) for one in (wanted, *others)])
    for named in ({"rule": "Terminal shell in container"}, {"pod": "default/web-0"}, {"priority": "Error"}):
        if shape.startswith("text") and "rule" in named:  # Falco's text names none
            continue
        df = read(client, group.name, **named)
        assert df.attrs["pushed_down"]
        assert "web-0" in set(df["k8s.pod.name"])
        assert len(df) == (2 if "priority" in named else 1)
        query = f"filter {Choice.of(named.get('rule'), named.get('pod'), named.get('priority')).query()}"
        assert len(insights(client, query, group.name)) >= len(df)


@pytest.mark.parametrize(
    ("choice", "pattern"),
    [
        ((None, None, None), None),
        (("Terminal shell in container", None, None), '"Terminal shell in container"'),
        ((["A rule", "Another rule"], None, None), '?"A rule" ?"Another rule"'),
        (("Execution from /dev/shm", None, None), '"Execution from"'),
        (("éé", None, None), None),
        ((["éé", "A rule"], None, None), None),
        ((None, "default/web-0", "Warning"), '"web-0" "default"'),
        (("A rule", "web-0", "Warning"), '"A rule" "web-0"'),
        ((["A rule", "Another rule"], "web-0", None), '"web-0"'),
        ((None, None, "debug"), None),
        ((None, None, "Alert"), '?"Alert" ?"ALERT" ?"alert" ?"Emergency" ?"EMERGENCY" ?"emergency"'),
        (([f"Rule number {n} of very many" for n in range(99)], None, None), None),
    ],
)
def test_the_pattern_says_what_every_message_of_the_choice_has(choice: Any, pattern: str | None) -> None:
    assert Choice.of(*choice).pattern() == pattern


def test_the_frame_is_one_of_the_chosen_alone_and_counts_the_others() -> None:
    kept, other = alert("A", "Error", "web-0"), alert("B", "Debug", "web-1")
    other["output_fields"]["only.here"] = "x"
    df = Choice.of("A", None, None).select(to_frame([json.dumps(kept), json.dumps(other)]))
    alone = to_frame([json.dumps(kept)])
    assert df.attrs == {**to_frame([json.dumps(kept), json.dumps(other)]).attrs, "alerts": 1, "left_out": 1}
    pd.testing.assert_frame_equal(df, alone)
    assert list(df["rule"].cat.categories) == ["A"]


@pytest.mark.parametrize(("argument", "said"), [({"priority": "warn"}, "'Warning'"), ({"rule": []}, "every rule")])
def test_what_is_no_choice_says_so(client: Any, argument: dict[str, Any], said: str) -> None:
    with pytest.raises(LabError) as caught:
        read(client, "falco", **argument)
    assert said in caught.value.hint


def test_alerts_of_a_namespace_are_those_of_its_pods_and_rules_there_have_two_names() -> None:
    mine = alert("My rule (attendee-07)", "Notice", "web-0", "attendee-07")
    shared = alert("My rule", "Notice", "web-0", "attendee-07")
    others = [alert("My rule (attendee-08)", "Notice", "web-0", "attendee-08"), alert("My rule", "Notice", None, None)]
    mentioned = alert("My rule", "Notice", "attendee-07", "attendee-08")
    frame = to_frame([_falco(found) for found in (mine, shared, *others, mentioned)])
    choice = Choice.of("My rule", None, None, "attendee-07")
    assert list(choice.select(frame)["rule"]) == [mine["rule"], shared["rule"]]
    assert str(choice) == " of the rule 'My rule' in namespace attendee-07"
    assert choice.pattern() == '"My rule" "attendee-07"'
    assert choice.query() == '(@message like "My rule") and (@message like "attendee-07")'
    assert len(Choice.of(None, None, None, "attendee-07").select(frame)) == 2
    assert Choice.of(None, "web-0", None, "attendee-07") == Choice.of(None, "attendee-07/web-0", None, "attendee-07")


def test_a_pod_of_another_namespace_is_refused() -> None:
    with pytest.raises(LabError, match=r"Pod default/web-0 isn't in namespace attendee-07\.") as caught:
        Choice.of(None, "default/web-0", None, "attendee-07")
    assert "attendee-07/web-0" in caught.value.hint
