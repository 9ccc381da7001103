"""Who started what: in comes the frame of alerts, out comes a tree of processes as text."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import pandas as pd

from labkit.charts.data import UNKNOWN, where


@dataclass
class _Node:
    alerts: dict[str, int] = field(default_factory=dict)
    children: dict[str, _Node] = field(default_factory=dict)


class Tree(str):
    """Text that a notebook shows as it is, in a fixed-width font."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


def process_tree(df: pd.DataFrame) -> Tree:
    """A tree per pod: ancestors that the alerts name (`proc.aname[n]`, `proc.pname`), the command line, its rules.

    Rules differ in how many ancestors they put out, so a branch begins with the oldest one known. A container's first
    process has no ancestor inside of it.
    """
    if df.empty:
        return Tree("No alerts: no processes to show.")
    ancestors = sorted(
        (c for c in df.columns if c.startswith("proc.aname[") and c[11:-1].isdigit()),
        key=lambda c: int(c[11:-1]),
        reverse=True,
    )
    lineage = [*ancestors, "proc.pname"]
    columns = [where(df).astype(object), df["rule"].astype("string").fillna(UNKNOWN).astype(object)]
    columns += [df[name].astype(object) for name in ("proc.cmdline", "proc.name", *lineage)]
    root = _Node()
    for pod, rule, cmdline, name, *names in zip(*columns, strict=True):
        node = root.children.setdefault(pod, _Node())
        for step in [n for n in names if isinstance(n, str) and n]:
            node = node.children.setdefault(step, _Node())
        leaf = cmdline if isinstance(cmdline, str) and cmdline else name if isinstance(name, str) else "?"
        node = node.children.setdefault(_one_line(leaf), _Node())
        node.alerts[rule] = node.alerts.get(rule, 0) + 1
    lines: list[str] = []
    for pod, node in sorted(root.children.items()):
        lines.append(pod)
        lines += _lines(node, "")
    return Tree("\n".join(lines))


def _lines(node: _Node, indent: str) -> list[str]:
    lines = []
    for i, (name, child) in enumerate(node.children.items()):
        last = i == len(node.children) - 1
        rules = ", ".join(rule if n == 1 else f"{rule} ×{n}" for rule, n in child.alerts.items())
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{name}{f'   ◄ {rules}' if rules else ''}")
        lines += _lines(child, indent + ("   " if last else "│  "))
    return lines


def _one_line(text: str, width: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
