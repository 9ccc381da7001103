"""Programs that change files: touch, cp, mv, rm, ln, mkdir, rmdir, chmod, chown, shred, tee, mktemp, truncate."""

from __future__ import annotations

import contextlib
import posixpath
import re

from ekslab.names import suffix
from ekslab.node import abi
from ekslab.node.dates import moment_of
from ekslab.node.inodes import Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import Options, number, parse, quoted, usage
from ekslab.node.userland.show import answer, chunks, emit, mode_text


def selinux(p: Process) -> None:
    """Emits the calls of libselinux when one of these programs starts."""
    if p.exists("/proc/filesystems"):
        p.close(p.open("/proc/filesystems", abi.O_RDONLY | abi.O_CLOEXEC))


def _target_is_directory(p: Process, path: str) -> bool:
    return p.isdir(path)


def _sources_and_target(p: Process, options: Options, what: str) -> tuple[list[str], str, bool]:
    """The sources, the target, and whether the target is a directory to copy into."""
    operands = list(options.operands)
    if "t" in options.values:
        if not operands:
            usage(p, "missing file operand")
        return operands, options.values["t"], True
    if not operands:
        usage(p, "missing file operand")
    if len(operands) == 1:
        usage(p, f"missing destination file operand after {quoted(operands[0])}")
    *sources, target = operands
    into = _target_is_directory(p, target) and "T" not in options
    if len(sources) > 1 and not into:
        p.fail(f"target {quoted(target)}: {'Not a directory' if p.exists(target) else 'No such file or directory'}")
        raise ProcessExit(1)
    return sources, target, into


@program("touch")
async def touch(p: Process) -> int:
    options = parse(
        p, "acmhr:d:t:", {"no-create": "c", "no-dereference": "h", "reference": "r", "date": "d", "time": "time="}
    )
    if not options.operands:
        usage(p, "missing file operand")
    when: int | None = None
    if "r" in options.values:
        when = p.stat(options.values["r"]).mtime
    elif "d" in options.values:
        when = parse_date(p, options.values["d"])
    elif "t" in options.values:
        when = _touch_time(p, options.values["t"])
    both = ("a" in options) == ("m" in options)
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            if "h" in options and _is_symlink(p, name):
                pass
            elif "c" in options or "h" in options:
                if not p.exists(name):
                    if "c" not in options:
                        raise abi.error("ENOENT", name)
                    continue
            else:
                p.close(p.open(name, abi.O_WRONLY | abi.O_CREAT | abi.O_NONBLOCK, 0o666))
        except IsADirectoryError:
            pass  # its times can be set all the same
        except OSError as exc:
            p.fail(f"cannot touch {quoted(name)}: {exc.strerror}")
            status = 1
            continue
        try:
            p.utime(name, when, atime=both or "a" in options, mtime=both or "m" in options, follow="h" not in options)
        except OSError as exc:
            p.fail(f"setting times of {quoted(name)}: {exc.strerror}")
            status = 1
    return status


def parse_date(p: Process, text: str) -> int:
    """A date as `-d` takes it, in nanoseconds; one that can't be read ends the program."""
    moment = moment_of(text, p.kernel.now())
    if moment is None:
        p.fail(f"invalid date {quoted(text)}" if p.name == "date" else f"invalid date format {quoted(text)}")
        raise ProcessExit(1)
    return moment


def _touch_time(p: Process, text: str) -> int:
    from datetime import UTC, datetime

    match = re.fullmatch(r"(\d{4})?(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d\d))?", text)
    if match is None:
        p.fail(f"invalid date format {quoted(text)}")
        raise ProcessExit(1)
    year = int(match[1]) if match[1] else datetime.fromtimestamp(p.kernel.now() / 1e9, UTC).year
    month, day, hour, minute, second = (int(part or 0) for part in match.groups()[1:])
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        p.fail(f"invalid date format {quoted(text)}")
        raise ProcessExit(1) from None


# -- cp --------------------------------------------------------------------------------------------------------------


