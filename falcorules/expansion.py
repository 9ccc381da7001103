"""Lists and macros in conditions: names of lists are replaced in the text, names of macros in the tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from falcorules import ast
from falcorules.ast import Position

# Beyond these sizes an expanded condition is refused: lists and macros that multiply each other have no other end.
MAX_TEXT = 4_000_000
_MAX_NODES = 200_000

BLANKS = " \t\n\r"
_DELIMITERS = re.compile(r"[ \t\n\r(),=]+")


def quoted(text: str) -> str:
    """A list item as Falco writes it into a condition: quoted if it has a space and isn't quoted yet."""
    return f'"{text}"' if " " in text and text[0] not in "\"'" else text


def joined(texts: Iterable[str]) -> str:
    """Items with commas between them, none of which follows the empty ones at the start."""
    listed = ""
    for text in texts:
        listed += f"{', ' if listed else ''}{quoted(text)}"
    return listed


class ListExpander:
    """Replaces the names of lists in the text of conditions by their items."""

    def __init__(self, lists: Mapping[str, list[str]], used: set[str]) -> None:
        self._lists = {name: joined(items) for name, items in lists.items()}
        self._used = used
        self._odd = {name for name in lists if _DELIMITERS.search(name)}

    def expanded(self, condition: str) -> str:
        words = set(_DELIMITERS.split(condition))
        for name, items in self._lists.items():
            if name not in words and name not in self._odd:
                continue
            replaced = _replace_list(condition, name, items)
            if replaced is not None:
                self._used.add(name)
                condition = replaced
                words.update(_DELIMITERS.split(items))
            if len(condition) > MAX_TEXT:
                break
        return condition


def _replace_list(condition: str, name: str, items: str) -> str | None:
    """`condition` with the list's name replaced wherever it stands between delimiters; None if it doesn't."""
    delimiters = f"{BLANKS}(),="
    out: list[str] = []
    rest = 0  # the text from here on is not yet searched
    size = 0
    found = condition.find(name) if name else -1
    changed = False
    while found >= 0 and size <= MAX_TEXT:
        end = found + len(name)
        if (found <= rest or condition[found - 1] in delimiters) and (
            end == len(condition) or condition[end] in delimiters
        ):
            out.append(condition[rest:found])
            _strip_end(out)
            rest = end
            while rest < len(condition) and condition[rest] in BLANKS:
                rest += 1
            if not items:  # an empty list takes a comma beside it away, too
                if out and out[-1].endswith(","):
                    out[-1] = out[-1][:-1]
                elif condition[rest : rest + 1] == ",":
                    rest += 1
            first = not any(out)
            out.append(f"{items} " if first else f" {items} ")
            size += len(out[-1])
            changed = True
            found = condition.find(name, rest + first)
        else:
            found = condition.find(name, found + 1)
    return "".join([*out, condition[rest:]]) if changed else None


def _strip_end(pieces: list[str]) -> None:
    """Removes the blanks at the end of a text in pieces."""
    while pieces:
        pieces[-1] = pieces[-1].rstrip(BLANKS)
        if pieces[-1]:
            return
        pieces.pop()


class MacroResolver:
    """Replaces the names of macros in a condition by their conditions."""

    def __init__(
        self,
        macros: Mapping[str, ast.Expression],
        sizes: Mapping[str, int],
        visible: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._macros = macros
        self._sizes = sizes  # of those in which no name of a macro is left
        self._visible = visible
        self.size = 0
        self.used: list[str] = []
        self.faults: list[tuple[str, Position]] = []

    def resolved(self, expression: ast.Expression) -> ast.Expression:
        """The expression without macros; `faults` says which can't be resolved (loops before unknown names)."""
        loops: list[tuple[str, Position]] = []
        unknown: list[tuple[str, Position]] = []
        result = self._expand(expression, (), loops, unknown)
        self.faults = loops + unknown
        return result

    def _expand(
        self,
        root: ast.Expression,
        path: tuple[str, ...],
        loops: list[tuple[str, Position]],
        unknown: list[tuple[str, Position]],
    ) -> ast.Expression:
        order: list[ast.Expression] = []
        pending: list[ast.Expression] = [root]
        changed = False
        while pending:
            node = pending.pop()
            order.append(node)
            changed = changed or isinstance(node, ast.Macro)
            if isinstance(node, ast.Not):
                pending.append(node.child)
            elif isinstance(node, ast.And | ast.Or):
                pending.extend(reversed(node.children))
        if self._too_large(len(order), loops):
            return root
        if not changed:
            return root
        done: dict[int, ast.Expression] = {}
        for node in order:  # in reading order, so that the first fault is the first in the text
            if isinstance(node, ast.Macro):
                done[id(node)] = self._macro(node, path, loops, unknown)
        for node in reversed(order):
            if isinstance(node, ast.Not):
                child = done[id(node.child)]
                done[id(node)] = node if child is node.child else ast.Not(child, node.position)
            elif isinstance(node, ast.And | ast.Or):
                children = tuple(done[id(child)] for child in node.children)
                same = all(new is old for new, old in zip(children, node.children, strict=True))
                done[id(node)] = node if same else type(node)(children, node.position)
            elif not isinstance(node, ast.Macro):
                done[id(node)] = node
        return done[id(root)]

    def _macro(
        self,
        node: ast.Macro,
        path: tuple[str, ...],
        loops: list[tuple[str, Position]],
        unknown: list[tuple[str, Position]],
    ) -> ast.Expression:
        condition = self._macros.get(node.name)
        if condition is None or not self._visible(node.name):
            unknown.append((f"Undefined macro '{node.name}' used in filter.", node.position))
            return node
        if node.name in path or len(path) > 100:
            loops.append((f"reference loop in macro '{node.name}'", node.position))
            return node
        if node.name not in self._sizes:
            condition = self._expand(condition, (*path, node.name), loops, unknown)
        elif self._too_large(self._sizes[node.name], loops):
            return node
        self.used.append(node.name)
        return condition

    def _too_large(self, added: int, faults: list[tuple[str, Position]]) -> bool:
        self.size += added
        if self.size > _MAX_NODES:
            faults.append((f"condition too large: more than {_MAX_NODES} parts with its macros expanded", Position()))
        return self.size > _MAX_NODES
