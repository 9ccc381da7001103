"""Searching: find, grep (egrep, fgrep), xargs, which."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.embedded.node import abi
from labkit.embedded.node.filesystem import Directory, Stat
from labkit.embedded.node.kernel import Process, ProcessExit
from labkit.embedded.node.programs import program
from labkit.embedded.node.shell.expansion import translate
from labkit.embedded.node.userland import regex
from labkit.embedded.node.userland.options import parse, quoted, usage
from labkit.embedded.node.userland.show import list_time, mode_text

# -- find -------------------------------------------------------------------------------------------------------------


@dataclass
class _Entry:
    path: str
    found: Stat
    depth: int
    pruned: bool = False


class _Quit(Exception):
    pass


_Check = Callable[["_Find", _Entry], "bool | _Run"]


@dataclass(frozen=True)
class _Run:
    """-exec: a check whose answer has to be waited for."""

    argv: tuple[str, ...]


class _Find:
    def __init__(self, p: Process) -> None:
        self.p = p
        self.status = 0
        self.max_depth = 1 << 30
        self.min_depth = 0
        self.same_device = False
        self.depth_first = False
        self.acts = False
        self.batches: list[tuple[tuple[str, ...], list[str]]] = []

    def error(self, message: str) -> None:
        self.p.stderr.write(f"find: {message}\n")
        raise ProcessExit(1)

    # -- the expression -------------------------------------------------------------------------------------------

    def expression(self, words: list[str]) -> object:
        tree = self._or(words)
        if words:
            self.error(
                "invalid expression; you have used a binary operator '-o' with nothing before it."
                if words[0] == ")"
                else f"paths must precede expression: `{words[0]}'"
            )
        return tree

    def _or(self, words: list[str]) -> object:
        branches = [self._and(words)]
        while words[:1] in (["-o"], ["-or"]):
            words.pop(0)
            branches.append(self._and(words))
        return ("or", branches) if len(branches) > 1 else branches[0]

    def _and(self, words: list[str]) -> object:
        branches = []
        while words and words[0] not in ("-o", "-or", ")"):
            if words[0] in ("-a", "-and"):
                words.pop(0)
                continue
            branches.append(self._not(words))
        return ("and", branches)

    def _not(self, words: list[str]) -> object:
        if words[0] in ("!", "-not"):
            words.pop(0)
            if not words:
                self.error("expected an expression after '!'")
            return ("not", self._not(words))
        if words[0] == "(":
            words.pop(0)
            inner = self._or(words)
            if words[:1] != [")"]:
                self.error("invalid expression; expected to find a ')' but didn't see one.")
            words.pop(0)
            return inner
        return self._primary(words)

    def _argument(self, name: str, words: list[str]) -> str:
        if not words:
            self.error(f"missing argument to `{name}'")
        return words.pop(0)

    def _primary(self, words: list[str]) -> object:
        name = words.pop(0)
        if name in ("-maxdepth", "-mindepth"):
            text = self._argument(name, words)
            if not text.isdigit():
                self.error(f"Expected a positive decimal integer argument to {name}, but got {quoted(text)}")
            if name == "-maxdepth":
                self.max_depth = int(text)
            else:
                self.min_depth = int(text)
            return lambda entry: True
        if name in ("-xdev", "-mount"):
            self.same_device = True
            return lambda entry: True
        if name in ("-depth", "-d"):
            self.depth_first = True
            return lambda entry: True
        if name in ("-name", "-iname", "-path", "-ipath", "-wholename", "-regex", "-iregex", "-lname"):
            return self._pattern(name, self._argument(name, words))
        if name == "-type":
            kinds = self._argument(name, words).split(",")
            bits = {
                "f": abi.S_IFREG,
                "d": abi.S_IFDIR,
                "l": abi.S_IFLNK,
                "c": abi.S_IFCHR,
                "p": abi.S_IFIFO,
                "s": abi.S_IFSOCK,
                "b": -1,
            }
            for kind in kinds:
                if kind not in bits:
                    self.error(f"Unknown argument to -type: {kind}")
            wanted = {bits[kind] for kind in kinds}
            return lambda entry: entry.found.mode & 0o170000 in wanted
        if name in (
            "-size",
            "-mtime",
            "-mmin",
            "-ctime",
            "-cmin",
            "-atime",
            "-amin",
            "-links",
            "-inum",
            "-uid",
            "-gid",
        ):
            return self._number(name, self._argument(name, words))
        if name == "-perm":
            return self._permission(self._argument(name, words))
        if name in ("-user", "-group"):
            return self._owner(name, self._argument(name, words))
        if name == "-newer":
            path = self._argument(name, words)
            try:
                than = self.p.stat(path).mtime
            except OSError as exc:
                self.error(f"{quoted(path)}: {exc.strerror}")
            return lambda entry: entry.found.mtime > than
        simple: dict[str, Callable[[_Entry], bool]] = {
            "-empty": self._empty,
            "-true": lambda entry: True,
            "-false": lambda entry: False,
            "-readable": lambda entry: self.p.access(entry.path, abi.R_OK),
            "-writable": lambda entry: self.p.access(entry.path, abi.W_OK),
            "-executable": lambda entry: self.p.access(entry.path, abi.X_OK),
            "-nouser": lambda entry: self.p.user_name(entry.found.uid) is None,
            "-nogroup": lambda entry: self.p.group_name(entry.found.gid) is None,
        }
        if name in simple:
            return simple[name]
        return self._action(name, words)

    def _pattern(self, name: str, text: str) -> Callable[[_Entry], bool]:
        flags = re.DOTALL | (re.IGNORECASE if name.startswith("-i") else 0)
        if "regex" in name:
            matcher = regex.compiled(to_python(text, extended=False), ignore_case=name.startswith("-i"))
            return lambda entry: matcher.fullmatch(entry.path) is not None
        expression = re.compile(translate(text), flags)
        if name.endswith("lname"):
            return lambda entry: (
                entry.found.is_symlink and expression.fullmatch(self.p.readlink(entry.path)) is not None
            )
        if name in ("-name", "-iname"):
            return lambda entry: expression.fullmatch(posixpath.basename(entry.path.rstrip("/")) or "/") is not None
        return lambda entry: expression.fullmatch(entry.path) is not None

    def _number(self, name: str, text: str) -> Callable[[_Entry], bool]:
        match = re.fullmatch(r"([-+]?)(\d+)([bcwkMG]?)", text)
        if match is None or (match[3] and name != "-size"):
            self.error(f"invalid argument `{text}' to `{name}'")
        assert match is not None
        sign, amount = match[1], int(match[2])
        unit = {"c": 1, "w": 2, "k": 1024, "M": 1024**2, "G": 1024**3}.get(match[3], 512)

        def measure(entry: _Entry) -> int:
            found = entry.found
            if name == "-size":
                return -(-found.size // unit)
            simple = {"-links": found.nlink, "-inum": found.ino, "-uid": found.uid, "-gid": found.gid}
            if name in simple:
                return simple[name]
            when = {"m": found.mtime, "c": found.ctime, "a": found.atime}[name[1]]
            age = (self.p.kernel.now() - when) // 1_000_000_000
            return age // 86_400 if name.endswith("time") else -(-age // 60)

        if sign == "+":
            return lambda entry: measure(entry) > amount
        if sign == "-":
            return lambda entry: measure(entry) < amount
        return lambda entry: measure(entry) == amount

    def _permission(self, text: str) -> Callable[[_Entry], bool]:
        from labkit.embedded.node.userland.files import _mode

        kind, digits = (text[0], text[1:]) if text[:1] in "-/" else ("", text)
        bits = _mode(self.p, digits, 0, is_dir=False)
        if kind == "-":
            return lambda entry: entry.found.mode & bits == bits
        if kind == "/":
            return lambda entry: not bits or bool(entry.found.mode & bits)
        return lambda entry: entry.found.mode & 0o7777 == bits

    def _owner(self, name: str, text: str) -> Callable[[_Entry], bool]:
        if name == "-user":
            return lambda entry: text in (self.p.user_name(entry.found.uid), str(entry.found.uid))
        return lambda entry: text in (self.p.group_name(entry.found.gid), str(entry.found.gid))

    def _empty(self, entry: _Entry) -> bool:
        if entry.found.is_dir:
            inode = self.p.filesystem.walk(self.p.absolute(entry.path)).inode
            return isinstance(inode, Directory) and not inode.names()
        return entry.found.is_file and entry.found.size == 0

    def _action(self, name: str, words: list[str]) -> object:
        p = self.p
        if name == "-prune":

            def prune(entry: _Entry) -> bool:
                entry.pruned = True
                return True

            return prune
        self.acts = True
        if name in ("-print", "-print0"):
            end = "\n" if name == "-print" else "\0"

            def show(entry: _Entry) -> bool:
                p.stdout.write(entry.path + end)
                return True

            return show
        if name == "-ls":
            return self._list
        if name == "-delete":
            self.depth_first = True
            return self._delete
        if name == "-quit":

            def leave(entry: _Entry) -> bool:
                raise _Quit

            return leave
        if name in ("-exec", "-execdir"):
            argv: list[str] = []
            while words and words[0] != ";" and not (words[0] == "+" and argv[-1:] == ["{}"]):
                argv.append(words.pop(0))
            if not words or not argv:
                self.error(f"missing argument to `{name}'")
            if words.pop(0) == "+":
                batch: tuple[tuple[str, ...], list[str]] = (tuple(argv[:-1]), [])
                self.batches.append(batch)

                def add(entry: _Entry) -> bool:
                    batch[1].append(entry.path)
                    return True

                return add
            return _Run(tuple(argv))
        if name == "-printf":
            format = self._argument(name, words)
            return lambda entry: self._printf(entry, format)
        if name.startswith("-"):
            self.error(f"unknown predicate `{name}'")
        self.error(f"paths must precede expression: `{name}'")
        raise AssertionError

    def _list(self, entry: _Entry) -> bool:
        p, found = self.p, entry.found
        link = f" -> {p.readlink(entry.path)}" if found.is_symlink else ""
        owner, group = p.user_name(found.uid) or found.uid, p.group_name(found.gid) or found.gid
        p.print(
            f"{found.ino:>9} {(found.size + 4095) // 4096 * 4:>6} {mode_text(found.mode)} {found.nlink:>3} {owner:<8} "
            f"{group:<8} {found.size:>8} {list_time(found.mtime, p.kernel.now())} {entry.path}{link}"
        )
        return True

    def _delete(self, entry: _Entry) -> bool:
        try:
            if entry.found.is_dir:
                self.p.rmdir(entry.path)
            else:
                self.p.unlink(entry.path)
        except OSError as exc:
            self.p.stderr.write(f"find: cannot delete {quoted(entry.path)}: {exc.strerror}\n")
            self.status = 1
            return False
        return True

    def _printf(self, entry: _Entry, format: str) -> bool:
        from labkit.embedded.node.shell.parser import unescape

        found, p = entry.found, self.p
        values = {
            "p": entry.path,
            "f": posixpath.basename(entry.path) or "/",
            "h": posixpath.dirname(entry.path) or ".",
            "s": str(found.size),
            "m": f"{found.mode & 0o7777:o}",
            "M": mode_text(found.mode),
            "u": p.user_name(found.uid) or str(found.uid),
            "g": p.group_name(found.gid) or str(found.gid),
            "U": str(found.uid),
            "G": str(found.gid),
            "i": str(found.ino),
            "n": str(found.nlink),
            "d": str(entry.depth),
            "y": mode_text(found.mode)[0].replace("-", "f"),
            "%": "%",
        }
        p.stdout.write(re.sub(r"%(.)", lambda match: values.get(match[1], match[0]), unescape(format)))
        return True

    # -- the walk -------------------------------------------------------------------------------------------------

    async def value(self, tree: object, entry: _Entry) -> bool:
        if isinstance(tree, tuple):
            kind, inner = tree
            if kind == "not":
                return not await self.value(inner, entry)
            for branch in inner:
                result = await self.value(branch, entry)
                if result == (kind == "or"):
                    return result
            return bool(kind == "and")
        if isinstance(tree, _Run):
            argv = [word.replace("{}", entry.path) for word in tree.argv]
            return await run(self.p, argv, "find") == 0
        assert callable(tree)
        return bool(tree(entry))

    async def walk(self, path: str, tree: object, depth: int = 0, device: int | None = None) -> None:
        p = self.p
        await p.cooperate()
        try:
            found = p.lstat(path)
        except OSError as exc:
            p.stderr.write(f"find: {quoted(path)}: {exc.strerror}\n")
            self.status = 1
            return
        entry = _Entry(path, found, depth)
        device = found.dev if device is None else device
        if not self.depth_first and depth >= self.min_depth:
            await self.value(tree, entry)
            await p.drain(1)
        if (
            found.is_dir
            and not entry.pruned
            and depth < self.max_depth
            and not (self.same_device and found.dev != device)
        ):
            await self._children(path, tree, depth, device)
        if self.depth_first and depth >= self.min_depth:
            await self.value(tree, entry)

    async def _children(self, path: str, tree: object, depth: int, device: int) -> None:
        p = self.p
        try:
            # find reads a directory through a descriptor that isn't opened as a directory where it starts.
            if depth:
                names = p.listdir(path)
            else:
                fd = p.open(path, abi.O_RDONLY | abi.O_CLOEXEC)
                inode = p.descriptor(fd).inode
                assert isinstance(inode, Directory)
                names = inode.names(p)
                p.close(fd)
        except OSError as exc:
            p.stderr.write(f"find: {quoted(path)}: {exc.strerror}\n")
            self.status = 1
            return
        for name in names:
            await self.walk(posixpath.join(path, name), tree, depth + 1, device)


@program("find")
async def find(p: Process) -> int:
    words = p.argv[1:]
    while words[:1] and words[0] in ("-P", "-H"):
        words.pop(0)
    if words[:1] == ["-L"]:
        return p.fail("option -L is not simulated in this lab")
    paths = []
    while words and not (words[0].startswith("-") and len(words[0]) > 1) and words[0] not in ("!", "(", ")"):
        paths.append(words.pop(0))
    finder = _Find(p)
    tree: object = finder.expression(words) if words else ("and", [])
    if not finder.acts:

        def show(entry: _Entry) -> bool:
            p.stdout.write(f"{entry.path}\n")
            return True

        tree = ("and", [tree, show])
    try:
        for path in paths or ["."]:
            await finder.walk(path, tree)
    except _Quit:
        return finder.status
    for argv, found in finder.batches:
        if found and await run(p, [*argv, *found], "find"):
            finder.status = 1
    return finder.status


async def run(p: Process, argv: list[str], caller: str) -> int:
    """Runs another program and waits for it; 127 with a message when it can't be run."""
    try:
        child = p.spawn(argv)
    except OSError as exc:
        p.stderr.write(f"{caller}: {quoted(argv[0]) if caller == 'find' else argv[0]}: {exc.strerror}\n")
        return 126 if isinstance(exc, PermissionError) else 127
    return await p.wait(child)


