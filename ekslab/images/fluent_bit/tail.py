"""The tail input: follows the files that match a pattern, and ingests their lines as events.

Positions are kept in the `db` file, by inode, so a restarted container goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ekslab.images.fluent_bit.config import ConfigError, Section, parse_bool, parse_size
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import FLUSH_TIMEOUT, Event, Lines

if TYPE_CHECKING:
    from ekslab.node import Process

Ingest = Callable[[str, list[Event]], None]
_READ_SIZE = 1 << 18


@dataclass
class _File:
    path: str
    inode: int
    fd: int
    offset: int
    """Bytes read so far."""
    lines: Lines
    watch: int
    rest: bytes = b""
    """The start of a line whose end hasn't been written yet."""
    skipping: bool = False
    """The line being read is too long and is left out."""

    @property
    def position(self) -> int:
        """Bytes of whole lines: where to go on after a restart."""
        return self.offset - len(self.rest)


class Tail:
    """Follows files until it is cancelled. `ingest(tag, events)` is called for what they hold."""

    def __init__(self, process: Process, section: Section, log: Log, ingest: Ingest) -> None:
        self._process = process
        self._section = section
        self._log = log
        self._ingest = ingest
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
                raise self._failed(f"[multiline] parser '{parser}' not registered")
        self._parsers = parsers
        try:
            self._read_from_head = parse_bool(section.get("read_from_head", "false"))
            self._skip_long = parse_bool(section.get("skip_long_lines", "off"))
            self._limit = parse_size(section.get("buffer_max_size", "32k"))
            self._refresh = float(section.get("refresh_interval", "60"))
        except ValueError as error:
            raise self._failed(f"invalid value: {error}") from error
        self._key = section.get("key", "log")
        self._db = section.get("db")
        self._saved: dict[str, int] = self._load()

    def _failed(self, text: str) -> ConfigError:
        return ConfigError(
            ("error", f"[{self._section.label}] {text}"),
            ("error", f"failed initialize input {self._section.instance}"),
            ("error", "[engine] input initialization failed"),
        )

    async def run(self) -> None:
        scan_at = 0.0
        first = True
        loop = asyncio.get_running_loop()
        flush_at: float | None = None
        while True:
            if loop.time() >= scan_at:
                await self._scan(first)
                first = False
                scan_at = loop.time() + self._refresh
            await self._read_all()
            waiting = any(file.lines.waiting for file in self._files.values())
            flush_at = (flush_at or loop.time() + FLUSH_TIMEOUT) if waiting else None
            if flush_at is not None and loop.time() >= flush_at:
                for file in self._files.values():
                    self._emit(file, file.lines.flush())
                flush_at = None
                continue
            wake = min(scan_at, flush_at or scan_at)
            paths = [file.path for file in self._files.values()]
            await self._process.wait_for_change(*paths, *self._folders(), timeout=max(0.01, wake - loop.time()))

    def close(self) -> None:
        for file in self._files.values():
            self._process.close(file.fd)
        self._files.clear()

    # -- discovering files

    def _folders(self) -> list[str]:
        """The folders of the patterns: a new file shows there before the next scan is due."""
        folders = {posixpath.dirname(pattern) for pattern in self._patterns}
        return [folder for folder in folders if "*" not in folder and self._process.isdir(folder)]

    async def _scan(self, first: bool) -> None:
        seen = set()
        for pattern in self._patterns:
            for path in _glob(self._process, pattern):
                if any(fnmatch.fnmatchcase(path, out) for out in self._excluded):
                    continue
                try:
                    status = self._process.stat(path)
                except OSError:
                    continue
                seen.add(status.ino)
                known = self._files.get(status.ino)
                if known is None:
                    self._open(path, status.ino, status.size, first)
                elif status.size < known.offset:
                    self._log.info(f"[{self._section.label}] file truncated {path}")
                    self._drop(known)
                    self._open(path, status.ino, status.size, False)
        for inode in set(self._files) - seen:
            gone = self._files[inode]
            await self._read(gone)
            self._log.info(f"[{self._section.label}] inotify_fs_remove(): inode={inode} watch_fd={gone.watch}")
            self._drop(gone)
            self._saved.pop(str(inode), None)
            self._save()

    def _open(self, path: str, inode: int, size: int, first: bool) -> None:
        saved = self._saved.get(str(inode))
        if saved is not None and saved <= size:
            start = saved
        elif first and not self._read_from_head:
            start = size
        else:
            start = 0
        try:
            fd = self._process.open(path)
        except OSError as error:
            self._log.error(f"[{self._section.label}] read error, check permissions: {path}: {error.strerror}")
            return
        left = start
        while left > 0:
            got = len(self._process.read_now(fd, min(left, _READ_SIZE)))
            if not got:
                break
            left -= got
        self._watches += 1
        self._files[inode] = _File(path, inode, fd, start - left, Lines(self._parsers, self._key), self._watches)
        self._log.info(f"[{self._section.label}] inotify_fs_add(): inode={inode} watch_fd={self._watches} name={path}")

    def _drop(self, file: _File) -> None:
        self._emit(file, file.lines.flush())
        self._process.close(file.fd)
        del self._files[file.inode]

    # -- reading

    async def _read_all(self) -> None:
        for file in list(self._files.values()):
            await self._read(file)

    async def _read(self, file: _File) -> None:
        before = file.position
        while data := self._process.read_now(file.fd, _READ_SIZE):
            file.offset += len(data)
            *lines, file.rest = (file.rest + data).split(b"\n")
            now = self._process.kernel.now()
            events: list[Event] = []
            for line in lines:
                if file.skipping or len(line) > self._limit:
                    self._too_long(file)
                    file.skipping = False
                    continue
                events += file.lines.feed(line.decode("utf-8", "replace"), now)
            if len(file.rest) > self._limit:
                file.skipping, file.rest = True, b""
            self._emit(file, events)
            await self._process.cooperate()
        if file.position != before:
            self._saved[str(file.inode)] = file.position
            self._save()

    def _too_long(self, file: _File) -> None:
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

    def _load(self) -> dict[str, int]:
        if not self._db or not self._process.exists(self._db):
            return {}
        try:
            saved: dict[str, int] = json.loads(self._process.read_text(self._db))
        except ValueError:
            self._log.warn(f"[{self._section.label}] db: {self._db} is damaged, starting anew")
            return {}
        return saved

    def _save(self) -> None:
        if self._db:
            self._process.write_text(self._db, json.dumps(self._saved))


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
