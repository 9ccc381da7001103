"""The processes behind alerts as a tree, in text."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from labkit.calls import checked
from labkit.triage.places import UNKNOWN, places


@dataclass
class _Node:
    alerts: dict[str, int] = field(default_factory=dict)
    children: dict[str, _Node] = field(default_factory=dict)


class Tree(str):
    """Text that a notebook displays unchanged in a fixed-width font."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


@checked
def process_tree(df: pd.DataFrame) -> Tree:
    """A tree per pod: the ancestors that alerts name (`proc.aname[n]`, `proc.pname`), command lines, their rules.

    Rules differ in how many ancestors they output. A branch begins with the oldest ancestor that any alert of the pod
    names.
    """
    if df.empty:
        return Tree("No alerts: no processes to show.")
    ancestors = sorted(
        (c for c in df.columns if c.startswith("proc.aname[") and c[11:-1].isdigit()),
        key=lambda c: int(c[11:-1]),
        reverse=True,
    )
    columns = [places(df).astype(object), df["rule"].astype("string").fillna(UNKNOWN).astype(object)]
    columns += [df[name].astype(object) for name in ("proc.cmdline", "proc.name", *ancestors, "proc.pname")]
    chains: list[tuple[str, str, tuple[str, ...], str]] = []
    for pod, rule, cmdline, name, *names in zip(*columns, strict=True):
        leaf = next((text for text in (cmdline, name) if isinstance(text, str) and text), "?")
        chains.append((pod, rule, tuple(n for n in names if isinstance(n, str) and n), _one_line(leaf)))
    above = _above(chains)
    root = _Node()
    for pod, rule, chain, leaf in chains:
        node = root.children.setdefault(pod, _Node())
        for step in (*above.get((pod, chain[0]), ()), *chain, leaf) if chain else (leaf,):
            node = node.children.setdefault(step, _Node())
        node.alerts[rule] = node.alerts.get(rule, 0) + 1
    lines: list[str] = []
    for pod, node in sorted(root.children.items()):
        lines.append(pod)
        lines += _lines(node, "")
    return Tree("\n".join(lines))


def _above(chains: Iterable[tuple[str, str, tuple[str, ...], str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The ancestors that other alerts of the pod name above a process, unless they contradict each other."""
    found: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for pod, _, chain, _ in chains:
        for i in range(1, len(chain)):
            found.setdefault((pod, chain[i]), set()).add(chain[:i])
    # A shorter chain that is the end of a longer one says nothing new.
    longest = {
        key: {c for c in tops if not any(o != c and o[-len(c) :] == c for o in tops)} for key, tops in found.items()
    }
    return {key: next(iter(tops)) for key, tops in longest.items() if len(tops) == 1}


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
