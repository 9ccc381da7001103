"""Text filters: sort, uniq, cut, tr, rev, tac, nl, paste, fold, od, base64, checksums, expr, awk's simplest use.

All but sort and tac, which need the end of their input first, work on a stream.
"""

from __future__ import annotations

import base64 as _base64
import hashlib
import heapq
import random
import re
from collections.abc import AsyncIterator, Callable
from functools import total_ordering
from itertools import accumulate, pairwise
from typing import Any

from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import PatternError, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.quoting import unescape
from ekslab.node.userland.options import Options, number, parse, quoted, quoted_if_needed, usage
from ekslab.node.userland.show import chunks, complain, emit, file_chunks, line_batches

_OBJECT = 56  # bytes that a line takes beside its text


class Input:
    """The files that a filter reads, or its standard input; a file that can't be read is complained about."""

    def __init__(self, p: Process, names: list[str], *, end: bytes = b"\n") -> None:
        self.p = p
        self.names = names or ["-"]
        self.end = end
        self.cannot = ""
        self.sizes: list[int] = []  # lines of each file
        self.status = 0

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Lines without their ends."""
        for name in self.names:
            self.sizes.append(0)
            try:
                async for batch in line_batches(self.p, name, self.end):
                    self.sizes[-1] += len(batch)
                    yield batch
            except OSError as exc:
                if self.cannot:
                    self.p.fail(f"{self.cannot}: {quoted_if_needed(name)}: {exc.strerror}")
                else:
                    complain(self.p, exc, name)
                self.status = 1

    async def chunks(self) -> AsyncIterator[bytes]:
        for name in self.names:
            try:
                async for chunk in file_chunks(self.p, name):
                    yield chunk
            except OSError as exc:
                complain(self.p, exc, name)
                self.status = 1

    async def held(self) -> list[bytes]:
        """Every line at once, which the process then holds in its memory."""
        lines: list[bytes] = []
        async for batch in self.batches():
            self.p.charge(sum(map(len, batch)) + _OBJECT * len(batch))
            lines += batch
        return lines


async def emit_lines(p: Process, lines: list[bytes], end: bytes = b"\n") -> None:
    for start in range(0, len(lines), 1000):
        await emit(p, end.join(lines[start : start + 1000]) + end)


# -- sort, uniq -------------------------------------------------------------------------------------------------------


@program("sort")
async def sort(p: Process) -> int:
    options = parse(
        p,
        "bcCdfghimMnrRsuVzk:t:o:S:T:",
        {
            "check": "c",
            "dictionary-order": "d",
            "general-numeric-sort": "g",
            "ignore-leading-blanks": "b",
            "ignore-nonprinting": "i",
            "merge": "m",
            "month-sort": "M",
            "parallel": "parallel=",
            "random-sort": "R",
            "temporary-directory": "T",
            "reverse": "r",
            "numeric-sort": "n",
            "unique": "u",
            "key": "k",
            "field-separator": "t",
            "output": "o",
            "ignore-case": "f",
            "human-numeric-sort": "h",
            "version-sort": "V",
            "zero-terminated": "z",
            "stable": "s",
            "buffer-size": "S",
        },
        status=2,
    )
    separator = options.values.get("t")
    if separator is not None:
        separator = "\0" if separator == "\\0" else separator
        if len(separator.encode()) != 1:
            return p.fail(f"multi-character tab {quoted(separator)}" if separator else "empty tab", 2)
    if "c" in options and len(options.operands) > 1:
        return p.fail(f"extra operand {quoted(options.operands[1])} not allowed with -c", 2)
    source = Input(p, options.operands, end=b"\0" if "z" in options else b"\n")
    source.cannot = "cannot read"
    lines = await source.held()
    if source.status:
        return 2
    keys = [_sort_key(p, specification, separator, set(options.flags)) for specification in (options.all("k") or [""])]

    def key(line: bytes) -> tuple[Any, ...]:
        return tuple(each(line) for each in keys)

    if "c" in options or "C" in options:
        return _disorder(p, options, lines, key)
    stable = "s" in options or "u" in options
    if "m" in options and len(source.sizes) > 1:
        ends = list(accumulate(source.sizes))
        parts = [lines[end - size : end] for size, end in zip(source.sizes, ends, strict=True)]
        ordered = list(
            heapq.merge(*parts, key=key if stable else lambda line: (key(line), line), reverse="r" in options)
        )
    elif "m" in options:
        ordered = lines
    else:
        ordered = await _sorted(p, lines, key, reverse="r" in options, stable=stable)
    if "u" in options:
        kept: list[bytes] = []
        for line in ordered:
            if not kept or key(kept[-1]) != key(line):
                kept.append(line)
            await p.cooperate()
        ordered = kept
    if "R" in options:
        groups = {line: random.random() for line in set(ordered)}
        ordered.sort(key=groups.__getitem__)
    if "o" in options.values:
        p.write_bytes(options.values["o"], b"".join(line + source.end for line in ordered))
    else:
        await emit_lines(p, ordered, source.end)
    return 0


def _disorder(p: Process, options: Options, lines: list[bytes], key: Callable[[bytes], Any]) -> int:
    """`sort -c`: names the first line that is out of order, unless -C is given."""
    stable = "s" in options or "u" in options

    def full(line: bytes) -> Any:
        return key(line) if stable else (key(line), line)

    for number_of, (before, line) in enumerate(pairwise(lines), 2):
        a, b = (full(line), full(before)) if "r" in options else (full(before), full(line))
        if b < a or ("u" in options and a == b):
            name = options.operands[0] if options.operands else "-"
            return 1 if "C" in options else p.fail(f"{name}:{number_of}: disorder: {line.decode(errors='replace')}")
    return 0


async def _sorted(
    p: Process, lines: list[bytes], key: Callable[[bytes], Any], *, reverse: bool, stable: bool
) -> list[bytes]:
    """Sorts pieces, and merges them two by two, so that nothing takes long at a time."""

    def full(line: bytes) -> Any:
        return key(line) if stable else (key(line), line)

    p.charge(120 * len(lines))
    runs: list[list[tuple[Any, bytes]]] = []
    for start in range(0, len(lines), 2000):
        await p.cooperate()
        runs.append(sorted(((full(line), line) for line in lines[start : start + 2000]), key=_first, reverse=reverse))
    while len(runs) > 1:
        merged = []
        for index in range(0, len(runs), 2):
            pair = runs[index : index + 2]
            merged.append(await _merged(p, *pair, reverse=reverse) if len(pair) == 2 else pair[0])
        runs = merged
    return [line for _, line in runs[0]] if runs else []


def _first(pair: tuple[Any, bytes]) -> Any:
    return pair[0]


async def _merged(
    p: Process, left: list[tuple[Any, bytes]], right: list[tuple[Any, bytes]], *, reverse: bool
) -> list[tuple[Any, bytes]]:
    out: list[tuple[Any, bytes]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if (right[j][0] > left[i][0]) if reverse else (right[j][0] < left[i][0]):
            out.append(right[j])
            j += 1
        else:
            out.append(left[i])
            i += 1
        if not len(out) & 511:
            await p.cooperate()
    return out + left[i:] + right[j:]


_KEY = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?([bdfghiMnrRV]*)(?:,(\d{1,9})(?:\.(\d{1,9}))?([bdfghiMnrRV]*))?")


def _sort_key(p: Process, specification: str, separator: str | None, flags: set[str]) -> Callable[[bytes], Any]:
    match = _KEY.fullmatch(specification) if specification else None
    if specification and match is None:
        if not specification[:1].isdigit():
            p.fail(f"invalid number at field start: invalid count at start of {quoted(specification)}")
        else:
            p.fail(f"stray character in field spec: invalid field specification {quoted(specification)}")
        raise ProcessExit(2)
    if match is not None and int(match[1]) == 0:
        p.fail(f"field number is zero: invalid field specification {quoted(specification)}")
        raise ProcessExit(2)
    own = set((match[3] or "") + (match[6] or "")) if match is not None else set()
    kinds = own or flags
    blanks = "b" in kinds or (match is not None and "b" in match[3])

    def cut(line: bytes) -> bytes:
        assert match is not None
        fields = _fields(line, separator)
        start = fields[int(match[1]) - 1][0] if int(match[1]) <= len(fields) else len(line)
        if blanks:
            start += len(line[start:]) - len(line[start:].lstrip(b" \t"))
        start += max(int(match[2] or 1) - 1, 0)
        if not match[4]:
            return line[start:]
        begin, end = fields[int(match[4]) - 1] if int(match[4]) <= len(fields) else (len(line), len(line))
        if match[5] and int(match[5]):
            end = min(begin + int(match[5]), len(line))
        return line[start:end]

    def key(line: bytes) -> Any:
        text = line if match is None else cut(line)
        if "b" in kinds:
            text = text.lstrip(b" \t")
        if "d" in kinds:
            text = re.sub(rb"[^A-Za-z0-9 \t]", b"", text)
        if "i" in kinds:
            text = re.sub(rb"[^ -~]", b"", text)
        if "f" in kinds:
            text = text.upper()
        found: Any = text
        if "n" in kinds or "h" in kinds:
            number = re.match(rb"[ \t]*(-?\d{0,300}(?:\.\d{0,300})?)([KkMGTPEZY]?)", text)
            value = float(number[1]) if number is not None and number[1].strip(b"-.") else 0.0
            unit = b" KMGTPEZY".index(number[2].upper()) if number is not None and number[2] and "h" in kinds else 0
            found = ((value > 0) - (value < 0), unit if value >= 0 else -unit, value) if "h" in kinds else value
        elif "g" in kinds:
            number = re.match(rb"[ \t]*([-+]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][-+]?\d{1,3})?)", text)
            found = (1, float(number[1])) if number is not None else (0, 0.0)
        elif "M" in kinds:
            found = _MONTHS.find(text.lstrip()[:3].upper().decode("latin-1")) if len(text.lstrip()) > 2 else -1
        elif "V" in kinds:
            found = [
                (1, int(part), b"") if part.isdigit() and len(part) < 1000 else (0, 0, part)
                for part in re.split(rb"(\d+)", text)
            ]
        backwards = ("r" in own) if own else False
        return _Backwards(found) if backwards != ("r" in flags and bool(own)) else found

    return key


_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"


def _fields(line: bytes, separator: str | None) -> list[tuple[int, int]]:
    """Where each field of a line begins and ends; without a separator, a field has the blanks before it."""
    if separator is None:
        return [found.span() for found in re.finditer(rb"[ \t]*[^ \t]+|[ \t]+$", line)]
    spans, at = [], 0
    for part in line.split(separator.encode()):
        spans.append((at, at + len(part)))
        at += len(part) + 1
    return spans


@total_ordering
class _Backwards:
    """A key that sorts the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Backwards) and bool(self.key == other.key)

    def __lt__(self, other: _Backwards) -> bool:
        return bool(other.key < self.key)

    def __hash__(self) -> int:
        return hash(self.key)


