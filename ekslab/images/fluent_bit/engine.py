"""The engine: inputs fill chunks, filters change them, outputs send them; failed chunks are retried.

Each chunk has its own timer: new ones are sent at once while others wait for their next try.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ekslab import versions
from ekslab.images.fluent_bit.chunks import CHUNK_SIZE, Chunk, Storage, size_of
from ekslab.images.fluent_bit.cloudwatch import CloudWatchLogs, Result
from ekslab.images.fluent_bit.config import Config, ConfigError, Section, parse_size
from ekslab.images.fluent_bit.grep import Filter, grep
from ekslab.images.fluent_bit.kubernetes import Kubernetes
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.monitoring import Monitoring, human_size
from ekslab.images.fluent_bit.patterns import compiled, matches
from ekslab.images.fluent_bit.records import Event
from ekslab.images.fluent_bit.stdout import Null, Stdout
from ekslab.images.fluent_bit.tail import Tail
from ekslab.names import digest

if TYPE_CHECKING:
    from ekslab.node import Process


_COMMIT = "1625d1960b"


class Output(Protocol):
    async def flush(self, tag: str, events: Sequence[Event]) -> Result: ...


MOST_AT_ONCE = 8
"""Chunks that are sent at the same time: one that waits for an answer doesn't keep the others back."""


@dataclass
class _Target:
    section: Section
    output: Output
    number: int
    sending: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    @property
    def limit(self) -> int | None:
        """Bytes of chunks that may wait for it in files; None for no limit."""
        text = self.section.get("storage.total_limit_size")
        return parse_size(text) if text and text.lower() != "off" else None


