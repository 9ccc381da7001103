"""A part of perl: one-liners that print, run programs, read and write files, match patterns, or connect a socket.

What isn't in it says that the lab lacks it; nothing is left out in silence.
"""

from __future__ import annotations

import re
from typing import Any

from ekslab.node import abi
from ekslab.node.patterns import PatternError, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.quoting import unescape
from ekslab.node.userland.show import emit, line_batches, whole

Tree = tuple[Any, ...]
_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|\#[^\n]*)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<double>"(?:\\.|[^"\\])*"|qq\{[^}]*\}|qq\([^)]*\))
  | (?P<single>'(?:\\.|[^'\\])*'|q\{[^}]*\}|q\([^)]*\))
  | (?P<command>`(?:\\.|[^`\\])*`|qx\{[^}]*\}|qx\([^)]*\))
  | (?P<variable>[$@](?:[A-Za-z_]\w*|[0-9&!$])(?:\{\w+\}|\[\d+\])?)
  | (?P<read><\$?\w*>)
  | (?P<word>[A-Za-z_]\w*(?:::\w+)*)
  | (?P<mark>=~|!~|==|!=|<=|>=|&&|\|\||\.=|\+=|-=|\+\+|=>|[-+*/%.,;(){}<>=!?:])
    """,
    re.VERBOSE | re.DOTALL,
)
_SUBSTITUTION = re.compile(r"s/((?:\\.|[^/\\])*)/((?:\\.|[^/\\])*)/([gi]*)|(?:m)?/((?:\\.|[^/\\])*)/([gi]*)", re.DOTALL)
_DEEPEST = 50
_WEAK = {"or": 1, "and": 2, "=": 3, ".=": 3, "+=": 3, "-=": 3, "||": 5, "&&": 6, "eq": 7, "ne": 7, "==": 7, "!=": 7}
_BINDING = {**_WEAK, "lt": 8, "gt": 8, "<": 8, ">": 8, "<=": 8, ">=": 8, "+": 9, "-": 9, ".": 9, "*": 10, "/": 10}
_BINDING |= {"%": 10, "x": 10, "=~": 12, "!~": 12}
_NAMES = """
print say printf system exec unlink open close chdir mkdir rmdir rename chmod kill sleep exit die length uc lc
defined join time socket connect sockaddr_in inet_aton getprotobyname chomp syscall
"""
_FUNCTIONS = frozenset(_NAMES.split())
_CALLS = {
    101: "ptrace",
    105: "setuid",
    308: "setns",
    313: "finit_module",
    319: "memfd_create",
    321: "bpf",
    323: "userfaultfd",
}
_REQUESTS = {0: "PTRACE_TRACEME", 16: "PTRACE_ATTACH"}
_ENDS = frozenset((";", "}", ")", "if", "unless", "while", "or", "and"))


class _Lacking(Exception):
    """Something of perl's that the lab's doesn't have."""


class _Wrong(Exception):
    """An error of the program's own."""


class _Exit(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind = self.word = ""
        self.start = 0
        self.next()

    def next(self) -> str:
        old = self.word
        while True:
            self.start = self.at
            if self.at >= len(self.text):
                self.kind, self.word = "end", ""
                return old
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                raise _Lacking(self.text[self.at : self.at + 12])
            self.at = match.end()
            if match.lastgroup != "blank":
                self.kind, self.word = str(match.lastgroup), match[0]
                return old

    def take(self, word: str) -> bool:
        if self.word == word and self.kind in ("mark", "word"):
            self.next()
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise _Wrong(f'syntax error at -e line 1, near "{self.text[self.start : self.start + 16]}"')

    def block(self, end: str) -> list[Tree]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Lacking("so deep a program")
        found = []
        while not (self.word == end and self.kind in ("mark", "end")):
            if self.take(";"):
                continue
            found.append(self.statement())
        if end:
            self.next()
        self.depth -= 1
        return found

    def statement(self) -> Tree:
        if self.kind == "word" and self.word in ("use", "no"):
            while self.word != ";" and self.kind != "end":
                self.next()
            return ("nothing",)
        if self.kind == "word" and self.word in ("if", "unless", "while"):
            word = self.next()
            self.need("(")
            test = self.expression()
            self.need(")")
            self.need("{")
            body = self.block("}")
            other = []
            if word == "if" and self.take("else"):
                self.need("{")
                other = self.block("}")
            return (word, test, body, other)
        tree = self.expression()
        while self.kind == "word" and self.word in ("if", "unless", "while"):
            tree = (self.next(), self.expression(), [tree], [])
        if not (self.word in (";", "}") or self.kind == "end"):
            raise _Lacking(self.word)
        return tree

    def expression(self, least: int = 0) -> Tree:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Lacking("so deep a program")
        left = self.primary()
        while self.kind in ("mark", "word") and _BINDING.get(self.word, -1) > least:
            binding = _BINDING[self.word]
            if self.word in ("=~", "!~"):
                operator = self.word
                left = ("match", operator, left, self.pattern())
                continue
            operator = self.next()
            left = (operator, left, self.expression(binding - (binding == 3)))
        self.depth -= 1
        return left

    def pattern(self) -> Tree:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        match = _SUBSTITUTION.match(self.text, self.at)
        if match is None:
            raise _Lacking(f"=~ {self.text[self.at : self.at + 8]}")
        self.at = match.end()
        self.next()
        if match[1] is not None:
            return ("s", match[1], match[2], match[3])
        return ("m", match[4], match[5])

    def primary(self) -> Tree:
        kind, word = self.kind, self.word
        if kind == "number":
            self.next()
            return ("constant", float(word) if "." in word else int(word))
        if kind in ("double", "command"):
            self.next()
            return (kind, _inside(word))
        if kind == "single":
            self.next()
            return ("constant", _inside(word).replace("\\'", "'"))
        if kind == "variable":
            self.next()
            return ("variable", word)
        if kind == "read":
            self.next()
            return ("read", word[1:-1].lstrip("$"))
        if word == "(":
            self.next()
            items = self.items(")")
            return items[0] if len(items) == 1 else ("list", items)
        if word in ("-", "!"):
            self.next()
            return ("unary", word, self.expression(11))
        if word == "/" or (word in ("s", "m") and self.text[self.at : self.at + 1] == "/"):
            self.at = self.start
            return ("match", "=~", ("variable", "$_"), self.pattern())
        if kind == "word" and word == "my":
            self.next()
            return self.primary()
        if kind == "word":
            self.next()
            if word in _FUNCTIONS:
                return self.call(word)
            if self.word == "(" or word in ("sub", "for", "foreach", "local", "eval", "require", "map", "grep", "sort"):
                raise _Lacking(word)
            if not word.isupper():  # no file handle, and no constant of a module's
                raise _Lacking(word)
            return ("constant", word)
        raise _Wrong(f'syntax error at -e line 1, near "{self.text[self.start : self.start + 16]}"')

    def call(self, name: str) -> Tree:
        handle = ""
        closed = self.take("(")
        if name in ("print", "say", "printf") and self.kind == "word" and self.word.isupper() and len(self.word) > 0:
            handle = self.next()
        elif name in ("print", "say", "printf") and self.kind == "mark" and self.word == "{":
            raise _Lacking("print {...}")
        if closed:
            return ("call", name, handle, self.items(")"))
        arguments: list[Tree] = []
        while not (
            self.word in (";", "}", ")") or self.kind == "end" or self.word in ("if", "unless", "while", "or", "and")
        ):
            arguments.append(self.expression(3))
            if not self.take(","):
                break
        return ("call", name, handle, arguments)

    def items(self, end: str) -> list[Tree]:
        found: list[Tree] = []
        while not self.take(end):
            found.append(self.expression(2))
            if not self.take(",") and not self.take("=>"):
                self.need(end)
                break
        return found


def _inside(word: str) -> str:
    return word[1:-1] if word[0] in "\"'`" else word[word.index(word[2] if word[1] in "qx" else word[1]) + 1 : -1]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def _number(value: Any) -> float:
    match = re.match(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)", _text(value)[:40])
    return float(match[0]) if match is not None else 0.0