# -- grep ------------------------------------------------------------------------------------------------------------


def to_python(pattern: str, *, extended: bool) -> str:
    """A POSIX regular expression (basic or extended, with GNU's additions) as Python has it."""
    out: list[str] = []
    at = 0
    swapped = "+?|(){}"
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern):
            following = pattern[at + 1]
            at += 2
            if following in swapped:
                out.append("\\" + following if extended else following)
            elif following in "<>":
                out.append(r"\b")
            elif following in "wWsSbB" or following.isdigit():
                out.append("\\" + following)
            elif following == "`":
                out.append(r"\A")
            elif following == "'":
                out.append(r"\Z")
            else:
                out.append(re.escape(following))
            continue
        if character == "[":
            end = pattern.find("]", at + (3 if pattern[at + 1 : at + 2] == "^" else 2))
            while end > 0 and pattern.count("[:", at, end) > pattern.count(":]", at, end + 1):
                end = pattern.find("]", end + 1)
            while (
                end > 0
                and pattern[end - 1] == ":"
                and pattern.count("[:", at, end)
                and pattern.find("]", end + 1) > 0
                and pattern[end - 1 : end + 1] == ":]"
            ):
                end = pattern.find("]", end + 1)
            if end < 0:
                raise re.error("Unmatched [, [^, [:, [., or [=")
            out.append(_bracket(pattern[at : end + 1]))
            at = end + 1
            continue
        if character in swapped:
            literal_brace = extended and character == "{" and not re.match(r"\{\d*,?\d*\}", pattern[at:])
            out.append(character if extended and not literal_brace else "\\" + character)
        elif character == "*" and (not out or out[-1] in ("(", "|", "^")):
            out.append(r"\*")
        elif character == "^" and not extended and out and out[-1] not in ("(", "|"):
            out.append(r"\^")
        elif (
            character == "$"
            and not extended
            and at + 1 < len(pattern)
            and pattern[at + 1 : at + 3] not in (r"\)", r"\|")
        ):
            out.append(r"\$")
        else:
            out.append(character)
        at += 1
    return "".join(out)


