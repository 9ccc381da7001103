"""The tail input: follows the files that match a pattern, and ingests their lines as events.

Positions are kept in the `db` file, by inode, so a restarted container goes on where it stopped. With each is what was
before it: another file that got the same inode meanwhile is read from its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ekslab.images.fluent_bit.config import ConfigError, Section, parse_bool, parse_seconds, parse_size
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import FLUSH_TIMEOUT, Event, Lines
from ekslab.images.fluent_bit.text import decoded

if TYPE_CHECKING:
    from ekslab.node import Process

Ingest = Callable[[str, list[Event]], None]
Count = Callable[..., None]
_READ_SIZE = 1 << 16
_MARKER = 32
"""Bytes before a position by which a file is known again."""
_PURGE_EVERY = 5.0
"""Seconds between two looks for rotated files that were followed long enough."""


@dataclass
class _File:
    path: str
    """By which it was found, a link in /var/log/containers; once it is rotated, its new name."""
    real: str
    inode: int
    fd: int
    offset: int
    """Bytes read so far."""
    lines: Lines
    watch: int
    rest: bytes = b""
    """The start of a line whose end hasn't been written yet."""
    before: bytes = b""
    """The last bytes before `position`."""
    skipping: bool = False
    """The line being read is too long and is left out."""
    warned: bool = False
    rotated: float | None = None
    """When it got another name, in the loop's time."""

    @property
    def position(self) -> int:
        """Bytes of whole lines: where to go on after a restart."""
        return self.offset - len(self.rest)


