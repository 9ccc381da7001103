"""Parses command-line options as GNU programs do, with their error messages."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process

_MAY_HAVE_ARGUMENT = frozenset(
    (
        "all-repeated", "backup", "check", "classify", "color", "colour", "context", "hex-suffixes", "hyperlink",
        "interactive", "iso-8601", "numeric-suffixes", "output-error", "palette", "preserve", "reflink", "sparse",
        "strings", "totals", "unified", "update", "width",
    )
)  # fmt: skip
"""Options that have an argument or none in the real programs: one that the lab takes without is refused as lacking."""


@dataclass
class Options:
    """Short names of the flags that were given, the values of options that take one, and the operands."""

    flags: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)
    given: list[tuple[str, str]] = field(default_factory=list)  # options with a value, in order

    def all(self, letter: str) -> list[str]:
        """Every value that was given for an option."""
        return [value for name, value in self.given if name == letter]

    def __contains__(self, flag: str) -> bool:
        return flag in self.flags or flag in self.values

    def last(self, *flags: str, default: str = "") -> str:
        """Which of several flags came last."""
        return next((flag for flag in reversed(self.flags) if flag in flags), default)


def parse(
    p: Process,
    short: str,
    long: Mapping[str, str] | None = None,
    *,
    status: int = 1,
    stop_at_operand: bool = False,
    arguments: Sequence[str] | None = None,
) -> Options:
    """Parses a process's arguments as getopt_long does.

    `short` is getopt's string (`ab:c::`), `long` maps a long option's name to a short one (`{"all": "a"}`); names
    longer than one letter in its values are separate flags, which take a value if they end in `=`, and may have one
    with `=?`. An unknown option ends the program with `status`.
    """
    optional = {letter for index, letter in enumerate(short) if short[index + 1 : index + 3] == "::"}
    takes = {letter for index, letter in enumerate(short) if short[index + 1 : index + 2] == ":"} - optional
    known = {letter for letter in short if letter != ":"}
    long = long or {}
    found = Options()
    words = deque(p.argv[1:] if arguments is None else arguments)
    while words:
        word = words.popleft()
        if word == "--":
            found.operands += words
            break
        if word.startswith("--"):
            _long(p, word, long, takes, optional, words, found, status)
        elif word.startswith("-") and len(word) > 1:
            _short(p, word[1:], known, takes, optional, words, found, status)
        else:
            found.operands.append(word)
            if stop_at_operand:
                found.operands += words
                break
    return found


def _long(
    p: Process,
    word: str,
    long: Mapping[str, str],
    takes: set[str],
    optional: set[str],
    words: deque[str],
    found: Options,
    status: int,
) -> None:
    name, equals, value = word[2:].partition("=")
    if name in ("help", "version") and name not in long:
        p.print(f"{p.name} (the lab's simulation of GNU {p.name})")
        raise ProcessExit(0)
    candidates = [full for full in long if full == name] or [full for full in long if full.startswith(name)]
    negated = name.removeprefix("no-") if p.program == "curl" else name
    if not candidates and {name, negated} & _real(p)[1]:
        lacking(p, f"--{name}", status)
    if len({long[full] for full in candidates}) != 1:
        _refuse(p, word, "unrecognized option '{}'" if not candidates else "option '{}' is ambiguous", status)
    letter = long[candidates[0]]
    if letter.endswith("=?"):
        letter = letter.removesuffix("=?")
        if equals:
            found.values[letter] = value
            found.given.append((letter, value))
    elif letter in takes or letter.endswith("="):
        letter = letter.rstrip("=")
        if not equals:
            if not words:
                _refuse(p, f"--{name}", "option '{}' requires an argument", status)
            value = words.popleft()
        found.values[letter] = value
        found.given.append((letter, value))
    elif equals and letter in optional:
        found.values[letter] = value
        found.given.append((letter, value))
    elif equals and candidates[0] in _MAY_HAVE_ARGUMENT:
        lacking(p, word.partition("=")[0], status)
    elif equals:
        usage(p, f"option '--{name}' doesn't allow an argument", status)
    found.flags.append(letter)


def _short(
    p: Process,
    letters: str,
    known: set[str],
    takes: set[str],
    optional: set[str],
    words: deque[str],
    found: Options,
    status: int,
) -> None:
    for index, letter in enumerate(letters):
        if letter not in known and letter in _real(p)[0]:
            lacking(p, f"-{letter}", status)
        if letter not in known:
            _refuse(p, f"-{letter}", "invalid option -- '{}'", status)
        found.flags.append(letter)
        if letter in takes:
            value = letters[index + 1 :]
            if not value:
                if not words:
                    _refuse(p, f"-{letter}", "option requires an argument -- '{}'", status)
                value = words.popleft()
            found.values[letter] = value
            found.given.append((letter, value))
            return
        if letter in optional:
            if letters[index + 1 :]:
                found.values[letter] = letters[index + 1 :]
                found.given.append((letter, letters[index + 1 :]))
            return


@cache
def _table() -> dict[str, tuple[str, frozenset[str]]]:
    text = (Path(__file__).parent / "options.json").read_text(encoding="utf-8")
    return {name: (short, frozenset(long.split())) for name, (short, long) in json.loads(text).items()}


def _real(p: Process) -> tuple[str, frozenset[str]]:
    """The options that the real program has, short and long, as its `--help` lists them."""
    return _table().get(p.program, ("", frozenset()))


def lacking(p: Process, option: str, status: int = 1) -> None:
    """Ends a program that was given an option that the real one has and the lab's doesn't."""
    p.stderr.write(f"{p.argv[0]}: option {option} is not simulated in this lab\n")
    raise ProcessExit(status)


def _refuse(p: Process, option: str, message: str, status: int) -> None:
    """Ends a program for an option; `message` is getopt's, and curl has its own words."""
    if p.program != "curl":
        usage(p, message.format(option if option.startswith("--") else option[1:]), status)
    why = "requires parameter" if "requires" in message else "is ambiguous" if "ambiguous" in message else "is unknown"
    refuse_as_curl(p, f"option {option}: {why}", status)


