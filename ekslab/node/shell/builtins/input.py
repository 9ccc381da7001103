"""Built-in commands: read and mapfile."""

from __future__ import annotations

import asyncio
import re

from ekslab.node.descriptors import RegularFile
from ekslab.node.process import Process
from ekslab.node.shell.expansion import split_at
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.registry import builtin
from ekslab.node.shell.state import decimal
from ekslab.node.shell.syntax import is_name
from ekslab.node.shell.variables import Value, array


@builtin("read")
async def _read(shell: Shell, argv: list[str]) -> int:
    raw, prompt, words = False, "", argv[1:]
    names: list[str] = []
    into, end, most, exactly, fd, silent = "", "\n", 0, False, 0, False
    limit: float | None = None
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-" or names:
            names.append(word)
            continue
        if word == "--":
            names += words
            break
        for at, letter in enumerate(word[1:], 2):
            if letter == "r":
                raw = True
            elif letter in "se" and shell.bash:
                silent = silent or letter == "s"
            elif letter in "padnNtui" and (shell.bash or letter == "p"):
                value = word[at:] or (words.pop(0) if words else None)
                if value is None:
                    shell.complain(f"read: -{letter}: option requires an argument")
                    return 2
                amount = decimal(value)
                if letter == "p":
                    prompt = value
                elif letter == "a":
                    into = value
                elif letter == "d":
                    end = value[:1] or "\0"
                elif letter == "t":
                    limit = _seconds(value)
                    if limit is None:
                        shell.complain(f"read: {value}: invalid timeout specification")
                        return 1
                elif letter in "nN":
                    if amount is None or amount < 0:
                        shell.complain(f"read: {value}: invalid number")
                        return 1
                    most, exactly = amount, letter == "N"
                elif letter == "u":
                    if amount is None or amount not in shell.process.fds:
                        shell.complain(f"read: {value}: invalid file descriptor: Bad file descriptor")
                        return 1
                    fd = amount
                break
            else:
                shell.complain(f"read: -{letter}: invalid option" if shell.bash else f"read: Illegal option -{letter}")
                if shell.bash:
                    shell.process.stderr.write(
                        "read: usage: read [-ers] [-a array] [-d delim] [-i text] [-n nchars] [-N nchars] "
                        "[-p prompt] [-t timeout] [-u fd] [name ...]\n"
                    )
                return 2
    for name in [*names, *([into] if into else [])]:
        if not is_name(name.partition("[")[0]):
            shell.complain(
                f"read: `{name}': not a valid identifier" if shell.bash else f"read: {name}: bad variable name"
            )
            return 1 if shell.bash else 2
    process = shell.process
    if not names and not into and not shell.bash:
        shell.complain("read: arg count")
        return 2
    if fd not in process.fds:
        shell.complain(f"read: read error: {fd}: Bad file descriptor")
        return 1
    if prompt and process.isatty(fd):
        process.stderr.write(prompt)
    if limit == 0:
        return 0
    reader = _LineReader(process, fd, end, most, exactly, raw)
    echo = silent and process.tty is not None and process.isatty(fd)
    if echo and process.tty is not None:
        process.tty.echo = False
    status = 0
    try:
        ended = await (asyncio.wait_for(reader.run(), limit) if limit else reader.run())
        status = int(ended)
    except TimeoutError:
        status = 142
    except InterruptedError:  # Ctrl-C
        raise
    except OSError as exc:
        shell.complain(f"read: read error: {fd}: {exc.strerror}")
        return 1
    finally:
        if echo and process.tty is not None:
            process.tty.echo = True
    _assign_fields(shell, names, into, reader, exactly=exactly)
    process.charge(-reader.size)
    return status


def _seconds(text: str) -> float | None:
    return min(float(text), 1e8) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text) else None


class _LineReader:
    """Reads no further than a line goes. Characters after a backslash are marked, so that they don't split fields."""

    def __init__(self, process: Process, fd: int, end: str, most: int, exactly: bool, raw: bool) -> None:
        self.process = process
        self.fd = fd
        self.end = end.encode("utf-8", "surrogateescape")
        self.most = most
        self.exactly = exactly
        self.raw = raw
        self.data = bytearray()
        self.escaped: set[int] = set()  # places of bytes that stand for themselves
        self.size = 0

    async def _byte(self) -> bytes:
        process = self.process
        return await process.read(self.fd, 1)

    async def run(self) -> bool:
        """Whether the input ended before the line did."""
        process, data = self.process, self.data
        file = process.fds.get(self.fd)
        if isinstance(file, RegularFile) and self.raw and not self.most and len(self.end) == 1:
            return await self._from_file(file)
        backslash = False
        while not self.most or len(data.decode("utf-8", "ignore")) < self.most:
            byte = await self._byte()
            await process.cooperate()
            if not byte:
                return True
            if not len(data) & 1023:
                process.charge(1024)
                self.size += 1024
            if backslash:
                backslash = False
                if byte != b"\n":
                    self.escaped.add(len(data))
                    data += byte
                continue
            if byte == self.end and not self.exactly:
                return False
            if byte == b"\\" and not self.raw:
                backslash = True
            elif byte != b"\0":
                data += byte
        return False

    async def _from_file(self, file: RegularFile) -> bool:
        while True:
            start = file.offset
            chunk = await self.process.read(self.fd, 16_384)
            await self.process.cooperate()
            if not chunk:
                return True
            line, found, _ = chunk.partition(self.end)
            self.process.charge(len(line))
            self.size += len(line)
            self.data += line.replace(b"\0", b"")
            if found:
                file.offset = start + len(line) + 1
                return False