@program("cp")
async def cp(p: Process) -> int:
    options = parse(
        p,
        "abdfHilLnPprRst:Tuvx",
        {
            "archive": "a",
            "force": "f",
            "interactive": "i",
            "no-clobber": "n",
            "recursive": "r",
            "target-directory": "t",
            "no-target-directory": "T",
            "verbose": "v",
            "dereference": "L",
            "no-dereference": "P",
            "update": "u",
            "link": "l",
            "symbolic-link": "s",
            "preserve": "preserve=?",
        },
    )
    for letter in "bx":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    selinux(p)
    sources, target, into = _sources_and_target(p, options, "copy")
    copier = _Copier(p, options)
    for source in sources:
        await p.cooperate()
        destination = posixpath.join(target, posixpath.basename(source.rstrip("/"))) if into else target
        await copier.copy(source, destination)
    return copier.status


class _Copier:
    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.status = 0
        self.recursive = any(letter in options for letter in "arR")
        self.preserve = any(letter in options for letter in ("a", "p", "preserve"))
        self.keep_links = any(letter in options for letter in "adP") or (self.recursive and "L" not in options)
        self.force = "f" in options
        self.keep_target = "n" in options
        self.verbose = "v" in options
        self.asks = options.last("i", "f", "n") == "i"
        self.newer = "u" in options
        self.link = options.last("l", "s")

    def fail(self, message: str) -> None:
        self.p.fail(message)
        self.status = 1

    async def copy(self, source: str, target: str) -> None:
        p = self.p
        await p.cooperate()
        try:
            found = p.lstat(source) if self.keep_links else p.stat(source)
        except OSError as exc:
            self.fail(f"cannot stat {quoted(source)}: {exc.strerror}")
            return
        try:
            if found.is_dir:
                await self._directory(source, target, found)
                return
            existing = self._target(target)
            if existing is not None:
                if existing.is_dir:
                    self.fail(f"cannot overwrite directory {quoted(target)} with non-directory")
                    return
                if (existing.dev, existing.ino) == (found.dev, found.ino):
                    self.fail(f"{quoted(source)} and {quoted(target)} are the same file")
                    return
                if self.keep_target or (self.newer and existing.mtime >= found.mtime):
                    return
                if self.asks and not await _may_overwrite(p, target):
                    return
            if self.link:
                if existing is not None and not self.force:
                    kind = "symbolic" if self.link == "s" else "hard"
                    self.fail(f"cannot create {kind} link {quoted(target)} to {quoted(source)}: File exists")
                    return
                if existing is not None:
                    p.unlink(target)
                (p.symlink if self.link == "s" else p.link)(source, target)
            elif found.is_symlink:
                if existing is not None:
                    p.unlink(target)
                p.symlink(p.readlink(source), target)
            else:
                await self._file(source, target, found, existing)
            if self.verbose:
                p.print(f"{quoted(source)} -> {quoted(target)}")
        except OSError as exc:
            self.fail(f"{self._what(exc, source, target)}: {exc.strerror}")

    def _what(self, exc: OSError, source: str, target: str) -> str:
        if exc.filename == source:
            return f"cannot open {quoted(source)} for reading"
        return f"cannot create regular file {quoted(target)}"

    def _target(self, path: str) -> Stat | None:
        try:
            return self.p.stat(path)
        except OSError:
            return None

    async def _file(self, source: str, target: str, found: Stat, existing: Stat | None) -> None:
        p = self.p
        reading = p.open(source, abi.O_RDONLY)
        try:
            writing = self._create(target, found, existing)
            try:
                async for chunk in chunks(p, reading):
                    await emit(p, chunk, writing)
            finally:
                p.close(writing)
        finally:
            p.close(reading)
        if self.preserve:
            self._preserve(target, found)

    def _create(self, target: str, found: Stat, existing: Stat | None) -> int:
        p, mode = self.p, found.mode & 0o777
        if existing is None:
            return p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, mode)
        try:
            return p.open(target, abi.O_WRONLY | abi.O_TRUNC)
        except OSError:
            if not self.force:
                raise
            p.unlink(target)
            return p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, mode)

    def _preserve(self, target: str, found: Stat) -> None:
        p = self.p
        with contextlib.suppress(OSError):  # without the right to, cp keeps its own user as owner
            p.chown(target, found.uid, found.gid)
        p.chmod(target, found.mode & 0o7777)
        p.utime(target, found.mtime)

    async def _directory(self, source: str, target: str, found: Stat) -> None:
        p = self.p
        if not self.recursive:
            self.fail(f"-r not specified; omitting directory {quoted(source)}")
            return
        if (p.real_path(posixpath.dirname(target.rstrip("/")) or ".") + "/").startswith(p.real_path(source) + "/") or (
            p.exists(target) and p.real_path(target).startswith(p.real_path(source) + "/")
        ):
            self.fail(f"cannot copy a directory, {quoted(source)}, into itself, {quoted(target)}")
            return
        existing = self._target(target)
        if existing is not None and not existing.is_dir:
            self.fail(f"cannot overwrite non-directory {quoted(target)} with directory {quoted(source)}")
            return
        names = p.listdir(source)
        if existing is None:
            p.mkdir(target, found.mode & 0o777, call="mkdirat")
        if self.verbose:
            p.print(f"{quoted(source)} -> {quoted(target)}")
        for name in names:
            await p.cooperate()
            await self.copy(posixpath.join(source, name), posixpath.join(target, name))
        if self.preserve:
            self._preserve(target, found)


