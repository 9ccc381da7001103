"""ls: which entries it lists, in which order, in which of its formats."""

from __future__ import annotations

import posixpath
import re

from ekslab.node import abi
from ekslab.node.dates import formatted
from ekslab.node.inodes import Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import PatternError, glob
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import Options, number, parse, quoted, quoted_if_needed, usage
from ekslab.node.userland.show import full_time, human, list_time, look_up_names, mode_text

_WORDS = {
    "sort": {"none": "U", "time": "t", "size": "S", "extension": "X", "version": "v", "width": "width"},
    "time": {
        "atime": "u", "access": "u", "use": "u", "ctime": "c", "status": "c", "mtime": "mtime", "modification": "mtime"
    },
    "format": {
        "verbose": "l", "long": "l", "commas": "m", "horizontal": "x", "across": "x", "vertical": "C",
        "single-column": "1",
    },
    "color": {
        "always": "always", "yes": "always", "force": "always", "never": "never", "no": "never", "none": "never",
        "auto": "auto", "tty": "auto", "if-tty": "auto",
    },
    "indicator-style": {"none": "none", "slash": "p", "file-type": "file-type", "classify": "F"},
    "classify": {"always": "F", "yes": "F", "never": "none", "no": "none", "auto": "F", "tty": "F"},
}  # fmt: skip
"""Options that take one of some words, and the short option that each is."""

_SORTS = ("S", "t", "X", "v", "U", "width")


def _flags(p: Process, options: Options) -> list[str]:
    """The flags as short ones, in order, with the words of options that take one."""
    flags: list[str] = []
    values = iter(options.given)
    for flag in options.flags:
        words = _WORDS.get(flag)
        if words is None:
            flags.append(flag)
            continue
        word = next((value for name, value in values if name == flag), None)
        if word is None:  # --color, --classify
            flags.append("always" if flag == "color" else "F")
            continue
        found = [full for full in words if full == word] or [full for full in words if full.startswith(word)]
        if not found or len({words[full] for full in found}) > 1:
            why = "ambiguous" if found else "invalid"
            groups: dict[str, list[str]] = {}
            for full, short in words.items():
                groups.setdefault(short, []).append(quoted(full))
            valid = "".join(f"\n  - {', '.join(names)}" for names in groups.values())
            usage(p, f"{why} argument {quoted(word)} for '--{flag}'\nValid arguments are:{valid}")
        flags.append(words[found[0]])
    return flags


@program("ls")
async def ls(p: Process) -> int:
    options = parse(
        p,
        "1aABcCdfFghHiI:klLmnNopqQrRsStT:uUvw:xXZb",
        {
            "all": "a",
            "almost-all": "A",
            "author": "author",
            "classify": "classify=?",
            "color": "color=?",
            "dereference": "L",
            "dereference-command-line": "H",
            "directory": "d",
            "escape": "b",
            "file-type": "file-type",
            "format": "format=",
            "full-time": "full-time",
            "group-directories-first": "group-directories-first",
            "hide": "hide=",
            "human-readable": "h",
            "ignore": "I",
            "ignore-backups": "B",
            "indicator-style": "indicator-style=",
            "inode": "i",
            "kibibytes": "k",
            "literal": "N",
            "no-group": "G",
            "numeric-uid-gid": "n",
            "quote-name": "Q",
            "recursive": "R",
            "reverse": "r",
            "si": "si",
            "size": "s",
            "sort": "sort=",
            "tabsize": "T",
            "time": "time=",
            "time-style": "time-style=",
            "width": "w",
            "context": "Z",
            "hide-control-chars": "q",
        },
        status=2,
    )
    options.flags = _flags(p, options)
    if "f" in options:
        options.flags += ["a", "U"]
    try:
        return await _Lister(p, options).run(options.operands or ["."])
    except PatternError as exc:
        return p.fail(str(exc), 2)


