"""Search programs: find, grep (egrep, fgrep), xargs, which."""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ekslab.node import abi, accounts
from ekslab.node.dates import formatted, moment_of
from ekslab.node.inodes import Directory, Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import PatternError, Regex, glob, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.quoting import unescape
from ekslab.node.userland.options import Options, lacking, number, parse, quoted, quoted_if_needed, usage
from ekslab.node.userland.show import answer, emit, file_chunks, line_batches, list_time, mode_text, whole

# -- find -------------------------------------------------------------------------------------------------------------


@dataclass
class _Entry:
    path: str
    found: Stat
    depth: int
    start: str  # the operand under which it was found
    pruned: bool = False


_DIRECTIVE = re.compile(r"%([-0 +#]*)(\d{0,3})([ACT].|.)")


def _ctime(nanoseconds: int) -> str:
    """`Tue Jan  2 03:04:05.0000000000 2024`."""
    return formatted(nanoseconds, f"%a %b %e %H:%M:%S.{nanoseconds % 1_000_000_000:09d}0 %Y")


def _date_part(nanoseconds: int, letter: str) -> str:
    """What `%T` with a letter prints in -printf: seconds have ten digits behind the point."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09d}0"
    if letter == "@":
        return f"{seconds}{fraction}"
    if letter in "STX":
        return formatted(nanoseconds, {"S": "%S", "T": "%H:%M:%S", "X": "%H:%M:%S"}[letter]) + fraction
    if letter == "+":
        return formatted(nanoseconds, "%Y-%m-%d+%H:%M:%S") + fraction
    return formatted(nanoseconds, f"%{letter}")


_DIALECTS = {
    "emacs": "emacs",
    "findutils-default": "emacs",
    "posix-basic": "basic",
    "grep": "basic",
    "sed": "basic",
    "ed": "basic",
    "posix-extended": "extended",
    "posix-egrep": "extended",
    "egrep": "extended",
    "awk": "extended",
    "posix-awk": "extended",
    "gnu-awk": "extended",
}


_NOTHING_BEFORE = "invalid expression; you have used a binary operator '{}' with nothing before it."
_LACKED = (
    "-context", "-D", "-files0-from", "-fls", "-fprint0", "-fprintf", "-fstype", "-ignore_readdir_race",
    "-noignore_readdir_race", "-okdir", "-used",
)  # fmt: skip
"""What GNU find has and the lab's doesn't."""
_NUMBERS = (
    "-size", "-mtime", "-mmin", "-ctime", "-cmin", "-atime", "-amin", "-links", "-inum", "-uid", "-gid"
)  # fmt: skip
_DEEPEST = 100
_MOST_ARGUMENTS = 4096  # of one command that find or xargs runs


_DAY = 86_400 * 1_000_000_000


def _time_of(found: Stat, which: str) -> int:
    return {"m": found.mtime, "c": found.ctime, "a": found.atime}[which]


class _Quit(Exception):
    pass


_Check = Callable[["_Find", _Entry], "bool | _Run"]


@dataclass(frozen=True)
class _Run:
    """`-exec`, `-execdir` or `-ok`: a check that has to be awaited."""

    argv: tuple[str, ...]
    name: str


class _Find:
    def __init__(self, p: Process) -> None:
        self.p = p
        self.status = 0
        self.max_depth = 1 << 30
        self.min_depth = 0
        self.same_device = False
        self.depth_first = False
        self.acts = False
        self.dialect = "emacs"
        self.follow = False
        self.follow_operands = False
        self.inside: dict[tuple[int, int], str] = {}
        self.day_start = False
        self.depth = 0
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
        self.depth += 1
        if self.depth > 100:
            self.error("embedded lab: the lab's find nests 100 parentheses at most")
        try:
            branches = [self._either(words)]
            while words[:1] == [","]:
                self._operand(words.pop(0), words)
                branches.append(self._either(words))
            return ("list", branches) if len(branches) > 1 else branches[0]
        finally:
            self.depth -= 1

    def _operand(self, operator: str, words: list[str]) -> None:
        """What follows a binary operator has to be an expression."""
        if not words or words[0] == ")":
            self.error(f"expected an expression after {quoted(operator)}")

    def _either(self, words: list[str]) -> object:
        branches = [self._and(words)]
        while words[:1] in (["-o"], ["-or"]):
            self._operand(words.pop(0), words)
            branches.append(self._and(words))
        return ("or", branches) if len(branches) > 1 else branches[0]

    def _and(self, words: list[str]) -> object:
        branches: list[object] = []
        while words and words[0] not in ("-o", "-or", ")", ","):
            if words[0] in ("-a", "-and"):
                operator = words.pop(0)
                if not branches:
                    self.error(_NOTHING_BEFORE.format(operator))
                self._operand(operator, words)
                continue
            branches.append(self._not(words))
        if not branches and words and words[0] != ")":
            self.error(_NOTHING_BEFORE.format(words[0]))
        return ("and", branches)

    def _not(self, words: list[str]) -> object:
        negated = False
        while words and words[0] in ("!", "-not"):
            words.pop(0)
            negated = not negated
            if not words:
                self.error("expected an expression after '!'")
        if negated:
            return ("not", self._not(words))
        if words[0] == "(":
            words.pop(0)
            inner = self._or(words)
            if words[:1] != [")"]:
                self.error("invalid expression; I was expecting to find a ')' somewhere but did not see one.")
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
            if not re.fullmatch(r"[0-9]{1,9}", text):
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
        if name == "-regextype":
            kind = self._argument(name, words)
            if kind not in _DIALECTS:
                self.error(f"Unknown regular expression type {quoted(kind)}")
            self.dialect = _DIALECTS[kind]
            return lambda entry: True
        if name in ("-daystart", "-follow", "-noleaf", "-warn", "-nowarn"):
            self.day_start |= name == "-daystart"
            self.follow |= name == "-follow"
            return lambda entry: True
        if name in (
            "-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename", "-regex", "-iregex", "-lname", "-ilname"
        ):  # fmt: skip
            return self._pattern(name, self._argument(name, words))
        if name in ("-type", "-xtype"):
            kinds = self._argument(name, words).split(",")
            bits = {
                "f": abi.S_IFREG,
                "d": abi.S_IFDIR,
                "l": abi.S_IFLNK,
                "c": abi.S_IFCHR,
                "p": abi.S_IFIFO,
                "s": abi.S_IFSOCK,
                "b": abi.S_IFBLK,
            }
            for kind in kinds:
                if kind not in bits:
                    self.error(f"Unknown argument to {name}: {kind}")
            wanted = {bits[kind] for kind in kinds}
            if name == "-xtype":
                return lambda entry: self._other(entry).mode & 0o170000 in wanted
            return lambda entry: entry.found.mode & 0o170000 in wanted
        if name in _NUMBERS:
            return self._number(name, self._argument(name, words))
        if name == "-perm":
            return self._permission(self._argument(name, words))
        if name in ("-user", "-group"):
            return self._owner(name, self._argument(name, words))
        newer = re.fullmatch(r"-(a|c|)newer|-newer([aBcm])([aBcmt])", name)
        if newer is not None:
            return self._newer(newer[1] or newer[2] or "m", newer[3] or "m", name, self._argument(name, words))
        if name == "-samefile":
            same = self._referred(self._argument(name, words))
            return lambda entry: (entry.found.ino, entry.found.dev) == (same.ino, same.dev)
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

    def _referred(self, path: str) -> Stat:
        """The state of a file that the expression names."""
        try:
            return self.p.stat(path) if self.follow else self.p.lstat(path)
        except OSError as exc:
            self.error(f"{quoted(path)}: {exc.strerror}")
            raise AssertionError from None

    def _other(self, entry: _Entry) -> Stat:
        """For -xtype: a link's target without -L, and the link itself with it."""
        try:
            return self.p.lstat(entry.path) if self.follow else self.p.stat(entry.path)
        except OSError:
            return entry.found

    def _newer(self, own: str, other: str, name: str, text: str) -> Callable[[_Entry], bool]:
        if "B" in (own, other):
            self.error("embedded lab: files of the lab have no birth time")
        if other == "t":
            than = moment_of(text, self.p.kernel.now())
            if than is None:
                self.error(f"I cannot figure out how to interpret {quoted(text)} as a date or time")
        else:
            than = _time_of(self._referred(text), other)
        assert than is not None
        return lambda entry: _time_of(entry.found, own) > than

    def _pattern(self, name: str, text: str) -> Callable[[_Entry], bool]:
        ignore_case = name.startswith("-i")
        try:
            if "regex" in name:
                expression = regex(text, self.dialect, ignore_case=ignore_case, whole=True)
                return lambda entry: expression.search(entry.path) is not None
            pattern = glob(text, ignore_case=ignore_case)
        except PatternError as exc:
            self.error(str(exc))
        if name.endswith("lname"):
            return lambda entry: entry.found.is_symlink and pattern.matches(self.p.readlink(entry.path))
        if name in ("-name", "-iname"):
            return lambda entry: pattern.matches(posixpath.basename(entry.path.rstrip("/")) or "/")
        return lambda entry: pattern.matches(entry.path)

    def _number(self, name: str, text: str) -> Callable[[_Entry], bool]:
        match = re.fullmatch(r"([-+]?)(\d{1,18})([bcwkMG]?)", text)
        if match is None and name == "-size":
            self.error(f"invalid -size type `{text[-1:]}'")
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
            now = self.p.kernel.now()
            if self.day_start:
                now += _DAY - now % _DAY
            age = (now - _time_of(found, name[1])) // 1_000_000_000
            return age // 86_400 if name.endswith("time") else -(-age // 60)

        if sign == "+":
            return lambda entry: measure(entry) > amount
        if sign == "-":
            return lambda entry: measure(entry) < amount
        return lambda entry: measure(entry) == amount

    def _permission(self, text: str) -> Callable[[_Entry], bool]:
        from ekslab.node.userland.files import file_mode

        kind, digits = (text[0], text[1:]) if text[:1] in ("-", "/") else ("", text)
        if not re.fullmatch(r"[0-7]{1,4}|[ugoa]*[-+=][rwxXst]*(,[ugoa]*[-+=][rwxXst]*)*", digits):
            self.error(f"invalid mode {quoted(text)}")
        bits = file_mode(self.p, digits, 0, is_dir=False)
        if kind == "-":
            return lambda entry: entry.found.mode & bits == bits
        if kind == "/":
            return lambda entry: not bits or bool(entry.found.mode & bits)
        return lambda entry: entry.found.mode & 0o7777 == bits

    def _owner(self, name: str, text: str) -> Callable[[_Entry], bool]:
        database = accounts.PASSWD if name == "-user" else accounts.GROUP
        known = {fields[0] for fields in accounts.entries(self.p.filesystem, database)}
        if text not in known and not text.isdecimal():
            what = "the name of a known user" if name == "-user" else "the name of an existing group"
            self.error(f"{quoted(text)} is not {what}")
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
        if name == "-fprint":
            path = self._argument(name, words)
            try:
                out = p.open(path, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, 0o666)
            except OSError as exc:
                self.error(f"{path}: {exc.strerror}")

            def keep(entry: _Entry) -> bool:
                p.write(out, f"{entry.path}\n".encode("utf-8", "surrogateescape"))
                return True

            return keep
        if name in ("-exec", "-execdir", "-ok"):
            argv: list[str] = []
            while words and words[0] != ";" and not (words[0] == "+" and argv[-1:] == ["{}"]):
                argv.append(words.pop(0))
            if not words or not argv:
                self.error(f"missing argument to `{name}'")
            if words.pop(0) == "+" and name != "-ok":
                batch: tuple[tuple[str, ...], list[str]] = (tuple(argv[:-1]), [])
                self.batches.append(batch)

                def add(entry: _Entry) -> bool:
                    batch[1].append(entry.path)
                    return True

                return add
            return _Run(tuple(argv), name)
        if name == "-printf":
            format = self._argument(name, words)
            return lambda entry: self._printf(entry, format)
        if name in _LACKED:
            lacking(p, name)
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
        if entry.path == ".":
            return True
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
        found, p = entry.found, self.p
        link = p.readlink(entry.path) if found.is_symlink else ""
        kind = mode_text(found.mode)[0].replace("-", "f")
        values = {
            "p": entry.path,
            "P": entry.path[len(entry.start) :].lstrip("/"),
            "H": entry.start,
            "f": posixpath.basename(entry.path.rstrip("/")) or "/",
            "h": posixpath.dirname(entry.path) or ("." if "/" not in entry.path else ""),
            "l": link,
            "s": str(found.size),
            "k": str((found.size + 4095) // 4096 * 4),
            "b": str((found.size + 4095) // 4096 * 8),
            "m": f"{found.mode & 0o7777:o}",
            "M": mode_text(found.mode),
            "u": p.user_name(found.uid) or str(found.uid),
            "g": p.group_name(found.gid) or str(found.gid),
            "U": str(found.uid),
            "G": str(found.gid),
            "i": str(found.ino),
            "n": str(found.nlink),
            "d": str(entry.depth),
            "D": str(found.dev),
            "y": kind,
            "Y": mode_text(self._other(entry).mode)[0].replace("-", "f") if kind == "l" else kind,
            "%": "%",
        }
        if kind == "l" and not self.p.exists(entry.path):
            values["Y"] = "N"

        def replace(match: re.Match[str]) -> str:
            flags, width, letters = match.groups()
            if letters[0] in "atc":
                which = {"a": "a", "t": "m", "c": "c"}[letters[0]]
                text = _ctime(_time_of(found, which))
            elif letters[0] in "ACT":
                text = _date_part(_time_of(found, letters[0].lower().replace("t", "m")), letters[1])
            elif letters in values:
                text = values[letters]
            else:
                return str(match[0])
            if width:
                text = text.ljust(int(width)) if "-" in flags else text.rjust(int(width))
            return text

        # a format's escapes are decoded first, as what a name has isn't
        p.stdout.write(_DIRECTIVE.sub(replace, unescape(format.replace("\\c", ""))))
        return True

    # -- the walk -------------------------------------------------------------------------------------------------

    async def value(self, tree: object, entry: _Entry) -> bool:
        if isinstance(tree, tuple):
            kind, inner = tree
            if kind == "not":
                return not await self.value(inner, entry)
            if kind == "list":
                return [await self.value(branch, entry) for branch in inner][-1]
            for branch in inner:
                result = await self.value(branch, entry)
                if result == (kind == "or"):
                    return result
            return bool(kind == "and")
        if isinstance(tree, _Run):
            here = tree.name == "-execdir"
            path = f"./{posixpath.basename(entry.path.rstrip('/'))}" if here else entry.path
            argv = [word.replace("{}", path) for word in tree.argv]
            if tree.name == "-ok":
                self.p.stderr.write(f"< {argv[0]} ... {entry.path} > ? ")
                if not (await answer(self.p)).lower().startswith(b"y"):
                    return False
            if not here:
                return await run(self.p, argv, "find") == 0
            before = self.p.cwd
            self.p.chdir(posixpath.dirname(entry.path.rstrip("/")) or ("/" if entry.path[:1] == "/" else "."))
            try:
                return await run(self.p, argv, "find") == 0
            finally:
                self.p.chdir(before)
        assert callable(tree)
        return bool(tree(entry))

    def _state(self, path: str, depth: int) -> Stat:
        """A file's state; links are followed with -L, and operands with -H."""
        if self.follow or (self.follow_operands and not depth):
            try:
                return self.p.stat(path)
            except FileNotFoundError:
                pass
        return self.p.lstat(path)

    async def walk(
        self, path: str, tree: object, depth: int = 0, device: int | None = None, start: str | None = None
    ) -> None:
        p = self.p
        await p.cooperate()
        if depth > _DEEPEST:
            self.error(f"embedded lab: the lab's find goes {_DEEPEST} directories deep at most")
        try:
            found = self._state(path, depth)
        except OSError as exc:
            p.stderr.write(f"find: {quoted(path)}: {exc.strerror}\n")
            self.status = 1
            return
        start = path if start is None else start
        entry = _Entry(path, found, depth, start)
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
            inode = (found.dev, found.ino)
            if self.follow and inode in self.inside:
                p.stderr.write(
                    f"find: File system loop detected; {quoted(path)} is part of the same file system loop as "
                    f"{quoted(self.inside[inode])}.\n"
                )
                self.status = 1
                return
            self.inside[inode] = path
            await self._children(path, tree, depth, device, start)
            del self.inside[inode]
        if self.depth_first and depth >= self.min_depth:
            await self.value(tree, entry)

    async def _children(self, path: str, tree: object, depth: int, device: int, start: str) -> None:
        p = self.p
        try:
            names = p.listdir(path)
        except OSError as exc:
            p.stderr.write(f"find: {quoted(path)}: {exc.strerror}\n")
            self.status = 1
            return
        for name in names:
            await p.cooperate()
            await self.walk(posixpath.join(path, name), tree, depth + 1, device, start)


@program("find")
async def find(p: Process) -> int:
    words = p.argv[1:]
    links = ""
    while words[:1] and words[0] in ("-P", "-H", "-L", "-O0", "-O1", "-O2", "-O3"):
        word = words.pop(0)
        links = links if word.startswith("-O") else word
    if words[:1] and words[0] in ("--help", "--version", "-help", "-version"):
        p.print("find (the lab's simulation of GNU find)")
        return 0
    paths = []
    while words and not (words[0].startswith("-") and len(words[0]) > 1) and words[0] not in ("!", "(", ")", ","):
        paths.append(words.pop(0))
    p.close(p.open(".", abi.O_RDONLY | abi.O_CLOEXEC))  # where it returns to
    finder = _Find(p)
    finder.follow, finder.follow_operands = links == "-L", links == "-H"
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
    except PatternError as exc:
        return p.fail(str(exc))
    for argv, found in finder.batches:
        for start in range(0, len(found), _MOST_ARGUMENTS):
            if await run(p, [*argv, *found[start : start + _MOST_ARGUMENTS]], "find"):
                finder.status = 1
    return finder.status


async def run(p: Process, argv: list[str], caller: str) -> int:
    """Runs another program and waits for it; 126 or 127 with a message when it can't be run."""

    def failed(child: Process, exc: OSError) -> int:
        child.stderr.write(f"{caller}: {quoted(argv[0]) if caller == 'find' else argv[0]}: {exc.strerror}\n")
        return 126 if isinstance(exc, PermissionError) else 127

    return await p.wait(p.spawn(argv, call="clone", failed=failed))


# -- grep -------------------------------------------------------------------------------------------------------------


@program("grep", "egrep", "fgrep")
async def grep(p: Process) -> int:
    options = parse(
        p,
        "A:B:C:D:d:EFGPabce:f:hHiIlLm:noqrRsTvwxyzZU0123456789",
        {
            "binary": "U",
            "byte-offset": "b",
            "exclude-dir": "exclude-dir=",
            "initial-tab": "T",
            "line-buffered": "line-buffered",
            "no-group-separator": "no-group-separator",
            "group-separator": "group-separator=",
            "label": "label=",
            "null": "Z",
            "null-data": "z",
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
            "color": "color=?",
            "colour": "color=?",
        },
        status=2,
        arguments=_context_number(p.argv[1:]),
    )
    for letter in "Dd":
        if options.values.get(letter, "skip") not in ("skip", "read", "recurse"):
            return p.fail(f"unknown {'devices' if letter == 'D' else 'directories'} method", 2)
    operands = list(options.operands)
    patterns = [pattern for value in options.all("e") for pattern in value.split("\n")]
    for name in options.all("f"):
        try:
            listed = await whole(p, name)
        except OSError as exc:
            return p.fail(f"{name}: {exc.strerror}", 2)
        patterns += listed.removesuffix(b"\n").decode("utf-8", "surrogateescape").split("\n") if listed else []
    if "e" not in options and "f" not in options:
        if not operands:
            usage(p, "", 2)
        patterns = operands.pop(0).split("\n")
    kind = options.last("E", "F", "G", "P", default={"egrep": "E", "fgrep": "F"}.get(p.name, "G"))
    ignore_case = "i" in options or "y" in options
    try:
        expression: Regex[bytes] | None = None
        if patterns:
            expression = regex(
                "\n".join(patterns).encode("utf-8", "surrogateescape"),
                {"E": "extended", "F": "fixed", "G": "basic", "P": "perl"}[kind],
                ignore_case=ignore_case,
                whole="x" in options,
                words="w" in options,
                lines=True,
            )
    except PatternError as exc:
        return p.fail(str(exc), 2)
    searcher = _Grep(p, options, expression)
    recursive = "r" in options or "R" in options
    names = operands or (["."] if recursive else ["-"])
    searcher.named = "H" in options or (
        ("h" not in options) and (len(names) > 1 or (recursive and (not operands or p.isdir(names[0]))))
    )
    try:
        for name in names:
            await p.cooperate()
            if recursive and name != "-" and p.isdir(name):
                await searcher.tree(name, given=bool(operands))
            else:
                await searcher.file(name)
            if searcher.done:
                break
    except PatternError as exc:
        return p.fail(str(exc), 2)
    if searcher.found and "q" in options:
        return 0
    return 2 if searcher.failed else 0 if searcher.found else 1


def _context_number(words: list[str]) -> list[str]:
    """`-3` means `-C 3`."""
    out: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            return [*out, *words[index:]]
        out.append(f"-C{word[1:]}" if re.fullmatch(r"-[0-9]{1,9}", word) else word)
    return out


class _Grep:
    def __init__(self, p: Process, options: Options, expression: Regex[bytes] | None) -> None:
        self.p = p
        self.options = options
        self.expression = expression
        self.group = 1 if "w" in options else 0
        self.named = False
        self.found = False
        self.failed = False
        self.done = False
        most = options.values.get("m", "-1")
        if not re.fullmatch(r"-?[0-9]{1,18}", most):
            p.fail("invalid max count")
            raise ProcessExit(2)
        self.most = int(most) if int(most) >= 0 else None
        context = options.values.get("C", "0")
        self.after, self.before = (self._length(options.values.get(letter, context)) for letter in "AB")
        self.end = b"\0" if "z" in options else b"\n"
        color = options.values.get("color", "auto" if "color" in options else "never")
        if color not in ("always", "never", "auto", "yes", "no", "force", "none", "tty", "if-tty"):
            p.fail(f"unknown color option {quoted(color)}")
        tty = p.isatty(1) and p.env.get("TERM", "dumb") != "dumb"
        self.color = color in ("always", "yes", "force") or (color in ("auto", "tty", "if-tty") and tty)
        self.exclude_dir = [glob(each.rstrip("/")) for each in options.all("exclude-dir")]
        self.include = [glob(each) for each in options.all("include")]
        self.exclude = [glob(each) for each in options.all("exclude")]

    def _length(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            self.p.fail(f"{text}: invalid context length argument")
            raise ProcessExit(2)
        return int(text)

    def paint(self, text: bytes, colors: bytes) -> bytes:
        """A text in one of grep's colours."""
        return b"\x1b[" + colors + b"m\x1b[K" + text + b"\x1b[m\x1b[K" if self.color else text

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
            await p.cooperate()
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
                if not any(each.matches(name) for each in self.exclude_dir):
                    await self.tree(child, given=True)
            elif found.is_file and self._selected(name):
                await self.file(child)
            if self.done:
                return

    def _selected(self, name: str) -> bool:
        if self.include and not any(each.matches(name) for each in self.include):
            return False
        return not any(each.matches(name) for each in self.exclude)

    async def file(self, name: str) -> None:
        await self.p.cooperate()
        try:
            label = self.options.values.get("label", "(standard input)")
            await self._search(name, label if name == "-" else name)
        except OSError as exc:
            self.complain(name, exc.strerror or "")

    async def _search(self, name: str, shown: str) -> None:
        p, options = self.p, self.options
        after = "\0" if "Z" in options else ":"
        lead = f"{shown}{after}".encode("utf-8", "surrogateescape") if self.named else b""
        at = 0
        quiet = bool({"q", "c", "l", "L"} & set(options.flags))
        context = _Context(self, shown)
        hits = count = 0
        binary = False
        async for batch in line_batches(p, name, self.end):
            if not binary and not {"a", "z"} & set(options.flags) and any(b"\0" in line for line in batch):
                binary = True
                if "I" in options:
                    return
            out: list[bytes] = []
            for line in batch:
                count += 1
                context.at, at = at, at + len(line) + 1
                if not count & 63:
                    await p.cooperate()
                match = self._matches(line)
                if match != ("v" not in options):
                    if not quiet and not binary:
                        context.other(count, line, out)
                    continue
                hits += 1
                self.found = True
                if quiet:
                    if "c" not in options:
                        break
                elif not binary:
                    context.hit(count, line, out)
                if binary and not quiet:
                    break
                if self.most is not None and hits >= self.most:
                    break
            await emit(p, b"".join(out))
            stop = (hits and (binary or "c" not in options) and (quiet or binary) and "c" not in options) or (
                self.most is not None and hits >= self.most
            )
            if stop:
                break
        if "q" in options:
            self.done = self.found
        elif "c" in options:
            await emit(p, lead + b"%d\n" % hits)
        elif "l" in options or "L" in options:
            if bool(hits) == ("l" in options):
                p.stdout.write(shown + ("\0" if "Z" in options else "\n"))
        elif hits and binary:
            p.fail(f"{shown}: binary file matches")

    def _matches(self, line: bytes) -> bool:
        return self.expression is not None and self.expression.search(line) is not None

    def spans(self, line: bytes) -> list[tuple[int, int]]:
        """Where a line matches."""
        found: list[tuple[int, int]] = []
        at = 0
        while self.expression is not None and at <= len(line):
            match = self.expression.search(line, at)
            if match is None:
                break
            start, end = match.span(self.group)
            if end > start:
                found.append((start, end))
            at = end if end > start else max(end, match.span()[1]) + (end == start)
        return found


class _Context:
    """Shows lines that matched and those around them."""

    def __init__(self, grep: _Grep, shown: str) -> None:
        self.grep = grep
        self.name = shown.encode("utf-8", "surrogateescape")
        self.before: deque[tuple[int, bytes, int]] = deque(maxlen=min(grep.before, 100_000))
        self.left = 0
        self.last = 0
        self.at = 0  # where the line begins that is being looked at

    def _show(self, number: int, line: bytes, mark: bytes, out: list[bytes], at: int) -> None:
        grep, options = self.grep, self.grep.options
        if self.last and number > self.last + 1 and (grep.before or grep.after) and "no-group-separator" not in options:
            out.append(grep.paint(options.values.get("group-separator", "--").encode(), b"36") + b"\n")
        self.last = number
        divider = grep.paint(mark, b"36")
        if "o" not in options:
            shown = line
            if grep.color and (mark == b":") != ("v" in options):
                shown, done = b"", 0
                for start, end in grep.spans(line):
                    shown += line[done:start] + grep.paint(line[start:end], b"01;31")
                    done = end
                shown += line[done:]
            out.append(self._prefix(number, at, divider) + shown + grep.end)
        elif mark == b":" and "v" not in options:
            for start, end in grep.spans(line):
                prefix = self._prefix(number, at + start, divider)
                out.append(prefix + grep.paint(line[start:end], b"01;31") + grep.end)

    def _prefix(self, number: int, at: int, divider: bytes) -> bytes:
        """The name, the line's number and its offset, as they are asked for."""
        grep, options = self.grep, self.grep.options
        prefix = b""
        if grep.named:
            prefix += grep.paint(self.name, b"35") + (b"\0" if "Z" in options else divider)
        aligned = "T" in options
        for letter, value, width in (("n", number, 4 if grep.named else 2), ("b", at, 2)):
            if letter in options:
                prefix += grep.paint(b"%*d" % (width if aligned else 0, value), b"32") + divider
        return prefix + (b"\t" if aligned and prefix else b"")

    def hit(self, number: int, line: bytes, out: list[bytes]) -> None:
        while self.before:
            before, text, at = self.before.popleft()
            self._show(before, text, b"-", out, at)
        self._show(number, line, b":", out, self.at)
        self.left = self.grep.after

    def other(self, number: int, line: bytes, out: list[bytes]) -> None:
        if self.left > 0:
            self.left -= 1
            self._show(number, line, b"-", out, self.at)
        elif self.grep.before:
            self.before.append((number, line, self.at))


# -- xargs, which ----------------------------------------------------------------------------------------------------


@program("xargs")
async def xargs(p: Process) -> int:
    options = parse(
        p,
        "0a:d:E:I:n:rts:P:L:x",
        {
            "null": "0",
            "arg-file": "a",
            "delimiter": "d",
            "max-args": "n",
            "max-lines": "L",
            "no-run-if-empty": "r",
            "verbose": "t",
            "max-procs": "P",
            "replace": "I",
        },
        stop_at_operand=True,
    )
    command = options.operands or ["echo"]
    replace = options.values.get("I")
    most = 1 if replace is not None else _MOST_ARGUMENTS
    for letter in "nL":
        if letter in options.values:
            most = number(p, options.values[letter], f"invalid number for -{letter} option")
            if most <= 0:
                return p.fail(f"value {options.values[letter]} for -{letter} option should be >= 1")
    runner = _Xargs(p, command, replace, verbose="t" in options)
    items: list[str] = []
    size, ran = 0, False
    async for item in _items(p, options, lines=replace is not None or "L" in options):
        if len(item) > _LONGEST_ARGUMENT:
            return p.fail("argument line too long")
        items.append(item)
        size += len(item)
        if len(items) >= most or size > _LONGEST_ARGUMENT:
            ran = True
            if await runner.run(items, split="L" in options and replace is None):
                return runner.status
            items, size = [], 0
    if items or (not ran and "r" not in options and replace is None):
        await runner.run(items, split="L" in options and replace is None)
    return runner.status


_LONGEST_ARGUMENT = 131_072 - 2048


class _Xargs:
    def __init__(self, p: Process, command: list[str], replace: str | None, *, verbose: bool) -> None:
        self.p = p
        self.command = command
        self.replace = replace
        self.verbose = verbose
        self.status = 0

    async def run(self, items: list[str], *, split: bool) -> bool:
        """Runs the command with some items; whether xargs ends here."""
        p = self.p
        if split:
            items = [word for item in items for word in item.split()]
        if self.replace is not None:
            argv = [word.replace(self.replace, items[0]) for word in self.command]
        else:
            argv = [*self.command, *items]
        if self.verbose:
            p.stderr.write(" ".join(quoted_if_needed(word) for word in argv) + "\n")
        result = await run(p, argv, p.argv[0])
        await p.cooperate()
        if result in (126, 127):
            self.status = result
            return True
        if result == 255:
            self.status = p.fail(f"{argv[0]}: exited with status 255; aborting", 124)
            return True
        if result > 128:
            self.status = p.fail(f"{argv[0]}: terminated by signal {result - 128}", 125)
            return True
        self.status = 123 if result else self.status
        return False


async def _items(p: Process, options: Options, *, lines: bool) -> AsyncIterator[str]:
    """The items that xargs reads: words with quotes and backslashes, or texts between delimiters."""
    name = options.values.get("a", "-")
    end = b"\0" if "0" in options else unescape(options.values.get("d", "\n")).encode()[:1] or b"\n"
    plain = "0" in options or "d" in options.values
    async for batch in line_batches(p, name, end):
        for raw in batch:
            text = raw.decode("utf-8", "surrogateescape")
            if plain:
                yield text
            elif lines:
                if text.strip():
                    yield text.strip()
            else:
                for word in _words(p, text):
                    yield word
            await p.cooperate()


def _words(p: Process, text: str) -> list[str]:
    words: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\n":
            at += 1
        if at >= len(text):
            return words
        word: list[str] = []
        while at < len(text) and text[at] not in " \t\n":
            character = text[at]
            if character in "'\"":
                close = text.find(character, at + 1)
                if close < 0:
                    kind = "single" if character == "'" else "double"
                    p.fail(
                        f"unmatched {kind} quote; by default quotes are special to xargs unless you use the -0 option"
                    )
                    raise ProcessExit(1)
                word.append(text[at + 1 : close])
                at = close + 1
                continue
            if character == "\\" and at + 1 < len(text):
                at += 1
            word.append(text[at])
            at += 1
        words.append("".join(word))


@program("which")
async def which(p: Process) -> int:
    options = parse(p, "a")
    status = 0
    for name in options.operands:
        await p.cooperate()
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
    options = parse(p, "Cpsl:n:c:", status=1) if p.name == "hexdump" else parse(p, "abc:Eeg:il:pPrs:uv", status=1)
    if p.name == "hexdump" and "C" not in options:
        usage(p, "only -C is simulated in this lab")
    for letter in "Eei" if p.name == "xxd" else "":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    limit = options.values.get("l") or options.values.get("n")
    left = number(p, limit, "invalid length") if limit else None
    source = options.operands[0] if options.operands else "-"
    try:
        if p.name == "xxd" and "r" in options:
            return await _undumped(p, source, plain="p" in options)
        skip = number(p, options.values["s"], "invalid offset") if "s" in options.values else 0
        return await _dump(p, options, source, left, max(skip, 0))
    except OSError as exc:
        if p.name == "hexdump":
            raise
        return p.fail(f"{source}: {exc.strerror}", 2)


async def _dump(p: Process, options: Options, source: str, left: int | None, skip: int) -> int:
    plain, bits = "p" in options, "b" in options
    default = "30" if plain else "6" if bits else "16"
    width = min(max(number(p, options.values.get("c", default), "invalid number of columns"), 1), 256)
    group = number(p, options.values.get("g", "1" if bits else "2"), "invalid number of octets per group")
    offset, pending = skip, b""

    async def rows(data: bytes) -> None:
        nonlocal offset
        out = []
        for start in range(0, len(data), width):
            row = data[start : start + width]
            if plain:
                text = row.hex()
            elif p.name == "hexdump":
                text = _dumped(offset, row)
            else:
                text = _columns(offset, row, width, group or width, bits=bits, upper="u" in options)
            out.append(text)
            offset += len(row)
        await emit(p, "".join(f"{line}\n" for line in out).encode())

    async for chunk in file_chunks(p, source, 4096):
        dropped = min(skip, len(chunk))
        chunk, skip = chunk[dropped:], skip - dropped
        if left is not None:
            chunk = chunk[:left]
            left -= len(chunk)
        pending += chunk
        cut = len(pending) // width * width
        await rows(pending[:cut])
        pending = pending[cut:]
        if left == 0:
            break
    await rows(pending)
    if p.name == "hexdump":
        p.print(f"{offset:08x}")
    return 0


def _columns(offset: int, row: bytes, width: int, group: int, *, bits: bool, upper: bool) -> str:
    """A line of xxd."""
    cells = [f"{byte:08b}" if bits else f"{byte:02X}" if upper else f"{byte:02x}" for byte in row]
    groups = [cells[start : start + group] for start in range(0, len(cells), group)]
    shown = " ".join("".join(each) for each in groups)
    full = width * (8 if bits else 2) + -(-width // group) - 1
    return f"{offset:08x}: {shown:<{full}}  " + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)


async def _undumped(p: Process, source: str, *, plain: bool) -> int:
    """`xxd -r`: bytes from a dump, with `-p` from digits alone. A gap in the offsets is filled with zeros."""
    at = 0
    async for batch in line_batches(p, source):
        for raw in batch:
            line = raw.decode("latin-1")
            if not plain:
                match = re.match(r"\s*([0-9a-fA-F]{1,15}):?\s", line)
                if match is None:
                    continue
                start = int(match[1], 16)
                gap = start - at
                if not 0 <= gap <= 1 << 20:
                    return p.fail(
                        "sorry, cannot seek backwards." if gap < 0 else "embedded lab: the gap is too large", 5
                    )
                await emit(p, bytes(gap))
                at = start
                line = line[match.end() :].partition("  ")[0]
            digits = re.sub(r"[^0-9a-fA-F]", "", line)
            data = bytes.fromhex(digits[: len(digits) // 2 * 2])
            at += len(data)
            await emit(p, data)
            await p.cooperate()
    return 0


def _dumped(offset: int, row: bytes) -> str:
    """A line of `hexdump -C`."""
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    left, right = row[:8].hex(" "), row[8:].hex(" ")
    return f"{offset:08x}  {left:<23}  {right:<23}  |{shown}|"