@program("uniq")
async def uniq(p: Process) -> int:
    options = parse(
        p,
        "cdDuif:s:w:",
        {
            "count": "c",
            "repeated": "d",
            "all-repeated": "D",
            "unique": "u",
            "ignore-case": "i",
            "skip-fields": "f",
            "skip-chars": "s",
            "check-chars": "w",
        },
    )
    if len(options.operands) > 2:
        usage(p, f"extra operand {quoted(options.operands[2])}")
    source = Input(p, options.operands[:1])
    skip = number(p, options.values.get("f", "0"), "invalid number of fields to skip")
    first = number(p, options.values.get("s", "0"), "invalid number of bytes to skip")
    most = number(p, options.values.get("w", str(1 << 30)), "invalid number of bytes to compare")

    def comparable(line: bytes) -> bytes:
        if skip:
            fields = _fields(line, None)
            line = line[fields[min(skip, len(fields)) - 1][1] :] if fields else b""
        line = line[first : first + most]
        return line.lower() if "i" in options else line

    def shown(line: bytes, count: int) -> list[bytes]:
        if ("d" in options and count < 2) or ("u" in options and count > 1):
            return []
        if "D" in options:
            return alike if count > 1 else []
        return [b"%7d %s" % (count, line) if "c" in options else line]

    alike: list[bytes] = []
    current: bytes | None = None
    count = 0
    async for batch in source.batches():
        out: list[bytes] = []
        for line in batch:
            if current is not None and comparable(line) == comparable(current):
                count += 1
                if "D" in options:
                    p.charge(len(line) + _OBJECT)
                    alike.append(line)
                continue
            if current is not None:
                out += shown(current, count)
            current, count, alike = line, 1, [line]
        await emit_lines(p, out)
    if current is not None:
        await emit_lines(p, shown(current, count))
    return source.status