def _assign_fields(shell: Shell, names: list[str], into: str, reader: _LineReader, *, exactly: bool) -> None:
    data, escaped = reader.data, reader.escaped
    separators = shell.get("IFS", " \t\n")
    if escaped:
        # A character that was escaped is hidden from the separators while the line is split.
        hidden = {byte: chr(0xF0000 + byte) for byte in range(256)}
        text = "".join(
            hidden[byte] if at in escaped and byte < 128 else chr(byte) if byte < 128 else chr(0xDC00 + byte)
            for at, byte in enumerate(data)
        )
        shown = {0xF0000 + byte: chr(byte) for byte in range(128)}
    else:
        text, shown = data.decode("utf-8", "surrogateescape"), {}

    def plain(value: str) -> str:
        value = value.translate(shown) if shown else value
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") if shown else value

    if exactly:
        for number, name in enumerate(names or ["REPLY"]):
            shell.set(name, plain(text) if not number else "")
        return
    if not names and not into:
        shell.set("REPLY", plain(text))
        return
    blanks = "".join(character for character in separators if character in " \t\n")
    others = "".join(character for character in separators if character not in " \t\n")
    if into:
        body = text.strip(blanks) if blanks else text
        shell.set_value(
            into,
            array(plain(each) for each in (split_at(body, blanks, others) if separators else [body] if body else [])),
        )
        return
    body = text.strip(blanks) if blanks else text
    fields = split_at(body, blanks, others, len(names)) if separators else [body]
    if fields and len(fields) == len(names) and others and fields[-1][-1:] in tuple(others):
        # One separator at the end goes when there is no other in the last field.
        last = fields[-1][:-1]
        if not any(character in separators for character in last):
            fields[-1] = last
    for number, name in enumerate(names):
        value = plain(fields[number]) if number < len(fields) else ""
        match = re.fullmatch(r"(\w+)\[(.*)\]", name, re.DOTALL)
        shell.set(match[1] if match else name, value, index=match[2] if match else None)


@builtin("mapfile", "readarray", bash_only=True)
async def _mapfile(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    trim, end, most, origin, skip, fd, name = False, b"\n", 0, 0, 0, 0, "MAPFILE"
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            name = word
            break
        letter, value = word[1:2], word[2:]
        if letter == "t" and len(word) == 2:
            trim = True
            continue
        if letter not in ("d", "n", "O", "s", "u", "C", "c"):
            shell.complain(f"{argv[0]}: -{letter}: invalid option")
            return 2
        value = value or (words.pop(0) if words else "")
        if letter in ("C", "c"):
            return shell.lacks(f"the option -{letter} of {argv[0]}")
        number = decimal(value, 1 << 31)
        if letter == "d":
            end = value[:1].encode("utf-8", "surrogateescape") or b"\0"
            continue
        if number is None or number < 0:
            shell.complain(f"{argv[0]}: {value}: invalid line count")
            return 1
        most, origin, skip, fd = (
            number if letter == "n" else most,
            number if letter == "O" else origin,
            number if letter == "s" else skip,
            number if letter == "u" else fd,
        )
    if not is_name(name):
        shell.complain(f"{argv[0]}: `{name}': not a valid identifier")
        return 1
    process = shell.process
    process.descriptor(fd)
    lines: dict[int, str] = {}
    pending = b""
    count = size = 0
    while chunk := await process.read(fd, 16_384):
        pending += chunk.replace(b"\0", b"") if end != b"\0" else chunk
        process.charge(len(chunk))
        size += len(chunk)
        *whole, pending = pending.split(end)
        for line in whole:
            count += 1
            if count > skip and (not most or len(lines) < most):
                text = (line if trim else line + end).decode("utf-8", "surrogateescape")
                lines[origin + len(lines)] = text.replace("\0", "")
        await process.cooperate()
        if most and len(lines) >= most:
            break
    if pending and count >= skip and (not most or len(lines) < most):
        lines[origin + len(lines)] = pending.decode("utf-8", "surrogateescape")
    process.charge(-size)
    shell.set_value(name, Value(items=lines, flags={"a"}))
    return 0
