"""The shell's variables: texts, arrays by number and by name, and their attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_ENTRY = 64  # bytes that an element takes beside its text


@dataclass
class Value:
    """A variable's value. `text` is None for an array or a variable that was declared and not set.

    `flags` are bash's letters: a (array), A (by name), i (integer), l, u (case), n (a reference), r (readonly),
    x (exported).
    """

    text: str | None = None
    items: dict[int, str] | None = None
    table: dict[str, str] | None = None
    flags: set[str] = field(default_factory=set)
    shared: bool = False  # with a subshell's parent: copied before it is changed

    @property
    def is_array(self) -> bool:
        return self.items is not None or self.table is not None

    def scalar(self) -> str | None:
        """What `$name` gives: an array's first element."""
        if self.items is not None:
            return self.items.get(0)
        if self.table is not None:
            return self.table.get("0")
        return self.text

    def values(self) -> list[str]:
        if self.items is not None:
            return [self.items[key] for key in sorted(self.items)]
        if self.table is not None:
            return list(self.table.values())
        return [self.text] if self.text is not None else []

    def keys(self) -> list[str]:
        if self.items is not None:
            return [str(key) for key in sorted(self.items)]
        if self.table is not None:
            return list(self.table)
        return ["0"] if self.text is not None else []

    def size(self) -> int:
        """Bytes of memory, about."""
        held: Iterable[str] = (
            self.items.values()
            if self.items is not None
            else [*self.table, *self.table.values()]
            if self.table is not None
            else [self.text or ""]
        )
        return sum(len(each) + _ENTRY for each in held)

    def copy(self) -> Value:
        return Value(
            self.text,
            dict(self.items) if self.items is not None else None,
            dict(self.table) if self.table is not None else None,
            set(self.flags),
        )


def array(values: Iterable[str]) -> Value:
    return Value(items=dict(enumerate(values)), flags={"a"})