class Tail:
    """Follows files until it is cancelled. `ingest(tag, events)` is called for what they hold."""

    def __init__(self, process: Process, section: Section, log: Log, ingest: Ingest, count: Count) -> None:
        self._process = process
        self._section = section
        self._log = log
        self._ingest = ingest
        self._count = count
        self._files: dict[int, _File] = {}
        self._watches = 0
        self._patterns = [part.strip() for text in section.all("path") for part in text.split(",")]
        self._excluded = [part.strip() for text in section.all("exclude_path") for part in text.split(",")]
        parsers = tuple(p.strip().lower() for text in section.all("multiline.parser") for p in text.split(","))
        if not self._patterns:
            raise self._failed("no input 'path' was given")
        for parser in parsers:
            if parser not in ("cri", "docker"):
                if parser in ("go", "java", "python", "ruby"):
                    raise self._failed(f"[embedded lab] multiline parser '{parser}' isn't emulated; cri and docker are")
                raise self._failed(f"[multiline] parser '{parser}' not registered", "could not load multiline parsers")
        self._parsers = parsers
        self._read_from_head = self._flag("read_from_head", "false")
        self._skip_long = self._flag("skip_long_lines", "off")
        try:
            # A line and its newline have to fit into the buffer.
            self._limit = parse_size(section.get("buffer_max_size", "32768")) - 1
            self._refresh = parse_seconds(section.get("refresh_interval", "60"))
            self._rotate_wait = parse_seconds(section.get("rotate_wait", "5"))
        except ValueError as error:
            raise self._failed(f"invalid value: {error}") from error
        self._key = section.get("key", "log")
        self._db = section.get("db")
        self._saved: dict[str, dict[str, Any]] = self._load()

    def _failed(self, *texts: str) -> ConfigError:
        return ConfigError(
            *(("error", text if text[0] == "[" else f"[{self._section.label}] {text}") for text in texts),
            ("error", f"failed initialize input {self._section.instance}"),
            ("error", "[engine] input initialization failed"),
        )

    def _flag(self, name: str, default: str) -> bool:
        value = self._section.get(name, default)
        try:
            return parse_bool(value)
        except ValueError:
            raise self._failed(f"[config map] invalid value for boolean property '{name}={value}'") from None

    def _info(self, text: str) -> None:
        self._log.info(f"[{self._section.label}] {text}")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        scan_at = loop.time() + self._refresh
        purge_at = loop.time() + _PURGE_EVERY
        flush_at: float | None = None
        while True:
            self._follow_names()
            if loop.time() >= scan_at:
                self.scan()
                scan_at = loop.time() + self._refresh
            while await self._read_all() and loop.time() < scan_at:
                pass
            if loop.time() >= purge_at:
                self._purge()
                purge_at = loop.time() + _PURGE_EVERY
            waiting = any(file.lines.waiting for file in self._files.values())
            flush_at = (flush_at or loop.time() + FLUSH_TIMEOUT) if waiting else None
            if flush_at is not None and loop.time() >= flush_at:
                for file in self._files.values():
                    self._emit(file, file.lines.flush())
                flush_at = None
                continue
            rotated = any(file.rotated is not None for file in self._files.values())
            wake = min(scan_at, flush_at or scan_at, purge_at if rotated else scan_at)
            paths = [file.path for file in self._files.values()]
            await self._process.wait_for_change(*paths, *self._folders(), timeout=max(0.01, wake - loop.time()))

    def finish(self) -> None:
        """Ingests what is held of lines whose end hasn't come."""
        for file in self._files.values():
            self._emit(file, file.lines.flush())

    def close(self) -> None:
        for file in self._files.values():
            self._info(f"inotify_fs_remove(): inode={file.inode} watch_fd={file.watch}")
            self._process.close(file.fd)
        self._files.clear()

    # -- discovering files

    def forget_stale(self) -> None:
        """Forgets the positions of files that the patterns don't find any more."""
        if not self._db:
            return
        found = {str(status.ino) for _, status in self._found()}
        gone = [inode for inode in self._saved if inode not in found]
        for inode in gone:
            del self._saved[inode]
        self._save()
        self._info(f"db: delete unmonitored stale inodes from the database: count={len(gone)}")

    def _folders(self) -> list[str]:
        """The folders of the patterns: a new file shows there before the next scan is due."""
        folders = {posixpath.dirname(pattern) for pattern in self._patterns}
        return [folder for folder in folders if "*" not in folder and self._process.isdir(folder)]

    def _found(self) -> list[tuple[str, Any]]:
        found = []
        for pattern in self._patterns:
            for path in _glob(self._process, pattern):
                if not any(fnmatch.fnmatchcase(path, out) for out in self._excluded):
                    with contextlib.suppress(OSError):
                        found.append((path, self._process.stat(path)))
        return found

    def scan(self, *, first: bool = False) -> None:
        """Opens files that are new; those that were cut are read from their start."""
        for path, status in self._found():
            known = self._files.get(status.ino)
            if known is None:
                self._open(path, status.ino, status.size, first=first)
            elif status.size < known.offset:
                self._process.seek(known.fd, 0)
                known.offset, known.rest, known.before, known.skipping = 0, b"", b"", False

    def _open(self, path: str, inode: int, size: int, *, first: bool = False) -> None:
        saved = self._saved.get(str(inode))
        start = size if first and not self._read_from_head else 0
        try:
            fd = self._process.open(path)
            real = self._process.real_path(path)
        except OSError as error:
            self._log.error(f"[{self._section.label}] read error, check permissions: {path}: {error.strerror}")
            return
        before = b""
        if saved is not None:
            start = 0
            if saved["offset"] <= size:
                before = self._bytes_before(fd, saved["offset"])
                start = saved["offset"] if _mark(before) == saved["marker"] else 0
        self._process.seek(fd, start)
        before = before if start else b""
        self._watches += 1
        lines = Lines(self._parsers, self._key)
        self._files[inode] = _File(path, real, inode, fd, start, lines, self._watches, before=before)
        self._count(self._section.instance, files_opened=1)
        self._info(f"inotify_fs_add(): inode={inode} watch_fd={self._watches} name={path}")

    def _bytes_before(self, fd: int, offset: int) -> bytes:
        size = min(offset, _MARKER)
        self._process.seek(fd, offset - size)
        return self._process.read_now(fd, size)

    # -- files that are renamed or removed

    def _follow_names(self) -> None:
        """Notices which files have another name by now, or none."""
        for file in list(self._files.values()):
            if self._inode_at(file.real) == file.inode:
                continue
            name = self._name_of(file)
            self._rotated(file, name) if name else self._gone(file)

    def _inode_at(self, path: str) -> int | None:
        try:
            return int(self._process.stat(path).ino)
        except OSError:
            return None

    def _name_of(self, file: _File) -> str:
        folder = posixpath.dirname(file.real)
        if self._process.isdir(folder):
            for name in self._process.listdir(folder):
                if self._inode_at(posixpath.join(folder, name)) == file.inode:
                    return posixpath.join(folder, name)
        return ""

    def _rotated(self, file: _File, name: str) -> None:
        """A rotated file is followed for a while: its writer may still have it open. The new one is read at once."""
        link = file.path
        self._info(f"inode={file.inode} handle rotation(): {link} => {name}")
        self._info(f"inotify_fs_remove(): inode={file.inode} watch_fd={file.watch}")
        self._watches += 1
        file.path, file.real, file.watch = name, name, self._watches
        self._info(f"inotify_fs_add(): inode={file.inode} watch_fd={file.watch} name={name}")
        if file.rotated is None:
            file.rotated = asyncio.get_running_loop().time()
            self._count(self._section.instance, files_rotated=1)
            with contextlib.suppress(OSError):
                status = self._process.stat(link)
                if status.ino not in self._files:
                    self._open(link, status.ino, status.size)

    def _gone(self, file: _File) -> None:
        while self._read_some(file):
            pass
        self._remove(file)

    def _purge(self) -> None:
        now = asyncio.get_running_loop().time()
        for file in list(self._files.values()):
            if file.rotated is not None and file.rotated + self._rotate_wait <= now:
                self._gone(file)

    def _remove(self, file: _File) -> None:
        self._emit(file, file.lines.flush())
        self._info(f"inotify_fs_remove(): inode={file.inode} watch_fd={file.watch}")
        self._count(self._section.instance, files_closed=1)
        self._process.close(file.fd)
        del self._files[file.inode]
        self._saved.pop(str(file.inode), None)
        self._save()

    # -- reading

    async def _read_all(self) -> bool:
        """Reads what is new; whether there was anything."""
        some = False
        for file in list(self._files.values()):
            before = file.position
            while self._read_some(file):
                some = True
                await self._process.cooperate()
            if file.position != before:
                self._saved[str(file.inode)] = {"offset": file.position, "marker": _mark(file.before)}
                self._save()
        return some

    def _read_some(self, file: _File) -> bool:
        data = self._process.read_now(file.fd, _READ_SIZE)
        if not data:
            return False
        file.offset += len(data)
        whole, newline, file.rest = (file.rest + data).rpartition(b"\n")
        now = self._process.kernel.now()
        events: list[Event] = []
        for line in whole.split(b"\n") if newline else ():
            if file.skipping or len(line) > self._limit:
                self._too_long(file)
                file.skipping = False
            elif line := line.removesuffix(b"\r"):
                unpacked = file.lines.unpacked
                events += file.lines.feed(decoded(line), now)
                if file.lines.unpacked > unpacked:
                    self._log.error("[multiline] error packing event")
        if newline:
            file.before = (file.before + whole[-_MARKER:] + newline)[-_MARKER:]
        if len(file.rest) > self._limit:
            file.skipping, file.rest = True, b""
        self._emit(file, events)
        return True

    def _too_long(self, file: _File) -> None:
        if self._skip_long:
            self._count(self._section.instance, long_line_skipped=1)
        if file.warned:
            return
        file.warned = True
        if self._skip_long:
            self._log.warn(f"[{self._section.label}] file={file.path} have long lines. Skipping long lines.")
        else:
            self._log.error(
                f"[{self._section.label}] file={file.path} requires a larger buffer size, "
                "lines are too long. Skipping file."
            )

    def _emit(self, file: _File, events: list[Event]) -> None:
        if not events:
            return
        extra: dict[str, str | int] = {}
        if self._section.get("path_key"):
            extra[self._section.get("path_key")] = file.path
        if self._section.get("offset_key"):
            extra[self._section.get("offset_key")] = file.position
        tag = self._section.get("tag", "tail.0")
        # A star in the tag stands for the file's path, with dots in place of slashes.
        tag = tag.replace("*", file.path.strip("/").replace("/", "."))
        self._ingest(tag, [Event(e.time, e.record | extra) for e in events] if extra else events)

    # -- positions

    def _load(self) -> dict[str, dict[str, Any]]:
        if not self._db or not self._process.exists(self._db):
            return {}
        try:
            saved: dict[str, dict[str, Any]] = json.loads(self._process.read_text(self._db))
        except ValueError:
            self._log.warn(f"[{self._section.label}] db: {self._db} is damaged, starting anew")
            return {}
        return saved

    def _save(self) -> None:
        if self._db:
            try:
                self._process.write_text(self._db, json.dumps(self._saved))
            except OSError as error:
                self._log.error(f"[{self._section.label}] db: cannot write {self._db}: {error.strerror}")


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _glob(process: Process, pattern: str) -> list[str]:
    """Files whose path matches, in order; a star doesn't cross a slash."""
    found = ["/"]
    for part in pattern.strip("/").split("/"):
        if any(c in part for c in "*?["):
            found = [
                posixpath.join(folder, name)
                for folder in found
                if process.isdir(folder)
                for name in sorted(process.listdir(folder))
                if fnmatch.fnmatchcase(name, part)
            ]
        else:
            found = [posixpath.join(folder, part) for folder in found]
    return [path for path in found if process.exists(path) and not process.isdir(path)]
