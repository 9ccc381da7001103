"""Lists, macros, rules and exceptions as rule files define them, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from falcorules.report import Location

SYSCALL = "syscall"
Trail = tuple[Location, ...]
"""The locations from the file down to a place in it."""


class Refused(Exception):
    """An error that stops the reading of a file."""

    def __init__(self, code: str, message: str, trail: Trail, expression: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trail = trail
        self.expression = expression


@dataclass
class Entry:
    """A value of an exception: a text, or a list of entries."""

    text: str = ""
    items: list[Entry] | None = None

    @property
    def is_list(self) -> bool:
        return self.items is not None

    @property
    def given(self) -> bool:
        return bool(self.items if self.items is not None else self.text)


@dataclass
class RuleException:
    name: str
    trail: Trail
    fields: Entry = field(default_factory=Entry)
    comps: Entry = field(default_factory=Entry)
    values: list[Entry] = field(default_factory=list)


@dataclass
class ListItem:
    name: str
    trail: Trail
    items: list[str]
    index: int = 0
    visibility: int = 0


@dataclass
class MacroItem:
    name: str
    trail: Trail
    condition: str
    condition_trail: Trail
    index: int = 0
    visibility: int = 0


@dataclass
class RuleItem:
    name: str
    trail: Trail
    condition: str = ""
    condition_trail: Trail = ()
    output: str = ""
    output_trail: Trail = ()
    description: str = ""
    priority: str = "Debug"
    source: str = SYSCALL
    tags: frozenset[str] = frozenset()
    exceptions: list[RuleException] = field(default_factory=list)
    enabled: bool = True
    capture: bool = False
    capture_duration: int = 0
    warn_evttypes: bool = True
    skip_if_unknown: bool = False
    unknown_source: bool = False
    index: int = 0
    visibility: int = 0
