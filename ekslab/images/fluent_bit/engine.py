"""The engine: inputs fill chunks, filters change them, outputs send them; failed chunks are retried.

One chunk is sent to one output at a time, as with Fluent Bit's single worker.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ekslab import versions
from ekslab.images.fluent_bit.chunks import Chunk, Storage
from ekslab.images.fluent_bit.cloudwatch import CloudWatchLogs, Result
from ekslab.images.fluent_bit.config import Config, ConfigError, Section, parse_size
from ekslab.images.fluent_bit.grep import Filter, grep
from ekslab.images.fluent_bit.kubernetes import Kubernetes
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.monitoring import Monitoring
from ekslab.images.fluent_bit.patterns import compiled, matches
from ekslab.images.fluent_bit.records import Event
from ekslab.images.fluent_bit.stdout import Null, Stdout
from ekslab.images.fluent_bit.tail import Tail
from ekslab.names import digest

if TYPE_CHECKING:
    from ekslab.node import Process


class Output(Protocol):
    async def flush(self, tag: str, events: Sequence[Event]) -> Result: ...


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
        self._open: dict[tuple[str, str], Chunk] = {}
        self._filled = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], Chunk] = {}
        """Chunks being sent, or waiting for their next try."""
        self._lookups: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[asyncio.Task[None]] = self._loop.create_future()
        """Holds a task that ended with an unexpected error; the process then ends with it."""
        self._monitoring = Monitoring(process, log)
        service = config.service
        self._flush = self._number("flush", 1.0)
        self._grace = self._number("grace", 5.0)
        self._base = self._number("scheduler.base", 5.0)
        self._cap = self._number("scheduler.cap", 2000.0)
        if self._flush <= 0:
            raise ConfigError(("error", "invalid flush value, aborting."))
        if self._base >= self._cap:
            raise ConfigError(("error", "[engine] scheduler.base must be less than scheduler.cap"))
        self._storage = Storage(process, log, service.get("storage.path", ""))
        for section in config.inputs:
            if section.get("storage.type", "memory") == "filesystem" and not self._storage.root:
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
        compiled(section, section.get("match_regex"))
        if section.plugin == "kubernetes":
            return Kubernetes(self._process, section, self._log)
        return grep(section)

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
        close_http = self._monitoring.serve(self._config.service)
        for chunk in self._storage.backlog(f"storage_backlog.{len(self._config.inputs)}"):
            self._start(chunk)
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
        kind = "memory+filesystem" if self._storage.root else "memory"
        sync = self._config.service.get("storage.sync", "normal")
        self._log.info(f"[storage] type={kind}, sync={sync}, checksum=off, max_chunks_up=128")
        if self._storage.root:
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
        self._monitoring.count("input", section.instance, records=len(events))
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
            chunk = self._storage.new(section, tag)
            self._open[section.instance, tag] = chunk
            self._make_room()
        self._storage.append(chunk, events)
        self._filled.set()

    def _make_room(self) -> None:
        """Drops the oldest stored chunks of an output whose storage.total_limit_size is exceeded."""
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
                self._storage.remove(chunk)

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

    def _start(self, chunk: Chunk) -> None:
        targets = [target for target in self._targets if matches(target.section, chunk.tag)]
        if not targets:
            self._storage.remove(chunk)
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

    async def _send_to_all(self, chunk: Chunk, targets: list[_Target]) -> None:
        await asyncio.gather(*(self._send(chunk, target) for target in targets))
        self._storage.remove(chunk)

    async def _send(self, chunk: Chunk, target: _Target) -> None:
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
                self._monitoring.count("output", section.instance, proc_records=len(chunk.events))
                return
            attempt += 1
            limit = _retry_limit(section)
            if result == "error" or (limit is not None and attempt > limit):
                self._log.warn(f"[engine] chunk '{chunk.name}' cannot be retried: task_id={chunk.task}, {route}")
                self._monitoring.count("output", section.instance, dropped_records=len(chunk.events), retries_failed=1)
                return
            wait = self._back_off(chunk.name, attempt)
            self._monitoring.count("output", section.instance, retries=1, retried_records=len(chunk.events))
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


def _output(process: Process, section: Section, log: Log) -> Output:
    if section.plugin == "cloudwatch_logs":
        return CloudWatchLogs(process, section, log)
    return Stdout(process, section) if section.plugin == "stdout" else Null()


def _retry_limit(section: Section) -> int | None:
    """Tries after the first one; None for no limit. Fluent Bit's default is one."""
    text = section.get("retry_limit", "1").lower()
    if text in ("no_limits", "false", "off"):
        return None
    return 0 if text == "no_retries" else max(0, int(text))


def _lowest_free(taken: set[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)
