"""More of coreutils: install, split, shuf, join, factor, expand, unexpand, fmt, cksum, sum, link, hostid, mkfifo."""

from __future__ import annotations

import posixpath
import random
import re
from itertools import pairwise

from ekslab.node import abi
from ekslab.node.accounts import GROUP, PASSWD
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.files import file_mode, number_of, selinux
from ekslab.node.userland.options import Options, number, parse, quoted, usage
from ekslab.node.userland.show import chunks, complain, emit, file_chunks, line_batches, whole


@program("install")
async def install(p: Process) -> int:
    options = parse(
        p,
        "bcCdDg:m:o:psS:t:Tv",
        {
            "compare": "C",
            "directory": "d",
            "group": "g",
            "mode": "m",
            "owner": "o",
            "preserve-timestamps": "p",
            "strip": "s",
            "target-directory": "t",
            "no-target-directory": "T",
            "verbose": "v",
        },
    )
    for letter in "bCsS":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    selinux(p)
    mode = file_mode(p, options.values.get("m", "755"), 0)
    uid = number_of(p, PASSWD, options.values["o"], options.values["o"], "user") if "o" in options.values else -1
    gid = number_of(p, GROUP, options.values["g"], options.values["g"], "group") if "g" in options.values else -1
    operands = list(options.operands)
    if not operands:
        usage(p, "missing file operand")

    def finish(path: str) -> None:
        if (uid, gid) != (-1, -1):
            p.chown(path, uid, gid)
        p.chmod(path, mode)

    if "d" in options:
        status = 0
        for name in operands:
            try:
                _make(p, name)
                finish(name)
            except OSError as exc:
                status = p.fail(f"cannot create directory {quoted(name)}: {exc.strerror}")
        return status
    target = options.values.get("t") or (operands.pop() if len(operands) > 1 else None)
    if target is None:
        usage(p, f"missing destination file operand after {quoted(operands[0])}")
        return 1
    if "D" in options:
        _make(p, target if "t" in options.values else posixpath.dirname(target))
    into = "t" in options.values or (p.isdir(target) and "T" not in options)
    if len(operands) > 1 and not into:
        return p.fail(
            f"target {quoted(target)}: {'Not a directory' if p.exists(target) else 'No such file or directory'}"
        )
    status = 0
    for source in operands:
        goal = posixpath.join(target, posixpath.basename(source)) if into else target
        try:
            found = p.stat(source)
            if found.is_dir:
                status = p.fail(f"omitting directory {quoted(source)}")
                continue
            reading = p.open(source)
        except OSError as exc:
            status = p.fail(f"cannot stat {quoted(source)}: {exc.strerror}")
            continue
        try:
            if p.exists(goal):
                p.unlink(goal)
            writing = p.open(goal, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, 0o600)
            async for chunk in chunks(p, reading):
                await emit(p, chunk, writing)
            p.close(writing)
            finish(goal)
            if "p" in options:
                p.utime(goal, found.mtime)
            if "v" in options:
                p.print(f"{quoted(source)} -> {quoted(goal)}")
        except OSError as exc:
            status = p.fail(f"cannot create regular file {quoted(goal)}: {exc.strerror}")
        finally:
            p.close(reading)
    return status


def _make(p: Process, path: str) -> None:
    if not path or p.isdir(path):
        return
    _make(p, posixpath.dirname(path.rstrip("/")))
    p.mkdir(path, 0o755)


@program("split")
async def split(p: Process) -> int:
    words = [f"-l{word[1:]}" if re.fullmatch(r"-\d+", word) else word for word in p.argv[1:]]
    options = parse(
        p,
        "a:b:C:del:n:t:ux",
        {
            "suffix-length": "a",
            "bytes": "b",
            "lines": "l",
            "numeric-suffixes": "d",
            "hex-suffixes": "x",
            "number": "n",
            "additional-suffix": "additional=",
            "verbose": "verbose",
            "filter": "filter=",
            "elide-empty-files": "e",
        },
        arguments=words,
    )
    for letter in ("C", "t", "u", "x", "filter", "e"):
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    name, prefix = [*options.operands, *["-", "x"][len(options.operands) :]][:2]
    length = number(p, options.values.get("a", "2"), "invalid suffix length")
    data = await whole(p, name) if name == "-" or p.exists(name) else None
    if data is None:
        return p.fail(f"cannot open {quoted(name)} for reading: No such file or directory")
    if "n" in options.values:
        count = number(p, options.values["n"], "invalid number of chunks")
        size = len(data) // count
        pieces = [data[i * size : (i + 1) * size if i < count - 1 else None] for i in range(count)]
    elif "b" in options.values:
        size = number(p, options.values["b"], "invalid number of bytes")
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
    else:
        lines = data.splitlines(keepends=True)
        size = number(p, options.values.get("l", "1000"), "invalid number of lines")
        pieces = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    for index, piece in enumerate(pieces):
        await p.cooperate()
        digits = "0123456789" if "d" in options else "abcdefghijklmnopqrstuvwxyz"
        suffix, left = "", index
        for _ in range(length):
            suffix, left = digits[left % len(digits)] + suffix, left // len(digits)
        if left:
            return p.fail("output file suffixes exhausted")
        goal = f"{prefix}{suffix}{options.values.get('additional', '')}"
        if "verbose" in options:
            p.print(f"creating file {quoted(goal)}")
        p.write_bytes(goal, piece)
    return 0