class _Lister:
    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.options = options
        tty = p.isatty(1)
        flags = options.flags
        long = any(flag in options for flag in ("l", "n", "g", "o", "full-time"))
        last = options.last("1", "C", "x", "m", "l")
        self.format = "l" if long and last in ("", "l", "1") else last or ("C" if tty else "1")
        self.shell_quotes = tty and not {"N", "Q", "b", "q"} & set(flags)
        color = options.last("always", "never", "auto")
        self.color = (color == "always" or (color == "auto" and tty)) and p.env.get("TERM", "dumb") != "dumb"
        self.colored = False
        self.sort = options.last(*_SORTS)
        if not self.sort and {"c", "u"} & set(flags) and self.format != "l":
            self.sort = "t"
        self.hidden = [glob(text) for text in options.all("I")]
        self.hidden += [glob(text) for text in options.all("hide") if not {"a", "A"} & set(flags)]
        width = options.values.get("w")
        self.width = number(p, width, "invalid line width", 2) if width is not None else 0
        if width is None:
            columns = p.env.get("COLUMNS", "")
            self.width = p.tty.columns if tty and p.tty is not None else int(columns) if columns.isdecimal() else 80
        tabs = number(p, options.values.get("T", "8"), "invalid tab size", 2)
        self.tabs = 0 if self.color else tabs
        self.time_style = self._time_style(options.values.get("time-style", p.env.get("TIME_STYLE", "locale")))
        self.status = 0
        self.printed = False
        self.named = False

    def _time_style(self, text: str) -> str:
        if "full-time" in self.options and "time-style" not in self.options.values:
            return "full-iso"
        style = text.removeprefix("posix-")
        if not style.startswith("+") and style not in ("full-iso", "long-iso", "iso", "locale"):
            valid = "".join(
                f"\n  - {each}" for each in ("[posix-]full-iso", "[posix-]long-iso", "[posix-]iso", "[posix-]locale")
            )
            self.p.stderr.write(
                f"{self.p.argv[0]}: invalid argument {quoted(text)} for 'time style'\nValid arguments are:{valid}\n"
                f"  - +FORMAT (e.g., +%H:%M) for a 'date'-style format\nTry '{self.p.argv[0]} --help' for more "
                "information.\n"
            )
            raise ProcessExit(2)
        return style

    async def run(self, names: list[str]) -> int:
        files: list[tuple[str, Stat]] = []
        directories: list[tuple[str, Stat]] = []
        for name in names:
            await self.p.cooperate()
            try:
                found = self._stat(name, named=True)
            except OSError as exc:
                self.p.fail(f"cannot access {quoted(name)}: {exc.strerror}")
                self.status = 2
                continue
            (directories if found.is_dir and "d" not in self.options else files).append((name, found))
        if files:
            await self._show(self._sorted(files), "")
            self.printed = True
        for name, _ in self._sorted(directories):
            await self._directory(name, titled=len(names) > 1 or "R" in self.options)
        return self.status

    def _stat(self, path: str, *, named: bool = False) -> Stat:
        """A file's state; links are followed by -L, and for operands by -H and where no option shows links."""
        if "L" in self.options:
            return self.p.stat(path)
        found = self.p.lstat(path)
        if named and found.is_symlink:
            plain = self.format != "l" and not {"d", "F"} & set(self.options.flags)
            if "H" in self.options or plain:
                try:
                    target = self.p.stat(path)
                except FileNotFoundError:
                    return found
                return target if "H" in self.options or target.is_dir else found
        return found

    async def _directory(self, path: str, *, titled: bool) -> None:
        p = self.p
        await p.cooperate()
        try:
            names = p.listdir(path)
        except OSError as exc:
            p.fail(f"cannot open directory {quoted(path)}: {exc.strerror}")
            self.status = 2
            return
        if "a" in self.options:
            names = [".", "..", *names]
        elif "A" not in self.options:
            names = [name for name in names if not name.startswith(".")]
        if "B" in self.options:
            names = [name for name in names if not name.endswith("~")]
        names = [name for name in names if not any(pattern.matches(name) for pattern in self.hidden)]
        entries = []
        for name in names:
            await p.cooperate()
            try:
                entries.append((name, self._stat(posixpath.join(path, name))))
            except OSError as exc:
                p.fail(f"cannot access {quoted(posixpath.join(path, name))}: {exc.strerror}")
                self.status = max(self.status, 1)
        entries = self._sorted(entries)
        if titled:
            p.stdout.write(("\n" if self.printed else "") + f"{path}:\n")
        self.printed = True
        if self.format == "l" or "s" in self.options:
            p.print(f"total {self._blocks(sum(_kibibytes(entry) for _, entry in entries))}")
        await self._show(entries, path)
        await p.drain(1)
        if "R" in self.options:
            for name, found in entries:
                if found.is_dir and name not in (".", ".."):
                    await self._directory(posixpath.join(path, name), titled=True)

    def _blocks(self, kibibytes: int) -> str:
        return self._human(kibibytes * 1024) if {"h", "si"} & set(self.options.flags) else str(kibibytes)

    def _human(self, size: int) -> str:
        return human(size, base=1000).replace("K", "k") if "si" in self.options else human(size)

    def _time(self, found: Stat) -> int:
        which = self.options.last("c", "u", "mtime")
        return found.ctime if which == "c" else found.atime if which == "u" else found.mtime

    def _sorted(self, entries: list[tuple[str, Stat]]) -> list[tuple[str, Stat]]:
        ordered = entries
        if self.sort != "U":
            ordered = sorted(entries, key=lambda entry: entry[0].encode("utf-8", "surrogateescape"))
            if self.sort == "S":
                ordered.sort(key=lambda entry: -entry[1].size)
            elif self.sort == "t":
                ordered.sort(key=lambda entry: -self._time(entry[1]))
            elif self.sort == "X":
                ordered.sort(key=lambda entry: "." + entry[0].rpartition(".")[2] if "." in entry[0] else "")
            elif self.sort == "v":
                ordered.sort(key=lambda entry: version_key(entry[0]))
            elif self.sort == "width":
                ordered.sort(key=lambda entry: len(entry[0]))
            if "r" in self.options:
                ordered.reverse()
            if "group-directories-first" in self.options:
                ordered.sort(key=lambda entry: not entry[1].is_dir)
        return ordered

    # -- names ----------------------------------------------------------------------------------------------------

    def _named(self, entries: list[tuple[str, Stat]], base: str) -> list[tuple[str, int]]:
        """Each entry's name as it is shown, with quotes, colour and indicator, and the columns that it takes."""
        plain = [self._quoted(name) for name, _ in entries]
        aligned = self.shell_quotes and self.format in "lCx" and any(text[:1] in "'\"" for text in plain)
        shown = []
        for (name, found), text in zip(entries, plain, strict=True):
            space = " " if aligned and text[:1] not in "'\"" else ""
            mark = self._indicator(found)
            code = self._color(found, posixpath.join(base, name)) if self.color else ""
            painted = text
            if code:
                painted = ("" if self.colored else "\x1b[0m") + f"\x1b[{code}m{text}\x1b[0m"
                self.colored = True
            shown.append((space + painted + mark, len(space) + len(text) + len(mark)))
        return shown

    def _quoted(self, name: str) -> str:
        if "Q" in self.options or "b" in self.options:
            special = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
            special |= {'"': '\\"'} if "Q" in self.options else {" ": "\\ "}
            text = "".join(special.get(letter, letter) for letter in name)
            return f'"{text}"' if "Q" in self.options else text
        if not self.shell_quotes:
            return re.sub(r"[\x00-\x1f\x7f]", "?", name) if "q" in self.options else name
        return f'"{name}"' if "'" in name and not set(name) & set('"$`\\') else quoted_if_needed(name)

    def _indicator(self, found: Stat) -> str:
        style = self.options.last("F", "p", "file-type", "none")
        if style in ("", "none"):
            return ""
        if found.is_dir:
            return "/"
        if style == "p":
            return ""
        if found.is_symlink:
            return "" if self.format == "l" else "@"
        kind = found.mode & 0o170000
        if kind in (abi.S_IFIFO, abi.S_IFSOCK):
            return "|" if kind == abi.S_IFIFO else "="
        return "*" if style == "F" and found.is_file and found.mode & 0o111 else ""

    def _color(self, found: Stat, path: str) -> str:
        """The colour of a kind of file: dircolors' own table."""
        kind, mode = found.mode & 0o170000, found.mode
        if kind == abi.S_IFDIR:
            return {(1, 1): "30;42", (1, 0): "34;42", (0, 1): "37;44"}.get((mode >> 1 & 1, mode >> 9 & 1), "01;34")
        if kind == abi.S_IFREG:
            return "37;41" if mode & 0o4000 else "30;43" if mode & 0o2000 else "01;32" if mode & 0o111 else ""
        return {abi.S_IFLNK: "01;36", abi.S_IFIFO: "33", abi.S_IFSOCK: "01;35", abi.S_IFCHR: "01;33"}.get(kind, "")

    # -- formats --------------------------------------------------------------------------------------------------

    async def _show(self, entries: list[tuple[str, Stat]], base: str) -> None:
        p = self.p
        names = self._named(entries, base)
        if self.format == "l":
            await self._show_long(entries, [shown for shown, _ in names], base)
            return
        lead = []
        for key, values in (
            ("i", [str(found.ino) for _, found in entries]),
            ("s", [self._blocks(_kibibytes(found)) for _, found in entries]),
            ("Z", ["?" for _ in entries]),
        ):
            if key in self.options:
                widest = max(map(len, values), default=0) if self.format != "m" else 0
                lead.append([value.rjust(widest) + " " for value in values])
        for cells in lead[::-1]:
            names = [(cell + shown, len(cell) + size) for cell, (shown, size) in zip(cells, names, strict=True)]
        if self.format == "1":
            p.stdout.write("".join(f"{name}\n" for name, _ in names))
        elif self.format == "m":
            self._with_commas(names)
        else:
            for line in columns(names, self.width, across=self.format == "x", tabs=self.tabs):
                p.print(line)

    def _with_commas(self, names: list[tuple[str, int]]) -> None:
        at = 0
        for index, (name, size) in enumerate(names):
            if index:
                fits = not self.width or at + size + 2 < self.width
                self.p.stdout.write(", " if fits else ",\n")
                at = at + 2 if fits else 0
            self.p.stdout.write(name)
            at += size
        if names:
            self.p.stdout.write("\n")

    def _when(self, found: Stat) -> str:
        moment, now = self._time(found), self.p.kernel.now()
        style = self.time_style
        if style == "full-iso":
            return full_time(moment)
        recent = 0 <= now - moment < 15_778_476 * 1_000_000_000
        if style == "long-iso":
            style = "+%Y-%m-%d %H:%M"
        elif style == "iso":
            style = "+%m-%d %H:%M" if recent else "+%Y-%m-%d "
        if style.startswith("+"):
            old, _, new = style[1:].partition("\n")
            return formatted(moment, new if new and recent else old)
        return list_time(moment, now)

    async def _show_long(self, entries: list[tuple[str, Stat]], names: list[str], base: str) -> None:
        p, numeric, options = self.p, "n" in self.options, self.options
        if entries and not numeric and not self.named:
            look_up_names(p, "/etc/passwd", "/etc/group")
            self.named = True
        rows = []
        for (name, found), shown in zip(entries, names, strict=True):
            await p.cooperate()
            if found.is_symlink:
                try:
                    shown += f" -> {self._quoted(p.readlink(posixpath.join(base, name) if base else name))}"
                except OSError:
                    shown += " -> ?"
            size = self._human(found.size) if {"h", "si"} & set(options.flags) else str(found.size)
            if found.is_device:
                size = f"{found.rdev >> 8}, {found.rdev & 0xFF}"
            owner = str(found.uid) if numeric else p.user_name(found.uid) or str(found.uid)
            group = str(found.gid) if numeric else p.group_name(found.gid) or str(found.gid)
            row = [mode_text(found.mode), str(found.nlink)]
            if "i" in options or "s" in options:
                lead = [str(found.ino)] if "i" in options else []
                lead += [self._blocks(_kibibytes(found))] if "s" in options else []
                row = [*lead, *row]
            before = len(row)
            row += [] if "g" in options else [owner]
            row += [] if "o" in options or "G" in options else [group]
            row += [owner] if "author" in options else []
            row += ["?"] if "Z" in options else []
            rows.append((before, [*row, size, self._when(found), shown]))
        count = len(rows[0][1]) if rows else 0
        widths = [max((len(row[index]) for _, row in rows), default=0) for index in range(count)]
        for before, row in rows:
            await p.cooperate()
            cells = []
            for index, cell in enumerate(row[:-1]):
                right = (index < before and index != before - 2) or index == count - 3
                cells.append(cell.rjust(widths[index]) if right else cell.ljust(widths[index]))
            p.print(" ".join([*cells, row[-1]]))


