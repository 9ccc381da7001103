"""The processes behind alerts, as a tree and as a frame."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.triage import incident, processes
from labkit.triage import tree as process_tree


def test_ancestors_lead_to_command_lines_and_those_to_rules(make: Any) -> None:
    df = make(
        {"rule": "shell", "fields": {"proc.cmdline": "bash", "proc.pname": "containerd-shim"}},
        {"rule": "read", "fields": {"proc.cmdline": "cat /etc/shadow", "proc.pname": "bash", "proc.aname[2]": "runc"}},
        {"rule": "read", "fields": {"proc.cmdline": "cat /etc/shadow", "proc.pname": "bash", "proc.aname[2]": "runc"}},
        {"rule": "host", "fields": {"proc.cmdline": "nc", "k8s.pod.name": None, "container.id": "host"}},
    )
    assert str(process_tree(df)).splitlines() == [
        "host vm",
        "└─ containerd-shim",
        "   └─ nc   ◄ host",
        "shop/web-0",
        "├─ containerd-shim",
        "│  └─ bash   ◄ shell",
        "└─ runc",
        "   └─ bash",
        "      └─ cat /etc/shadow   ◄ read ×2",
    ]


def test_what_one_alert_knows_of_the_ancestors_holds_for_the_pod_s_others(make: Any) -> None:
    def alert(cmdline: str, *ancestors: str) -> dict[str, Any]:
        names = {f"proc.aname[{i}]": name for i, name in enumerate(ancestors[1:], start=2)}
        return {"rule": "r", "fields": {"proc.cmdline": cmdline, "proc.pname": ancestors[0], **names}}

    tree = process_tree(make(alert("ls", "bash"), alert("cat", "bash", "runc"), alert("id", "bash", "runc", "systemd")))
    assert str(tree).splitlines()[1:] == [
        "└─ systemd",
        "   └─ runc",
        "      └─ bash",
        "         ├─ ls   ◄ r",
        "         ├─ cat   ◄ r",
        "         └─ id   ◄ r",
    ]
    ambiguous = process_tree(make(alert("ls", "bash"), alert("cat", "bash", "runc"), alert("id", "bash", "sshd")))
    assert str(ambiguous).splitlines()[1:3] == ["├─ bash", "│  └─ ls   ◄ r"]


def test_ten_ancestors_are_in_their_order(make: Any) -> None:
    names = {f"proc.aname[{i}]": f"p{i}" for i in range(2, 12)}
    tree = str(process_tree(make({"fields": {**names, "proc.pname": "p1", "proc.cmdline": "p0"}})))
    assert [line.split()[-1] for line in tree.splitlines()[1:11]] == [f"p{i}" for i in range(11, 1, -1)]


def test_the_tree_is_text_and_safe_html(make: Any, empty: pd.DataFrame) -> None:
    tree = process_tree(make({"fields": {"proc.cmdline": "sh -c <b>\nls</b>"}}))
    assert "sh -c <b> ls</b>" in str(tree)
    assert "<b>" not in tree._repr_html_()
    assert "No alerts" in process_tree(empty)


def test_without_a_command_line_a_process_has_its_name(make: Any) -> None:
    unnamed = {"proc.cmdline": None, "proc.name": None}
    df = make(
        {"rule": "a", "fields": {"proc.cmdline": None, "proc.name": "nc", "proc.pname": None}},
        {"rule": "b", "fields": {"proc.cmdline": "", "proc.name": "nc", "proc.pname": None}},
        {"rule": "c", "fields": {**unnamed, "proc.pname": "sh"}},
    )
    assert str(process_tree(df)).splitlines() == ["shop/web-0", "├─ nc   ◄ a, b", "└─ sh", "   └─ ?   ◄ c"]


def test_a_long_command_line_is_cut(make: Any) -> None:
    (_, _, line) = str(process_tree(make({"rule": "r", "fields": {"proc.cmdline": "x" * 81}}))).splitlines()
    assert line.split()[1] == "x" * 79 + "…"
    assert "x" * 80 + "   ◄" in process_tree(make({"fields": {"proc.cmdline": "x" * 80}}))


def below(*ancestors: str, command: str, rule: str = "r", **fields: Any) -> dict[str, Any]:
    """An alert about a command whose ancestors, from the parent up, are known by name."""
    names = {f"proc.aname[{i}]": name for i, name in enumerate(ancestors[1:], start=2)}
    program = command.split()[0]
    changed = {name.replace("_", ".", 1): value for name, value in fields.items()}
    own = {"proc.cmdline": command, "proc.name": program, "proc.pname": ancestors[0]}
    return {"rule": rule, "fields": {**own, **names, **changed}}


def lines(*alerts: dict[str, Any], make: Any) -> list[str]:
    stamped = [{**alert, "time": f"2026-11-23T04:00:{i:02}Z"} for i, alert in enumerate(alerts)]
    return str(process_tree(make(*stamped))).splitlines()[1:]


def test_a_shell_s_command_line_tells_what_it_ran(make: Any) -> None:
    assert lines(
        below("nginx", command="sh -c id"),
        below("nginx", command="sh -c 'grep -r key /etc' | sort"),
        below("sh", "nginx", command="grep -r key /etc"),
        below("sh", "nginx", command="find /"),
        make=make,
    ) == [
        "└─ nginx",
        "   ├─ sh -c id   ◄ r",
        "   ├─ sh -c 'grep -r key /etc' | sort   ◄ r",
        "   │  └─ grep -r key /etc   ◄ r",
        "   └─ sh",  # one of them, or another
        "      └─ find /   ◄ r",
    ]


def test_the_only_process_of_a_name_that_was_there_before_is_the_parent(make: Any) -> None:
    shell = below("nginx", command="bash -i")
    assert lines(shell, below("bash", "nginx", command="id"), make=make) == [
        "└─ nginx",
        "   └─ bash -i   ◄ r",
        "      └─ id   ◄ r",
    ]
    two = lines(shell, below("nginx", command="bash x"), below("bash", "nginx", command="id"), make=make)
    assert two[-2:] == ["   └─ bash", "      └─ id   ◄ r"]
    later = lines(below("bash", "nginx", command="id"), shell, make=make)
    assert later[1:] == ["   ├─ bash", "   │  └─ id   ◄ r", "   └─ bash -i   ◄ r"]


def test_a_parent_whose_command_line_is_known_is_no_guess(make: Any) -> None:
    df = make(
        below("nginx", command="bash -i"),
        below("bash", "nginx", command="id", proc_pcmdline="bash -i"),
        below("bash", "nginx", command="ls"),
    )
    table = processes(df).set_index("command")
    assert not table.loc["id", "inferred"]
    assert table.loc["ls", "inferred"]


def test_chains_of_names_are_completed_step_by_step_but_not_by_themselves(make: Any) -> None:
    assert lines(
        below("sh", "nginx", command="a"), below("bash", "sh", command="b"), below("bash", command="c"), make=make
    ) == ["└─ nginx", "   └─ sh", "      ├─ a   ◄ r", "      └─ bash", "         ├─ b   ◄ r", "         └─ c   ◄ r"]
    assert lines(below("sh", "sh", command="a"), make=make) == ["└─ sh", "   └─ sh", "      └─ a   ◄ r"]


def test_processes_are_a_frame(make: Any) -> None:
    first = {"proc.pid": 31, "user.name": "www", "proc.ppid": 7}
    df = make(
        {**below("nginx", command="sh"), "priority": "Notice", "time": "2026-11-23T04:00:00Z"},
        {**below("nginx", command="id", rule="a"), "priority": "Notice", "time": "2026-11-23T04:00:01Z"},
        {**below("nginx", command="id", rule="a"), "priority": "Error", "time": "2026-11-23T04:00:09Z"},
        {**below("nginx", command="id", rule="b"), "priority": "Debug", "time": "2026-11-23T04:00:03Z"},
    )
    table = processes(df.assign(**{name: pd.Series([value] * 4) for name, value in first.items()}))
    assert table["parent"].tolist() == [pd.NA, 0, 0]
    assert table["program"].tolist() == ["nginx", "sh", "id"]
    assert table["command"].tolist() == [pd.NA, "sh", "id"]
    assert table["depth"].tolist() == [0, 1, 1]
    assert table["pid"].tolist() == [7, 31, 31]
    assert table["user"].tolist() == [pd.NA, "www", "www"]
    assert table["alerts"].tolist() == [0, 1, 3]
    assert table["raised"].tolist() == [(), (("r", "Notice", 1),), (("a", "Error", 2), ("b", "Debug", 1))]
    assert table["priority"].tolist() == [pytest.approx(float("nan"), nan_ok=True), "Notice", "Error"]
    assert table["first"].dt.second.tolist()[1:] == [0, 1]
    assert table["last"].dt.second.tolist()[1:] == [0, 9]
    assert table.dtypes.astype(str).to_dict() == {
        **{"parent": "Int64", "place": "string", "depth": "int64", "program": "string", "command": "string"},
        **{"pid": "Int64", "user": "string", "alerts": "int64", "priority": "category", "raised": "object"},
        **{"first": "datetime64[ns, UTC]", "last": "datetime64[ns, UTC]", "inferred": "bool"},
    }


def test_types_are_the_same_without_any(captured: pd.DataFrame, empty: pd.DataFrame) -> None:
    assert processes(empty).dtypes.tolist() == processes(captured).dtypes.tolist()
    assert processes(captured)["alerts"].sum() == len(captured)


def test_parents_come_before_their_children_and_places_in_the_order_of_time(day: pd.DataFrame) -> None:
    table = processes(incident(day))
    assert (table["parent"].dropna() < table.index[table["parent"].notna()]).all()
    assert table["place"].unique().tolist() == [*dict.fromkeys(table["place"])]
    assert table["alerts"].sum() == len(incident(day))
    spans = table.groupby("place", sort=False)["first"].min()
    assert spans.is_monotonic_increasing


def test_a_web_server_s_shell_has_what_the_intruder_did_below_it(day: pd.DataFrame) -> None:
    table = processes(incident(day))
    (shell,) = table.index[table["command"] == "bash -i"]
    assert (table["parent"] == shell).sum() >= 4
    assert table.loc[table.loc[shell, "parent"], "command"].startswith("sh -c bash -c 'bash -i")


def test_a_long_tree_ends_with_what_is_left_out(captured: pd.DataFrame) -> None:
    whole = str(process_tree(captured)).splitlines()
    some = str(process_tree(captured, n=10)).splitlines()
    assert some[-1] == f"… {len(processes(captured)) - 10} of {len(processes(captured))} processes are left out: " + (
        "select an incident, or a place."
    )
    assert len(some) == 12 < len(whole)