@program("shuf")
async def shuf(p: Process) -> int:
    options = parse(
        p,
        "ei:n:o:rz",
        {"echo": "e", "input-range": "i", "head-count": "n", "output": "o", "repeat": "r", "zero-terminated": "z"},
    )
    end = b"\0" if "z" in options else b"\n"
    if "e" in options:
        items = [word.encode("utf-8", "surrogateescape") for word in options.operands]
    elif "i" in options.values:
        match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", options.values["i"])
        if match is None:
            return p.fail(f"invalid input range: {quoted(options.values['i'])}")
        if int(match[2]) - int(match[1]) > 1_000_000:
            return p.fail("embedded lab: the lab's shuf has a range of a million at most")
        items = [str(n).encode() for n in range(int(match[1]), int(match[2]) + 1)]
    else:
        try:
            items = [line async for batch in line_batches(p, (options.operands or ["-"])[0], end) for line in batch]
        except OSError as exc:
            complain(p, exc)
            return 1
    count = number(p, options.values["n"], "invalid line count") if "n" in options.values else len(items)
    if "r" in options:
        if not items:
            return p.fail("no lines to repeat")
        if "n" not in options.values:
            return p.fail("embedded lab: the lab's shuf repeats with -n only")
        chosen = [random.choice(items) for _ in range(min(count, 1_000_000))]
    else:
        random.shuffle(items)
        chosen = items[:count]
    text = b"".join(item + end for item in chosen)
    if "o" in options.values:
        p.write_bytes(options.values["o"], text)
    else:
        await emit(p, text)
    return 0


@program("factor")
async def factor(p: Process) -> int:
    words = p.argv[1:] or (await whole(p, "-")).decode(errors="replace").split()
    status = 0
    for word in words:
        if not re.fullmatch(r"\+?\d{1,15}", word):
            status = p.fail(f"{quoted(word)} is not a valid positive integer")
            continue
        left, found, divisor = int(word), [], 2
        while divisor * divisor <= left:
            while left % divisor == 0:
                found.append(divisor)
                left //= divisor
            divisor += 1 if divisor == 2 else 2
            if not divisor & 0xFFF:
                await p.cooperate()
        found += [left] if left > 1 else []
        p.print(" ".join([f"{int(word)}:", *map(str, found)]))
    return status


