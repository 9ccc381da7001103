"""Archives: tar and gzip. The archives are real ones; what is in them are the lab's files."""

from __future__ import annotations

import io
import posixpath
import tarfile
import zlib
from collections.abc import AsyncIterator

from ekslab.node import abi
from ekslab.node.inodes import Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import glob
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import Options, parse, quoted, usage
from ekslab.node.userland.show import chunks, emit, file_chunks, mode_text

# -- gzip -------------------------------------------------------------------------------------------------------------


@program("gzip")
async def gzip(p: Process) -> int:
    options = parse(
        p,
        "cdfhklnNqrS:tvV123456789",
        {
            "stdout": "c",
            "to-stdout": "c",
            "decompress": "d",
            "uncompress": "d",
            "force": "f",
            "keep": "k",
            "list": "l",
            "no-name": "n",
            "name": "N",
            "quiet": "q",
            "recursive": "r",
            "suffix": "S",
            "test": "t",
            "verbose": "v",
            "fast": "1",
            "best": "9",
        },
    )
    if "V" in options:
        p.print("gzip 1.13")
        return 0
    for letter in "lrS":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    status = 0
    for name in options.operands or ["-"]:
        await p.cooperate()
        try:
            await _gzip(p, name, options)
        except OSError as exc:
            status = p.fail(f"{exc.filename or name}: {exc.strerror}")
        except _Refused as exc:
            status = max(status, exc.status)
            if "q" not in options:
                p.stderr.write(f"\n{p.argv[0]}: {exc}\n" if exc.status == 1 else f"{p.argv[0]}: {exc}\n")
    return status


class _Refused(Exception):
    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


async def _gzip(p: Process, name: str, options: Options) -> None:
    undo, test = "d" in options or "t" in options, "t" in options
    target = ""
    if name != "-":
        if p.lstat(name).is_dir:
            raise _Refused(f"{name} is a directory -- ignored", 2)
        if undo and not name.endswith((".gz", ".tgz")) and not ("c" in options or test):
            raise _Refused(f"{name}: unknown suffix -- ignored", 2)
        if not undo and name.endswith(".gz") and "c" not in options:
            raise _Refused(f"{name} already has .gz suffix -- unchanged", 2)
        if "c" not in options and not test:
            target = name.removesuffix(".gz") if name.endswith(".gz") else f"{name[:-4]}.tar" if undo else f"{name}.gz"
    level = next((int(flag) for flag in reversed(options.flags) if flag.isdigit()), 6)
    source = file_chunks(p, name)
    moved = _decompressed(source, name, force="f" in options) if undo else _compressed(source, level)
    if not target:
        if p.isatty(1) and not undo and "f" not in options:
            raise _Refused("compressed data not written to a terminal. Use -f to force compression.")
        async for chunk in moved:
            if not test:
                await emit(p, chunk)
        return
    found = p.stat(name)
    if p.exists(target) and "f" not in options:
        raise _Refused(f"{target} already exists;\tnot overwritten", 2)
    if p.exists(target):
        p.unlink(target)
    fd = p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL, 0o600)
    total = 0
    try:
        async for chunk in moved:
            total += len(chunk)
            await emit(p, chunk, fd)
    except _Refused:
        p.unlink(target)
        raise
    finally:
        p.close(fd)
    p.chown(target, found.uid, found.gid)
    p.chmod(target, found.mode & 0o7777)
    p.utime(target, found.mtime)
    if "v" in options:
        whole, packed = (total, found.size) if undo else (found.size, total)
        p.stderr.write(
            f"{name}:\t{100 - 100 * packed / max(whole, 1):5.1f}% -- "
            f"{'created' if 'k' in options else 'replaced with'} {target}\n"
        )
    if "k" not in options:
        p.unlink(name)


async def _compressed(source: AsyncIterator[bytes], level: int) -> AsyncIterator[bytes]:
    squeeze = zlib.compressobj(level, wbits=31)
    async for chunk in source:
        yield squeeze.compress(chunk)
    yield squeeze.flush()


async def _decompressed(source: AsyncIterator[bytes], name: str, *, force: bool = False) -> AsyncIterator[bytes]:
    shown = "stdin" if name == "-" else name
    expand = zlib.decompressobj(wbits=31)
    begun = plain = False
    async for chunk in source:
        if not begun and not chunk.startswith(b"\x1f\x8b"[: len(chunk)]):
            if not force:
                raise _Refused(f"{shown}: not in gzip format")
            plain = True
        begun = True
        if plain:
            yield chunk
            continue
        try:
            rest = chunk
            while rest:
                yield expand.decompress(rest, 1 << 20)
                rest = expand.unconsumed_tail
                if expand.eof:
                    rest = expand.unused_data
                    expand = zlib.decompressobj(wbits=31)
                    if not rest.startswith(b"\x1f\x8b"):
                        break
        except zlib.error:
            raise _Refused(f"{shown}: invalid compressed data--format violated") from None
    if not begun:
        raise _Refused(f"{shown}: unexpected end of file")


