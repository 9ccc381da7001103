"""Falco's command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ekslab.images.falco.config import DEFAULT_FILE


@dataclass
class Options:
    config: str = DEFAULT_FILE
    settings: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    list_rules: bool = False
    version: bool = False


class FatalError(Exception):
    """Falco exits with 1; the message is what it prints after `Error: `."""


def parse_options(argv: Sequence[str]) -> Options:
    """The options in the words after the program's name. Raises `FatalError`."""
    options = Options()
    takes = {
        "-c": "config", "--config": "config", "-o": "settings", "--option": "settings", "-r": "rules",
        "--rules": "rules", "-V": "validate", "--validate": "validate", "--disable-source": "disabled",
    }  # fmt: skip
    words = list(argv)
    while words:
        word = words.pop(0)
        name, separator, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name == "--version":
            options.version = True
            return options
        if name in ("-U", "--unbuffered"):
            options.settings.append("buffered_outputs=false")
        elif name == "-L":
            options.list_rules = True
        elif name in takes and (separator or words):
            given = value if separator else words.pop(0)
            if name in ("-c", "--config"):
                options.config = given
            else:
                getattr(options, takes[name]).append(given)
        elif name in takes:
            raise FatalError(f"Option '{name.lstrip('-')}' is missing an argument")
        else:
            raise FatalError(f"Option '{name.lstrip('-')}' isn't emulated by the embedded lab, or doesn't exist")
    return options