async def _may_overwrite(p: Process, target: str) -> bool:
    p.stderr.write(f"{p.argv[0]}: overwrite {quoted(target)}? ")
    return (await answer(p)).lower().startswith(b"y")


# -- mv --------------------------------------------------------------------------------------------------------------


@program("mv")
async def mv(p: Process) -> int:
    options = parse(
        p,
        "fint:Tuv",
        {
            "force": "f",
            "interactive": "i",
            "no-clobber": "n",
            "target-directory": "t",
            "no-target-directory": "T",
            "update": "u",
            "verbose": "v",
        },
    )
    selinux(p)
    sources, target, into = _sources_and_target(p, options, "move")
    status = 0
    for source in sources:
        await p.cooperate()
        destination = posixpath.join(target, posixpath.basename(source.rstrip("/"))) if into else target
        if not await _move(p, source, destination, options):
            status = 1
    return status


async def _move(p: Process, source: str, target: str, options: Options) -> bool:
    try:
        found = p.lstat(source)
    except OSError as exc:
        p.fail(f"cannot stat {quoted(source)}: {exc.strerror}")
        return False
    try:
        try:
            p.rename(source, target, no_replace=True)
            if p.absolute(source) == p.absolute(target):
                raise abi.error("EEXIST", target)
        except FileExistsError:
            if "n" in options:
                return True
            existing = p.lstat(target)
            if (existing.dev, existing.ino) == (found.dev, found.ino):
                p.fail(f"{quoted(source)} and {quoted(target)} are the same file")
                return False
            if existing.is_dir and not found.is_dir:
                p.fail(f"cannot overwrite directory {quoted(target)} with non-directory")
                return False
            if found.is_dir and not existing.is_dir:
                p.fail(f"cannot overwrite non-directory {quoted(target)} with directory {quoted(source)}")
                return False
            if "u" in options and existing.mtime >= found.mtime:
                return True
            if options.last("f", "i", "n") == "i" and not await _may_overwrite(p, target):
                return True
            p.rename(source, target)
    except OSError as exc:
        if abi.errno_name(exc) == "EXDEV":
            return await _move_across(p, source, target)
        if abi.errno_name(exc) == "EINVAL":
            p.fail(f"cannot move {quoted(source)} to a subdirectory of itself, {quoted(target)}")
        else:
            p.fail(f"cannot move {quoted(source)} to {quoted(target)}: {exc.strerror}")
        return False
    if "v" in options:
        p.print(f"renamed {quoted(source)} -> {quoted(target)}")
    return True


async def _move_across(p: Process, source: str, target: str) -> bool:
    """To another file system: copy, then remove."""
    if p.exists(target) and not p.isdir(target):
        p.unlink(target)
    copier = _Copier(p, Options(flags=["a"]))
    await copier.copy(source, target)
    if copier.status:
        return False
    remover = _Remover(p, Options(flags=["r", "f"]))
    await remover.remove(source)
    return not remover.status


# -- rm --------------------------------------------------------------------------------------------------------------