# -- tar --------------------------------------------------------------------------------------------------------------

_LONG = {
    "create": "c",
    "extract": "x",
    "get": "x",
    "list": "t",
    "append": "r",
    "file": "f",
    "gzip": "z",
    "gunzip": "z",
    "verbose": "v",
    "directory": "C",
    "absolute-names": "P",
    "preserve-permissions": "p",
    "same-permissions": "p",
    "no-same-permissions": "masked",
    "to-stdout": "O",
    "dereference": "h",
    "one-file-system": "l1",
    "exclude": "exclude=",
    "strip-components": "strip=",
    "files-from": "T",
    "no-recursion": "norecursion",
    "bzip2": "j",
    "xz": "J",
    "zstd": "zstd",
    "keep-old-files": "k",
    "no-same-owner": "o",
    "same-owner": "sameowner",
    "numeric-owner": "numeric",
    "wildcards": "wildcards",
    "use-compress-program": "I",
    "auto-compress": "a",
    "checkpoint": "checkpoint=?",
    "to-command": "to-command=",
    "checkpoint-action": "checkpoint-action=",
}
_SHORT = "Aabcdf:hI:jJkC:lmoOpPrT:tuvwWX:xzZS"


@program("tar")
async def tar(p: Process) -> int:
    words = p.argv[1:]
    if words and not words[0].startswith("-"):
        words = _dashed(words)
    options = parse(p, _SHORT, _LONG, arguments=words, status=64)
    for letter in ("A", "I", "J", "T", "W", "X", "Z", "d", "j", "k", "r", "u", "w", "zstd", "checkpoint"):
        if letter in options:
            return _fatal(p, f"embedded lab: the lab's tar has no option {_spelling(letter)}")
    for name in ("checkpoint-action", "to-command"):
        if name in options.values:
            return _fatal(p, f"embedded lab: the lab's tar has no option --{name}")
    actions = [letter for letter in ("c", "x", "t") if letter in options]
    if len(actions) != 1:
        message = (
            "You must specify one of the '-Acdtrux', '--delete' or '--test-label' options"
            if not actions
            else "You may not specify more than one '-Acdtrux', '--delete' or  '--test-label' option"
        )
        p.stderr.write(f"tar: {message}\nTry 'tar --help' or 'tar --usage' for more information.\n")
        return 2
    try:
        if "c" in options:
            return await _Packer(p, options).pack(_placed(words))
        return await _unpack(p, options)
    except tarfile.TarError:
        p.stderr.write("tar: This does not look like a tar archive\n")
        return _fatal(p, "Exiting with failure status due to previous errors", hint=False)


def _fatal(p: Process, message: str, *, hint: bool = True) -> int:
    p.stderr.write(f"tar: {message}\n" + ("tar: Error is not recoverable: exiting now\n" if hint else ""))
    return 2


def _spelling(letter: str) -> str:
    return f"-{letter}" if len(letter) == 1 else f"--{letter}"


def _dashed(words: list[str]) -> list[str]:
    """`tar czf a.tgz b` as `tar -c -z -f a.tgz b`."""
    letters, *rest = words
    made: list[str] = []
    for letter in letters:
        made.append(f"-{letter}")
        if letter in "fICTX" and rest:
            made.append(rest.pop(0))
    return [*made, *rest]


def _placed(words: list[str]) -> list[tuple[str, str]]:
    """The operands, each with the directory that `-C` has named before it."""
    placed, directory, index = [], ".", 0
    while index < len(words):
        word = words[index]
        if word in ("-C", "--directory"):
            index += 1
            directory = posixpath.join(directory, words[index])
        elif word.startswith(("-C", "--directory=")):
            directory = posixpath.join(directory, word.removeprefix("--directory=").removeprefix("-C"))
        elif word.startswith("-") and len(word) > 1:
            name = word.lstrip("-").partition("=")[0]
            takes = word[-1] in "fITX" if not word.startswith("--") else _LONG.get(name, "")[-1:] in ("f", "T", "X")
            takes = takes or (word.startswith("--") and _LONG.get(name, "").endswith("="))
            if takes and "=" not in word:
                index += 1
        else:
            placed.append((word, directory))
        index += 1
    return placed


