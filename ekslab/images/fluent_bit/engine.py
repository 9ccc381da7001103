"""The engine: inputs fill chunks, filters thin them out, outputs send them; what fails is tried again later.

A chunk lives in memory, and in a file under `storage.path` when its input says `storage.type: filesystem`; such files
are picked up again by the next start. One chunk is sent to one output at a time, as with Fluent Bit's single worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import posixpath
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.fluent_bit.cloudwatch import CloudWatchLogs, Result
from ekslab.images.fluent_bit.config import Config, ConfigError, Section, parse_size
from ekslab.images.fluent_bit.filters import Filter, build, matches
from ekslab.images.fluent_bit.kubernetes import Kubernetes
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import Event
from ekslab.images.fluent_bit.tail import Tail
from ekslab.names import digest

if TYPE_CHECKING:
    from ekslab.node import Process


class Output(Protocol):
    async def flush(self, tag: str, events: Sequence[Event]) -> Result: ...


@dataclass
class _Chunk:
    name: str
    tag: str
    source: str
    """The input it came from, `tail.0`, or `storage_backlog.1`."""
    path: str | None
    events: list[Event] = field(default_factory=list)
    size: int = 0
    """Bytes in its file."""
    task: int = 0


@dataclass
class _Target:
    section: Section
    output: Output
    number: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One request at a time, in the order in which chunks were made."""


