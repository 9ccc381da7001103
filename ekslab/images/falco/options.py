"""Falco's command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ekslab.images.falco.config import DEFAULT_FILE


@dataclass
class Options:
    config: str = DEFAULT_FILE
    settings: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    enabled: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    list_rules: bool = False
    dry_run: bool = False
    unbuffered: bool = False
    version: bool = False


class FatalError(Exception):
    """Falco exits with 1; the message is what it prints after `Error: `."""


# What is kept of each option; "" is accepted and has no effect here, None is Falco's but not the lab's.
_WITH_VALUE = {
    "c": "config", "o": "settings", "option": "settings", "r": "rules", "V": "validate", "validate": "validate",
    "enable-source": "enabled", "disable-source": "disabled", "l": None, "M": None, "format": None,
    "plugin-info": None, "p": None, "print": None, "P": None, "pidfile": None,
}  # fmt: skip
_SWITCHES = {
    "L": "list_rules", "dry-run": "dry_run", "U": "unbuffered", "unbuffered": "unbuffered", "version": "version",
    "v": "", "h": None, "help": None, "config-schema": None, "rule-schema": None, "i": None, "list": None,
    "list-events": None, "list-plugins": None, "markdown": None, "N": None, "support": None, "page-size": None,
}  # fmt: skip


def parse_options(argv: Sequence[str]) -> Options:
    """The options in the words after the program's name. Raises `FatalError`."""
    options = Options()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if not word.startswith("-"):
            continue
        if match := re.fullmatch(r"--([a-zA-Z0-9][-a-zA-Z0-9_]+)(?:=(.*))?", word, re.S):
            name, value = match[1], match[2]
            if name in _WITH_VALUE:
                _keep(options, name, words.pop(0) if value is None and words else value)
            else:
                _keep(options, name, True)
            continue
        if re.fullmatch(r"-[a-zA-Z0-9].*", word, re.S) is None:
            raise FatalError(f"Argument ‘{word}’ starts with a - but has incorrect syntax")
        for place, name in enumerate(word[1:], 1):
            if name not in _WITH_VALUE:
                _keep(options, name, True)
                continue
            _keep(options, name, word[place + 1 :] or (words.pop(0) if words else None))
            break
    return options


def _keep(options: Options, name: str, value: Any) -> None:
    if name not in _WITH_VALUE and name not in _SWITCHES:
        raise FatalError(f"Option ‘{name}’ does not exist")
    if value is None:
        raise FatalError(f"Option ‘{name}’ is missing an argument")
    kept = _WITH_VALUE[name] if name in _WITH_VALUE else _SWITCHES[name]
    if kept is None:
        raise FatalError(f"[embedded lab] Falco's option {name} isn't emulated")
    if kept and isinstance(getattr(options, kept), list):
        getattr(options, kept).append(value)
    elif kept:
        setattr(options, kept, value)