class _Perl:
    def __init__(self, p: Process, arguments: list[str], *, lines: bool) -> None:
        self.p = p
        self.values: dict[str, Any] = {"$0": "-e", "$$": p.vpid, "$,": "", "$!": ""}
        self.arguments = arguments
        self.handles: dict[str, int] = {"STDIN": 0, "STDOUT": 1, "STDERR": 2}
        self.readers: dict[str, list[str]] = {}
        self.groups: list[str | None] = []
        self.end = "\n" if lines else ""

    async def run(self, statements: list[Tree]) -> None:
        for statement in statements:
            await self.value(statement)

    async def listed(self, trees: list[Tree]) -> list[Any]:
        found: list[Any] = []
        for tree in trees:
            if tree[0] == "list":
                found += await self.listed(tree[1])
            elif tree[0] == "read":
                found += await self.rest(tree[1])
            else:
                value = await self.value(tree)
                found += value if isinstance(value, list) else [value]
        return found

    async def value(self, tree: Tree) -> Any:
        kind = tree[0]
        if kind == "nothing":
            return None
        if kind == "constant":
            return tree[1]
        if kind == "variable":
            return self.variable(tree[1])
        if kind == "double":
            return self.interpolated(tree[1])
        if kind == "command":
            return await self.captured(self.interpolated(tree[1]))
        if kind == "read":
            return await self.line(tree[1])
        if kind == "list":
            found = await self.listed(tree[1])
            return found[-1] if found else None
        if kind == "call":
            return await self.call(tree[1], tree[2], tree[3])
        if kind == "match":
            return await self.match(tree)
        if kind in ("if", "unless"):
            await self.run(tree[2] if _true(await self.value(tree[1])) == (kind == "if") else tree[3])
            return None
        if kind == "while":
            await self.loop(tree)
            return None
        if kind == "unary":
            value = await self.value(tree[2])
            return not _true(value) if tree[1] == "!" else -_number(value)
        return await self.operation(tree)

    async def loop(self, tree: Tree) -> None:
        test = tree[1]
        while True:
            await self.p.cooperate()
            value = await self.value(test)
            if test[0] == "read":
                self.values["$_"] = value
            if value is None if test[0] == "read" or (test[0] == "=" and test[2][0] == "read") else not _true(value):
                return
            await self.run(tree[2])

    async def operation(self, tree: Tree) -> Any:
        kind, left = tree[0], tree[1]
        if kind in ("=", ".=", "+=", "-="):
            if left[0] != "variable" or not left[1].startswith("$"):
                raise _Lacking(f"an assignment to {left[1] if left[0] == 'variable' else left[0]}")
            value = await self.value(tree[2])
            if kind == ".=":
                value = _text(self.variable(left[1])) + _text(value)
            elif kind != "=":
                value = _number(self.variable(left[1])) + (_number(value) if kind == "+=" else -_number(value))
            self.p.charge(len(_text(value)) if kind == ".=" else 0)
            self.values[left[1]] = value
            return value
        first = await self.value(left)
        if kind in ("&&", "and"):
            return await self.value(tree[2]) if _true(first) else first
        if kind in ("||", "or"):
            return first if _true(first) else await self.value(tree[2])
        second = await self.value(tree[2])
        if kind == ".":
            return _text(first) + _text(second)
        if kind == "x":
            if _number(second) * len(_text(first)) > 1 << 20:
                raise _Lacking("so long a text")
            return _text(first) * int(_number(second))
        if kind in ("eq", "ne", "lt", "gt"):
            one, two = _text(first), _text(second)
            return {"eq": one == two, "ne": one != two, "lt": one < two, "gt": one > two}[kind]
        a, b = _number(first), _number(second)
        if kind in ("/", "%") and not b:
            raise _Wrong(f"Illegal {'division by' if kind == '/' else 'modulus'} zero at -e line 1.")
        simple = {"+": a + b, "-": a - b, "*": a * b, "==": a == b, "!=": a != b, "<": a < b, ">": a > b}
        if kind in simple:
            return simple[kind]
        return a / b if kind == "/" else a % b if kind == "%" else a <= b if kind == "<=" else a >= b

    def variable(self, name: str) -> Any:
        if match := re.fullmatch(r"\$ENV\{(\w+)\}", name):
            return self.p.env.get(match[1])
        if match := re.fullmatch(r"\$ARGV\[(\d+)\]", name):
            return self.arguments[int(match[1])] if int(match[1]) < len(self.arguments) else None
        if name == "@ARGV":
            return list(self.arguments)
        if match := re.fullmatch(r"\$(\d)", name):
            return self.groups[int(match[1])] if int(match[1]) < len(self.groups) else self.values.get(name)
        if "{" in name or "[" in name or name.startswith("@"):
            raise _Lacking(name)
        return self.values.get(name)

    def interpolated(self, text: str) -> str:
        parts = re.split(r"((?<!\\)[$@](?:[A-Za-z_]\w*(?:\{\w+\}|\[\d+\])?|[0-9$!]))", text)
        return "".join(
            (" ".join(map(_text, value)) if isinstance(value := self.variable(part), list) else _text(value))
            if index % 2
            else unescape(re.sub(r"\\([$@\"])", r"\1", part))
            for index, part in enumerate(parts)
        )

    async def match(self, tree: Tree) -> Any:
        target, pattern = tree[2], tree[3]
        text = _text(await self.value(target))
        expression = regex(self.interpolated_pattern(pattern[1]), "perl", ignore_case="i" in pattern[-1])
        found = expression.search(text)
        if found is not None:
            self.groups = [found.group(index) for index in range(found.groups + 1)]
        if pattern[0] == "m":
            return (found is not None) == (tree[1] == "=~")
        made, at, count = [], 0, 0
        for one in expression.finditer(text):
            start, end = one.span()
            self.groups = [one.group(index) for index in range(one.groups + 1)]
            made += [text[at:start], self.interpolated(pattern[2])]
            at, count = end, count + 1
            if "g" not in pattern[3]:
                break
        if count and target[0] == "variable":
            self.values[target[1]] = "".join([*made, text[at:]])
        return count

    def interpolated_pattern(self, text: str) -> str:
        return re.sub(r"\$([A-Za-z_]\w*)", lambda match: _text(self.values.get(match[0])), text)

    # -- files, programs, sockets --------------------------------------------------------------------------------------

    async def captured(self, command: str) -> str:
        reading, writing = self.p.pipe()
        child = self.started([command], stdout=writing)
        self.p.close(writing)
        data = b""
        while chunk := await self.p.read(reading):
            self.p.charge(len(chunk))
            data += chunk
        self.p.close(reading)
        await self.p.wait(child)
        return data.decode("utf-8", "surrogateescape")

    def started(self, words: list[str], stdout: int | None = None) -> Process:
        argv, by_shell = _command(words)

        async def main(child: Process) -> int:
            if stdout is not None:
                child.dup2(stdout, 1)
                child.close(stdout)
            if by_shell:
                return await child.run_executable(child.loaded("/bin/sh", argv))
            return await child.exec(argv, failed=lambda exc: 255)

        return self.p.fork(main)

    async def line(self, name: str) -> str | None:
        lines = await self.lines(name)
        return lines.pop(0) if lines else None

    async def rest(self, name: str) -> list[str]:
        lines = await self.lines(name)
        found = list(lines)
        lines.clear()
        return found

    async def lines(self, name: str) -> list[str]:
        if name not in self.readers:
            held: list[str] = []
            if name in ("", "STDIN") and self.arguments and name == "":
                for file in self.arguments:
                    held += (await whole(self.p, file)).decode("utf-8", "surrogateescape").splitlines(keepends=True)
            else:
                fd = self.handles.get(name or "STDIN")
                if fd is None:
                    return []
                data = b""
                while chunk := await self.p.read(fd):
                    self.p.charge(len(chunk))
                    data += chunk
                held = data.decode("utf-8", "surrogateescape").splitlines(keepends=True)
            self.readers[name] = held
        return self.readers[name]

    async def call(self, name: str, handle: str, trees: list[Tree]) -> Any:
        if name == "open":
            return self.opened(trees, [_text(value) for value in await self.listed(trees[1:])])
        if name in ("close", "socket", "connect") and trees:
            return await self.on_handle(name, trees)
        values = await self.listed(trees)
        words = [_text(value) for value in values]
        if name in ("print", "say", "printf"):
            return await self.print(name, handle, values)
        if name == "system":
            status = await self.p.wait(self.started(words))
            return -1 if status == 255 else status << 8
        if name == "exec":
            argv, by_shell = _command(words)
            if by_shell:
                raise _Exit(await self.p.run_executable(self.p.loaded("/bin/sh", argv)))
            raise _Exit(await self.p.exec(argv, failed=lambda exc: 2))
        if name in ("exit", "die"):
            if name == "exit":
                raise _Exit(int(_number(values[0])) if values else 0)
            text = "".join(words) or "Died"
            raise _Wrong(text.removesuffix("\n") if text.endswith("\n") else f"{text} at -e line 1.")
        if name == "sleep":
            await self.p.sleep(min(_number(values[0]) if values else 0, 86_400))
            return 1
        if name == "syscall":
            return self.system_call(values)
        if name in ("unlink", "mkdir", "rmdir", "rename", "chmod", "chdir", "kill"):
            return self.changed(name, words)
        return self.simple(name, values, words)

    def simple(self, name: str, values: list[Any], words: list[str]) -> Any:
        text = words[0] if words else _text(self.values.get("$_"))
        if name in ("length", "uc", "lc"):
            return len(text) if name == "length" else text.upper() if name == "uc" else text.lower()
        if name == "defined":
            return bool(values) and values[0] is not None
        if name == "join":
            return text.join(words[1:])
        if name == "time":
            return self.p.kernel.now() // 1_000_000_000
        if name == "chomp":
            self.values["$_"] = _text(self.values.get("$_")).removesuffix("\n")
            return 1
        if name == "sockaddr_in":
            return f"{words[1]}:{words[0]}"
        if name == "inet_aton":
            return text
        if name == "getprotobyname":
            return 6
        raise _Lacking(name)

    def system_call(self, values: list[Any]) -> int:
        """A call by its number on x86_64; -1 if it fails. Calls that aren't in the table are lacking."""
        p, call = self.p, _CALLS.get(int(_number(values[0])) if values else 0, "")
        first, second = (*(int(_number(value)) for value in values[1:3]), 0, 0)[:2]
        try:
            if call == "memfd_create":
                return int(p.memfd_create(_text(values[1])).rpartition("/")[2])
            if call == "userfaultfd":
                return p.userfaultfd()
            if call in ("bpf", "finit_module"):
                result = p.bpf(first) if call == "bpf" else p.finit_module(first)
                if result < 0:
                    raise abi.error(abi.result_name(result))
                return result
            if call == "setuid":
                p.setuid(first)
            elif call == "setns":
                p.setns(first)
            elif call == "ptrace" and first in _REQUESTS:
                p.ptrace(_REQUESTS[first], second)
            else:
                raise _Lacking(f"syscall {' '.join(map(_text, values[: 2 if call else 1]))}")
        except OSError as exc:
            self.values["$!"] = exc.strerror
            return -1
        return 0

    def changed(self, name: str, words: list[str]) -> int:
        """Calls that change files, for each word; how many succeeded."""
        p, count = self.p, 0
        try:
            if name == "rename":
                p.rename(words[0], words[1])
                return 1
            if name in ("chmod", "kill"):
                number, *words = words
            for word in words:
                if name == "chmod":
                    p.chmod(word, int(_number(number)))
                elif name == "kill":
                    p.kill(int(_number(word)), abi.SIGNALS.get(number) or int(_number(number)))
                elif name == "unlink":
                    p.unlink(word, call="unlink")
                elif name == "rmdir":
                    p.rmdir(word, call="rmdir")
                else:
                    (p.mkdir if name == "mkdir" else p.chdir)(word)
                count += 1
        except OSError as exc:
            self.values["$!"] = exc.strerror
        return count

    def opened(self, trees: list[Tree], words: list[str]) -> bool:
        name = str(trees[0][1]).lstrip("$")
        mode, path = (words[0], words[1]) if len(words) > 1 else ("", words[0] if words else "")
        if not mode:
            match = re.match(r"\s*(\+?[<>]{0,2}&?)\s*(.*)", path, re.DOTALL)
            assert match is not None
            mode, path = match[1] or "<", match[2]
        if path.endswith("|") or mode.strip() in ("|-", "-|") or path.startswith("|"):
            raise _Lacking("a pipe by open")
        try:
            if "&" in mode:
                source = self.handles[path.strip()]
                self.p.dup2(source, self.handles.get(name, source))
                return True
            flags = {"<": abi.O_RDONLY, ">": abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC}
            flags[">>"] = abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND
            self.handles[name] = self.p.open(path.strip(), flags[mode.strip()] | abi.O_CLOEXEC, 0o666)
            self.readers.pop(name, None)
        except KeyError:
            raise _Lacking(f"open {mode}{path}") from None
        except OSError as exc:
            self.values["$!"] = exc.strerror
            return False
        return True

    async def on_handle(self, name: str, trees: list[Tree]) -> bool:
        handle = str(trees[0][1]).lstrip("$")
        if name == "close":
            fd = self.handles.pop(handle, None)
            if fd is not None and fd in self.p.fds:
                self.p.close(fd)
            return fd is not None
        if name == "socket":
            domain, *rest = [_number(await self.value(tree)) for tree in trees[1:]]
            if domain != 17:
                return True  # made by connect, which knows where it leads
            try:
                self.handles[handle] = self.p.socket("AF_PACKET", *map(int, rest))
            except OSError as exc:
                self.values["$!"] = exc.strerror
                return False
            return True
        host, _, port = _text(await self.value(trees[1])).rpartition(":")
        try:
            self.handles[handle] = await self.p.connect(host, int(_number(port)))
        except OSError as exc:
            self.values["$!"] = exc.strerror
            return False
        return True

    async def print(self, name: str, handle: str, values: list[Any]) -> bool:
        words = [_text(value) for value in values] if values else [_text(self.values.get("$_"))]
        if name == "printf":
            text = _formatted(words[0], values[1:])
        else:
            text = "".join(words) + (self.end or ("\n" if name == "say" else ""))
        fd = self.handles.get(handle or "STDOUT")
        if fd is not None:
            await emit(self.p, text.encode("utf-8", "surrogateescape"), fd)
        return fd is not None