@program("expand", "unexpand")
async def expand(p: Process) -> int:
    options = parse(p, "ait:", {"tabs": "t", "all": "a", "initial": "i"})
    size = number(p, options.values.get("t", "8"), "tab size contains invalid character(s)")
    status = 0
    for name in options.operands or ["-"]:
        try:
            async for batch in line_batches(p, name):
                out = []
                for line in batch:
                    text = line.decode("utf-8", "surrogateescape")
                    if p.program == "expand":
                        text = text.expandtabs(size)
                    else:
                        rest = text.lstrip(" ")
                        blanks = len(text) - len(rest)
                        text = "\t" * (blanks // size) + " " * (blanks % size) + rest
                    out.append(text.encode("utf-8", "surrogateescape") + b"\n")
                await emit(p, b"".join(out))
        except OSError as exc:
            complain(p, exc, name)
            status = 1
    return status


@program("fmt")
async def fmt(p: Process) -> int:
    options = parse(p, "cstuw:g:p:", {"width": "w", "split-only": "s"})
    width = number(p, options.values.get("w", "75"), "invalid width")
    for name in options.operands or ["-"]:
        try:
            text = (await whole(p, name)).decode("utf-8", "surrogateescape")
        except OSError as exc:
            complain(p, exc, name)
            return 1
        for index, paragraph in enumerate(re.split(r"\n[ \t]*\n", text.rstrip("\n"))):
            await p.cooperate()
            lines, line = [], ""
            for word in paragraph.split():
                if line and len(line) + 1 + len(word) > width:
                    lines.append(line)
                    line = word
                else:
                    line = f"{line} {word}" if line else word
            made = "\n".join([*lines, line])
            await emit(p, (("\n" if index else "") + made + "\n").encode("utf-8", "surrogateescape"))
    return 0


@program("join")
async def join(p: Process) -> int:
    options = parse(
        p,
        "1:2:a:e:ij:o:t:v:",
        {"ignore-case": "i", "header": "header", "check-order": "check-order", "nocheck-order": "nocheck-order"},
    )
    if len(options.operands) != 2:
        usage(
            p,
            f"extra operand {quoted(options.operands[2])}"
            if len(options.operands) > 2
            else f"missing operand after {quoted(options.operands[0])}"
            if options.operands
            else "missing operand",
        )
    separator = options.values.get("t")
    columns = [_field(p, options.values.get(one, options.values.get("j", "1"))) for one in "12"]
    rows: list[list[list[str]]] = []
    for name in options.operands:
        try:
            text = (await whole(p, name)).decode("utf-8", "surrogateescape")
        except OSError as exc:
            complain(p, exc, name)
            return 1
        rows.append([line.split(separator) for line in text.removesuffix("\n").split("\n")] if text else [])

    def key(row: list[str], side: int) -> str:
        text = row[columns[side]] if columns[side] < len(row) else ""
        return text.lower() if "i" in options else text

    format = _join_format(p, options.all("o"), rows, columns)
    filler, glue = options.values.get("e", ""), separator or " "

    def line(left: list[str] | None, right: list[str] | None) -> str:
        shared = left[columns[0]] if left is not None and columns[0] < len(left) else ""
        if left is None and right is not None and columns[1] < len(right):
            shared = right[columns[1]]
        if format is None:
            rest = [
                field
                for row, column in ((left, columns[0]), (right, columns[1]))
                for index, field in enumerate(row or [])
                if index != column
            ]
            return glue.join([shared, *rest])
        cells = []
        for side, column in format:
            row = (left, right)[side] if side < 2 else None
            cells.append(shared if side == 2 else row[column] if row is not None and column < len(row) else filler)
        return glue.join(cell or filler for cell in cells)

    alone = {*options.all("a"), *options.all("v")}
    first, second = rows
    out: list[str] = []
    if "header" in options and first and second:
        out.append(line(first[0], second[0]))
        first, second = first[1:], second[1:]
    i = j = 0
    while i < len(first) or j < len(second):
        await p.cooperate()
        if j >= len(second) or (i < len(first) and key(first[i], 0) < key(second[j], 1)):
            out += [line(first[i], None)] if "1" in alone else []
            i += 1
        elif i >= len(first) or key(first[i], 0) > key(second[j], 1):
            out += [line(None, second[j])] if "2" in alone else []
            j += 1
        else:
            same, start = key(first[i], 0), j
            while i < len(first) and key(first[i], 0) == same:
                j = start
                while j < len(second) and key(second[j], 1) == same:
                    out += [] if "v" in options else [line(first[i], second[j])]
                    p.charge(len(out[-1]) if out else 0)
                    await p.cooperate()
                    j += 1
                i += 1
    await emit(p, "".join(f"{text}\n" for text in out).encode("utf-8", "surrogateescape"))
    disordered = False
    for side, lines in enumerate((first, second)):
        for place, (before, after) in enumerate(pairwise(lines), 2):
            if "nocheck-order" not in options and key(after, side) < key(before, side):
                shown = glue.join(after)
                p.fail(f"{options.operands[side]}:{place}: is not sorted: {shown}")
                disordered = True
                break
    return p.fail("input is not in sorted order") if disordered else 0


def _field(p: Process, text: str) -> int:
    if not re.fullmatch(r"0*[1-9]\d{0,8}", text):
        p.fail(f"invalid field number: {quoted(text)}")
        raise ProcessExit(1)
    return int(text) - 1


def _join_format(
    p: Process, given: list[str], rows: list[list[list[str]]], columns: list[int]
) -> list[tuple[int, int]] | None:
    """What `-o` asks for: (0 or 1 for the file, field), or (2, 0) for the field that is joined on."""
    if not given:
        return None
    if given == ["auto"]:
        wanted = [(2, 0)]
        for side, lines in enumerate(rows):
            wanted += [(side, index) for index in range(len(lines[0]) if lines else 0) if index != columns[side]]
        return wanted
    wanted = []
    for word in " ".join(given).replace(",", " ").split():
        match = re.fullmatch(r"0|([12])\.(\d{1,9})", word)
        if match is None:
            known = word.partition(".")[0] in ("0", "1", "2")
            p.fail(f"invalid {'field specifier' if known else 'file number in field spec'}: {quoted(word)}")
            raise ProcessExit(1)
        wanted.append((int(match[1]) - 1, _field(p, match[2])) if match[1] else (2, 0))
    return wanted


@program("mkfifo")
async def mkfifo(p: Process) -> int:
    options = parse(p, "m:Z", {"mode": "m", "context": "Z"})
    if not options.operands:
        usage(p, "missing operand")
    mode = _node_mode(p, options)
    status = 0
    for name in options.operands:
        try:
            p.mknod(name, mode)
        except OSError as exc:
            status = p.fail(f"cannot create fifo {quoted(name)}: {exc.strerror}")
    return status


@program("mknod")
async def mknod(p: Process) -> int:
    options = parse(p, "m:Z", {"mode": "m", "context": "Z"})
    operands = options.operands
    kind = operands[1][:1] if len(operands) > 1 else ""
    wanted = 2 if kind == "p" or len(operands) < 2 else 4
    if len(operands) < wanted:
        after = f" after {quoted(operands[-1])}" if operands else ""
        more = "\nSpecial files require major and minor device numbers." if len(operands) in (2, 3) else ""
        usage(p, f"missing operand{after}{more}")
    if len(operands) > wanted:
        more = "\nFifos do not have major and minor device numbers." if kind == "p" and len(operands) == 4 else ""
        usage(p, f"extra operand {quoted(operands[wanted])}{more}")
    name = operands[0]
    if kind not in ("p", "b", "c", "u"):
        usage(p, f"invalid device type {quoted(operands[1])}")
    device = (0, 0)
    if kind != "p":
        for text, what in zip(operands[2:], ("major", "minor"), strict=True):
            if not re.fullmatch(r"\d{1,3}", text) or int(text) > 255:
                return p.fail(f"invalid {what} device number {quoted(text)}")
        device = (int(operands[2]), int(operands[3]))
    bits = {"p": abi.S_IFIFO, "b": abi.S_IFBLK}.get(kind, abi.S_IFCHR)
    try:
        p.mknod(name, _node_mode(p, options), bits, device)
    except OSError as exc:
        return p.fail(f"{name}: {exc.strerror}")
    return 0


def _node_mode(p: Process, options: Options) -> int:
    return file_mode(p, options.values["m"], 0o666) if "m" in options.values else 0o666


@program("cksum", "sum")
async def cksum(p: Process) -> int:
    options = parse(p, "a:rs", {"algorithm": "a", "sysv": "s"})
    if options.flags:
        return p.fail(f"option -{options.flags[0]} is not simulated in this lab")
    status = 0
    for name in options.operands or ["-"]:
        try:
            total, size = 0, 0
            async for chunk in file_chunks(p, name, 4096):
                size += len(chunk)
                total = _crc(chunk, total) if p.program == "cksum" else _rotated(chunk, total)
        except OSError as exc:
            complain(p, exc, name)
            status = 1
            continue
        shown = f" {name}" if name != "-" else ""
        if p.program == "cksum":
            left = size
            while left:
                total = _crc(bytes([left & 0xFF]), total)
                left >>= 8
            p.print(f"{total ^ 0xFFFFFFFF} {size}{shown}")
        else:
            p.print(f"{total:05d} {-(-size // 1024):5d}{shown}")
    return status


def _crc(data: bytes, crc: int) -> int:
    """POSIX's CRC, bit by bit through a table."""
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _TABLE[(crc >> 24) ^ byte]
    return crc


def _table() -> list[int]:
    made = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        made.append(crc)
    return made


_TABLE = _table()


def _rotated(data: bytes, total: int) -> int:
    for byte in data:
        total = ((total >> 1) + ((total & 1) << 15) + byte) & 0xFFFF
    return total


@program("link")
async def link(p: Process) -> int:
    operands = parse(p, "").operands
    if len(operands) != 2:
        usage(p, "missing operand" if not operands else f"missing operand after {quoted(operands[0])}")
    try:
        p.link(*operands)
    except OSError as exc:
        return p.fail(f"cannot create link {quoted(operands[1])} to {quoted(operands[0])}: {exc.strerror}")
    return 0


@program("hostid")
async def hostid(p: Process) -> int:
    parts = [int(part) for part in p.ip.split(".")] if re.fullmatch(r"[\d.]+", p.ip) else [127, 0, 0, 1]
    p.print(f"{parts[1]:02x}{parts[0]:02x}{parts[3]:02x}{parts[2]:02x}")
    return 0