class _Packer:
    """Writes an archive. With `z`, the archive goes through gzip, which tar starts by `/bin/sh -c gzip`."""

    def __init__(self, p: Process, options: Options) -> None:
        self.p = p
        self.options = options
        self.status = 0
        self.warned: set[str] = set()
        self.excluded = options.all("exclude")
        self.fd = 1
        self.written = 0

    def complain(self, name: str, what: str, exc: OSError) -> None:
        self.p.stderr.write(f"tar: {name}: Cannot {what}: {exc.strerror}\n")
        self.status = 2

    async def pack(self, names: list[tuple[str, str]]) -> int:
        p, target = self.p, self.options.values.get("f", "-")
        if not names:
            p.stderr.write(
                "tar: Cowardly refusing to create an empty archive\n"
                "Try 'tar --help' or 'tar --usage' for more information.\n"
            )
            return 2
        if target == "-" and p.isatty(1):
            p.stderr.write("tar: Refusing to write archive contents to terminal (missing -f option?)\n")
            return _fatal(p, "Error is not recoverable: exiting now", hint=False)
        squeezes = "z" in self.options or ("a" in self.options and target.endswith((".gz", ".tgz")))
        child: Process | None = None
        try:
            out = 1 if target == "-" else p.open(target, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, 0o666)
        except OSError as exc:
            p.stderr.write(f"tar: {target}: Cannot open: {exc.strerror}\n")
            return _fatal(p, "Error is not recoverable: exiting now", hint=False)
        self.fd = out
        if squeezes:
            reading, self.fd = p.pipe()
            argv, writing = ["/bin/sh", "-c", "gzip"], self.fd

            async def main(shell: Process) -> int:
                shell.close(writing)
                shell.dup2(reading, 0)
                shell.close(reading)
                if out != 1:
                    shell.dup2(out, 1)
                    shell.close(out)
                return await shell.run_executable(shell.loaded("/bin/sh", argv))

            child = p.fork(main)
            p.close(reading)
            if out != 1:
                p.close(out)
        for name, directory in names:
            await self.add(name, directory, name, None)
        padding = 10_240 - (self.written + 1024) % 10_240
        await self.write(bytes(1024 + padding % 10_240))
        if self.fd != 1:
            p.close(self.fd)
        if child is not None and await p.wait(child):
            self.status = 2
        if self.status:
            p.stderr.write("tar: Exiting with failure status due to previous errors\n")
        return self.status

    async def write(self, data: bytes) -> None:
        self.written += len(data)
        await emit(self.p, data, self.fd)

    def stored(self, name: str) -> str:
        """The name in the archive: without a leading slash, of which tar warns once."""
        if not name.startswith("/") or "P" in self.options:
            return name
        if "/" not in self.warned:
            self.p.stderr.write("tar: Removing leading `/' from member names\n")
            self.warned.add("/")
        return name.lstrip("/") or "./"

    async def add(self, name: str, directory: str, shown: str, device: int | None) -> None:
        p = self.p
        await p.cooperate()
        if any(_matches(name, pattern) for pattern in self.excluded):
            return
        path = posixpath.join(directory, name) if directory != "." else name
        try:
            found = p.stat(path) if "h" in self.options else p.lstat(path)
        except OSError as exc:
            self.complain(name, "stat", exc)
            return
        if "l1" in self.options and device is not None and found.dev != device:
            return
        info = tarfile.TarInfo(self.stored(name))
        info.mode, info.uid, info.gid = found.mode & 0o7777, found.uid, found.gid
        info.mtime = found.mtime // 1_000_000_000
        info.uname, info.gname = p.user_name(found.uid) or "", p.group_name(found.gid) or ""
        try:
            if found.is_dir:
                await self._directory(info, name, path, directory, found)
            elif found.is_symlink:
                info.type, info.linkname = tarfile.SYMTYPE, p.readlink(path)
                await self._header(info, name)
            elif found.is_device:
                info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, found.rdev >> 8, found.rdev & 0xFF
                await self._header(info, name)
            elif found.is_file:
                await self._file(info, name, path)
            else:
                p.stderr.write(f"tar: {name}: socket ignored\n")
        except OSError as exc:
            self.complain(name, "open", exc)

    async def _header(self, info: tarfile.TarInfo, name: str) -> None:
        if "v" in self.options:
            line = f"{name}/" if info.isdir() and not name.endswith("/") else name
            (self.p.stderr if self.options.values.get("f", "-") == "-" else self.p.stdout).write(f"{line}\n")
        await self.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    async def _directory(self, info: tarfile.TarInfo, name: str, path: str, directory: str, found: Stat) -> None:
        p = self.p
        inside = p.listdir(path)
        info.type = tarfile.DIRTYPE
        info.name = info.name.rstrip("/") + "/"
        await self._header(info, name)
        if "norecursion" in self.options:
            return
        for below in inside:
            await self.add(posixpath.join(name, below), directory, below, found.dev)

    async def _file(self, info: tarfile.TarInfo, name: str, path: str) -> None:
        p = self.p
        fd = p.open(path, abi.O_RDONLY | abi.O_NONBLOCK | abi.O_CLOEXEC)
        try:
            info.size = p.fstat(fd).size
            await self._header(info, name)
            left = info.size
            async for chunk in chunks(p, fd):
                await self.write(chunk[:left])
                left -= len(chunk[:left])
                if not left:
                    break
            await self.write(bytes(left))
        finally:
            p.close(fd)
        await self.write(bytes(-info.size % 512))