class Engine:
    """Runs a configuration until the process gets SIGTERM. Raises `ConfigError` before anything is started."""

    def __init__(self, process: Process, config: Config, log: Log) -> None:
        self._process = process
        self._config = config
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._open: dict[tuple[str, str], _Chunk] = {}
        self._filled = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], _Chunk] = {}
        """Chunks being sent, or waiting for their next try."""
        self._lookups: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[asyncio.Task[None]] = self._loop.create_future()
        """Holds a task that ended with an error nobody foresaw; the process then ends with it."""
        self._started = process.kernel.now()
        self._counts: dict[str, dict[str, dict[str, int]]] = {}
        service = config.service
        self._flush = self._number("flush", 1.0)
        self._grace = self._number("grace", 5.0)
        self._base = self._number("scheduler.base", 5.0)
        self._cap = self._number("scheduler.cap", 2000.0)
        if self._flush <= 0:
            raise ConfigError(("error", "invalid flush value, aborting."))
        if self._base >= self._cap:
            raise ConfigError(("error", "[engine] scheduler.base must be less than scheduler.cap"))
        self._storage = service.get("storage.path", "").rstrip("/")
        for section in config.inputs:
            if section.get("storage.type", "memory") == "filesystem" and not self._storage:
                raise ConfigError(
                    ("error", "[storage] storage.type filesystem requires storage.path in the service section")
                )
        self._filters = [(section, self._filter(section)) for section in config.filters]
        self._waiting: dict[tuple[str, str], list[Event]] = {}
        """Events whose pod is being looked up, by input and tag."""
        self._tails = [
            Tail(process, section, log, self._ingest_from(section))
            for section in config.inputs
            if section.plugin == "tail"
        ]
        self._targets = [_Target(s, _output(process, s, log), i) for i, s in enumerate(config.outputs)]

    def _filter(self, section: Section) -> Filter | Kubernetes:
        if section.plugin == "kubernetes":
            return Kubernetes(self._process, section, self._log)
        return build(section, self._config.parsers)

    def _number(self, name: str, default: float) -> float:
        try:
            return float(self._config.service.get(name, default))
        except ValueError:
            raise ConfigError(("error", f"invalid {name} value, aborting.")) from None

    async def run(self) -> int:
        """The exit code. Chunks that could not be sent are left in storage, those in memory are lost."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._process.on_signal(number, partial(self._stopping, number, stop))
        self._announce()
        close_http = self._serve_http()
        self._load_backlog()
        inputs = [self._loop.create_task(tail.run()) for tail in self._tails]
        inputs += [self._loop.create_task(self._dummy(s)) for s in self._config.inputs if s.plugin == "dummy"]
        flusher = self._loop.create_task(self._flush_often())
        stopped = self._loop.create_task(stop.wait())
        try:
            running: set[asyncio.Future[Any]] = {stopped, flusher, self._broken, *inputs}
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if self._broken in done:
                self._broken.result().result()
            for ended in done - {stopped}:
                ended.result()  # an input that ended did so by an error
            for task in inputs:
                task.cancel()
            if self._lookups:
                await asyncio.wait(list(self._lookups), timeout=self._grace)
            self._flush_now()
            if self._tasks:
                await asyncio.wait(list(self._tasks), timeout=self._grace)
            self._log.info(f"[engine] service has stopped ({len(self._tasks)} pending tasks)")
            return 0
        finally:
            for left in (*inputs, flusher, stopped, *self._tasks, *self._lookups):
                left.cancel()
            close_http()
            for tail in self._tails:
                tail.close()

    def _stopping(self, number: int, stop: asyncio.Event) -> None:
        self._log.write("error", f"[engine] caught signal ({signal.Signals(number).name})")
        self._log.warn(f"[engine] service will shutdown in max {self._grace:.0f} seconds")
        stop.set()

    def _announce(self) -> None:
        self._log.info(f"[fluent bit] version={versions.FLUENT_BIT}, pid={self._process.vpid}")
        kind = "memory+filesystem" if self._storage else "memory"
        sync = self._config.service.get("storage.sync", "normal")
        self._log.info(f"[storage] type={kind}, sync={sync}, checksum=off, max_chunks_up=128")
        if self._storage:
            self._log.info(f"[storage] backlog input plugin: storage_backlog.{len(self._config.inputs)}")
        for section in self._config.inputs:
            self._log.info(f"[{section.label}] initializing")
            on_disk = section.get("storage.type") == "filesystem"
            how = "'filesystem' (memory + filesystem)" if on_disk else "'memory' (memory only)"
            self._log.info(f"[{section.label}] storage_strategy={how}")
            if section.get("multiline.parser"):
                self._log.info(f"[{section.label}] multiline core started")
        for _, apply in self._filters:
            if isinstance(apply, Kubernetes):
                apply.announce()
        for target in self._targets:
            self._log.info(f"[{target.section.label}] worker #0 started")
        self._log.info("[sp] stream processor started")

    # -- in

    def _ingest_from(self, section: Section) -> Callable[[str, list[Event]], None]:
        return lambda tag, events: self._ingest(section, tag, events)

    def _ingest(self, section: Section, tag: str, events: list[Event]) -> None:
        self._count("input", section.instance, records=len(events))
        key = (section.instance, tag)
        if key in self._waiting:
            self._waiting[key] += events
            return
        pods = [f for s, f in self._filters if isinstance(f, Kubernetes) and matches(s, tag) and not f.knows(tag)]
        if not pods:
            self._filter_and_keep(section, tag, events)
            return
        self._waiting[key] = events
        task = self._loop.create_task(self._look_up(section, tag, pods))
        self._lookups.add(task)
        task.add_done_callback(self._looked_up)

    async def _look_up(self, section: Section, tag: str, pods: list[Kubernetes]) -> None:
        for pod in pods:
            await pod.look_up(tag)
        self._filter_and_keep(section, tag, self._waiting.pop((section.instance, tag)))

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._lookups.discard(task)
        self._end_if_broken(task)

    def _filter_and_keep(self, section: Section, tag: str, events: list[Event]) -> None:
        for filtered, apply in self._filters:
            if events and matches(filtered, tag):
                events = apply.apply(tag, events) if isinstance(apply, Kubernetes) else apply(events)
        if not events:
            return
        chunk = self._open.get((section.instance, tag))
        if chunk is None:
            chunk = self._new_chunk(section, tag)
            self._open[section.instance, tag] = chunk
        chunk.events += events
        if chunk.path is not None:
            lines = "".join(json.dumps([event.time, event.record]) + "\n" for event in events)
            self._process.append_text(chunk.path, lines)
            chunk.size += len(lines)
        self._filled.set()

    def _new_chunk(self, section: Section, tag: str) -> _Chunk:
        now = self._process.kernel.now()
        name = f"{self._process.vpid}-{now // 1_000_000_000}.{now % 1_000_000_000:09d}.flb"
        path = None
        if section.get("storage.type") == "filesystem":
            folder = posixpath.join(self._storage, section.instance)
            _make_folders(self._process, folder)
            path = posixpath.join(folder, name)
            self._process.write_text(path, json.dumps(tag) + "\n")
            self._make_room()
        return _Chunk(name, tag, section.instance, path)

    def _load_backlog(self) -> None:
        if not self._storage or not self._process.isdir(self._storage):
            return
        source = f"storage_backlog.{len(self._config.inputs)}"
        for folder in sorted(self._process.listdir(self._storage)):
            where = posixpath.join(self._storage, folder)
            for name in sorted(self._process.listdir(where)) if self._process.isdir(where) else []:
                path = posixpath.join(where, name)
                try:
                    head, *lines = self._process.read_text(path).splitlines()
                    events = [Event(time, record) for time, record in map(json.loads, lines)]
                    chunk = _Chunk(name, json.loads(head), source, path, events, sum(map(len, lines)))
                except ValueError:
                    self._log.error(f"[storage] format check failed: {folder}/{name}")
                    continue
                self._log.info(f"[input:{source.split('.')[0]}:{source}] register {folder}/{name}")
                self._start(chunk)

    def _make_room(self) -> None:
        """Drops the oldest chunks of an output whose limit of storage is exceeded."""
        for target in self._targets:
            limit = target.section.get("storage.total_limit_size")
            if not limit or limit.lower() == "off":
                continue
            stored = sorted(((c, task) for task, c in self._tasks.items() if c.path), key=lambda pair: pair[0].name)
            used = sum(chunk.size for chunk, _ in stored)
            for chunk, task in stored:
                if used <= parse_size(limit):
                    break
                self._log.warn(f"[input chunk] remove chunk {chunk.name} with {chunk.size} bytes, storage is full")
                used -= chunk.size
                task.cancel()
                self._forget(chunk)

    async def _dummy(self, section: Section) -> None:
        try:
            record = json.loads(section.get("dummy", '{"message":"dummy"}'))
        except ValueError:
            record = {"message": "dummy"}
        left = int(section.get("samples", "0") or 0) or None
        while left is None or left > 0:
            self._ingest(
                section, section.get("tag", section.instance), [Event(self._process.kernel.now(), dict(record))]
            )
            left = None if left is None else left - 1
            await self._process.sleep(1 / max(1, int(section.get("rate", "1"))))
        await asyncio.Event().wait()

    # -- out

    async def _flush_often(self) -> None:
        while True:
            await self._filled.wait()
            await self._process.sleep(self._flush)
            self._flush_now()

    def _flush_now(self) -> None:
        self._filled.clear()
        chunks = list(self._open.values())
        self._open.clear()
        for chunk in chunks:
            self._start(chunk)

    def _start(self, chunk: _Chunk) -> None:
        targets = [target for target in self._targets if matches(target.section, chunk.tag)]
        if not targets:
            self._forget(chunk)
            return
        chunk.task = _lowest_free({other.task for other in self._tasks.values()})
        task = self._loop.create_task(self._send_to_all(chunk, targets))
        self._tasks[task] = chunk
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._end_if_broken(task)

    def _end_if_broken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self._broken.done():
            self._broken.set_result(task)

    async def _send_to_all(self, chunk: _Chunk, targets: list[_Target]) -> None:
        await asyncio.gather(*(self._send(chunk, target) for target in targets))
        self._forget(chunk)

    async def _send(self, chunk: _Chunk, target: _Target) -> None:
        section = target.section
        route = f"input={chunk.source} > output={section.instance}"
        attempt = 0
        while True:
            async with target.lock:
                result = await target.output.flush(chunk.tag, chunk.events)
            if result == "ok":
                if attempt:
                    self._log.info(
                        f"[engine] flush chunk '{chunk.name}' succeeded at retry {attempt}: "
                        f"task_id={chunk.task}, {route} (out_id={target.number})"
                    )
                self._count("output", section.instance, proc_records=len(chunk.events))
                return
            attempt += 1
            limit = _retry_limit(section)
            if result == "error" or (limit is not None and attempt > limit):
                self._log.warn(f"[engine] chunk '{chunk.name}' cannot be retried: task_id={chunk.task}, {route}")
                self._count("output", section.instance, dropped_records=len(chunk.events), retries_failed=1)
                return
            wait = self._back_off(chunk.name, attempt)
            self._count("output", section.instance, retries=1, retried_records=len(chunk.events))
            self._log.warn(
                f"[engine] failed to flush chunk '{chunk.name}', retry in {wait} seconds: "
                f"task_id={chunk.task}, {route} (out_id={target.number})"
            )
            await self._process.sleep(wait)

    def _back_off(self, name: str, attempt: int) -> int:
        """Whole seconds between the base and a limit that doubles with each attempt, spread so that nodes differ."""
        limit = min(self._cap, self._base * 2.0**attempt)
        spread = int.from_bytes(digest(name, attempt)[:4], "big") / 2**32
        return round(self._base + spread * (limit - self._base))

    def _forget(self, chunk: _Chunk) -> None:
        if chunk.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._process.unlink(chunk.path)

    # -- its own HTTP server

    def _serve_http(self) -> Callable[[], None]:
        service = self._config.service
        if service.get("http_server", "off").lower() not in ("on", "true", "yes"):
            return lambda: None
        host, port = service.get("http_listen", "0.0.0.0"), int(service.get("http_port", "2020"))
        self._log.info(f"[http_server] listen iface={host} tcp_port={port}")
        return self._process.listen(port, self._answer)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        path = request.url.split("?")[0].rstrip("/")
        path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        uptime = (self._process.kernel.now() - self._started) // 1_000_000_000
        answers: dict[str, Any] = {
            "/": {"fluent-bit": {"version": versions.FLUENT_BIT, "edition": "Community"}},
            "/api/v1/uptime": {"uptime_sec": uptime, "uptime_hr": f"Fluent Bit has been running: {uptime} seconds"},
            "/api/v1/metrics": self._counts,
        }
        if path == "/api/v1/health":
            return HttpResponse(200, {"Content-Type": "text/plain"}, b"ok\n")
        if path not in answers:
            return HttpResponse(404, {"Content-Type": "text/plain"}, b"")
        return HttpResponse(200, {"Content-Type": "application/json"}, json.dumps(answers[path]).encode())

    def _count(self, kind: str, instance: str, **numbers: int) -> None:
        counts = self._counts.setdefault(kind, {}).setdefault(instance, {})
        for name, number in numbers.items():
            counts[name] = counts.get(name, 0) + number


class _Stdout:
    """The stdout output, in its default form or as JSON lines."""

    def __init__(self, process: Process, section: Section, log: Log) -> None:
        self._process = process
        self._format = section.get("format", "msgpack")
        if self._format not in ("msgpack", "json_lines", "json"):
            raise ConfigError(("error", f"[{section.label}] [embedded lab] format '{self._format}' isn't emulated"))

    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        dated = [{"date": event.time / 1e9} | event.record for event in events]
        if self._format == "json":
            self._process.stdout.write(json.dumps(dated, separators=(",", ":")) + "\n")
        for number, event in enumerate(events):
            if self._format == "json_lines":
                self._process.stdout.write(json.dumps(dated[number], separators=(",", ":")) + "\n")
            elif self._format == "msgpack":
                time = f"{event.time // 1_000_000_000}.{event.time % 1_000_000_000:09d}"
                self._process.stdout.write(f"[{number}] {tag}: [[{time}, {{}}], {_ruby(event.record)}]\n")
        return "ok"


class _Null:
    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        return "ok"


def _output(process: Process, section: Section, log: Log) -> Output:
    if section.plugin == "cloudwatch_logs":
        return CloudWatchLogs(process, section, log)
    return _Stdout(process, section, log) if section.plugin == "stdout" else _Null()


def _retry_limit(section: Section) -> int | None:
    """Tries after the first one; None for no limit. Fluent Bit's default is one."""
    text = section.get("retry_limit", "1").lower()
    if text in ("no_limits", "false", "off"):
        return None
    return 0 if text == "no_retries" else max(0, int(text))


def _lowest_free(taken: set[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _make_folders(process: Process, path: str) -> None:
    parent = posixpath.dirname(path)
    if parent not in ("", "/") and not process.isdir(parent):
        _make_folders(process, parent)
    if not process.isdir(path):
        process.mkdir(path)


def _ruby(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}"=>{_ruby(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_ruby, value)) + "]"
    return json.dumps(value)
