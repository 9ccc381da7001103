"""Text filters: sort, uniq, cut, tr, sed, rev, tac, nl, base64, checksums, awk's simplest use."""

from __future__ import annotations

import base64 as _base64
import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from labkit.embedded.node import abi
from labkit.embedded.node.kernel import Process, ProcessExit
from labkit.embedded.node.programs import program
from labkit.embedded.node.shell.parser import unescape
from labkit.embedded.node.userland import regex
from labkit.embedded.node.userland.options import parse, quoted, usage
from labkit.embedded.node.userland.search import to_python
from labkit.embedded.node.userland.show import complain, whole


async def _lines(p: Process, names: list[str]) -> tuple[list[bytes], int]:
    """The lines of some files (or of standard input) without their ends, and the status."""
    lines: list[bytes] = []
    status = 0
    for name in names or ["-"]:
        try:
            data = await whole(p, name)
        except OSError as exc:
            complain(p, exc, name)
            status = 1
            continue
        part = data.split(b"\n")
        if part and not part[-1]:
            part.pop()
        lines += part
    return lines, status


def _emit(p: Process, lines: list[bytes]) -> None:
    if lines:
        p.write(1, b"\n".join(lines) + b"\n")


@program("sort")
async def sort(p: Process) -> int:
    options = parse(
        p,
        "bdfhnrRsuVcgk:t:o:",
        {
            "reverse": "r",
            "numeric-sort": "n",
            "unique": "u",
            "key": "k",
            "field-separator": "t",
            "output": "o",
            "ignore-case": "f",
            "human-numeric-sort": "h",
            "version-sort": "V",
        },
        status=2,
    )
    for letter in "dRg":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab", 2)
    lines: list[bytes] = []
    status = 0
    for name in options.operands or ["-"]:
        try:
            data = await whole(p, name)
        except OSError as exc:
            return p.fail(f"cannot read: {name}: {exc.strerror}", 2)
        part = data.split(b"\n")
        if part and not part[-1]:
            part.pop()
        lines += part
    key = _sort_key(p, options.values.get("k", ""), options.values.get("t"), set(options.flags))
    if "c" in options:
        disordered = next((b for a, b in pairwise(lines) if key(b) < key(a)), None)
        return (
            p.fail(
                f"{options.operands[0] if options.operands else '-'}: disorder: {disordered.decode(errors='replace')}"
            )
            if disordered is not None
            else 0
        )
    reverse = "r" in options
    ordered = (
        sorted(lines, key=key, reverse=reverse)
        if "s" in options or "u" in options
        else sorted(sorted(lines, reverse=reverse), key=key, reverse=reverse)
    )
    if "u" in options:
        kept: list[bytes] = []
        for line in ordered:
            if not kept or key(kept[-1]) != key(line):
                kept.append(line)
        ordered = kept
    if "o" in options.values:
        p.write_bytes(options.values["o"], b"".join(line + b"\n" for line in ordered))
    else:
        _emit(p, ordered)
    return status


def _sort_key(p: Process, specification: str, separator: str | None, flags: set[str]) -> Callable[[bytes], Any]:
    match = (
        re.fullmatch(r"(\d+)(?:\.\d+)?([bfhnrV]*)(?:,(\d+)(?:\.\d+)?([bfhnrV]*))?", specification)
        if specification
        else None
    )
    if specification and match is None:
        p.fail(f"invalid number at field start: invalid count at start of {quoted(specification)}")
        raise ProcessExit(2)
    own = set((match[2] or "") + (match[4] or "")) if match is not None else set()
    kinds = own or flags

    def key(line: bytes) -> Any:
        text = line
        if match is not None:
            fields = line.split(separator.encode()) if separator else re.findall(rb"\s*\S+", line)
            end = int(match[3]) if match[3] else len(fields)
            text = (separator.encode() if separator else b"").join(fields[int(match[1]) - 1 : end])
        if "b" in kinds:
            text = text.lstrip()
        if "f" in kinds:
            text = text.upper()
        if "n" in kinds or "h" in kinds:
            number = re.match(rb"\s*(-?\d*\.?\d*)([KMGTP]?)", text)
            value = float(number[1]) if number is not None and number[1].strip(b"-.") else 0.0
            factor = 1024 ** (b" KMGTP".index(number[2]) if number is not None and number[2] and "h" in kinds else 0)
            return value * factor
        if "V" in kinds:
            return [(1, int(part), b"") if part.isdigit() else (0, 0, part) for part in re.split(rb"(\d+)", text)]
        return text

    return key