_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "blank": r" \t",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
    "print": r"\x20-\x7e",
    "graph": r"\x21-\x7e",
    "cntrl": r"\x00-\x1f\x7f",
}


def _bracket(text: str) -> str:
    negated = text[1:2] == "^"
    body = text[2 if negated else 1 : -1]
    out = ""
    at = 0
    while at < len(body):
        match = re.match(r"\[:(\w+):\]", body[at:])
        if match is not None:
            out += _CLASSES.get(match[1], "")
            at += match.end()
            continue
        out += "\\" + body[at] if body[at] in "\\[]^&~|" else body[at]
        at += 1
    return f"[{'^' if negated else ''}{out}]"


@program("grep", "egrep", "fgrep")
async def grep(p: Process) -> int:
    options = parse(
        p,
        "A:B:C:EFGPabce:f:hHiIlLm:noqrRsvwxyzZU",
        {
            "extended-regexp": "E",
            "fixed-strings": "F",
            "basic-regexp": "G",
            "perl-regexp": "P",
            "regexp": "e",
            "file": "f",
            "ignore-case": "i",
            "invert-match": "v",
            "word-regexp": "w",
            "line-regexp": "x",
            "count": "c",
            "files-with-matches": "l",
            "files-without-match": "L",
            "max-count": "m",
            "only-matching": "o",
            "quiet": "q",
            "silent": "q",
            "no-messages": "s",
            "line-number": "n",
            "with-filename": "H",
            "no-filename": "h",
            "recursive": "r",
            "dereference-recursive": "R",
            "text": "a",
            "after-context": "A",
            "before-context": "B",
            "context": "C",
            "include": "include=",
            "exclude": "exclude=",
            "color": "color=",
            "colour": "color=",
        },
        status=2,
    )
    for letter in "zZb":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab", 2)
    operands = list(options.operands)
    patterns = []
    if "e" in options.values:
        patterns += [
            p.argv[index + 1] if word == "-e" else word.partition("=")[2]
            for index, word in enumerate(p.argv)
            if word == "-e" or word.startswith("--regexp=")
        ] or [options.values["e"]]
    if "f" in options.values:
        patterns += p.read_text(options.values["f"]).splitlines()
    if not patterns:
        if not operands:
            p.stderr.write(
                f"Usage: {p.argv[0]} [OPTION]... PATTERNS [FILE]...\nTry '{p.argv[0]} --help' for more information.\n"
            )
            return 2
        patterns = operands.pop(0).split("\n")
    try:
        expression = _compiled(
            p,
            patterns,
            options.last("E", "F", "G", "P", default={"egrep": "E", "fgrep": "F"}.get(p.name, "G")),
            options,
        )
    except re.error as exc:
        return p.fail(str(exc.msg)[:1].upper() + str(exc.msg)[1:], 2)
    searcher = _Grep(p, options, expression)
    recursive = "r" in options or "R" in options
    names = operands or (["."] if recursive else ["-"])
    searcher.named = "H" in options or (
        ("h" not in options) and (len(names) > 1 or (recursive and (not operands or p.isdir(names[0]))))
    )
    for name in names:
        if recursive and name != "-" and p.isdir(name):
            await searcher.tree(name, given=bool(operands))
        else:
            await searcher.file(name)
        if searcher.done:
            break
    if searcher.found and "q" in options:
        return 0
    return 2 if searcher.failed else 0 if searcher.found else 1


