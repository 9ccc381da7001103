"""Programs that show files: cat, ls, head, tail, wc, stat."""

from __future__ import annotations

import asyncio
import errno
import math
import posixpath
import time
from collections import deque
from collections.abc import AsyncIterator

from ekslab.node import abi
from ekslab.node.inodes import File, Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import number, parse, quoted, quoted_if_needed, usage

_CHUNK = 65_536
_BATCH = 8_192  # for programs that look at every line


async def chunks(p: Process, fd: int, size: int = _CHUNK) -> AsyncIterator[bytes]:
    """Reads a descriptor to its end; other programs get their turn in between."""
    while chunk := await p.read(fd, size):
        yield chunk
        await p.cooperate()


async def file_chunks(p: Process, name: str, size: int = _CHUNK) -> AsyncIterator[bytes]:
    """Reads a file (or standard input for `-`); raises OSError with the file's name."""
    fd = p.open(name) if name != "-" else 0
    try:
        async for chunk in chunks(p, fd, size):
            yield chunk
    except IsADirectoryError:
        raise abi.error("EISDIR", name) from None
    finally:
        if fd and fd in p.fds:
            p.close(fd)


async def whole(p: Process, name: str) -> bytes:
    """A file's content, or standard input's for `-`, which the process then holds in its memory."""
    held: list[bytes] = []
    async for chunk in file_chunks(p, name):
        p.charge(len(chunk))
        held.append(chunk)
    return b"".join(held)


async def line_batches(p: Process, name: str, end: bytes = b"\n") -> AsyncIterator[list[bytes]]:
    """The lines of a file (or of standard input for `-`) without their ends, some at a time.

    Only the line that hasn't ended yet is held. A last line without a newline is a separate batch.
    """
    held: list[bytes] = []
    size = 0
    async for chunk in file_chunks(p, name, _BATCH):
        cut = chunk.rfind(end)
        if cut < 0:
            held.append(chunk)
            size += len(chunk)
            p.charge(len(chunk))
            continue
        lines = b"".join([*held, chunk[:cut]]).split(end)
        p.charge(len(chunk) - cut - 1 - size)
        held, size = [chunk[cut + 1 :]], len(chunk) - cut - 1
        yield lines
    if size:
        p.charge(-size)
        yield [b"".join(held)]


async def answer(p: Process) -> bytes:
    """The line on standard input that answers a question; of a long one its beginning."""
    line = bytearray()
    while (byte := await p.read(0, 1)) not in (b"", b"\n"):
        if len(line) < 256:
            line += byte
        await p.cooperate()
    return bytes(line)


async def emit(p: Process, data: bytes, fd: int = 1) -> None:
    """Writes, and waits for the reader and for other programs' turns. A full disk ends the program."""
    if data:
        try:
            p.write(fd, data)
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise
            raise ProcessExit(p.fail(f"write error: {exc.strerror}")) from None
        await p.drain(fd)
        await p.cooperate()


def look_up_names(p: Process, *databases: str) -> None:
    """Emits the calls of the C library before it reads names from /etc: two attempts to connect to nscd."""
    p.unix_connect("/var/run/nscd/socket")
    p.unix_connect("/var/run/nscd/socket")
    for path in ("/etc/nsswitch.conf", *databases):
        try:
            p.close(p.open(path, abi.O_RDONLY | abi.O_CLOEXEC))
        except OSError:
            continue  # an image without a user database: numbers are shown


def complain(p: Process, exc: OSError, name: str | None = None) -> None:
    """`program: file: reason` on stderr."""
    p.fail(f"{quoted_if_needed(name if name is not None else exc.filename or '')}: {exc.strerror}")


@program("cat")
async def cat(p: Process) -> int:
    options = parse(
        p,
        "AbeEnstTuv",
        {
            "show-all": "A",
            "number-nonblank": "b",
            "show-ends": "E",
            "number": "n",
            "squeeze-blank": "s",
            "show-tabs": "T",
            "show-nonprinting": "v",
        },
    )
    letters = set(options.flags)
    if letters & set("A"):
        letters |= set("vET")
    if "e" in letters:
        letters |= set("vE")
    if "t" in letters:
        letters |= set("vT")
    shown = letters & set("bnsETv")
    counter = _Numbering(shown)
    status = 0
    for name in options.operands or ["-"]:
        await p.cooperate()
        fd = 0
        try:
            if name != "-":
                fd = p.open(name)
            async for chunk in chunks(p, fd, _BATCH if shown else _CHUNK):
                await emit(p, counter.apply(chunk) if shown else chunk)
        except OSError as exc:
            complain(p, exc, name)
            status = 1
        finally:
            if fd:
                p.close(fd)
    return status