@program("uniq")
async def uniq(p: Process) -> int:
    options = parse(p, "cduif:s:w:", {"count": "c", "repeated": "d", "unique": "u", "ignore-case": "i"})
    lines, status = await _lines(p, options.operands[:1])
    groups: list[tuple[bytes, int]] = []
    for line in lines:
        same = groups and (groups[-1][0].lower() == line.lower() if "i" in options else groups[-1][0] == line)
        if same:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1)
        else:
            groups.append((line, 1))
    kept = [g for g in groups if not ("d" in options and g[1] < 2) and not ("u" in options and g[1] > 1)]
    _emit(p, [b"%7d %s" % (count, line) if "c" in options else line for line, count in kept])
    return status


@program("cut")
async def cut(p: Process) -> int:
    options = parse(
        p,
        "b:c:d:f:s",
        {
            "bytes": "b",
            "characters": "c",
            "delimiter": "d",
            "fields": "f",
            "only-delimited": "s",
            "complement": "complement",
            "output-delimiter": "output=",
        },
    )
    chosen = [letter for letter in "bcf" if letter in options.values]
    if len(chosen) != 1:
        usage(
            p,
            "you must specify a list of bytes, characters, or fields"
            if not chosen
            else "only one type of list may be specified",
        )
    ranges = []
    for part in options.values[chosen[0]].split(","):
        match = re.fullmatch(r"(\d*)(-?)(\d*)", part)
        if match is None or not (match[1] or match[3]) or part == "0":
            usage(
                p,
                f"invalid {'field' if chosen[0] == 'f' else 'byte/character position'} value {quoted(part)}"
                if part
                else "fields are numbered from 1",
            )
        assert match is not None
        first = int(match[1] or 1)
        last = int(match[3]) if match[3] else 1 << 30 if match[2] else first
        ranges.append((first, last))

    def wanted(index: int) -> bool:
        return any(first <= index <= last for first, last in ranges) != ("complement" in options.flags)

    delimiter = options.values.get("d", "\t").encode()
    output = options.values["output"].encode() if "output" in options.values else delimiter
    lines, status = await _lines(p, options.operands)
    out = []
    for line in lines:
        if chosen == ["f"]:
            if delimiter not in line:
                if "s" not in options:
                    out.append(line)
                continue
            fields = line.split(delimiter)
            out.append(output.join(field for index, field in enumerate(fields, 1) if wanted(index)))
        else:
            out.append(bytes(byte for index, byte in enumerate(line, 1) if wanted(index)))
    _emit(p, out)
    return status


@program("tr")
async def tr(p: Process) -> int:
    options = parse(p, "cCds", {"delete": "d", "squeeze-repeats": "s", "complement": "c"})
    if not options.operands:
        usage(p, "missing operand")
    if len(options.operands) < 2 and "d" not in options and "s" not in options:
        usage(p, f"missing operand after {quoted(options.operands[0])}")
    first = _set(options.operands[0])
    if "c" in options or "C" in options:
        first = bytes(byte for byte in range(256) if byte not in first)
    second = _set(options.operands[1]) if len(options.operands) > 1 else b""
    data = await p.stdin.read()
    if "d" in options:
        data = data.translate(None, first)
    elif second:
        padded = second + second[-1:] * (len(first) - len(second))
        data = data.translate(bytes.maketrans(first, padded[: len(first)]))
    if "s" in options:
        squeezed = second or first
        data = re.sub(b"([" + re.escape(squeezed) + rb"])\1+", rb"\1", data)
    p.write(1, data)
    return 0


_SETS = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "0-9A-Za-z",
    "upper": "A-Z",
    "lower": "a-z",
    "space": "\t\n\v\f\r ",
    "punct": "!-/:-@[-`{-~",
    "blank": "\t ",
    "xdigit": "0-9A-Fa-f",
}


def _set(text: str) -> bytes:
    text = re.sub(r"\[:(\w+):\]", lambda match: _SETS.get(match[1], ""), text)
    text = unescape(text)
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            out += bytes(range(ord(text[at]) & 0xFF, (ord(text[at + 2]) & 0xFF) + 1))
            at += 3
        else:
            out += text[at].encode()
            at += 1
    return bytes(out)