def _matches(name: str, pattern: str) -> bool:
    """Whether `--exclude=pattern` leaves a name out: a whole path, or its end after a slash."""
    wanted = glob(pattern)
    return any(
        wanted.matches(name[start:]) for start in [0, *(i + 1 for i, character in enumerate(name) if character == "/")]
    )


async def _unpack(p: Process, options: Options) -> int:
    """`-x` and `-t`: a compressed archive comes through `gzip -d`, which tar finds along PATH."""
    source = options.values.get("f", "-")
    try:
        fd = 0 if source == "-" else p.open(source, abi.O_RDONLY)
    except OSError as exc:
        p.stderr.write(f"tar: {source}: Cannot open: {exc.strerror}\n")
        return _fatal(p, "Error is not recoverable: exiting now", hint=False)
    child: Process | None = None
    squeezed = "z" in options
    if not squeezed and source != "-":
        squeezed = (await p.read(fd, 2)) == b"\x1f\x8b"
        p.seek(fd, 0)
    if squeezed:
        fd, child = _gunzip(p, fd)
    data, position = bytearray(), 0
    async for chunk in chunks(p, fd):
        p.charge(len(chunk))
        data += chunk
        position = _next_header(data, position)
        if position < 0 and child is None:
            break  # an archive has an end of its own: who sends it may hold the connection open
    status = 0
    if child is not None and await p.wait(child):
        p.stderr.write("tar: Child returned status 1\n")
        return _fatal(p, "Error is not recoverable: exiting now")
    if "C" in options.values and "x" in options:
        try:
            p.chdir(options.values["C"])
        except OSError as exc:
            p.stderr.write(f"tar: {options.values['C']}: Cannot open: {exc.strerror}\n")
            return _fatal(p, "Error is not recoverable: exiting now", hint=False)
    wanted = list(options.operands)
    seen: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(bytes(data)), mode="r:", errorlevel=0) as archive:
        extract = _Extractor(p, options, archive)
        for member in archive:
            await p.cooperate()
            chosen = _chosen(member.name, wanted, patterns="wildcards" in options)
            if chosen is None or any(_matches(member.name, pattern) for pattern in options.all("exclude")):
                continue
            seen.add(chosen)
            if "v" in options or "t" in options:
                p.print(_line(p, member, long=("t" in options and "v" in options) or options.flags.count("v") > 1))
            if "x" in options:
                await extract.member(member)
        status = extract.status
    for name in wanted:
        if name not in seen:
            p.stderr.write(f"tar: {name}: Not found in archive\n")
            status = 2
    if status:
        p.stderr.write("tar: Exiting with failure status due to previous errors\n")
    return status


def _next_header(data: bytearray, position: int) -> int:
    """Where the first member's header is that hasn't arrived yet, from the one at `position`; -1 after the last."""
    while 0 <= position <= len(data) - tarfile.BLOCKSIZE:
        header = bytes(data[position : position + tarfile.BLOCKSIZE])
        if not any(header):
            return -1
        try:
            size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
        except tarfile.TarError:
            return len(data) + 1
        position += tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))
    return position


def _gunzip(p: Process, packed: int) -> tuple[int, Process]:
    """A descriptor from which to read what `gzip -d` makes of another one, which is closed, and gzip's process."""
    reading, writing = p.pipe()

    async def main(gzip: Process) -> int:
        gzip.close(reading)
        if packed:
            gzip.dup2(packed, 0)
            gzip.close(packed)
        gzip.dup2(writing, 1)
        gzip.close(writing)

        def failed(exc: OSError) -> int:
            gzip.stderr.write(f"tar (child): gzip: Cannot exec: {exc.strerror}\n")
            return 2

        return await gzip.exec(["gzip", "-d"], failed=failed)

    child = p.fork(main)
    p.close(writing)
    if packed:
        p.close(packed)
    return reading, child