def refuse_as_curl(p: Process, message: str, status: int = 2) -> None:
    """Ends curl with a usage error."""
    p.stderr.write(f"curl: {message}\ncurl: try 'curl --help' or 'curl --manual' for more information\n")
    raise ProcessExit(status)


def usage(p: Process, message: str, status: int = 1) -> None:
    """Ends the program with a usage error."""
    lines = f"{p.argv[0]}: {message}\n" if message else ""
    if p.program == "grep":
        lines += f"Usage: {p.argv[0]} [OPTION]... PATTERNS [FILE]...\n"
    p.stderr.write(f"{lines}Try '{p.argv[0]} --help' for more information.\n")
    raise ProcessExit(status)


def quoted(name: str) -> str:
    """A name in quotes, as GNU programs write one in messages."""
    return "'" + name.replace("'", "'\\''") + "'"


def quoted_if_needed(name: str) -> str:
    """A name that is put in quotes only when a shell would need them."""
    special = set(" \t\n|&;<>()$`\\\"'*?[]#~=%!{}")
    return quoted(name) if not name or any(character in special for character in name) else name


def number(p: Process, text: str, message: str, status: int = 1) -> int:
    """A number with an optional size suffix; `message` with the text in quotes ends the program."""
    factors = {
        "": 1,
        "b": 512,
        "k": 1024,
        "K": 1024,
        "M": 1024**2,
        "G": 1024**3,
        "T": 1024**4,
        "kB": 1000,
        "MB": 1000**2,
    }
    digits = text.rstrip("bkKMGTB")
    suffix = text[len(digits) :]
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", digits) or suffix not in factors:
        p.stderr.write(f"{p.argv[0]}: {message}: {quoted(text)}\n")
        raise ProcessExit(status)
    return int(digits) * factors[suffix]