class _Numbering:
    """cat's -n -b -s -E -T -v over a stream."""

    def __init__(self, shown: set[str]) -> None:
        self.shown = shown
        self.line = 0
        self.at_start = True
        self.blanks = 0

    def apply(self, data: bytes) -> bytes:
        out = bytearray()
        for part in _split_lines(data):
            ended = part.endswith(b"\n")
            body = part[:-1] if ended else part
            if self.at_start:
                self.blanks = self.blanks + 1 if not body and ended else 0
                if "s" in self.shown and self.blanks > 1:
                    continue
                if ("n" in self.shown and "b" not in self.shown) or ("b" in self.shown and body):
                    self.line += 1
                    out += b"%6d\t" % self.line
            out += self._visible(body)
            if ended:
                out += b"$\n" if "E" in self.shown else b"\n"
            self.at_start = ended
        return bytes(out)

    def _visible(self, body: bytes) -> bytes:
        if "T" not in self.shown and "v" not in self.shown:
            return body
        out = bytearray()
        for byte in body:
            if byte == 9:
                out += b"^I" if "T" in self.shown else b"\t"
            elif "v" not in self.shown:
                out.append(byte)
            else:
                if byte >= 128:
                    out += b"M-"
                    byte -= 128
                out += b"^?" if byte == 127 else b"^" + bytes([byte + 64]) if byte < 32 else bytes([byte])
        return bytes(out)


# -- ls --------------------------------------------------------------------------------------------------------------

_TYPES = {
    abi.S_IFDIR: "d",
    abi.S_IFLNK: "l",
    abi.S_IFBLK: "b",
    abi.S_IFCHR: "c",
    abi.S_IFIFO: "p",
    abi.S_IFSOCK: "s",
    abi.S_IFREG: "-",
}


def mode_text(mode: int) -> str:
    """`drwxr-xr-x`."""
    text = [_TYPES.get(mode & 0o170000, "?")]
    for shift, special, letters in ((6, 0o4000, "sS"), (3, 0o2000, "sS"), (0, 0o1000, "tT")):
        bits = mode >> shift & 7
        text.append("r" if bits & 4 else "-")
        text.append("w" if bits & 2 else "-")
        if mode & special:
            text.append(letters[0] if bits & 1 else letters[1])
        else:
            text.append("x" if bits & 1 else "-")
    return "".join(text)


def human(size: int, *, base: int = 1024) -> str:
    """`4.0K` as -h shows sizes."""
    if size < base:
        return str(size)
    value, unit = float(size), ""
    for unit in "KMGTP":  # noqa: B007 - the last one is used
        value /= base
        if value < base:
            break
    return f"{math.ceil(value * 10) / 10:.1f}{unit}" if value < 10 else f"{math.ceil(value)}{unit}"