@program("rm")
async def rm(p: Process) -> int:
    options = parse(
        p,
        "dfiIrRv",
        {
            "force": "f",
            "recursive": "r",
            "dir": "d",
            "verbose": "v",
            "no-preserve-root": "no-preserve-root",
            "preserve-root": "preserve-root",
        },
    )
    if not options.operands and "f" not in options:
        usage(p, "missing operand")
    remover = _Remover(p, options)
    for name in options.operands:
        await p.cooperate()
        if posixpath.basename(name.rstrip("/")) in (".", ".."):
            p.fail(f"refusing to remove '.' or '..' directory: skipping {quoted(name)}")
            remover.status = 1
            continue
        if (
            remover.recursive
            and p.exists(name)
            and p.real_path(name) == "/"
            and "no-preserve-root" not in options.flags
        ):
            p.fail(f"it is dangerous to operate recursively on {quoted(name)}")
            p.fail("use --no-preserve-root to override this failsafe")
            remover.status = 1
            continue
        await remover.remove(name)
    return remover.status


class _Remover:
    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.status = 0
        self.recursive = "r" in options or "R" in options
        self.force = options.last("f", "i") == "f"
        self.ask = options.last("f", "i") == "i"
        self.directories = "d" in options
        self.verbose = "v" in options

    def fail(self, name: str, why: str) -> None:
        self.p.fail(f"cannot remove {quoted(name)}: {why}")
        self.status = 1

    async def remove(self, name: str) -> None:
        p = self.p
        await p.cooperate()
        try:
            found = p.lstat(name)
        except OSError as exc:
            with contextlib.suppress(OSError):
                p.unlink(name)  # rm asks the kernel all the same
            if not (self.force and abi.errno_name(exc) in ("ENOENT", "ENOTDIR")):
                self.fail(name, exc.strerror or "")
            return
        if self.ask and not await self._confirmed(name, found):
            return
        try:
            if found.is_dir:
                await self._directory(name)
            else:
                p.unlink(name)
                if self.verbose:
                    p.print(f"removed {quoted(name)}")
        except OSError as exc:
            self.fail(name, exc.strerror or "")

    async def _confirmed(self, name: str, found: Stat) -> bool:
        what = "directory" if found.is_dir else "regular file" if found.size else "regular empty file"
        self.p.stderr.write(f"{self.p.argv[0]}: remove {what} {quoted(name)}? ")
        return (await answer(self.p)).strip().lower().startswith(b"y")

    async def _directory(self, name: str) -> None:
        p = self.p
        if not self.recursive:
            if not self.directories:
                self.fail(name, "Is a directory")
                return
            p.rmdir(name)
            return
        for entry in p.listdir(name):
            await self.remove(posixpath.join(name, entry))
        p.rmdir(name)
        if self.verbose:
            p.print(f"removed directory {quoted(name)}")


@program("unlink")
async def unlink(p: Process) -> int:
    options = parse(p, "")
    if len(options.operands) != 1:
        usage(p, "missing operand" if not options.operands else f"extra operand {quoted(options.operands[1])}")
    try:
        p.unlink(options.operands[0], call="unlink")
    except OSError as exc:
        return p.fail(f"cannot unlink {quoted(options.operands[0])}: {exc.strerror}")
    return 0


# -- ln, mkdir, rmdir ------------------------------------------------------------------------------------------------


@program("ln")
async def ln(p: Process) -> int:
    options = parse(
        p,
        "sfinTt:vrLP",
        {
            "symbolic": "s",
            "force": "f",
            "no-dereference": "n",
            "no-target-directory": "T",
            "target-directory": "t",
            "verbose": "v",
        },
    )
    if "r" in options or "i" in options:
        return p.fail(f"option -{'r' if 'r' in options else 'i'} is not simulated in this lab")
    operands = options.operands
    if not operands:
        usage(p, "missing file operand")
    if "t" in options.values:
        targets, directory = operands, options.values["t"]
    elif len(operands) == 1:
        targets, directory = operands, "."
    elif len(operands) == 2 and (
        "T" in options or not p.isdir(operands[1]) or ("n" in options and _is_symlink(p, operands[1]))
    ):
        return _link(p, operands[0], operands[1], options)
    else:
        targets, directory = operands[:-1], operands[-1]
        if not p.isdir(directory):
            return p.fail(f"target {quoted(directory)}: No such file or directory")
    status = 0
    for target in targets:
        await p.cooperate()
        status |= _link(p, target, posixpath.join(directory, posixpath.basename(target.rstrip("/"))), options)
    return status


def _is_symlink(p: Process, path: str) -> bool:
    try:
        return p.lstat(path).is_symlink
    except OSError:
        return False