def _compiled(p: Process, patterns: list[str], kind: str, options: object) -> Any:
    from labkit.embedded.node.userland.options import Options

    assert isinstance(options, Options)
    parts = []
    for pattern in patterns:
        if kind == "F":
            text = re.escape(pattern)
        elif kind == "P":
            text = pattern
        else:
            text = to_python(pattern, extended=kind == "E")
        parts.append(f"(?:{text})")
    text = "|".join(parts)
    if "w" in options:
        text = rf"(?<!\w)(?:{text})(?!\w)"
    if "x" in options:
        text = rf"\A(?:{text})\Z"
    return regex.compiled(text.encode("utf-8", "surrogateescape"), ignore_case="i" in options or "y" in options)


class _Grep:
    def __init__(self, p: Process, options: object, expression: Any) -> None:
        from labkit.embedded.node.userland.options import Options

        assert isinstance(options, Options)
        self.p = p
        self.options = options
        self.expression = expression
        self.named = False
        self.found = False
        self.failed = False
        self.done = False
        self.most = int(options.values["m"]) if options.values.get("m", "").isdigit() else None
        context = options.values.get("C", "0")
        self.after = int(options.values.get("A", context) or 0)
        self.before = int(options.values.get("B", context) or 0)

    def complain(self, name: str, why: str) -> None:
        self.failed = True
        if "s" not in self.options:
            self.p.fail(f"{name}: {why}")

    async def tree(self, path: str, *, given: bool) -> None:
        p = self.p
        await p.cooperate()
        try:
            names = p.listdir(path)
        except OSError as exc:
            self.complain(path, exc.strerror or "")
            return
        for name in names:
            child = posixpath.join(path, name) if given or path != "." else name
            try:
                found = p.lstat(child)
                if found.is_symlink:
                    if "R" not in self.options:
                        continue
                    found = p.stat(child)
            except OSError as exc:
                self.complain(child, exc.strerror or "")
                continue
            if found.is_dir:
                await self.tree(child, given=True)
            elif found.is_file and self._selected(name):
                await self.file(child)
            if self.done:
                return

    def _selected(self, name: str) -> bool:
        values = self.options.values
        if "include" in values and not re.fullmatch(translate(values["include"]), name):
            return False
        return not ("exclude" in values and re.fullmatch(translate(values["exclude"]), name))

    async def file(self, name: str) -> None:
        from labkit.embedded.node.userland.show import whole

        p, options = self.p, self.options
        await p.cooperate()
        try:
            data = await whole(p, name)
        except OSError as exc:
            self.complain(name, exc.strerror or "")
            return
        shown = "(standard input)" if name == "-" else name
        binary = b"\0" in data and "a" not in options
        if binary and "I" in options:
            return
        lines = data.split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        hits = [
            index for index, line in enumerate(lines) if (self.expression.search(line) is not None) != ("v" in options)
        ]
        if self.most is not None:
            hits = hits[: self.most]
        if hits:
            self.found = True
        if "q" in options:
            self.done = self.found
            return
        if "c" in options:
            p.print((f"{shown}:" if self.named else "") + str(len(hits)))
        elif "l" in options or "L" in options:
            if bool(hits) == ("l" in options):
                p.print(shown)
        elif hits and binary:
            p.print(f"{p.argv[0]}: {shown}: binary file matches")
        elif hits:
            self._show(shown, lines, hits)
        await p.drain(1)

    def _show(self, name: str, lines: list[bytes], hits: list[int]) -> None:
        out = bytearray()
        chosen = set(hits)
        near = sorted(
            {i for hit in hits for i in range(max(hit - self.before, 0), min(hit + self.after + 1, len(lines)))}
        )
        previous = -1
        for index in near:
            if (self.before or self.after) and previous >= 0 and index > previous + 1:
                out += b"--\n"
            previous = index
            mark = b":" if index in chosen else b"-"
            prefix = (name.encode("utf-8", "surrogateescape") + mark if self.named else b"") + (
                str(index + 1).encode() + mark if "n" in self.options else b""
            )
            if "o" in self.options:
                if index in chosen:
                    for match in self.expression.finditer(lines[index]):
                        if match[0]:
                            out += prefix + match[0] + b"\n"
            else:
                out += prefix + lines[index] + b"\n"
        self.p.write(1, bytes(out))