def _formatted(form: str, values: list[Any]) -> str:
    rest = iter(values)

    def replace(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = next(rest, None)
        kind = match[1]
        return match[0] % (int(_number(value)) if kind in "dxXo" else _number(value) if kind in "feg" else _text(value))

    return re.sub(r"%(?:%|[-+ 0#]*\d{0,3}(?:\.\d{0,3})?([sdxXofeg]))", replace, form)


def _true(value: Any) -> bool:
    return _text(value) not in ("", "0")


def _command(words: list[str]) -> tuple[list[str], bool]:
    """What `system` and `exec` run: one text with the shell's characters by sh, else the program itself."""
    if len(words) == 1 and re.search(r"[$&*(){}\[\]'\";\\|?<>~`\n]", words[0]):
        return ["sh", "-c", words[0]], True
    return (words[0].split() if len(words) == 1 else words), False


@program("perl")
async def perl(p: Process) -> int:
    words = p.argv[1:]
    sources: list[str] = []
    flags: set[str] = set()
    while words and words[0].startswith("-") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        if word.startswith("-M"):
            continue
        for index, letter in enumerate(word[1:], 1):
            if letter in "eE":
                sources.append(word[index + 1 :] or (words.pop(0) if words else ""))
                break
            if letter == "v":
                p.print("\nThis is perl 5, version 40, subversion 1 (v5.40.1) built for x86_64-linux-gnu-thread-multi")
                return 0
            if letter not in "nplw":
                return p.fail(f"embedded lab: the lab's perl has no option -{letter}", 29)
            flags.add(letter)
    if not sources:
        return p.fail("embedded lab: the lab's perl runs one-liners: perl -e PROGRAM", 29)
    interpreter = _Perl(p, words, lines="l" in flags)
    try:
        statements = _Parser(";".join(sources)).block("")
        if flags & {"n", "p"}:
            await _for_each_line(p, interpreter, statements, words, shown="p" in flags)
        else:
            await interpreter.run(statements)
    except _Exit as exc:
        return exc.status
    except _Lacking as exc:
        return p.fail(f"embedded lab: the lab's perl doesn't have: {exc}", 29)
    except (_Wrong, PatternError) as exc:
        p.stderr.write(f"{exc}\n")
        return 255
    return 0


async def _for_each_line(
    p: Process, interpreter: _Perl, statements: list[Tree], names: list[str], *, shown: bool
) -> None:
    for name in names or ["-"]:
        try:
            async for batch in line_batches(p, name):
                for raw in batch:
                    text = raw.decode("utf-8", "surrogateescape")
                    interpreter.values["$_"] = text if interpreter.end else f"{text}\n"
                    await interpreter.run(statements)
                    if shown:
                        await interpreter.print("print", "", [])
        except OSError as exc:
            p.stderr.write(f"Can't open {name}: {exc.strerror}.\n")