class Engine:
    """Runs a configuration until the process gets SIGTERM. Raises `ConfigError` before anything is started."""

    def __init__(self, process: Process, config: Config, log: Log) -> None:
        self._process = process
        self._config = config
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._open: dict[tuple[str, str], Chunk] = {}
        self._filled = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], Chunk] = {}
        """Chunks being sent, or waiting for their next try."""
        self._lookups: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[asyncio.Task[None]] = self._loop.create_future()
        """Holds a task that ended with an unexpected error; the process then ends with it."""
        service = config.service
        self._flush = self._number("flush", 1.0)
        self._grace = self._number("grace", 5.0)
        self._base = self._number("scheduler.base", 5.0)
        self._cap = self._number("scheduler.cap", 2000.0)
        if self._flush <= 0:
            raise ConfigError(("error", "invalid flush value, aborting."), code=1)
        keep = service.get("storage.keep.rejected", "off").lower() in ("on", "true", "yes")
        rejected = service.get("storage.rejected.path", "rejected") if keep else ""
        self._storage = Storage(process, log, service.get("storage.path", ""), rejected)
        self._monitoring = Monitoring(process, log, service, self._all_chunks)
        for section in config.inputs:
            if section.get("storage.type", "memory") == "filesystem" and not self._storage.root:
                name = section.instance
                said = f"[storage] instance '{name}' requested filesystem storage but no filesystem path was defined."
                raise ConfigError(
                    ("error", said),
                    ("error", f"[storage] could not create storage for instance: {name}"),
                    ("error", "[engine] storage creation failed"),
                )
        self._filters = [(section, self._filter(section)) for section in config.filters]
        self._waiting: dict[tuple[str, str], list[Event]] = {}
        """Events whose pod is being looked up, by input and tag."""
        self._tails = [
            Tail(process, section, log, self._ingest_from(section), partial(self._monitoring.count, "input"))
            for section in config.inputs
            if section.plugin == "tail"
        ]
        ascii_only = service.get("json.escape_unicode", "true").lower() not in ("false", "off", "no")
        self._targets = [
            _Target(s, _output(process, s, log, ascii_only=ascii_only), i) for i, s in enumerate(config.outputs)
        ]
        self._backlog = f"storage_backlog.{len(config.inputs)}"
        for kind, sections in (("input", config.inputs), ("filter", config.filters), ("output", config.outputs)):
            for section in sections:
                self._monitoring.know(kind, section.instance, section.plugin)
        if self._storage.root:
            self._monitoring.know("input", self._backlog, "storage_backlog")

    def _filter(self, section: Section) -> Filter | Kubernetes:
        compiled(section, section.get("match_regex"))
        if section.plugin == "kubernetes":
            return Kubernetes(self._process, section, self._log)
        return grep(section)

    def _number(self, name: str, default: float) -> float:
        try:
            return float(self._config.service.get(name, default))
        except ValueError:
            raise ConfigError(("error", f"invalid {name} value, aborting."), code=1) from None

    async def run(self) -> int:
        """The exit code. Chunks that could not be sent are left in storage, those in memory are lost."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._process.on_signal(number, partial(self._stopping, number, stop))
        close_http = self._announce()
        backlog = list(self._storage.backlog(self._backlog))
        self._log.info(
            f"[engine] Shutdown Grace Period={self._grace:.0f}, Shutdown Input Grace Period={self._grace // 2:.0f}"
        )
        for tail in self._tails:
            tail.scan(first=True)
        for chunk in backlog:
            folder = posixpath.basename(posixpath.dirname(chunk.path or ""))
            self._log.info(f"[input:storage_backlog:{self._backlog}] queueing {folder}:{chunk.name}")
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
            self._log.info("[engine] pausing all inputs..")
            self._pause()
            for task in inputs:
                task.cancel()
            if self._lookups:
                await asyncio.wait(list(self._lookups), timeout=self._grace)
            for tail in self._tails:
                tail.finish()
            self._flush_now()
            await self._wait_for_tasks()
            self._log.info(f"[engine] service has stopped ({len(self._tasks)} pending tasks)")
            self._pause()
            for target in self._targets:
                for what in ("stopping...", "stopped"):
                    self._log.info(f"[{target.section.label}] thread worker #0 {what}")
            return 0
        finally:
            for left in (*inputs, flusher, stopped, *self._tasks, *self._lookups):
                left.cancel()
            close_http()
            for tail in self._tails:
                tail.close()

    def _stopping(self, number: int, stop: asyncio.Event) -> None:
        self._log.signal(f"[engine] caught signal ({signal.Signals(number).name})")
        self._log.warn(f"[engine] service will shutdown in max {self._grace:.0f} seconds")
        stop.set()

    def _pause(self) -> None:
        names = [section.instance for section in self._config.inputs]
        for name in [*names, *([self._backlog] if self._storage.root else [])]:
            self._log.info(f"[input] pausing {name}")

    async def _wait_for_tasks(self) -> None:
        """Gives what is on its way, or waits for its next try, the grace period; says each second what is left."""
        for second in range(1, int(self._grace) + 1):
            if not self._tasks:
                return
            await asyncio.wait(list(self._tasks), timeout=1.0)
            left = list(self._tasks.values())
            if not left:
                return
            stored = sum(chunk.path is not None for chunk in left)
            self._log.info(
                f"[engine] pending chunk count: memory={len(left) - stored}, filesystem={stored}; grace_timer={second}"
            )
            sources = [(section.plugin, section.instance) for section in self._config.inputs]
            for plugin, name in [*sources, ("storage_backlog", self._backlog)]:
                own = [chunk for chunk in left if chunk.source == name]
                self._log.info(f"[task] {plugin}/{name} has {len(own)} pending task(s){':' if own else ''}")
                for chunk in own:
                    routes = "".join(
                        f"{t.section.plugin}/{t.section.instance} "
                        for t in self._targets
                        if matches(t.section, chunk.tag)
                    )
                    self._log.info(f"[task]   task_id={chunk.task} still running on route(s): {routes}")

    def _announce(self) -> Callable[[], None]:
        """The lines of a start; returns what stops the HTTP server, which begins in their midst."""
        self._log.info(f"[fluent bit] version={versions.FLUENT_BIT}, commit={_COMMIT}, pid={self._process.vpid}")
        self._storage.prepare()
        kind = "memory+filesystem" if self._storage.root else "memory"
        sync = self._config.service.get("storage.sync", "normal")
        self._log.info(f"[storage] ver=1.5.4, type={kind}, sync={sync}, checksum=off, max_chunks_up=128")
        if self._storage.root:
            self._log.info(f"[storage] backlog input plugin: {self._backlog}")
        self._log.info("[simd    ] SSE2")
        self._log.info("[cmetrics] version=2.2.1")
        self._log.info("[ctraces ] version=0.7.1")
        tails = iter(self._tails)
        for section in self._config.inputs:
            self._log.info(f"[{section.label}] initializing")
            on_disk = section.get("storage.type") == "filesystem"
            how = "'filesystem' (memory + filesystem)" if on_disk else "'memory' (memory only)"
            self._log.info(f"[{section.label}] storage_strategy={how}")
            if section.get("multiline.parser"):
                self._log.info(f"[{section.label}] multiline core started")
            if section.plugin == "tail":
                next(tails).forget_stale()
        if self._storage.root:
            label = f"input:storage_backlog:{self._backlog}"
            self._log.info(f"[{label}] initializing")
            self._log.info(f"[{label}] storage_strategy='memory' (memory only)")
            limit = parse_size(self._config.service.get("storage.backlog.mem_limit", "5M"))
            self._log.info(f"[{label}] queue memory limit: {human_size(limit)}")
        for _, apply in self._filters:
            if isinstance(apply, Kubernetes):
                apply.announce()
        for target in self._targets:
            self._log.info(f"[{target.section.label}] worker #0 started")
        close_http = self._monitoring.serve()
        self._log.info("[sp] stream processor started")
        return close_http

    def _all_chunks(self) -> list[Chunk]:
        chunks = {chunk.name: chunk for chunk in (*self._open.values(), *self._tasks.values())}
        return list((self._storage.kept | chunks).values())

    # -- in

    def _ingest_from(self, section: Section) -> Callable[[str, list[Event]], None]:
        return lambda tag, events: self._ingest(section, tag, events)

    def _ingest(self, section: Section, tag: str, events: list[Event]) -> None:
        self._monitoring.count("input", section.instance, records=len(events), bytes=size_of(events))
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
                before = len(events)
                events = apply.apply(tag, events) if isinstance(apply, Kubernetes) else apply(events)
                dropped = before - len(events)
                self._monitoring.count("filter", filtered.instance, records=before, drop_records=dropped)
        if not events:
            return
        size = size_of(events)
        chunk = self._open.get((section.instance, tag))
        if chunk is not None and chunk.size + size > CHUNK_SIZE:
            self._start(self._open.pop((section.instance, tag)))
            chunk = None
        try:
            if chunk is None:
                chunk = self._open[section.instance, tag] = self._storage.new(section, tag)
            self._make_room(chunk, size)
            self._storage.append(chunk, events, size)
        except OSError as error:
            self._log.error(f"[storage] [cio file] could not write {section.instance}: {error.strerror}")
            return
        self._filled.set()

    def _make_room(self, new: Chunk, size: int) -> None:
        """Drops the oldest stored chunks of each output whose storage.total_limit_size new data would exceed."""
        if new.path is None:
            return
        for target in self._targets:
            limit = target.limit
            if limit is None or not matches(target.section, new.tag):
                continue
            used = sum(chunk.size for chunk in self._storage.kept.values())
            for chunk in list(self._storage.kept.values()):
                if used + size <= limit:
                    break
                if chunk is new or chunk.busy:
                    continue
                task = f"task_id={chunk.task}, " if chunk.task is not None else ""
                self._log.warn(
                    f"[input chunk] chunk '{chunk.name}' evicted from output queue to make room under "
                    f"storage.total_limit_size: {task}input={chunk.source} > output={target.section.instance} "
                    f"(out_id={target.number}), bytes={chunk.size}, limit={limit}"
                )
                used -= chunk.size
                self._drop(chunk, target)
                self._forget(chunk)
            self._measure(target)

    def _drop(self, chunk: Chunk, target: _Target, **counts: int) -> None:
        """Counts a chunk that won't be delivered."""
        output = target.section.instance
        self._monitoring.count("output", output, dropped_records=chunk.records, **counts)
        self._monitoring.routed(chunk.source, output, chunk, dropped=True)

    def _forget(self, chunk: Chunk) -> None:
        for task, other in self._tasks.items():
            if other is chunk:
                task.cancel()
        self._open = {key: other for key, other in self._open.items() if other is not chunk}
        self._storage.remove(chunk)

    def _measure(self, target: _Target) -> None:
        used = sum(chunk.size for chunk in self._storage.kept.values())
        percent = 100.0 if not target.limit else max(0.0, (1 - used / target.limit) * 100)
        self._monitoring.capacity(target.section.instance, percent)

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
        """Hands chunks to outputs at each tick of a clock that began with the program."""
        while True:
            await self._filled.wait()
            await self._process.sleep(self._flush - (self._loop.time() - self._began) % self._flush)
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
        for target in targets:
            self._measure(target)

    async def _send(self, chunk: Chunk, target: _Target) -> None:
        section = target.section
        output = section.instance
        route = f"input={chunk.source} > output={output}"
        attempt = 0
        while True:
            async with target.sending:
                chunk.busy += 1
                try:
                    result = await target.output.flush(chunk.tag, self._storage.load(chunk))
                finally:
                    chunk.busy -= 1
            if result == "ok":
                self._delivered(chunk, target, attempt, f"task_id={chunk.task}, {route} (out_id={target.number})")
                return
            if result == "error":  # Fluent Bit has no line for it, only the output has said so
                self._storage.quarantine(chunk, output)
                self._drop(chunk, target, errors=1)
                return
            attempt += 1
            limit = _retry_limit(section)
            if limit is not None and attempt > limit:
                self._storage.quarantine(chunk, output)
            if limit == 0:
                self._log.info(
                    f"[engine] chunk '{chunk.name}' is not retried (no retry config): "
                    f"task_id={chunk.task}, {route} (out_id={target.number})"
                )
                self._drop(chunk, target)
                return
            if limit is not None and attempt > limit:
                self._log.error(f"[engine] chunk '{chunk.name}' cannot be retried: task_id={chunk.task}, {route}")
                self._drop(chunk, target, retries_failed=1)
                return
            wait = self._back_off(chunk.name, attempt)
            self._monitoring.count("output", output, retries=1, retried_records=chunk.records)
            self._monitoring.waits(output, wait)
            self._measure(target)
            self._log.warn(
                f"[engine] failed to flush chunk '{chunk.name}', retry in {wait} seconds: "
                f"task_id={chunk.task}, {route} (out_id={target.number})"
            )
            await self._process.sleep(wait)

    def _delivered(self, chunk: Chunk, target: _Target, attempt: int, where: str) -> None:
        if attempt:
            self._log.info(f"[engine] flush chunk '{chunk.name}' succeeded at retry {attempt}: {where}")
        elif chunk.source == self._backlog:
            self._log.info(f"[engine] flush backlog chunk '{chunk.name}' succeeded: {where}")
        output = target.section.instance
        self._monitoring.count("output", output, proc_records=chunk.records, proc_bytes=chunk.size)
        self._monitoring.routed(chunk.source, output, chunk, dropped=False)

    def _back_off(self, name: str, attempt: int) -> int:
        """Seconds: one more than a number between the base and a limit that doubles with each attempt."""
        base = int(self._base)
        limit = max(base, int(min(self._cap, base * 2.0**attempt)))
        return base + int.from_bytes(digest(name, attempt)[:4], "big") % (limit - base + 1) + 1


def _output(process: Process, section: Section, log: Log, *, ascii_only: bool) -> Output:
    if section.plugin == "cloudwatch_logs":
        return CloudWatchLogs(process, section, log, ascii_only=ascii_only)
    return Stdout(process, section) if section.plugin == "stdout" else Null()


def _retry_limit(section: Section) -> int | None:
    """Tries after the first one; None for no limit. Fluent Bit's default is one."""
    text = section.get("retry_limit", "1").lower()
    if text in ("no_limits", "false", "off"):
        return None
    return 0 if text == "no_retries" else max(0, int(text))


def _lowest_free(taken: set[int | None]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)