def _link(p: Process, target: str, name: str, options: Options) -> int:
    symbolic = "s" in options
    kind = "symbolic link" if symbolic else "hard link"
    if not symbolic and p.isdir(target):
        return p.fail(f"{target}: hard link not allowed for directory")
    make = p.symlink if symbolic else p.link
    try:
        try:
            make(target, name)
        except FileExistsError:
            if "f" not in options or (not _is_symlink(p, name) and p.isdir(name)):
                raise
            # -f makes the link under another name, which then takes the place of what is there.
            temporary = posixpath.join(posixpath.dirname(name), f"Cu{suffix(6, name, p.kernel.now())}")
            make(target, temporary)
            p.rename(temporary, name)
    except OSError as exc:
        if not symbolic and not p.exists(target):
            return p.fail(f"failed to access {quoted(target)}: {exc.strerror}")
        arrow = "" if symbolic else f" => {quoted(target)}"
        return p.fail(f"failed to create {kind} {quoted(name)}{arrow}: {exc.strerror}")
    if "v" in options:
        p.print(f"{quoted(name)} {'->' if symbolic else '=>'} {quoted(target)}")
    return 0


@program("mkdir")
async def mkdir(p: Process) -> int:
    options = parse(p, "m:pv", {"mode": "m", "parents": "p", "verbose": "v"})
    if not options.operands:
        usage(p, "missing operand")
    selinux(p)
    mode = None
    if "m" in options.values:
        mode = file_mode(p, options.values["m"], 0o777, is_dir=True)
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            if "p" in options:
                _make_parents(p, name, told="v" in options)
                if p.isdir(name):
                    continue
            p.mkdir(name, 0o777)
            if mode is not None:
                p.chmod(name, mode)
            if "v" in options:
                p.print(f"mkdir: created directory {quoted(name)}")
        except OSError as exc:
            p.fail(f"cannot create directory {quoted(exc.filename or name)}: {exc.strerror}")
            status = 1
    return status


def _make_parents(p: Process, name: str, *, told: bool = False) -> None:
    here = "/" if name.startswith("/") else ""
    for part in [part for part in name.split("/") if part][:-1]:
        here = posixpath.join(here, part)
        if not p.isdir(here):
            p.mkdir(here)
            if told:
                p.print(f"mkdir: created directory {quoted(here)}")


@program("rmdir")
async def rmdir(p: Process) -> int:
    options = parse(p, "pv", {"parents": "p", "verbose": "v", "ignore-fail-on-non-empty": "ignore"})
    if not options.operands:
        usage(p, "missing operand")
    status = 0
    for name in options.operands:
        await p.cooperate()
        path = name
        while path:
            if "v" in options:
                p.print(f"rmdir: removing directory, {quoted(path)}")
            try:
                p.rmdir(path, call="rmdir")
            except OSError as exc:
                if not ("ignore" in options.flags and abi.errno_name(exc) == "ENOTEMPTY"):
                    p.fail(f"failed to remove {quoted(path)}: {exc.strerror}")
                    status = 1
                break
            path = posixpath.dirname(path.rstrip("/")) if "p" in options else ""
    return status


# -- chmod, chown ----------------------------------------------------------------------------------------------------