# -- xargs, which ----------------------------------------------------------------------------------------------------


@program("xargs")
async def xargs(p: Process) -> int:
    options = parse(
        p,
        "0d:I:n:rtP:L:",
        {"null": "0", "delimiter": "d", "max-args": "n", "no-run-if-empty": "r", "verbose": "t", "max-procs": "P"},
        stop_at_operand=True,
    )
    data = (await p.stdin.read()).decode("utf-8", "surrogateescape")
    command = options.operands or ["echo"]
    if "0" in options or "d" in options.values:
        items = [
            item for item in data.split("\0" if "0" in options else options.values["d"].replace("\\n", "\n")) if item
        ]
    elif "I" in options.values:
        items = [line.strip() for line in data.splitlines() if line.strip()]
    else:
        try:
            items = shlex.split(data)
        except ValueError:
            return p.fail("unmatched single quote; by default quotes are special to xargs unless you use the -0 option")
    if "I" in options.values:
        runs = [[word.replace(options.values["I"], item) for word in command] for item in items]
    else:
        most = int(options.values.get("n") or options.values.get("L") or 5000)
        runs = [[*command, *items[start : start + most]] for start in range(0, len(items), most)]
        if not items and "r" not in options:
            runs = [command]
    status = 0
    for argv in runs:
        if "t" in options:
            p.stderr.write(" ".join(argv) + "\n")
        result = await run(p, argv, p.argv[0])
        if result in (126, 127):
            return result
        if result == 255:
            return p.fail(f"{argv[0]}: exited with status 255; aborting", 124)
        status = 123 if result else status
    return status


