"""sed: parses and runs scripts of GNU sed."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ekslab.names import suffix
from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import Match, PatternError, Regex, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.quoting import unescape
from ekslab.node.userland.options import parse
from ekslab.node.userland.search import run
from ekslab.node.userland.show import file_chunks, line_batches, whole


@dataclass
class _Address:
    kind: str  # "line", "last", "regex", "step", "plus", "multiple"
    number: int = 0
    step: int = 0
    regex: Regex[bytes] | None = None  # None stands for the last one that was used


@dataclass
class _Command:
    name: str
    first: _Address | None = None
    second: _Address | None = None
    negated: bool = False
    text: bytes = b""
    regex: Regex[bytes] | None = None
    replacement: tuple[bytes | int | str, ...] = ()
    flags: str = ""
    table: bytes = b""
    target: int = 0  # where a block ends, or what a label means
    inside: bool = False
    until: int = 0

    @property
    def which(self) -> int:
        digits = "".join(character for character in self.flags if character.isdigit())
        return int(digits) if digits else 1


class _Script:
    """Reads a script into commands."""

    def __init__(self, p: Process, text: str, extended: bool) -> None:
        self.p = p
        self.text = text
        self.at = 0
        self.dialect = "extended" if extended else "basic"
        self.commands: list[_Command] = []
        self.labels: dict[bytes, int] = {}
        self._blocks: list[_Command] = []

    def error(self, why: str) -> ProcessExit:
        self.p.stderr.write(f"sed: -e expression #1, char {self.at}: {why}\n")
        return ProcessExit(1)

    def parse(self) -> list[_Command]:
        while True:
            self._skip(" \t\n;")
            if self.at >= len(self.text):
                break
            self._command()
        if self._blocks:
            self.at = 0
            raise self.error("unmatched `{'")
        for command in self.commands:
            if command.name in "btT" and command.name:
                if command.text and command.text not in self.labels:
                    self.p.fail(f"can't find label for jump to `{command.text.decode(errors='replace')}'")
                    raise ProcessExit(4)
                command.target = self.labels[command.text] if command.text else len(self.commands)
        return self.commands

    def _file_name(self) -> bytes:
        """What is left of the line, which has to be a file's name."""
        self._skip(" \t")
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        name, self.at = _bytes(self.text[self.at : end]), end
        if not name:
            raise self.error("missing filename in r/R/w/W commands")
        return name

    def _skip(self, characters: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1

    def _number(self) -> int:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in "0123456789":
            self.at += 1
        return int(self.text[start : self.at][:15] or "0")

    def _regex(self, pattern: str, ignore_case: bool) -> Regex[bytes] | None:
        if not pattern:
            return None
        try:
            return regex(_bytes(_newlines(pattern)), self.dialect, ignore_case=ignore_case)
        except PatternError as exc:
            raise self.error(str(exc)) from None

    def _address(self, *, second: bool = False) -> _Address | None:
        character = self.text[self.at : self.at + 1]
        if character.isdigit():
            number = self._number()
            if not second and self.text.startswith("~", self.at):
                self.at += 1
                return _Address("step", number, self._number())
            return _Address("line", number)
        if character == "$":
            self.at += 1
            return _Address("last")
        if second and character in ("+", "~") and character:
            self.at += 1
            return _Address("plus" if character == "+" else "multiple", self._number())
        if character in ("/", "\\") and character:
            if character == "\\":
                self.at += 1
            pattern = self._delimited("unterminated address regex")
            ignore_case = False
            while self.text[self.at : self.at + 1] in ("I", "M"):
                ignore_case = ignore_case or self.text[self.at] == "I"
                self.at += 1
            return _Address("regex", regex=self._regex(pattern, ignore_case))
        return None

    def _delimited(self, why: str, *, replacement: bool = False) -> str:
        """What is between the delimiter at the current position and the next one; stays on that."""
        delimiter = self.text[self.at : self.at + 1]
        if not delimiter or delimiter in "\n\\":
            raise self.error(why)
        self.at += 1
        out: list[str] = []
        bracket = False
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\" and self.at + 1 < len(self.text) and not (bracket and not replacement):
                following = self.text[self.at + 1]
                out.append(
                    following
                    if following == delimiter and not (replacement and delimiter == "&")
                    else character + following
                )
                self.at += 2
                continue
            if character == "[" and not replacement:
                bracket = True
            elif character == "]" and not (out[-1:] == ["["] or out[-2:] == ["[", "^"]):
                bracket = False
            if character == delimiter and not bracket:
                self.at += 1
                return "".join(out)
            if character == "\n" and not replacement:
                break
            out.append(character)
            self.at += 1
        raise self.error(why)

    def _command(self) -> None:
        command = _Command("")
        command.first = self._address()
        self._skip(" \t")
        if command.first is not None and self.text.startswith(",", self.at):
            self.at += 1
            self._skip(" \t")
            command.second = self._address(second=True)
            if command.second is None:
                raise self.error("unexpected `,'")
        if (
            command.first is not None
            and command.first.kind == "line"
            and not command.first.number
            and (command.second is None or command.second.kind != "regex")
        ):
            raise self.error("invalid usage of line address 0")
        self._skip(" \t")
        while self.text.startswith("!", self.at):
            command.negated = True
            self.at += 1
            self._skip(" \t")
        name = self.text[self.at : self.at + 1]
        if not name or name in "\n;":
            raise self.error("missing command")
        self.at += 1
        command.name = name
        self._arguments(command)
        if name == ":":
            self.labels[command.text] = len(self.commands)
        elif name == "}":
            self._blocks.pop().target = len(self.commands)
        else:
            self.commands.append(command)

    def _arguments(self, command: _Command) -> None:
        name = command.name
        if name == "{":
            self._blocks.append(command)
            return
        if name == "}":
            if not self._blocks:
                raise self.error("unexpected `}'")
            if command.first is not None:
                raise self.error("} doesn't want any addresses")
        elif name == "s":
            self._substitution(command)
        elif name == "y":
            self._transliteration(command)
        elif name in "aic":
            command.text = _bytes(self._lines())
            return
        elif name in ":btT":
            self._skip(" \t")
            end = self.at
            while end < len(self.text) and self.text[end] not in "\n;":
                end += 1
            command.text = _bytes(self.text[self.at : end].strip())
            self.at = end
            if name == ":" and not command.text:
                raise self.error('":" lacks a label')
            return
        elif name in "rwRW":
            if name == "R":
                raise self.error(f"the lab's sed doesn't have `{name}'")
            command.text = self._file_name()
            return
        elif name in "qQlL":
            self._skip(" \t")
            command.target = self._number()
        elif name == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
            command.name = "#"
            return
        elif name == "e":
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            command.text = _bytes(self.text[self.at : end].strip())
            self.at = end
            if not command.text:
                raise self.error("the lab's sed doesn't have `e' without a command")
            return
        elif name == "v":
            while self.at < len(self.text) and self.text[self.at] not in "\n;}":
                self.at += 1
            return
        elif name not in "=dDFgGhHnNpPxz":
            raise self.error(f"unknown command: `{name}'")
        self._skip(" \t")
        if self.at < len(self.text) and self.text[self.at] not in "\n;}#":
            self.at += 1
            raise self.error("extra characters after command")

    def _lines(self) -> str:
        """The text of a, i and c: after a backslash and a newline, or on the same line."""
        self._skip(" \t")
        if self.text.startswith("\\", self.at):
            self.at += 1
            self._skip(" \t")
            if self.text.startswith("\n", self.at):
                self.at += 1
        if self.at >= len(self.text):
            raise self.error("expected \\ after `a', `c' or `i'")
        out = []
        while self.at < len(self.text) and self.text[self.at] != "\n":
            if self.text[self.at] == "\\" and self.at + 1 < len(self.text):
                self.at += 1
            out.append(self.text[self.at])
            self.at += 1
        return "".join(out) + "\n"

    def _substitution(self, command: _Command) -> None:
        pattern = self._delimited("unterminated `s' command")
        self.at -= 1  # the delimiter begins the replacement as well
        replacement = self._delimited("unterminated `s' command", replacement=True)
        flags = ""
        while self.at < len(self.text) and self.text[self.at] not in " \t\n;}#":
            if self.text[self.at] not in "gpiIm0123456789Mew":
                self.at += 1
                raise self.error("unknown option to `s'")
            flags += self.text[self.at]
            self.at += 1
            if flags[-1] == "w":
                command.text = self._file_name()
        if "e" in flags:
            raise self.error("the lab's sed doesn't have the flag `e' of `s'")
        command.flags = flags[:200]
        if len("".join(c for c in flags if c.isdigit())) > 9 or "".join(c for c in flags if c.isdigit()) == "0":
            raise self.error("number option to `s' command may not be zero")
        command.regex = self._regex(pattern, "i" in flags.lower())
        command.replacement = _replacement(replacement)
        most = max((part for part in command.replacement if isinstance(part, int)), default=0)
        if command.regex is not None and most > command.regex.groups:
            raise self.error(f"invalid reference \\{most} on `s' command's RHS")

    def _transliteration(self, command: _Command) -> None:
        one = _bytes(unescape(self._delimited("unterminated `y' command")))
        self.at -= 1
        two = _bytes(unescape(self._delimited("unterminated `y' command", replacement=True)))
        if len(one) != len(two):
            raise self.error("strings for `y' command are different lengths")
        command.table = bytes.maketrans(one, two)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _newlines(pattern: str) -> str:
    """A pattern with `\\n` and `\\t` as the characters that they stand for."""
    out, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\" and pattern[at + 1 : at + 2] in ("n", "t"):
            out.append({"n": "\n", "t": "\t"}[pattern[at + 1]])
            at += 2
        elif pattern[at] == "\\":
            out.append(pattern[at : at + 2])
            at += 2
        else:
            out.append(pattern[at])
            at += 1
    return "".join(out)


def _replacement(text: str) -> tuple[bytes | int | str, ...]:
    """The parts of a replacement: text, groups by number, and `U L u l E` that change the case of what follows."""
    parts: list[bytes | int | str] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "&":
            parts.append(0)
        elif character == "\\" and at < len(text):
            following = text[at]
            at += 1
            if following.isdigit():
                parts.append(int(following))
            elif following in "ULulE":
                parts.append(following)
            else:
                parts.append(_bytes({"n": "\n", "t": "\t"}.get(following, following)))
        else:
            parts.append(_bytes(character))
    return tuple(parts)


class _Input:
    """Lines of files, one ahead, so that the last is known."""

    def __init__(self, p: Process, names: list[str], end: bytes) -> None:
        self.p = p
        self.names = names
        self.end = end
        self.name = "-"
        self.status = 0
        self.number = 0
        self._lines = self._read()
        self._next: bytes | None = None
        self._begun = False

    async def _read(self) -> AsyncIterator[bytes]:
        for name in self.names:
            try:
                async for batch in line_batches(self.p, name, self.end):
                    for line in batch:
                        self.name = name
                        yield line
            except OSError as exc:
                verb = "couldn't edit" if isinstance(exc, IsADirectoryError) else "can't read"
                why = "not a regular file" if isinstance(exc, IsADirectoryError) else exc.strerror
                self.p.fail(f"{verb} {name}: {why}")
                self.status = 4 if isinstance(exc, IsADirectoryError) else 2

    async def peek(self) -> bytes | None:
        if not self._begun:
            self._begun = True
            self._next = await anext(self._lines, None)
        return self._next

    async def take(self) -> bytes | None:
        line = await self.peek()
        if line is not None:
            self.number += 1
            self._next = await anext(self._lines, None)
        return line


class _Editor:
    """Runs a script over an input."""

    def __init__(self, p: Process, commands: list[_Command], *, quiet: bool, write: Callable[[bytes], None]) -> None:
        self.p = p
        self.commands = commands
        self.quiet = quiet
        self.write = write
        self.hold = b""
        self.used: Regex[bytes] | None = None
        self.append: list[tuple[str, bytes]] = []
        self.files: dict[bytes, int] = {}

    async def run(self, source: _Input) -> int:
        """Edits every line; the exit status."""
        space: bytes | None = await source.take()
        while space is not None:
            await self.p.cooperate()
            space, leave = await self._line(space, source)
            await self._finish_line()
            if leave is not None:
                return leave
            if space is None:
                space = await source.take()
        return source.status

    async def _finish_line(self) -> None:
        for kind, text in self.append:
            if kind == "r":
                try:
                    async for chunk in file_chunks(self.p, text.decode("utf-8", "surrogateescape")):
                        self.write(chunk)
                        await self.p.drain(1)
                except OSError:
                    continue  # sed says nothing of a file that can't be read
            else:
                self.write(text)
        self.append.clear()
        await self.p.drain(1)

    async def _line(self, space: bytes, source: _Input) -> tuple[bytes | None, int | None]:
        """Runs the script once: what begins the next round (None: the next line), and the status if sed ends here."""
        pc, jumps, changed = 0, 0, False
        commands, end = self.commands, source.end
        while pc < len(commands):
            jumps += 1
            if not jumps & 255:
                await self.p.cooperate()
            command = commands[pc]
            pc += 1
            if not await self._applies(command, space, source):
                if command.name == "{":
                    pc = command.target
                continue
            name = command.name
            if name == "s":
                space, done = self._substituted(command, space)
                changed = changed or done
                if done and "p" in command.flags:
                    self.write(space + end)
                if done and command.text:
                    self._to_file(command.text, space)
            elif name in "pP":
                self.write((space if name == "p" else space.partition(end)[0]) + end)
            elif name == "d":
                return None, None
            elif name == "D":
                _, newline, rest = space.partition(end)
                return (rest if newline else None), None
            elif name in "qQ":
                if name == "q" and not self.quiet:
                    self.write(space + end)
                return None, command.target
            elif name in "bt" or name == "T":
                if name == "b" or changed == (name == "t"):
                    pc = command.target
                if name != "b":
                    changed = False
            elif name in "nN":
                if await source.peek() is None:
                    if not self.quiet:
                        self.write(space + end)
                    await self._finish_line()
                    return None, source.status
                if name == "n" and not self.quiet:
                    self.write(space + end)
                await self._finish_line()
                following = await source.take() or b""
                space = following if name == "n" else space + end + following
                self.p.charge(len(following) if name == "N" else 0)
            elif name in "gG":
                space = self.hold if name == "g" else space + end + self.hold
                self._bounded(space)
            elif name in "hH":
                self.p.charge(-len(self.hold))
                self.hold = space if name == "h" else self.hold + end + space
                self.p.charge(len(self.hold))
            elif name == "x":
                space, self.hold = self.hold, space
            elif name == "y":
                space = space.translate(command.table)
            elif name == "z":
                space = b""
            elif name == "=":
                self.write(b"%d\n" % source.number)
            elif name == "l":
                self.write(_listed(space))
            elif name == "i":
                self.write(command.text)
            elif name in "ar":
                self.append.append((name, command.text))
            elif name == "c":
                if command.second is None or not command.inside or command.negated:
                    self.write(command.text)
                return None, None
            elif name in "wW":
                self._to_file(command.text, space if name == "w" else space.partition(end)[0])
            elif name == "F":
                self.write(source.name.encode("utf-8", "surrogateescape") + b"\n")
            elif name == "e":
                await self.p.drain(1)
                await run(self.p, ["sh", "-c", command.text.decode("utf-8", "surrogateescape")], "sed")
        if not self.quiet:
            last = await source.peek() is None
            self.write(space + (b"" if last and not self.ended else end))
        return None, None

    ended = True

    def _bounded(self, space: bytes) -> None:
        self.p.charge(len(space))
        self.p.charge(-len(space))

    def _to_file(self, name: bytes, line: bytes) -> None:
        if name not in self.files:
            path = name.decode("utf-8", "surrogateescape")
            self.files[name] = (
                {"/dev/stdout": 1, "/dev/stderr": 2}.get(path)
                or self.p.open(path, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC)
            )  # fmt: skip
        self.p.write(self.files[name], line + b"\n")

    async def _applies(self, command: _Command, space: bytes, source: _Input) -> bool:
        if command.first is None:
            return not command.negated
        if command.second is None:
            selected = await self._at(command.first, space, source)
        elif command.inside:
            selected = True
            command.inside = not await self._ends(command, space, source)
            if command.second.kind == "line" and source.number > command.second.number:
                selected = False
        else:
            zero = command.first.kind == "line" and command.first.number == 0
            selected = (zero and source.number == 1) or await self._at(command.first, space, source)
            if selected:
                self._open(command, source)
                if zero:
                    command.inside = not await self._ends(command, space, source)
        return selected != command.negated

    def _open(self, command: _Command, source: _Input) -> None:
        second = command.second
        assert second is not None
        command.inside = True
        if second.kind == "line":
            command.inside = second.number > source.number
        elif second.kind == "plus":
            command.until = source.number + second.number
            command.inside = second.number > 0
        elif second.kind == "multiple":
            command.until = -(-source.number // second.number) * second.number if second.number else source.number
            command.inside = command.until > source.number

    async def _ends(self, command: _Command, space: bytes, source: _Input) -> bool:
        second = command.second
        assert second is not None
        if second.kind in ("plus", "multiple"):
            return source.number >= command.until
        if second.kind == "line":
            return source.number >= second.number
        return await self._at(second, space, source)

    async def _at(self, address: _Address, space: bytes, source: _Input) -> bool:
        if address.kind == "last":
            return await source.peek() is None
        if address.kind == "line":
            return source.number == address.number
        if address.kind == "step":
            if not address.step:
                return source.number == address.number
            return source.number >= address.number and (source.number - address.number) % address.step == 0
        return self._search(address.regex, space) is not None

    def _chosen(self, expression: Regex[bytes] | None) -> Regex[bytes]:
        expression = expression or self.used
        if expression is None:
            self.p.stderr.write("sed: -e expression #1, char 0: no previous regular expression\n")
            raise ProcessExit(1)
        self.used = expression
        return expression

    def _search(self, expression: Regex[bytes] | None, space: bytes) -> Match[bytes] | None:
        return self._chosen(expression).search(space)

    def _substituted(self, command: _Command, space: bytes) -> tuple[bytes, bool]:
        which, every = command.which, "g" in command.flags
        out: list[bytes] = []
        at = seen = size = 0
        for found in self._chosen(command.regex).finditer(space):
            seen += 1
            if seen < which:
                continue
            start, end = found.span()
            piece = _filled(command.replacement, found)
            size += len(piece)
            if size > 1 << 16:
                self.p.charge(size)
                self.p.charge(-size)
            out += [space[at:start], piece]
            at = end
            if not every:
                break
        return b"".join([*out, space[at:]]), bool(out)


def _filled(parts: tuple[bytes | int | str, ...], found: Match[bytes]) -> bytes:
    out: list[bytes] = []
    case = once = ""
    for part in parts:
        if isinstance(part, str):
            if part in "ul":
                once = part
            else:
                case = "" if part == "E" else part
            continue
        piece = (found.group(part) or b"") if isinstance(part, int) else part
        if case:
            piece = piece.upper() if case == "U" else piece.lower()
        if once and piece:
            piece = (piece[:1].upper() if once == "u" else piece[:1].lower()) + piece[1:]
            once = ""
        out.append(piece)
    return b"".join(out)


def _listed(space: bytes) -> bytes:
    names = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\"}
    shown = [names.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in space]
    out, width = "", 0
    for piece in shown:
        if width + len(piece) > 69:
            out, width = out + "\\\n", 0
        out, width = out + piece, width + len(piece)
    return (out + "$\n").encode()


@program("sed")
async def sed(p: Process) -> int:
    options = parse(
        p,
        "nEre:f:i::suzb",
        {
            "binary": "b",
            "null-data": "z",
            "posix": "posix",
            "quiet": "n",
            "silent": "n",
            "regexp-extended": "E",
            "expression": "e",
            "in-place": "i",
            "file": "f",
            "separate": "s",
            "unbuffered": "u",
        },
    )
    end = b"\0" if "z" in options else b"\n"
    operands = list(options.operands)
    scripts = []
    for letter, value in options.given:
        if letter == "e":
            scripts.append(value)
        elif letter == "f":
            try:
                scripts.append((await whole(p, value)).decode("utf-8", "surrogateescape").removesuffix("\n"))
            except OSError as exc:
                return p.fail(f"couldn't open file {value}: {exc.strerror}")
    if not scripts:
        if not operands:
            p.stderr.write("Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n")
            return 1
        scripts = [operands.pop(0)]
    text = "\n".join(scripts)
    if text.startswith("#n\n"):
        options.flags.append("n")
    commands = _Script(p, text, "E" in options or "r" in options).parse()
    quiet = "n" in options
    try:
        if "i" in options:
            return await _in_place(p, operands, commands, quiet, options.values.get("i", ""), end)
        if "s" in options:
            status = 0
            for name in operands or ["-"]:
                status = await _edit(p, [name], commands, quiet, 1, end) or status
            return status
        return await _edit(p, operands or ["-"], commands, quiet, 1, end)
    except PatternError as exc:
        return p.fail(str(exc), 4)


async def _edit(p: Process, names: list[str], commands: list[_Command], quiet: bool, fd: int, end: bytes) -> int:
    source = _Input(p, names, end)
    editor = _Editor(p, commands, quiet=quiet, write=lambda data: _write(p, fd, data))
    editor.ended = await _ends_with_newline(p, names[-1], end)
    return await editor.run(source)


def _write(p: Process, fd: int, data: bytes) -> None:
    p.write(fd, data)


async def _ends_with_newline(p: Process, name: str, end: bytes) -> bool:
    """Whether a file's last line has an end; of a stream it is taken for granted."""
    try:
        inode = p.filesystem.walk(p.absolute(name)).inode if name != "-" else p.descriptor(0).inode
    except OSError:
        return True
    data = getattr(inode, "data", None)
    return not data or bytes(data[-1:]) == end


async def _in_place(
    p: Process, names: list[str], commands: list[_Command], quiet: bool, backup: str, end: bytes
) -> int:
    status = 0
    for name in names:
        try:
            found = p.stat(name)
            if not found.is_file:
                p.fail(f"couldn't edit {name}: not a regular file")
                status = 4
                continue
            temporary = posixpath.join(posixpath.dirname(name), f"sed{suffix(6, name, p.kernel.now())}")
            fd = p.open(temporary, abi.O_RDWR | abi.O_CREAT | abi.O_EXCL, 0o600)
            status = await _edit(p, [name], commands, quiet, fd, end) or status
            p.close(fd)
            if backup:
                p.rename(name, backup.replace("*", name) if "*" in backup else name + backup)
            p.chown(temporary, found.uid, found.gid)
            p.chmod(temporary, found.mode & 0o7777)
            p.rename(temporary, name)
        except OSError as exc:
            p.fail(f"can't read {name}: {exc.strerror}")
            status = 2
    return status