# -- columns and characters -------------------------------------------------------------------------------------------


@program("cut")
async def cut(p: Process) -> int:
    options = parse(
        p,
        "b:c:d:f:ns",
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
        match = re.fullmatch(r"(\d{0,9})(-?)(\d{0,9})", part)
        if match is None or not (match[1] or match[3]) or match[1] == "0":
            what = "field" if chosen[0] == "f" else "byte/character position"
            if part in ("", "0") or (match is not None and match[1] == "0"):
                usage(p, f"{'fields' if what == 'field' else 'byte/character positions'} are numbered from 1")
            usage(p, "invalid range with no endpoint: -" if part == "-" else f"invalid {what} value {quoted(part)}")
        assert match is not None
        first = int(match[1] or 1)
        last = int(match[3]) if match[3] else 1 << 30 if match[2] else first
        ranges.append((first, last))
    ranges = _merged_ranges(ranges, complement="complement" in options.flags)
    delimiter = options.values.get("d", "\t").encode("utf-8", "surrogateescape")
    if len(delimiter) != 1:
        usage(p, "the delimiter must be a single character")
    output = options.values["output"].encode() if "output" in options.values else delimiter
    source = Input(p, options.operands)
    async for batch in source.batches():
        out = []
        for line in batch:
            if chosen == ["f"]:
                if delimiter not in line:
                    if "s" not in options:
                        out.append(line)
                    continue
                fields = line.split(delimiter)
                out.append(output.join(field for low, high in ranges for field in fields[low - 1 : high]))
            else:
                out.append(b"".join(line[low - 1 : high] for low, high in ranges))
        await emit_lines(p, out)
    return source.status


def _merged_ranges(ranges: list[tuple[int, int]], *, complement: bool) -> list[tuple[int, int]]:
    """Ranges in order, without overlaps; or what lies between them."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    if not complement:
        return merged
    edges = [(0, 0), *merged, (1 << 30, 1 << 30)]
    return [(a[1] + 1, b[0] - 1) for a, b in pairwise(edges) if a[1] + 1 < b[0]]


@program("tr")
async def tr(p: Process) -> int:
    options = parse(p, "cCdst", {"complement": "c", "delete": "d", "squeeze-repeats": "s", "truncate-set1": "t"})
    if not options.operands:
        usage(p, "missing operand")
    if len(options.operands) < 2 and not ("d" in options or "s" in options):
        usage(p, f"missing operand after {quoted(options.operands[0])}\nTwo strings must be given when translating.")
    most = 1 if "d" in options and "s" not in options else 2
    if len(options.operands) > most:
        more = "\nOnly one string may be given when deleting without squeezing repeats." if most == 1 else ""
        usage(p, f"extra operand {quoted(options.operands[most])}{more}")
    first = _set(p, options.operands[0])
    second = _set(p, options.operands[1]) if len(options.operands) > 1 else b""
    if "c" in options or "C" in options:
        chosen = set(first)
        first = bytes(byte for byte in range(256) if byte not in chosen)
    table = None
    if second and "d" not in options:
        padded = second + second[-1:] * (len(first) - len(second))
        mapping = dict(zip(first, padded, strict=False))
        table = bytes(mapping.get(byte, byte) for byte in range(256))
    squeezed = set(second or first) if "s" in options else set()
    last = -1
    async for chunk in chunks(p, 0, 16_384):
        data = chunk.translate(None, first) if "d" in options else chunk.translate(table) if table else chunk
        if squeezed:
            kept = bytearray()
            for byte in data:
                if byte != last or byte not in squeezed:
                    kept.append(byte)
                last = byte
            data = bytes(kept)
        await emit(p, data)
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
    "cntrl": "\0-\x1f\x7f",
    "print": " -~",
    "graph": "!-~",
}


def _set(p: Process, text: str) -> bytes:
    text = re.sub(r"\[:(\w+):\]", lambda match: _SETS.get(match[1], ""), text)
    given = unescape(text).encode("utf-8", "surrogateescape")
    out = bytearray()
    at = 0
    while at < len(given) and len(out) <= 4096:
        if given[at + 1 : at + 2] == b"-" and at + 2 < len(given):
            if given[at] > given[at + 2]:
                shown = f"{chr(given[at])}-{chr(given[at + 2])}"
                p.fail(f"range-endpoints of '{shown}' are in reverse collating sequence order")
                raise ProcessExit(1)
            out += bytes(range(given[at], given[at + 2] + 1))
            at += 3
        else:
            out.append(given[at])
            at += 1
    return bytes(out)


@program("rev")
async def rev(p: Process) -> int:
    source = Input(p, p.argv[1:])
    async for batch in source.batches():
        await emit_lines(
            p, [line.decode("utf-8", "surrogateescape")[::-1].encode("utf-8", "surrogateescape") for line in batch]
        )
    return source.status


@program("tac")
async def tac(p: Process) -> int:
    source = Input(p, p.argv[1:])
    lines = await source.held()
    lines.reverse()
    await emit_lines(p, lines)
    return source.status


@program("nl")
async def nl(p: Process) -> int:
    options = parse(p, "b:w:s:", {"body-numbering": "b", "number-width": "w", "number-separator": "s"})
    width = min(number(p, options.values.get("w", "6"), "invalid line number field width"), 1000)
    separator = options.values.get("s", "\t").encode()
    source = Input(p, options.operands)
    count = 0
    async for batch in source.batches():
        out = []
        for line in batch:
            if line or options.values.get("b") == "a":
                count += 1
                out.append(b"%*d%s%s" % (width, count, separator, line))
            else:
                out.append(b" " * (width + len(separator)))
        await emit_lines(p, out)
    return source.status


@program("paste")
async def paste(p: Process) -> int:
    options = parse(p, "d:s", {"delimiters": "d", "serial": "s"})
    delimiters = unescape(options.values.get("d", "\t")) or "\0"
    names = options.operands or ["-"]
    marks = [each.encode("utf-8", "surrogateescape").replace(b"\0", b"") for each in delimiters]
    columns: list[list[bytes]] = []
    for index, name in enumerate(names):
        await p.cooperate()
        if name == "-" and "-" in names[:index] and "s" not in options:
            columns.append([])
            continue
        source = Input(p, [name])
        columns.append(await source.held())
        if source.status:
            return 1
    shared = [index for index, name in enumerate(names) if name == "-"] if "s" not in options else []
    if len(shared) > 1:  # each takes a line of standard input in its turn
        lines = columns[shared[0]]
        for turn, index in enumerate(shared):
            columns[index] = lines[turn :: len(shared)]
    if "s" not in options:
        longest = max(map(len, columns))
        columns = [[column[row] if row < len(column) else b"" for column in columns] for row in range(longest)]
    for row in columns:
        out = b""
        for index, cell in enumerate(row):
            out += (marks[(index - 1) % len(marks)] if index else b"") + cell
            if not index & 255:
                await p.cooperate()
        await emit(p, out + b"\n")
    return 0


@program("fold")
async def fold(p: Process) -> int:
    options = parse(p, "bsw:", {"width": "w", "bytes": "b", "spaces": "s"})
    width = number(p, options.values.get("w", "80"), "invalid number of columns")
    if width <= 0:
        return p.fail(f"invalid number of columns: {quoted(str(width))}")
    source = Input(p, options.operands)
    async for batch in source.batches():
        for line in batch:
            pieces = [line[start : start + width] for start in range(0, len(line), width)] or [b""]
            await emit_lines(p, pieces)
    return source.status


@program("od")
async def od(p: Process) -> int:
    options = parse(
        p,
        "A:t:N:vcxobd",
        {"address-radix": "A", "format": "t", "read-bytes": "N", "output-duplicates": "v"},
    )
    kind = options.values.get("t") or next((letter for letter in "cxobd" if letter in options), "o")
    size = {
        "x1": 1,
        "x": 2,
        "x2": 2,
        "x4": 4,
        "o": 2,
        "o1": 1,
        "b": 1,
        "c": 1,
        "d": 2,
        "u1": 1,
        "d1": 1,
        "o2": 2,
        "x8": 8,
        "d2": 2,
        "u2": 2,
    }.get(kind)
    if size is None:
        return p.fail(f"invalid type string {quoted(kind)} (the lab's od knows x1 x2 x4 x8 o1 o2 d1 d2 u1 u2 c)")
    left = number(p, options.values["N"], "invalid -N argument") if "N" in options.values else None
    radix = options.values.get("A", "o")
    offset = 0
    pending = b""
    last, repeated = b"", False

    async def rows(data: bytes) -> None:
        nonlocal offset, last, repeated
        out = []
        for start in range(0, len(data), 16):
            row = data[start : start + 16]
            if row == last and len(row) == 16 and "v" not in options:
                if not repeated:
                    out.append("*")
                repeated = True
            else:
                last, repeated = row, False
                out.append(
                    _address(offset, radix) + "".join(_cell(row[i : i + size], kind) for i in range(0, len(row), size))
                )
            offset += len(row)
        if out:
            await emit(p, ("\n".join(out) + "\n").encode())

    source = Input(p, options.operands)
    async for chunk in source.chunks():
        for start in range(0, len(chunk), 4096):
            piece = chunk[start : start + 4096]
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            pending += piece
            whole = len(pending) // 16 * 16
            await rows(pending[:whole])
            pending = pending[whole:]
        if left == 0:
            break
    await rows(pending)
    if radix != "n":
        p.print(_address(offset, radix))
    return source.status


def _address(offset: int, radix: str) -> str:
    return {"o": f"{offset:07o}", "d": f"{offset:07d}", "x": f"{offset:06x}"}.get(radix, "")


_NAMED = {0: "\\0", 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}


def _cell(data: bytes, kind: str) -> str:
    value = int.from_bytes(data, "little")
    if kind == "c":
        shown = _NAMED.get(value) or (chr(value) if 32 <= value < 127 else f"{value:03o}")
        return f"{shown:>4}"
    letter, size = kind[0], len(data)
    if letter == "x":
        width = {"x1": 2, "x4": 8, "x8": 16}.get(kind, 4)
        return f" {value:0{width}x}"
    if letter in "ob":
        return f" {value:03o}" if kind in ("o1", "b") else f" {value:06o}"
    if letter == "d" and value >> (8 * size - 1):
        value -= 1 << (8 * size)
    return f" {value:{4 if size == 1 else 6}d}"


# -- encodings and checksums ------------------------------------------------------------------------------------------


@program("base64", "base32")
async def base64(p: Process) -> int:
    options = parse(p, "dw:i", {"decode": "d", "wrap": "w", "ignore-garbage": "i"})
    width = options.values.get("w", "76")
    if not re.fullmatch(r"\d{1,9}", width):
        return p.fail(f"invalid wrap size: {quoted(width)}")
    source = Input(p, options.operands[:1])
    four = p.name != "base32"
    if "d" in options:
        return (
            await _decode(p, source, garbage="i" in options)
            if four
            else p.fail("--decode is not simulated in this lab")
        )
    unit, encode = (3, _base64.b64encode) if four else (5, _base64.b32encode)
    pending, line = b"", b""
    size = int(width)

    async def show(encoded: bytes) -> None:
        nonlocal line
        if not size:
            await emit(p, encoded)
            return
        line += encoded
        cut = len(line) // size * size
        await emit_lines(p, [line[start : start + size] for start in range(0, cut, size)])
        line = line[cut:]

    async for chunk in source.chunks():
        pending += chunk
        cut = len(pending) // unit * unit
        await show(encode(pending[:cut]))
        pending = pending[cut:]
    await show(encode(pending))
    await emit(p, line + b"\n" if line else b"")
    return source.status


async def _decode(p: Process, source: Input, *, garbage: bool) -> int:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    other = bytes(byte for byte in range(256) if byte not in alphabet)
    pending = b""
    async for chunk in source.chunks():
        text = pending + chunk.translate(None, other if garbage else b"\r\n")
        cut = len(text) // 4 * 4
        good = re.match(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text[:cut])
        valid = good[0] if good is not None else b""
        await emit(p, _base64.b64decode(valid))
        if len(valid) != cut:
            return p.fail("invalid input")
        pending = text[cut:]
    if pending:
        pending += b"=" * (4 - len(pending))
        if re.fullmatch(rb"[A-Za-z0-9+/]{2,3}={1,2}", pending):
            await emit(p, _base64.b64decode(pending))
        return p.fail("invalid input")
    return source.status


@program("sha256sum", "sha1sum", "sha512sum", "sha224sum", "sha384sum", "b2sum", "md5sum")
async def checksum(p: Process) -> int:
    options = parse(p, "bctw", {"check": "c", "binary": "b", "text": "t", "quiet": "quiet", "status": "status"})
    if "c" in options:
        return await _check(p, Input(p, options.operands), quiet=bool({"quiet", "status"} & set(options.flags)))
    status = 0
    for name in options.operands or ["-"]:
        await p.cooperate()
        try:
            p.print(f"{await _digest(p, name)}  {name}")
        except OSError as exc:
            complain(p, exc, name)
            status = 1
    return status


async def _digest(p: Process, name: str) -> str:
    algorithm = {"b2sum": "blake2b"}.get(p.program, p.program.removesuffix("sum"))
    digest = hashlib.new(algorithm, usedforsecurity=False)
    async for chunk in file_chunks(p, name):
        digest.update(chunk)
    return digest.hexdigest()


async def _check(p: Process, source: Input, *, quiet: bool) -> int:
    async for batch in source.batches():
        for line in batch:
            digest, _, name = line.decode("utf-8", "surrogateescape").partition("  ")
            try:
                good = await _digest(p, name) == digest
            except OSError as exc:
                complain(p, exc, name)
                good = False
            if not (good and quiet):
                p.print(f"{name}: {'OK' if good else 'FAILED'}")
            source.status = source.status if good else 1
    return source.status


@program("comm")
async def comm(p: Process) -> int:
    options = parse(
        p,
        "123",
        {
            "check-order": "check-order",
            "nocheck-order": "nocheck-order",
            "output-delimiter": "output=",
            "total": "total",
        },
    )
    if len(options.operands) > 2:
        usage(p, f"extra operand {quoted(options.operands[2])}")
    if len(options.operands) != 2:
        usage(p, "missing operand" if not options.operands else f"missing operand after {quoted(options.operands[0])}")
    sides = [await Input(p, [name]).held() for name in options.operands]
    left, right = sides
    i = j = 0
    gap = options.values.get("output", "\t").encode()
    lead2 = b"" if "1" in options else gap
    lead3 = lead2 + (b"" if "2" in options else gap)
    totals = [0, 0, 0]
    disordered = [False, False]
    unpaired = False

    def follows(side: int, at: int) -> None:
        lines = sides[side]
        at = min(at, len(lines) - 1)
        if "nocheck-order" in options or disordered[side] or at < 1 or lines[at - 1] <= lines[at]:
            return
        if "check-order" in options or unpaired:
            disordered[side] = True
            p.fail(f"file {side + 1} is not in sorted order")
            if "check-order" in options:
                raise ProcessExit(1)

    while i < len(left) or j < len(right):
        if j >= len(right) or (i < len(left) and left[i] < right[j]):
            row, i = (b"" if "1" in options else left[i] + b"\n"), i + 1
            totals[0], unpaired = totals[0] + 1, True
            follows(0, i)
        elif i >= len(left) or right[j] < left[i]:
            row, j = (b"" if "2" in options else lead2 + right[j] + b"\n"), j + 1
            totals[1], unpaired = totals[1] + 1, True
            follows(1, j)
        else:
            row, i, j = (b"" if "3" in options else lead3 + left[i] + b"\n"), i + 1, j + 1
            totals[2] += 1
            follows(0, i)
            follows(1, j)
        await emit(p, row)
        await p.cooperate()
    if "total" in options:
        await emit(p, gap.join([*(str(total).encode() for total in totals), b"total\n"]))
    return p.fail("input is not in sorted order") if any(disordered) else 0


# -- awk --------------------------------------------------------------------------------------------------------------


# -- expr -------------------------------------------------------------------------------------------------------------


@program("expr")
async def expr(p: Process) -> int:
    words = p.argv[2:] if p.argv[1:2] == ["--"] else p.argv[1:]
    if not words:
        usage(p, "missing operand", 2)
    evaluator = _Expression(p, words)
    try:
        value = evaluator.either()
    except PatternError as exc:
        return p.fail(str(exc), 2)
    if evaluator.words:
        return p.fail(f"syntax error: unexpected argument {quoted(evaluator.words[0])}", 2)
    p.print(value)
    return int(value in ("", "0") or value.lstrip("-").strip("0") == "")


class _Expression:
    """expr's arguments, from `|` down to `:` and parentheses; a value is a text."""

    _LEVELS = (("|",), ("&",), ("<", "<=", "=", "==", "!=", ">=", ">"), ("+", "-"), ("*", "/", "%"), (":",))

    def __init__(self, p: Process, words: list[str]) -> None:
        self.p = p
        self.words = words
        self.depth = 0

    def _error(self, message: str) -> ProcessExit:
        self.p.fail(message, 2)
        return ProcessExit(2)

    def either(self, level: int = 0) -> str:
        if level == len(self._LEVELS):
            return self._primary()
        left = self.either(level + 1)
        while self.words and self.words[0] in self._LEVELS[level]:
            left = self._applied(self.words.pop(0), left, self.either(level + 1))
        return left

    def _number(self, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,1000}", text):
            raise self._error("non-integer argument")
        return int(text)

    def _applied(self, operator: str, left: str, right: str) -> str:
        if operator in ("|", "&"):
            empty = [value in ("", "0") for value in (left, right)]
            if operator == "|":
                return left if not empty[0] else right if not empty[1] else "0"
            return left if not any(empty) else "0"
        if operator == ":":
            return self._matched(left, right)
        if operator in ("+", "-", "*", "/", "%"):
            a, b = self._number(left), self._number(right)
            if operator in "/%":
                if not b:
                    raise self._error("division by zero")
                quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
                return str(quotient if operator == "/" else a - quotient * b)
            return str(a + b if operator == "+" else a - b if operator == "-" else a * b)
        numbers = all(re.fullmatch(r"-?[0-9]{1,1000}", value) for value in (left, right))
        order = (int(left) > int(right)) - (int(left) < int(right)) if numbers else (left > right) - (left < right)
        return str(
            int(
                {"<": order < 0, "<=": order <= 0, "=": not order, "==": not order, "!=": bool(order)}.get(
                    operator, order >= 0 if operator == ">=" else order > 0
                )
            )
        )

    def _matched(self, text: str, pattern: str) -> str:
        expression = regex(pattern.removeprefix("^"), "basic")
        found = expression.match(text)
        if expression.groups:
            return (found.group(1) or "") if found is not None else ""
        return str(found.span()[1]) if found is not None else "0"

    def _primary(self) -> str:
        if not self.words:
            raise self._error("syntax error: missing argument after last operator")
        word = self.words.pop(0)
        if word == "(":
            self.depth += 1
            if self.depth > 40:
                raise self._error("embedded lab: the lab's expr nests 40 parentheses at most")
            value = self.either()
            if self.words[:1] != [")"]:
                raise self._error("syntax error: expecting ')'")
            self.words.pop(0)
            return value
        if word == "length" and self.words:
            return str(len(self.words.pop(0)))
        if word == "match" and len(self.words) > 1:
            return self._matched(self.words.pop(0), self.words.pop(0))
        if word == "substr" and len(self.words) > 2:
            text, start, length = self.words.pop(0), self._number(self.words.pop(0)), self._number(self.words.pop(0))
            return text[start - 1 : start - 1 + length] if start > 0 and length > 0 else ""
        if word == "index" and len(self.words) > 1:
            text, characters = self.words.pop(0), self.words.pop(0)
            return str(min((text.find(each) + 1 for each in characters if each in text), default=0))
        return self.words.pop(0) if word == "+" and self.words else word
