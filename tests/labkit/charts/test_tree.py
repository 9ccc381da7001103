"""Trees of processes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from labkit.charts import process_tree


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