@program("rev")
async def rev(p: Process) -> int:
    lines, status = await _lines(p, p.argv[1:])
    _emit(p, [line.decode("utf-8", "replace")[::-1].encode() for line in lines])
    return status


@program("tac")
async def tac(p: Process) -> int:
    lines, status = await _lines(p, p.argv[1:])
    _emit(p, lines[::-1])
    return status


@program("nl")
async def nl(p: Process) -> int:
    options = parse(p, "b:", {"body-numbering": "b"})
    lines, status = await _lines(p, options.operands)
    number = 0
    for line in lines:
        if line or options.values.get("b") == "a":
            number += 1
            p.write(1, b"%6d\t%s\n" % (number, line))
        else:
            p.write(1, b"       \n")
    return status


@program("base64")
async def base64(p: Process) -> int:
    options = parse(p, "dw:i", {"decode": "d", "wrap": "w", "ignore-garbage": "i"})
    try:
        data = await whole(p, options.operands[0] if options.operands else "-")
    except OSError as exc:
        complain(p, exc, options.operands[0])
        return 1
    if "d" in options:
        text = bytes(byte for byte in data if byte not in b"\r\n")
        if "i" in options:
            text = re.sub(rb"[^A-Za-z0-9+/=]", b"", text)
        good = re.match(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text)
        valid = good[0] if good is not None else b""
        p.write(1, _base64.b64decode(valid))
        return 0 if len(valid) == len(text) else p.fail("invalid input")
    width = options.values.get("w", "76")
    if not width.isdigit():
        return p.fail(f"invalid wrap size: {quoted(width)}")
    encoded = _base64.b64encode(data)
    size = int(width)
    if not size:
        p.write(1, encoded)
    else:
        _emit(p, [encoded[start : start + size] for start in range(0, len(encoded), size)])
    return 0


@program("sha256sum", "sha1sum", "sha512sum", "md5sum")
async def checksum(p: Process) -> int:
    options = parse(p, "bctw", {"check": "c", "binary": "b", "text": "t", "quiet": "quiet", "status": "status"})
    algorithm = p.name.removesuffix("sum")
    status = 0
    if "c" in options:
        lines, status = await _lines(p, options.operands)
        for line in lines:
            digest, _, name = line.decode("utf-8", "surrogateescape").partition("  ")
            try:
                good = hashlib.new(algorithm, await whole(p, name), usedforsecurity=False).hexdigest() == digest
            except OSError as exc:
                complain(p, exc, name)
                good = False
            p.print(f"{name}: {'OK' if good else 'FAILED'}")
            status = status if good else 1
        return status
    for name in options.operands or ["-"]:
        try:
            data = await whole(p, name)
        except OSError as exc:
            complain(p, exc, name)
            status = 1
            continue
        p.print(f"{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}  {name}")
    return status


# -- sed -------------------------------------------------------------------------------------------------------------