def _chosen(name: str, wanted: list[str], *, patterns: bool) -> str | None:
    if not wanted:
        return ""
    for one in wanted:
        plain = one.rstrip("/")
        if name == plain or name.startswith(f"{plain}/") or (patterns and glob(plain).matches(name)):
            return one
    return None


def _line(p: Process, member: tarfile.TarInfo, *, long: bool) -> str:
    name = f"{member.name}/" if member.isdir() else member.name
    if not long:
        return name
    from ekslab.node.dates import formatted

    bits = {tarfile.DIRTYPE: abi.S_IFDIR, tarfile.SYMTYPE: abi.S_IFLNK, tarfile.CHRTYPE: abi.S_IFCHR}
    mode = mode_text(bits.get(member.type, abi.S_IFREG) | member.mode)
    owner = f"{member.uname or member.uid}/{member.gname or member.gid}"
    when = formatted(int(member.mtime) * 1_000_000_000, "%Y-%m-%d %H:%M")
    link = f" -> {member.linkname}" if member.issym() else f" link to {member.linkname}" if member.islnk() else ""
    return f"{mode} {owner} {member.size:>{max(18 - len(owner), 1)}} {when} {name}{link}"


class _Extractor:
    def __init__(self, p: Process, options: Options, archive: tarfile.TarFile) -> None:
        self.p = p
        self.options = options
        self.archive = archive
        self.status = 0
        self.warned = False
        strip = options.values.get("strip", "0")
        if not strip.isdigit():
            usage(p, f"{quoted(strip)}: Invalid number of elements", 2)
        self.strip = int(strip)

    def name(self, member: tarfile.TarInfo) -> str:
        parts = member.name.split("/")[self.strip :]
        name = "/".join(parts)
        if name.startswith("/") and "P" not in self.options:
            if not self.warned:
                self.p.stderr.write("tar: Removing leading `/' from member names\n")
                self.warned = True
            name = name.lstrip("/")
        return name

    async def member(self, member: tarfile.TarInfo) -> None:
        p, name = self.p, self.name(member)
        if not name:
            return
        if ".." in name.split("/") and "P" not in self.options:
            p.stderr.write(f"tar: {name}: Member name contains '..'\n")
            self.status = 2
            return
        try:
            await self._make(member, name)
        except OSError as exc:
            what = "mkdir" if member.isdir() else "open"
            p.stderr.write(f"tar: {name}: Cannot {what}: {exc.strerror}\n")
            self.status = 2

    async def _make(self, member: tarfile.TarInfo, name: str) -> None:
        p = self.p
        if "O" in self.options:
            if member.isfile():
                await self._content(member, 1)
            return
        self._parents(posixpath.dirname(name))
        kept = "p" in self.options or (not p.euid and "masked" not in self.options)
        mode = member.mode if kept else member.mode & ~p.umask
        if member.isdir():
            if not p.isdir(name):
                p.mkdir(name, mode & 0o777, call="mkdirat")
        elif member.issym() or member.islnk():
            if p.exists(name) or _is_link(p, name):
                p.unlink(name)
            if member.issym():
                p.symlink(member.linkname, name)
            else:
                p.link(member.linkname, name)
            return
        elif member.isfile():
            flags = abi.O_WRONLY | abi.O_CREAT | abi.O_EXCL | abi.O_NONBLOCK | abi.O_CLOEXEC
            try:
                fd = p.open(name, flags, mode & 0o777)
            except FileExistsError:
                p.unlink(name)
                fd = p.open(name, flags, mode & 0o777)
            try:
                await self._content(member, fd)
            finally:
                p.close(fd)
        else:
            p.stderr.write(f"tar: {name}: embedded lab: the lab's tar makes no devices\n")
            self.status = 2
            return
        if not p.euid and "o" not in self.options and (member.uid or member.gid):
            p.chown(name, member.uid, member.gid)
        p.chmod(name, mode)
        p.utime(name, int(member.mtime) * 1_000_000_000)

    def _parents(self, path: str) -> None:
        if not path or self.p.isdir(path):
            return
        self._parents(posixpath.dirname(path))
        self.p.mkdir(path, 0o777, call="mkdirat")

    async def _content(self, member: tarfile.TarInfo, fd: int) -> None:
        source = self.archive.extractfile(member)
        if source is None:
            raise ProcessExit(_fatal(self.p, "Unexpected EOF in archive"))
        with source:
            while chunk := source.read(65_536):
                await emit(self.p, chunk, fd)


def _is_link(p: Process, path: str) -> bool:
    try:
        return p.lstat(path).is_symlink
    except OSError:
        return False