def file_mode(p: Process, text: str, old: int, *, is_dir: bool = False) -> int:
    """A mode after applying `755` or `u+x,go-w` to an old one."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        return int(text, 8) & 0o7777
    mode = old & 0o7777
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)", clause)
        if match is None:
            p.fail(f"invalid mode: {quoted(text)}")
            p.stderr.write(f"Try '{p.argv[0]} --help' for more information.\n")
            raise ProcessExit(1)
        who = match[1].replace("a", "ugo") or "ugo"
        mask = 0o777 if match[1] else 0o777 & ~p.umask
        for operator, letters in re.findall(r"([-+=])([ugo]|[rwxXst]*)", match[2]):
            mode = _apply_mode(mode, who, operator, letters, mask, is_dir)
    return mode


def _apply_mode(mode: int, who: str, operator: str, letters: str, mask: int, is_dir: bool) -> int:
    bits = 0
    if letters in ("u", "g", "o") and letters:
        bits = mode >> {"u": 6, "g": 3, "o": 0}[letters] & 7
    for letter in letters:
        bits |= {"r": 4, "w": 2, "x": 1}.get(letter, 0)
        if letter == "X" and (is_dir or mode & 0o111):
            bits |= 1
    change = special = 0
    for person in who:
        change |= bits << {"u": 6, "g": 3, "o": 0}[person]
        special |= {"u": 0o700, "g": 0o070, "o": 0o007}[person]
    change &= mask
    if "s" in letters:
        change |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if "t" in letters:
        change |= 0o1000
    if operator == "+":
        return mode | change
    if operator == "-":
        return mode & ~change
    return (mode & ~special) | change


async def _everything(p: Process, name: str, recursive: bool) -> list[str]:
    found = [name]
    if recursive and p.isdir(name) and not _is_symlink(p, name):
        for entry in p.listdir(name):
            await p.cooperate()
            found += await _everything(p, posixpath.join(name, entry), True)
    return found


@program("chmod")
async def chmod(p: Process) -> int:
    arguments = p.argv[1:]
    # A mode such as -x looks like an option.
    modes = [word for word in arguments if re.fullmatch(r"-[rwxXst]+", word)]
    options = parse(
        p,
        "cfRv",
        {"recursive": "R", "verbose": "v", "quiet": "f", "silent": "f", "changes": "c", "reference": "reference="},
        arguments=[word for word in arguments if word not in modes],
    )
    operands = [*modes[:1], *options.operands]
    if "reference" in options.values:
        operands = [f"{p.stat(options.values['reference']).mode & 0o7777:o}", *operands]
    if not operands:
        usage(p, "missing operand")
    if len(operands) < 2:
        usage(p, f"missing operand after {quoted(operands[0])}")
    status = 0
    for operand in operands[1:]:
        await p.cooperate()
        try:
            names = await _everything(p, operand, "R" in options)
        except OSError as exc:
            p.fail(f"cannot access {quoted(operand)}: {exc.strerror}")
            status = 1
            continue
        for name in names:
            await p.cooperate()
            try:
                found = p.stat(name)
                mode = file_mode(p, operands[0], found.mode, is_dir=found.is_dir)
                p.chmod(name, mode)
                old = found.mode & 0o7777
                if old != mode and {"v", "c"} & set(options.flags):
                    p.print(
                        f"mode of {quoted(name)} changed from {old:04o} ({mode_text(old)[1:]}) "
                        f"to {mode:04o} ({mode_text(mode)[1:]})"
                    )
                elif "v" in options:
                    p.print(f"mode of {quoted(name)} retained as {mode:04o} ({mode_text(mode)[1:]})")
            except OSError as exc:
                if "f" not in options:
                    verb = "cannot access" if isinstance(exc, FileNotFoundError) else "changing permissions of"
                    p.fail(f"{verb} {quoted(name)}: {exc.strerror}")
                status = 1
    return status


@program("chown", "chgrp")
async def chown(p: Process) -> int:
    options = parse(p, "cfhRv", {"recursive": "R", "verbose": "v", "no-dereference": "h"})
    if len(options.operands) < 2:
        usage(p, "missing operand" if not options.operands else f"missing operand after {quoted(options.operands[0])}")
    wanted = options.operands[0]
    user, _, group = wanted.partition(":")
    if p.name == "chgrp":
        user, group = "", wanted
    uid = number_of(p, "/etc/passwd", user, wanted, "user") if user else -1
    gid = number_of(p, "/etc/group", group, wanted, "group") if group else -1
    status = 0
    for operand in options.operands[1:]:
        for name in await _everything(p, operand, "R" in options):
            await p.cooperate()
            try:
                p.chown(name, uid, gid, follow="h" not in options)
            except OSError as exc:
                verb = "cannot access" if isinstance(exc, FileNotFoundError) else "changing ownership of"
                p.fail(f"{verb} {quoted(name)}: {exc.strerror}")
                status = 1
    return status


def number_of(p: Process, path: str, name: str, wanted: str, what: str) -> int:
    for line in p.read_text(path).splitlines() if p.exists(path) else []:
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2:
            return int(fields[2])
    if name.isdigit():
        return int(name)
    p.fail(f"invalid {what}: {quoted(wanted)}")
    raise ProcessExit(1)


# -- shred, tee, truncate, mktemp ------------------------------------------------------------------------------------


@program("shred")
async def shred(p: Process) -> int:
    options = parse(
        p,
        "fn:s:uvxz",
        {"force": "f", "iterations": "n", "remove": "u", "verbose": "v", "zero": "z", "exact": "x", "size": "s"},
    )
    if not options.operands:
        usage(p, "missing file operand")
    passes = number(p, options.values.get("n", "3"), "invalid number of passes")
    status = 0
    for name in options.operands:
        await p.cooperate()
        try:
            fd = p.open(name, abi.O_WRONLY)
        except OSError as exc:
            p.fail(f"{name}: failed to open for writing: {exc.strerror}")
            status = 1
            continue
        size = p.fstat(fd).size
        rounds = passes + ("z" in options)
        for turn in range(rounds):
            await p.cooperate()
            p.seek(fd, 0)
            zero = "z" in options and turn == rounds - 1
            length = size if "x" in options or not size else -(-size // 4096) * 4096
            while length > 0:
                block = min(length, 65_536)
                await emit(p, bytes(block) if zero else bytes([(turn * 37 + 85) & 0xFF]) * block, fd)
                length -= block
            if "v" in options:
                p.stderr.write(f"shred: {name}: pass {turn + 1}/{rounds} ({'000000' if zero else 'random'})...\n")
        p.close(fd)
        if "u" in options:
            p.truncate(name, 0)
            _wipe_name(p, name)
    return status


def _wipe_name(p: Process, name: str) -> None:
    """Renames a file to ever shorter names of zeroes before removing it, as shred -u does."""
    directory, base = posixpath.split(name)
    current = name
    for length in range(len(base), 0, -1):
        following = posixpath.join(directory, "0" * length)
        if p.exists(following):
            continue
        p.rename(current, following, no_replace=True)
        current = following
    p.unlink(current, call="unlink")


@program("tee")
async def tee(p: Process) -> int:
    options = parse(p, "aip", {"append": "a", "ignore-interrupts": "i"})
    names: dict[int, str] = {}
    status = 0
    flags = abi.O_WRONLY | abi.O_CREAT | (abi.O_APPEND if "a" in options else abi.O_TRUNC)
    for name in options.operands:
        await p.cooperate()
        try:
            names[p.open(name, flags, 0o666)] = name
        except OSError as exc:
            p.fail(f"{name}: {exc.strerror}")
            status = 1
    outputs = [1, *names]
    async for chunk in chunks(p, 0):
        for fd in list(outputs):
            try:
                await emit(p, chunk, fd)
            except OSError as exc:
                p.fail(f"{names.get(fd, 'standard output')}: {exc.strerror}")
                outputs.remove(fd)
                status = 1
        if not outputs:
            break
    return status


@program("truncate")
async def truncate(p: Process) -> int:
    options = parse(p, "cs:r:", {"no-create": "c", "size": "s", "reference": "r"})
    if not options.operands:
        usage(p, "missing file operand")
    if "s" not in options.values:
        usage(p, "you must specify either '--size' or '--reference'")
    size = number(p, options.values["s"], "Invalid number")
    for name in options.operands:
        await p.cooperate()
        create = 0 if "c" in options else abi.O_CREAT
        if not create and not p.exists(name):
            continue
        try:
            p.close(p.open(name, abi.O_WRONLY | create | abi.O_NONBLOCK, 0o666))
        except OSError as exc:
            return p.fail(f"cannot open {quoted(name)} for writing: {exc.strerror}")
        try:
            p.truncate(name, max(p.stat(name).size + size, 0) if options.values["s"][:1] in "+-" else size)
        except OSError as exc:
            return p.fail(f"failed to truncate {quoted(name)} at {size} bytes: {exc.strerror}")
    return 0


@program("mktemp")
async def mktemp(p: Process) -> int:
    options = parse(p, "dqtp:u", {"directory": "d", "tmpdir": "p", "quiet": "q"})
    template = options.operands[0] if options.operands else "tmp.XXXXXXXXXX"
    xs = len(template) - len(template.rstrip("X"))
    if len(template) > 255:
        return p.fail(f"failed to create file via template {quoted(template[:64] + '...')}: File name too long")
    if xs < 3:
        return p.fail(f"too few X's in template {quoted(template)}")
    directory = options.values.get("p") or (
        p.env.get("TMPDIR", "/tmp") if not options.operands or "t" in options else ""
    )
    for attempt in range(100):
        name = template[:-xs] + suffix(xs, "mktemp", p.pid, attempt)
        path = posixpath.join(directory, name)
        try:
            if "d" in options:
                p.mkdir(path, 0o700)
            else:
                p.close(p.open(path, abi.O_RDWR | abi.O_CREAT | abi.O_EXCL, 0o600))
        except FileExistsError:
            continue
        except OSError as exc:
            what = "directory" if "d" in options else "file"
            return p.fail(f"failed to create {what} via template {quoted(path)}: {exc.strerror}")
        p.print(path)
        return 0
    return p.fail("too many attempts")


@program("dd")
async def dd(p: Process) -> int:
    settings = dict(word.split("=", 1) for word in p.argv[1:] if "=" in word)
    for word in p.argv[1:]:
        if word.partition("=")[0] not in (
            "if",
            "of",
            "bs",
            "ibs",
            "obs",
            "count",
            "status",
            "conv",
            "skip",
            "seek",
            "iflag",
            "oflag",
        ):
            return p.fail(f"unrecognized operand {quoted(word)}")
    block = number(p, settings.get("bs", settings.get("ibs", "512")), "invalid number")
    count = number(p, settings["count"], "invalid number") if "count" in settings else None
    skip, seek = (number(p, settings.get(name, "0"), "invalid number") for name in ("skip", "seek"))
    if block <= 0:
        return p.fail(f"invalid number: {quoted(settings.get('bs', '0'))}")
    reading = writing = -1
    try:
        reading = p.open(settings["if"]) if "if" in settings else 0
        keep = "notrunc" in settings.get("conv", "") or seek
        flags = abi.O_WRONLY | abi.O_CREAT | (0 if keep else abi.O_TRUNC)
        writing = p.open(settings["of"], flags, 0o666) if "of" in settings else 1
        if seek and "of" in settings:
            p.seek(writing, seek * block)
    except OSError as exc:
        return p.fail(f"failed to open {quoted(exc.filename or '')}: {exc.strerror}")
    started = p.kernel.now()
    p.charge(block)
    records = _Records(block)
    status = 0
    try:
        await _copy_blocks(p, reading, writing, records, block, count, skip)
    except OSError as exc:
        p.fail(f"error writing {quoted(settings.get('of', 'standard output'))}: {exc.strerror}")
        status = 1
    if settings.get("status") != "none":
        seconds = max((p.kernel.now() - started) / 1e9, 1e-6)
        size = f"{records.total} byte{'s' if records.total != 1 else ''}"
        amounts = [_amount(records.total, 1000)] if records.total >= 1000 else []
        amounts += [_amount(records.total, 1024)] if records.total >= 1024 else []
        p.stderr.write(
            f"{records.text(records.read)} in\n{records.text(records.written)} out\n{size} "
            f"{'(' + ', '.join(amounts) + ') ' if amounts else ''}copied, {seconds:.6g} s, "
            f"{_amount(int(records.total / seconds), 1000)}/s\n"
        )
    return status


def _amount(size: int, base: int) -> str:
    value, units = float(size), iter(("B", *("kMGT" if base == 1000 else "KMGT")))
    unit = next(units)
    while value >= base:
        value /= base
        unit = next(units, "T")
    text = f"{value:.1f}" if value < 9.95 and unit != "B" else f"{value:.0f}"
    return f"{text} {unit}{'' if unit == 'B' else 'B' if base == 1000 else 'iB'}"


class _Records:
    """Full and partial blocks that dd has read and written."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.read = [0, 0]
        self.written = [0, 0]
        self.total = 0

    def text(self, counts: list[int]) -> str:
        return f"{counts[0]}+{counts[1]} records"


async def _copy_blocks(
    p: Process, reading: int, writing: int, records: _Records, block: int, count: int | None, skip: int
) -> None:
    while count is None or sum(records.read) < count:
        size = 0  # of this block, which is passed on in pieces
        while size < block:
            chunk = await p.read(reading, min(block - size, 65_536))
            await p.cooperate()
            if not chunk:
                break
            size += len(chunk)
            if skip <= 0:
                p.write(writing, chunk)
                await p.drain(writing)
                records.total += len(chunk)
            if p.fstat(reading).mode & 0o170000 == abi.S_IFIFO:
                break  # one read of a pipe is one record
        if not size:
            return
        if skip > 0:
            skip -= 1
            continue
        for counts in (records.read, records.written):
            counts[size < block] += 1