class _Edit:
    """One sed command: addresses, the letter, and what it works with."""

    def __init__(self, p: Process, text: str, extended: bool) -> None:
        self.p = p
        match = re.match(
            r"\s*(?:(\d+|\$|/(?:\\.|[^/])*/)(?:,(\d+|\$|/(?:\\.|[^/])*/))?)?\s*(!?)\s*(.)(.*)", text, re.DOTALL
        )
        if match is None:
            self._error(text, "missing command")
        assert match is not None
        self.first, self.second, negate, self.letter, rest = match.groups()
        self.negated = bool(negate)
        self.extended = extended
        self.inside = False
        self.rest = rest.strip() if self.letter != "s" else rest
        self.suppress = False
        if self.letter in ("s", "y"):
            self._substitution(text, rest)
        elif self.letter not in "pdqaic=" or (self.letter in "pdq=" and self.rest):
            self._error(
                text,
                f"unknown command: `{self.letter}'" if self.letter not in "pdq=" else "extra characters after command",
            )

    def _error(self, text: str, why: str) -> None:
        self.p.stderr.write(f"sed: -e expression #1, char {len(text)}: {why}\n")
        raise ProcessExit(1)

    def _substitution(self, text: str, rest: str) -> None:
        separator = rest[:1]
        parts: list[str] = []
        current, at = "", 1
        while at < len(rest) and len(parts) < 2:
            if rest[at] == "\\" and at + 1 < len(rest):
                current += rest[at + 1] if rest[at + 1] == separator else rest[at : at + 2]
                at += 2
            elif rest[at] == separator:
                parts.append(current)
                current = ""
                at += 1
            else:
                current += rest[at]
                at += 1
        if len(parts) < 2:
            self._error(text, f"unterminated `{self.letter}' command")
        flags = rest[at:].strip()
        if self.letter == "y" or not re.fullmatch(r"[gpiI\d]*", flags):
            self._error(text, "unknown option to `s'" if self.letter == "s" else "y is not simulated in this lab")
        self.flags = flags
        try:
            self.expression = regex.compiled(
                to_python(parts[0], extended=self.extended), ignore_case="i" in flags.lower()
            )
        except re.error as exc:
            self._error(text, str(exc))
        replacement = re.sub(r"\\([&\\/]|\d|n|t|.)|&", self._replacement, parts[1])
        self.replacement = replacement

    @staticmethod
    def _replacement(match: re.Match[str]) -> str:
        if match[0] == "&":
            return r"\g<0>"
        escaped = match[1]
        if escaped.isdigit():
            return rf"\g<{escaped}>"
        return {"n": "\n", "t": "\t", "\\": r"\\"}.get(escaped, escaped)

    def applies(self, number: int, line: str, last: bool) -> bool:
        if self.first is None:
            selected = True
        elif self.second is None:
            selected = self._at(self.first, number, line, last)
        elif self.inside:
            selected = True
            if (self.second.isdigit() and number >= int(self.second)) or (
                not self.second.isdigit() and self._at(self.second, number, line, last)
            ):
                self.inside = False
        else:
            selected = self._at(self.first, number, line, last)
            self.inside = selected and not (self.second.isdigit() and int(self.second) <= number)
        return selected != self.negated

    def _at(self, address: str, number: int, line: str, last: bool) -> bool:
        if address == "$":
            return last
        if address.isdigit():
            return number == int(address)
        return regex.compiled(to_python(address[1:-1], extended=self.extended)).search(line) is not None


@program("sed")
async def sed(p: Process) -> int:
    options = parse(
        p,
        "nEre:f:is",
        {"quiet": "n", "silent": "n", "regexp-extended": "E", "expression": "e", "in-place": "i", "file": "f"},
    )
    operands = list(options.operands)
    scripts = [
        p.argv[index + 1] for index, word in enumerate(p.argv[:-1]) if word == "-e" or re.fullmatch(r"-[nEri]+e", word)
    ]
    if "f" in options.values:
        scripts += p.read_text(options.values["f"]).splitlines()
    if not scripts:
        if not operands:
            usage(p, "no script specified")
        scripts = [operands.pop(0)]
    extended = "E" in options or "r" in options
    edits = [_Edit(p, part, extended) for script in scripts for part in _split_script(script) if part.strip()]
    if "i" in options:
        status = 0
        for name in operands:
            try:
                text = p.read_text(name)
                mode = p.stat(name).mode & 0o777
                temporary = f"{name}.sed{p.vpid}"
                p.close(p.open(temporary, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, mode))
                p.write_text(temporary, _edited(p, text, edits, "n" in options))
                p.rename(temporary, name)
            except OSError as exc:
                p.fail(f"can't read {name}: {exc.strerror}")
                status = 2
        return status
    text, status = "", 0
    for name in operands or ["-"]:
        try:
            text += (await whole(p, name)).decode("utf-8", "surrogateescape")
        except OSError as exc:
            p.fail(f"can't read {name}: {exc.strerror}")
            status = 2
    p.stdout.write(_edited(p, text, edits, "n" in options))
    return status


def _split_script(script: str) -> list[str]:
    """Commands are separated by newlines and, outside of s///, by semicolons."""
    parts, current, separator, left = [], "", "", 0
    for index, character in enumerate(script):
        if not left and character in ";\n":
            parts.append(current)
            current = ""
            continue
        if (
            not left
            and character == "s"
            and re.fullmatch(r"\s*(?:[\d$,]*|/.*/,?\S*)\s*!?\s*", current)
            and script[index + 1 : index + 2] not in ("", ";")
        ):
            separator, left = script[index + 1], 3
        elif left and character == separator and script[index - 1 : index] != "\\":
            left -= 1
        current += character
    return [*parts, current]