def _kibibytes(found: Stat) -> int:
    return 0 if found.is_device or found.is_symlink else (found.size + 4095) // 4096 * 4


def version_key(name: str) -> list[tuple[int, int, str]]:
    """What sorts names as `ls -v` and `sort -V` do: numbers in them by their value."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() and len(part) < 1000 else (0, 0, part) for part in parts]


_NARROWEST = 3  # a column with its gap
_MOST_ARRANGED = 2000  # names; more would take too long


def columns(names: list[tuple[str, int]], width: int, *, across: bool = False, tabs: int = 8) -> list[str]:
    """Texts and their widths side by side as ls fills a line, down the columns first or across."""
    if len(names) > _MOST_ARRANGED:
        return [name for name, _ in names]
    count = len(names)
    most = min(count, max(1, -(-width // _NARROWEST))) if width else count
    for number_of in range(most, 0, -1):
        rows = -(-count // number_of)
        widths = [_NARROWEST] * number_of
        for index, (_, size) in enumerate(names):
            column = index % number_of if across else index // rows
            widths[column] = max(widths[column], size + (0 if column == number_of - 1 else 2))
        if not width or sum(widths) < width or number_of == 1:
            break
    else:
        return []
    lines = []
    for row in range(rows):
        chosen = range(row * number_of, min(count, (row + 1) * number_of)) if across else range(row, count, rows)
        line, at, start = "", 0, 0
        for column, index in enumerate(chosen):
            while at < start:
                if tabs and start // tabs > (at + 1) // tabs:
                    line += "\t"
                    at += tabs - at % tabs
                else:
                    line += " "
                    at += 1
            line += names[index][0]
            at += names[index][1]
            start += widths[column]
        lines.append(line)
    return lines