def list_time(nanoseconds: int, now: int) -> str:
    """A time as `ls -l` shows it: with the hour when it is less than half a year ago."""
    moment = time.gmtime(nanoseconds // 1_000_000_000)
    recent = 0 <= now - nanoseconds < 15_778_476 * 1_000_000_000
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", moment)


def full_time(nanoseconds: int) -> str:
    """`2026-11-23 03:53:35.943464440 +0000`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{rest:09d} +0000"


# -- head, tail, wc --------------------------------------------------------------------------------------------------


def _old_style(p: Process) -> list[str]:
    """`head -5` means `head -n 5`."""
    arguments = p.argv[1:]
    if arguments and arguments[0][:1] == "-" and arguments[0][1:].isdigit():
        return ["-n", arguments[0][1:], *arguments[1:]]
    return arguments


@program("head")
async def head(p: Process) -> int:
    options = parse(
        p, "n:c:qv", {"lines": "n", "bytes": "c", "quiet": "q", "silent": "q", "verbose": "v"}, arguments=_old_style(p)
    )
    in_bytes = options.last("n", "c") == "c"
    count = number(
        p, options.values.get("c" if in_bytes else "n", "10"), f"invalid number of {'bytes' if in_bytes else 'lines'}"
    )
    status = 0
    names = options.operands or ["-"]
    for index, name in enumerate(names):
        await p.cooperate()
        fd = 0
        try:
            if name != "-":
                fd = p.open(name)
            if (len(names) > 1 and "q" not in options) or "v" in options:
                p.stdout.write(("\n" if index else "") + f"==> {'standard input' if name == '-' else name} <==\n")
            await _head(p, fd, count, in_bytes)
        except OSError as exc:
            verb = "error reading" if isinstance(exc, IsADirectoryError) else f"cannot open {quoted(name)} for reading"
            p.fail(
                f"error reading {quoted(name)}: {exc.strerror}"
                if verb == "error reading"
                else f"{verb}: {exc.strerror}"
            )
            status = 1
        finally:
            if fd:
                p.close(fd)
    return status


async def _head(p: Process, fd: int, count: int, in_bytes: bool) -> None:
    if count < 0:
        await _all_but(p, fd, -count, in_bytes)
        return
    left = count
    while left > 0:
        chunk = await p.read(fd, min(left, _CHUNK) if in_bytes else 1024)
        if not chunk:
            return
        if in_bytes:
            await emit(p, chunk)
            left -= len(chunk)
            continue
        lines = _split_lines(chunk)
        kept = lines[:left]
        left -= sum(line.endswith(b"\n") for line in kept)
        await emit(p, b"".join(kept))


def _split_lines(data: bytes) -> list[bytes]:
    """Lines with their newlines; nothing else ends one."""
    parts = [part + b"\n" for part in data.split(b"\n")]
    parts[-1] = parts[-1][:-1]
    return parts if parts[-1] else parts[:-1]


async def _all_but(p: Process, fd: int, count: int, in_bytes: bool) -> None:
    """Everything but the end, of which as much is held as won't be shown."""
    held = _Tail(p, count, in_bytes)
    async for chunk in chunks(p, fd, _CHUNK if in_bytes else _BATCH):
        await emit(p, held.add(chunk))


class _Tail:
    """The last bytes or lines of what was added."""

    def __init__(self, p: Process, count: int, in_bytes: bool) -> None:
        self.p = p
        self.count = count
        self.in_bytes = in_bytes
        self.parts: deque[bytes] = deque()
        self.have = 0  # bytes, or lines that have ended

    def add(self, chunk: bytes) -> bytes:
        """Adds to the end, and gives back what isn't among the last any more."""
        given = []
        self.p.charge(len(chunk))
        if self.in_bytes:
            self.parts.append(chunk)
            self.have += len(chunk)
            while self.parts and self.have - len(self.parts[0]) >= self.count:
                given.append(self.parts.popleft())
                self.have -= len(given[-1])
            if self.have > self.count:
                first = self.parts.popleft()
                cut = self.have - self.count
                given.append(first[:cut])
                self.parts.appendleft(first[cut:])
                self.have = self.count
        else:
            for line in _split_lines(chunk):
                if self.parts and not self.parts[-1].endswith(b"\n"):
                    line = self.parts.pop() + line
                else:
                    self.have += 1
                self.parts.append(line)
            while self.have > self.count:
                given.append(self.parts.popleft())
                self.have -= 1
        out = b"".join(given)
        self.p.charge(-len(out))
        return out


@program("tail")
async def tail(p: Process) -> int:
    options = parse(
        p,
        "n:c:fFqvs:",
        {
            "lines": "n",
            "bytes": "c",
            "follow": "f",
            "quiet": "q",
            "silent": "q",
            "verbose": "v",
            "sleep-interval": "s",
            "retry": "F",
        },
        arguments=_old_style(p),
    )
    in_bytes = options.last("n", "c") == "c"
    text = options.values.get("c" if in_bytes else "n", "10")
    count = number(p, text, f"invalid number of {'bytes' if in_bytes else 'lines'}")
    names = options.operands or ["-"]
    status = 0
    offsets: dict[str, int] = {}
    titled = (len(names) > 1 and "q" not in options) or "v" in options
    for index, name in enumerate(names):
        await p.cooperate()
        title = ("\n" if index else "") + f"==> {'standard input' if name == '-' else name} <==\n" if titled else ""
        try:
            offsets[name] = await _tail(p, name, abs(count), text.startswith("+"), in_bytes, title.encode())
        except OSError as exc:
            p.fail(
                f"error reading {quoted(name)}: {exc.strerror}"
                if isinstance(exc, IsADirectoryError)
                else f"cannot open {quoted(name)} for reading: {exc.strerror}"
            )
            status = 1
    if "f" in options or "F" in options:
        await _follow(p, offsets)
    return status


async def _tail(p: Process, name: str, count: int, from_start: bool, in_bytes: bool, title: bytes) -> int:
    """Shows the end of a file; how long it was."""
    size, skip = 0, max(count - 1, 0)
    held = _Tail(p, count, in_bytes)
    async for chunk in file_chunks(p, name, _CHUNK if in_bytes else _BATCH):
        if not size:
            await emit(p, title)
        size += len(chunk)
        if not from_start:
            held.add(chunk)
        elif in_bytes:
            await emit(p, chunk[skip:])
            skip = max(skip - len(chunk), 0)
        else:
            lines = _split_lines(chunk)
            await emit(p, b"".join(lines[skip:]))
            skip = max(skip - sum(line.endswith(b"\n") for line in lines), 0)
    if not size:
        await emit(p, title)
    for part in list(held.parts):
        await emit(p, part)
    return size


async def _follow(p: Process, offsets: dict[str, int]) -> None:
    files = [name for name in offsets if name != "-"]
    if not files:
        return
    with p.watch(*files) as watch:
        while True:
            for name in files:
                inode = p.filesystem.walk(p.absolute(name)).inode if p.filesystem.exists(p.absolute(name)) else None
                if not isinstance(inode, File):
                    continue
                if inode.size() < offsets[name]:
                    p.fail(f"{name}: file truncated")
                    offsets[name] = 0
                while inode.size() > offsets[name]:
                    data = bytes(inode.content()[offsets[name] : offsets[name] + _CHUNK])
                    offsets[name] += len(data)
                    await emit(p, data)
            await p.cooperate()
            await watch.wait()


@program("wc")
async def wc(p: Process) -> int:
    options = parse(p, "clLmw", {"bytes": "c", "chars": "m", "lines": "l", "words": "w", "max-line-length": "L"})
    wanted = [letter for letter in "lwmcL" if letter in options] or ["l", "w", "c"]
    rows: list[tuple[list[int], str]] = []
    status = 0
    for name in options.operands or [""]:
        await p.cooperate()
        counted = _Counts()
        try:
            async for chunk in file_chunks(p, name or "-"):
                counted.add(chunk, words="w" in wanted, chars="m" in wanted or "L" in wanted)
        except OSError as exc:
            complain(p, exc, name)
            status = 1
            continue
        rows.append(([counted.values[letter] for letter in wanted], name))
    width = _count_width(p, options.operands, len(wanted))
    if len(options.operands) > 1:
        rows.append(([sum(row[0][index] for row in rows) for index in range(len(wanted))], "total"))
    for values, name in rows:
        p.print(" ".join(str(value).rjust(width) for value in values) + (f" {name}" if name else ""))
    return status


def _count_width(p: Process, names: list[str], counts: int) -> int:
    """How wide wc's columns are: as the sum of the files' sizes, and at least 7 if one isn't a regular file."""
    if counts == 1 and len(names) < 2:
        return 1
    size, least = 0, 1
    for name in names or ["-"]:
        try:
            found = p.fstat(0) if name == "-" else p.stat(name)
        except OSError:
            continue
        size, least = (size + found.size, least) if found.is_file else (size, 7)
    return max(least, len(str(size)))


class _Counts:
    """What wc counts, over a stream."""

    def __init__(self) -> None:
        self.values = dict.fromkeys("lwmcL", 0)
        self._in_word = False
        self._line = 0

    def add(self, data: bytes, *, words: bool, chars: bool) -> None:
        values = self.values
        values["l"] += data.count(b"\n")
        values["c"] += len(data)
        if words and data:
            values["w"] += len(data.split()) - (self._in_word and not data[:1].isspace())
            self._in_word = not data[-1:].isspace()
        if chars:
            values["m"] += sum(1 for byte in data if byte & 0xC0 != 0x80) if not data.isascii() else len(data)
            first, *rest = data.split(b"\n")
            self._line += len(first.decode("utf-8", "replace"))
            values["L"] = max(values["L"], self._line)
            if rest:
                self._line = len(rest[-1].decode("utf-8", "replace"))
                values["L"] = max(values["L"], *(len(line.decode("utf-8", "replace")) for line in rest))


# -- stat, file ------------------------------------------------------------------------------------------------------

_KINDS = {
    abi.S_IFDIR: "directory",
    abi.S_IFLNK: "symbolic link",
    abi.S_IFBLK: "block special file",
    abi.S_IFCHR: "character special file",
    abi.S_IFIFO: "fifo",
    abi.S_IFSOCK: "socket",
}


def kind_text(found: Stat) -> str:
    if found.is_file:
        return "regular file" if found.size else "regular empty file"
    return _KINDS.get(found.mode & 0o170000, "weird file")


@program("stat")
async def stat(p: Process) -> int:
    options = parse(p, "Lc:", {"dereference": "L", "format": "c", "printf": "printf="})
    if not options.operands:
        usage(p, "missing operand")
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            found = p.stat(name) if "L" in options else p.lstat(name)
        except OSError as exc:
            p.fail(f"cannot statx {quoted(name)}: {exc.strerror}")
            status = 1
            continue
        if "c" in options:
            p.print(_formatted(p, name, found, options.values["c"]))
        elif "printf" in options.values:
            from ekslab.node.shell.quoting import unescape

            p.stdout.write(unescape(_formatted(p, name, found, options.values["printf"])))
        else:
            p.stdout.write(_stat_text(p, name, found))
    return status


def _formatted(p: Process, name: str, found: Stat, format: str) -> str:
    import re

    values = {
        "n": name,
        "N": f"{quoted(name)} -> {quoted(p.readlink(name))}" if found.is_symlink else quoted(name),
        "s": str(found.size),
        "a": f"{found.mode & 0o7777:o}",
        "A": mode_text(found.mode),
        "f": f"{found.mode:x}",
        "F": kind_text(found),
        "u": str(found.uid),
        "U": p.user_name(found.uid) or "UNKNOWN",
        "g": str(found.gid),
        "G": p.group_name(found.gid) or "UNKNOWN",
        "i": str(found.ino),
        "h": str(found.nlink),
        "d": str(found.dev),
        "b": str((found.size + 511) // 512),
        "x": full_time(found.atime),
        "X": str(found.atime // 1_000_000_000),
        "y": full_time(found.mtime),
        "Y": str(found.mtime // 1_000_000_000),
        "z": full_time(found.ctime),
        "Z": str(found.ctime // 1_000_000_000),
        "w": "-",
        "W": "0",
        "%": "%",
    }

    def replace(match: re.Match[str]) -> str:
        flags, width, letter = match.groups()
        text = values.get(letter, "?")
        return text.ljust(int(width or 0)) if "-" in flags else text.rjust(int(width or 0))

    return re.sub(r"%([-0 +#]*)(\d{0,3})(.)", replace, format)


def _stat_text(p: Process, name: str, found: Stat) -> str:
    shown = f"{name} -> {p.readlink(name)}" if found.is_symlink else name
    user, group = p.user_name(found.uid) or "UNKNOWN", p.group_name(found.gid) or "UNKNOWN"
    device = f"\tDevice type: {found.rdev >> 8},{found.rdev & 0xFF}" if found.is_device else ""
    return (
        f"  File: {shown}\n"
        f"  Size: {found.size:<10}\tBlocks: {(found.size + 511) // 512:<10} IO Block: 4096   {kind_text(found)}\n"
        f"Device: {found.dev >> 8},{found.dev & 0xFF}\tInode: {found.ino:<11} Links: {found.nlink}{device}\n"
        f"Access: ({found.mode & 0o7777:04o}/{mode_text(found.mode)})  Uid: ({found.uid:5d}/{user:>8})   "
        f"Gid: ({found.gid:5d}/{group:>8})\n"
        f"Access: {full_time(found.atime)}\nModify: {full_time(found.mtime)}\n"
        f"Change: {full_time(found.ctime)}\n Birth: -\n"
    )


def _resolved(p: Process, name: str, existing: str) -> str:
    """A path without links: `existing` is e (all of it has to be there), f (all but the last part) or m (nothing)."""
    if existing == "e" or p.exists(name):
        return p.real_path(name)
    path = p.absolute(name)
    parent = posixpath.dirname(path)
    if existing == "f" or p.exists(parent):
        return posixpath.join(p.real_path(parent), posixpath.basename(path))
    return posixpath.join(_resolved(p, parent, existing), posixpath.basename(path))


@program("readlink")
async def readlink(p: Process) -> int:
    options = parse(
        p,
        "femnqsvz",
        {
            "canonicalize": "f",
            "canonicalize-existing": "e",
            "canonicalize-missing": "m",
            "no-newline": "n",
            "quiet": "q",
            "silent": "s",
            "verbose": "v",
            "zero": "z",
        },
    )
    if not options.operands:
        usage(p, "missing operand")
    existing = options.last("f", "e", "m")
    end = "\0" if "z" in options else "" if "n" in options and len(options.operands) == 1 else "\n"
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            p.stdout.write((_resolved(p, name, existing) if existing else p.readlink(name)) + end)
        except OSError as exc:
            status = 1
            if "v" in options:
                p.fail(f"{quoted_if_needed(name)}: {exc.strerror}")
    return status


@program("realpath")
async def realpath(p: Process) -> int:
    options = parse(
        p,
        "EemqsLPz",
        {
            "canonicalize-existing": "e",
            "canonicalize-missing": "m",
            "quiet": "q",
            "no-symlinks": "s",
            "strip": "s",
            "relative-to": "relative-to=",
            "zero": "z",
        },
    )
    if not options.operands:
        usage(p, "missing operand")
    base = options.values.get("relative-to")
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            path = p.absolute(name) if "s" in options else _resolved(p, name, options.last("e", "m", default="f"))
            if base is not None:
                path = posixpath.relpath(path, _resolved(p, base, "m"))
            p.stdout.write(path + ("\0" if "z" in options else "\n"))
        except OSError as exc:
            if "q" not in options:
                complain(p, exc, name)
            status = 1
    return status


@program("basename")
async def basename(p: Process) -> int:
    options = parse(p, "as:z", {"multiple": "a", "suffix": "s", "zero": "z"}, stop_at_operand=True)
    names = options.operands
    if not names:
        usage(p, "missing operand")
    suffix = options.values.get("s", "")
    if not {"a", "s"} & set(options.flags):
        if len(names) > 2:
            usage(p, f"extra operand {quoted(names[2])}")
        names, suffix = names[:1], names[1] if len(names) > 1 else ""
    for name in names:
        base = posixpath.basename(name.rstrip("/")) or ("/" if name else "")
        p.stdout.write(
            (base.removesuffix(suffix) if suffix and base != suffix else base) + ("\0" if "z" in options else "\n")
        )
    return 0


@program("dirname")
async def dirname(p: Process) -> int:
    options = parse(p, "")
    if not options.operands:
        usage(p, "missing operand")
    for name in options.operands:
        await p.cooperate()
        p.print(posixpath.dirname(name.rstrip("/")) or ("/" if name.startswith("/") else "."))
    return 0


def interval(text: str) -> float | None:
    """A number of seconds as sleep and timeout take it, or None when it isn't one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 else None  # nan isn't, either


@program("sleep")
async def sleep(p: Process) -> int:
    factors = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    total = 0.0
    if len(p.argv) < 2:
        usage(p, "missing operand")
    for word in p.argv[1:]:
        if word == "infinity":
            await asyncio.Event().wait()
        digits, factor = (word[:-1], factors[word[-1]]) if word[-1:] in factors else (word, 1)
        seconds = interval(digits)
        if seconds is None:
            usage(p, f"invalid time interval {quoted(word)}")
        total += (seconds or 0.0) * factor
    while total > 0:  # no clock waits for longer at a time
        await p.sleep(min(total, 1e6))
        total -= 1e6
    return 0
