"""The attacks of `catalogue.yaml` as `Attack` objects."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from labkit.calls import checked, near, short_repr
from labkit.errors import LabError
from labkit.show import AsTable, Table

AttackName = Literal[
    "terminal-shell",
    "read-shadow",
    "directory-traversal",
    "search-private-keys",
    "search-aws-credentials",
    "symlink-shadow",
    "hardlink-shadow",
    "drop-and-execute",
    "execute-from-dev-shm",
    "clear-log",
    "shred-data",
    "shell-from-web-server",
    "reverse-shell",
    "contact-api-server",
    "whoami",
    "control-shell-without-terminal",
    "control-read-passwd",
    "control-run-from-image",
    "control-run-from-shared-memory",
]
"""Names of the entries of `catalogue.yaml`."""


@dataclass(frozen=True)
class Attack:
    """One entry; the comment at the top of `catalogue.yaml` says what each field means."""

    name: str
    title: str
    rule: str | None
    argv: tuple[str, ...]
    why: str
    needs: tuple[str, ...]
    tier: str = ""
    priority: str = ""
    tactic: str = ""
    technique: str = ""
    tty: bool = False
    stdin: str | None = None
    also: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()

    @property
    def is_control(self) -> bool:
        """Whether it must not alert."""
        return self.rule is None

    @property
    def command(self) -> str:
        """The command line, with `RUN` for the id of a run."""
        return typed(argument.replace("{run}", "RUN") for argument in self.argv)

    def to_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Attack:
        """An entry of the YAML file; lists become tuples."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        return cls(**values)


def typed(argv: Iterable[str]) -> str:
    """An argument vector as a command line; arguments with single quotes are in double quotes."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    if "'" not in word or set(word) & set("$`\\!"):
        return shlex.quote(word)
    return '"' + word.replace('"', '\\"') + '"'


class Catalogue(AsTable, tuple[Attack, ...]):
    """Attacks in the file's order."""

    __slots__ = ()

    def _table(self) -> Table:
        rows = tuple(
            (a.name, a.title, a.command + (" (terminal)" if a.tty else ""), a.rule or "none: a control") for a in self
        )
        return Table(f"{len(self)} attacks and controls", ("name", "what it does", "command", "expected alert"), rows)


@cache
def catalogue() -> Catalogue:
    """All attacks."""
    text = resources.files("labkit.attacks").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return Catalogue(Attack.from_dict(entry) for entry in yaml.safe_load(text))


@checked
def find(name: str) -> Attack:
    """The attack called `name`. Raises `LabError` that suggests the nearest names."""
    by_name = {attack.name: attack for attack in catalogue()}
    if name not in by_name:
        hint = f"{near(name, by_name, cutoff=0.4)}labkit.attacks.catalogue() shows all."
        raise LabError(f"There is no attack called {short_repr(name)}.", hint=hint)
    return by_name[name]