@program("which")
async def which(p: Process) -> int:
    options = parse(p, "a")
    status = 0
    for name in options.operands:
        try:
            path = p.find_program(name)
        except OSError:
            status = 1
            continue
        if p.access(path, abi.X_OK) and p.isfile(path):
            p.print(path)
        else:
            status = 1
    if not options.operands:
        return 1
    return status


@program("xxd", "hexdump")
async def xxd(p: Process) -> int:
    from labkit.embedded.node.userland.show import whole

    options = parse(p, "Cps")
    if p.name == "hexdump" and "C" not in options:
        usage(p, "only -C is simulated in this lab")
    data = await whole(p, options.operands[0] if options.operands else "-")
    if "p" in options:
        text = data.hex()
        for start in range(0, len(text), 60):
            p.print(text[start : start + 60])
        return 0
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        if p.name == "hexdump":
            left, right = row[:8].hex(" "), row[8:].hex(" ")
            p.print(f"{offset:08x}  {left:<23}  {right:<23}  |{shown}|")
        else:
            pairs = " ".join(row[index : index + 2].hex() for index in range(0, len(row), 2))
            p.print(f"{offset:08x}: {pairs:<39}  {shown}")
    if p.name == "hexdump":
        p.print(f"{len(data):08x}")
    return 0
