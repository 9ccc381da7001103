"""The table of built-in commands, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Builtin = Callable[[Any, list[str]], Awaitable[int]]
"""`async def main(shell: Shell, argv: list[str]) -> int`. This module is below `Shell`, so the type can't say it."""
BUILTINS: dict[str, Builtin] = {}
BASH_ONLY: set[str] = set()  # built-ins that dash doesn't have
# Their redirections stay, an error of theirs ends a script, and assignments before them are kept.
SPECIAL = frozenset(
    {
        ":",
        ".",
        "break",
        "continue",
        "eval",
        "exec",
        "exit",
        "export",
        "readonly",
        "return",
        "set",
        "shift",
        "trap",
        "unset",
    }
)


def builtin(*names: str, bash_only: bool = False) -> Callable[[Builtin], Builtin]:
    def register(function: Builtin) -> Builtin:
        for name in names:
            BUILTINS[name] = function
            if bash_only:
                BASH_ONLY.add(name)
        return function

    return register