def _edited(p: Process, text: str, edits: list[_Edit], quiet: bool) -> str:
    lines = text.split("\n")
    ended = lines[-1] == ""
    if ended:
        lines.pop()
    out: list[str] = []
    for number, original in enumerate(lines, 1):
        line, deleted, leave, after = original, False, False, []
        for edit in edits:
            if deleted or not edit.applies(number, line, number == len(lines)):
                continue
            if edit.letter == "s":
                which = int(digits[0]) if (digits := re.findall(r"\d+", edit.flags)) else 1
                line, changed = _substituted(edit, line, which)
                if changed and "p" in edit.flags:
                    out.append(line)
            elif edit.letter == "p":
                out.append(line)
            elif edit.letter == "=":
                out.append(str(number))
            elif edit.letter == "d":
                deleted = True
            elif edit.letter == "q":
                leave = True
            elif edit.letter == "i":
                out.append(edit.rest.removeprefix("\\").lstrip())
            elif edit.letter == "a":
                after.append(edit.rest.removeprefix("\\").lstrip())
            elif edit.letter == "c":
                out.append(edit.rest.removeprefix("\\").lstrip())
                deleted = True
        if not deleted and not quiet:
            out.append(line)
        out += after
        if leave:
            break
    return "\n".join(out) + ("\n" if out and (ended or len(out) > len(lines)) else "")


def _substituted(edit: _Edit, line: str, which: int) -> tuple[str, bool]:
    seen = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        if seen < which or (seen > which and "g" not in edit.flags):
            return match[0]
        return str(match.expand(edit.replacement))

    changed = str(edit.expression.sub(replace, line))
    return changed, seen >= which


@program("awk", "mawk", "gawk")
async def awk(p: Process) -> int:
    """Printing fields, with an optional pattern: `awk -F: '/x/ {print $1, $3}'`. Anything else is refused."""
    options = parse(p, "F:v:", status=2)
    if not options.operands:
        usage(p, "no program text", 2)
    source, *names = options.operands
    match = re.fullmatch(
        r"\s*(?:/((?:\\.|[^/])*)/|(NR\s*(==|>|<|>=|<=|!=)\s*(\d+)))?\s*(?:\{\s*print\s*(.*?)\s*;?\s*\})?\s*", source
    )
    if match is None or not source.strip():
        return p.fail("the lab's awk prints fields only: /pattern/ {print $1, $2}", 2)
    pattern = regex.compiled(to_python(match[1], extended=True)) if match[1] is not None else None
    items = [item.strip() for item in (match[5] or "$0").split(",")]
    for item in items:
        if not re.fullmatch(r'(\$(\d+|NF|0)|NR|NF|"[^"]*")(\s+(\$(\d+|NF)|"[^"]*"))*', item):
            return p.fail("the lab's awk prints fields only: /pattern/ {print $1, $2}", 2)
    separator = options.values.get("F")
    lines, status = await _lines(p, names)
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "surrogateescape")
        if pattern is not None and pattern.search(line) is None:
            continue
        if match[2]:
            limit = int(match[4])
            if not {
                "==": number == limit,
                ">": number > limit,
                "<": number < limit,
                ">=": number >= limit,
                "<=": number <= limit,
                "!=": number != limit,
            }[match[3]]:
                continue
        fields = (
            line.split()
            if separator in (None, " ")
            else re.split(separator if len(separator or "") > 1 else re.escape(separator or ""), line)
        )
        p.print(" ".join(_awk_item(item, line, fields, number) for item in items))
    return status


def _awk_item(item: str, line: str, fields: list[str], number: int) -> str:
    out = ""
    for token in re.findall(r'\$(?:\d+|NF)|NR|NF|"[^"]*"', item):
        if token.startswith('"'):
            out += unescape(token[1:-1])
        elif token == "NR":
            out += str(number)
        elif token == "NF":
            out += str(len(fields))
        else:
            index = len(fields) if token == "$NF" else int(token[1:])
            out += line if index == 0 else fields[index - 1] if index <= len(fields) else ""
    return out
