"""The HTTP server of Fluent Bit: version, uptime, health, storage and metrics."""

from __future__ import annotations

import json
import time as clock
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.fluent_bit.config import KINDS, catalogue
from ekslab.images.fluent_bit.log import Log

if TYPE_CHECKING:
    from ekslab.images.fluent_bit.chunks import Chunk
    from ekslab.node import Process

_FIRST_METRICS = 1.0
_FIRST_STORAGE = 5.0
"""Seconds after the start until there is something to answer; until then it is 404."""
_CHUNKS_UP = 128
"""Chunks with files that Fluent Bit has in memory at most."""
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4"
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
_LATENCIES = (0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0)

Metric = tuple[str, str, list[tuple[str, float]]]
"""Kind, description, and values by what comes after the name."""

# What each counter counts, in the order in which Fluent Bit has them.
_COUNTERS = {
    "input": {"bytes": "Number of input bytes.", "records": "Number of input records."},
    "filter": {
        "records": "Total number of new records processed.",
        "bytes": "Total number of new bytes processed.",
        "add_records": "Total number of new added records.",
        "drop_records": "Total number of dropped records.",
        "drop_bytes": "Total number of dropped bytes.",
    },
    "output": {
        "proc_records": "Number of processed output records.",
        "proc_bytes": "Number of processed output bytes.",
        "errors": "Number of output errors.",
        "retries": "Number of output retries.",
        "retries_failed": "Number of abandoned batches because the maximum number of re-tries was reached.",
        "dropped_records": "Number of dropped records.",
        "retried_records": "Number of retried records.",
    },
}
# In /api/v2/metrics, these are missing as long as they are 0.
_TAIL = {
    "files_opened": "Total number of opened files",
    "files_closed": "Total number of closed files",
    "files_rotated": "Total number of rotated files",
    "multiline_truncated": "Total number of truncated occurences for multilines",
    "long_line_truncated": "Total number of truncated occurences for long lines",
    "long_line_skipped": "Total number of skipped occurences for long lines",
}
_ROUTING = {
    "routing_logs_records": "Total log records routed from input to output",
    "routing_logs_bytes": "Total bytes routed from input to output (logs)",
    "routing_logs_drop_records": "Total log records dropped during routing",
    "routing_logs_drop_bytes": "Total bytes dropped during routing (logs)",
}
_LAYER = {
    "total_chunks": ("chunks", "Total number of chunks in the storage layer."),
    "mem_chunks": ("mem_chunks", "Total number of memory chunks."),
    "fs_chunks": ("fs_chunks", "Total number of filesystem chunks."),
    "fs_chunks_up": ("fs_chunks_up", "Total number of filesystem chunks up in memory."),
    "fs_chunks_down": ("fs_chunks_down", "Total number of filesystem chunks down."),
}
_STORED = {
    "total": ("", "Total number of chunks."),
    "up": ("_up", "Total number of chunks up in memory."),
    "down": ("_down", "Total number of chunks down."),
    "busy": ("_busy", "Total number of chunks in a busy state."),
}


class Monitoring:
    """Counts what inputs, filters and outputs do, and serves the counts. `chunks` are those of storage."""

    def __init__(
        self, process: Process, log: Log, service: dict[str, str], chunks: Callable[[], Iterable[Chunk]]
    ) -> None:
        self._process = process
        self._log = log
        self._service = service
        self._chunks = chunks
        self._started = process.kernel.now()
        self._counts: dict[str, dict[str, dict[str, int]]] = {}
        self._routes: dict[str, dict[tuple[str, str], int]] = {}
        self._room: dict[str, float] = {}
        self._waits: dict[str, list[float]] = {}
        self._latencies: dict[tuple[str, str], list[float]] = {}
        self._failed: deque[tuple[float, str]] = deque(maxlen=10_000)

    def know(self, kind: str, instance: str, plugin: str) -> None:
        """A plugin whose counts begin with 0."""
        names = [*_COUNTERS[kind], *(_TAIL if plugin == "tail" else ())]
        self._counts.setdefault(kind, {})[instance] = dict.fromkeys(names, 0)
        if kind == "output":
            self._room[instance] = 100.0

    def count(self, kind: str, instance: str, **numbers: int) -> None:
        """Adds to the counters of an input, filter or output."""
        counts = self._counts.setdefault(kind, {}).setdefault(instance, {})
        for name, number in numbers.items():
            counts[name] = counts.get(name, 0) + number
            if name in ("errors", "retries_failed"):
                self._failed.extend([(self._process.kernel.now() / 1e9, name)] * number)

    def routed(self, source: str, output: str, chunk: Chunk, *, dropped: bool) -> None:
        """A chunk was delivered, or dropped."""
        kind = "drop_" if dropped else ""
        for name, number in (("records", chunk.records), ("bytes", chunk.size)):
            table = self._routes.setdefault(f"routing_logs_{kind}{name}", {})
            table[source, output] = table.get((source, output), 0) + number
        if not dropped:
            seconds = self._process.kernel.now() / 1e9 - chunk.created
            self._latencies.setdefault((source, output), []).append(seconds)
            del self._latencies[source, output][:-1000]

    def waits(self, output: str, seconds: float) -> None:
        """A chunk waits for its next try."""
        self._waits.setdefault(output, []).append(seconds)

    def capacity(self, output: str, percent: float) -> None:
        """The room that is left under storage.total_limit_size."""
        self._room[output] = percent

    def serve(self) -> Callable[[], None]:
        """Starts the HTTP server if the service section enables it; returns what stops it."""
        service = self._service
        if service.get("http_server", "off").lower() not in ("on", "true", "yes"):
            return lambda: None
        host, port = service.get("http_listen", "0.0.0.0"), int(service.get("http_port", "2020"))
        self._log.info(f"[http_server] listen iface={host} tcp_port={port}")
        return self._process.listen(port, self._answer)

    # -- answers

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        path = request.url.split("?")[0].rstrip("/")
        path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        answer = self._page(path)
        headers = {"server": "Fluent Bit", "x-http-engine": "Monkey heritage"}
        if answer is None:
            return HttpResponse(404, headers | {"content-length": "0"})
        status, kind, body = answer
        if kind:
            headers["content-type"] = kind
        return HttpResponse(status, headers | {"content-length": str(len(body))}, body)

    def _page(self, path: str) -> tuple[int, str, bytes] | None:
        uptime = (self._process.kernel.now() - self._started) // 1_000_000_000
        running = (self._process.kernel.now() - self._started) / 1e9
        if path == "/":
            flags = [f"FLB_HAVE_{name}" for name in ("TLS", "OPENSSL", "METRICS", "SQLDB", "AWS", "SIGNV4")]
            about = {"version": versions.FLUENT_BIT, "edition": "Community", "flags": flags}
            return 200, _JSON, _compact({"fluent-bit": about})
        if path == "/api/v1/uptime":
            days, rest = divmod(uptime, 86_400)
            hours, rest = divmod(rest, 3600)
            parts = ((days, "day"), (hours, "hour"), (rest // 60, "minute"), (rest % 60, "second"))
            words = [f"{number} {unit}{'s' if number > 1 else ''}" for number, unit in parts]
            said = f"Fluent Bit has been running:  {words[0]}, {words[1]}, {words[2]} and {words[3]}"
            return 200, _JSON, _compact({"uptime_sec": uptime, "uptime_hr": said})
        if path == "/api/v1/plugins":
            kinds = {kind: [*catalogue()["exist"][kind], *catalogue()[kind]] for kind in KINDS}
            names = {kind: sorted(name for name in found if name != "common") for kind, found in kinds.items()}
            return 200, _JSON, _compact({"plugins": names})
        if path == "/api/v1/storage":
            return (200, _JSON, _compact(self._storage())) if running >= _FIRST_STORAGE else None
        if path in ("/api/v1/health", "/api/v2/health"):
            return self._health(v2="v2" in path)
        if running < _FIRST_METRICS:
            return None
        if path == "/api/v1/metrics":
            return 200, _JSON, _compact(self._counts)
        if path == "/api/v1/metrics/prometheus":
            return 200, _PROMETHEUS, self._v1_prometheus(uptime).encode()
        if path == "/api/v2/metrics/prometheus":
            return 200, _PROMETHEUS, self._v2_prometheus(uptime).encode()
        if path == "/api/v2/metrics":
            return 200, "", self._v2_text(uptime).encode()
        return None

    def _health(self, *, v2: bool) -> tuple[int, str, bytes] | None:
        checked = self._service.get("health_check", "off").lower() in ("on", "true", "yes")
        limits = [int(self._service.get(f"hc_{name}", str(least))) for name, least in
                  (("errors_count", 5), ("retry_failure_count", 5), ("period", 60))]  # fmt: skip
        since = self._process.kernel.now() / 1e9 - limits[2]
        recent = [name for time, name in self._failed if checked and time >= since]
        errors, failed = recent.count("errors"), recent.count("retries_failed")
        good = errors <= limits[0] and failed <= limits[1]
        if v2:
            said = {
                "status": "ok" if good else "error",
                "errors": errors,
                "retries_failed": failed,
                "error_limit": limits[0],
                "retry_failure_limit": limits[1],
                "period_limit": limits[2],
            }
            return 200 if good else 500, _JSON, _compact(said)
        if not checked:
            return None
        return (200, "", b"ok\n") if good else (500, "", b"error\n")

    def _storage(self) -> dict[str, Any]:
        chunks = list(self._chunks())
        stored = [chunk for chunk in chunks if chunk.path is not None]
        up = stored[-_CHUNKS_UP:]
        inputs = {}
        for name in self._counts.get("input", {}):
            own = [chunk for chunk in chunks if chunk.source == name]
            loaded = [chunk for chunk in own if chunk.path is None or chunk in up]
            busy = [chunk for chunk in own if chunk.task is not None]
            size = sum(chunk.size for chunk in loaded)
            inputs[name] = {
                "status": {"overlimit": False, "mem_size": human_size(size), "mem_limit": human_size(0)},
                "chunks": {
                    "total": len(own),
                    "up": len(loaded),
                    "down": len(own) - len(loaded),
                    "busy": len(busy),
                    "busy_size": human_size(sum(chunk.size for chunk in busy)),
                },
            }
        layer = {
            "total_chunks": len(chunks),
            "mem_chunks": len(chunks) - len(stored),
            "fs_chunks": len(stored),
            "fs_chunks_up": len(up),
            "fs_chunks_down": len(stored) - len(up),
        }
        return {"storage_layer": {"chunks": layer}, "input_chunks": inputs}

    def _v1_prometheus(self, uptime: int) -> str:
        now = self._process.kernel.now() // 1_000_000
        lines: dict[str, list[str]] = {}
        for kind, found in self._counts.items():
            for instance, counts in found.items():
                for name, number in counts.items():
                    line = f'{{name="{instance}"}} {number} {now}'
                    lines.setdefault(f"fluentbit_{kind}_{name}_total", []).append(line)
        text = "".join(_block(name, "counter", _help(name), lines[name]) for name in sorted(lines))
        for name, kind, said, line in (
            ("fluentbit_uptime", "counter", "Number of seconds that Fluent Bit has been running.", f" {uptime}"),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                f" {self._started // 1_000_000_000}",
            ),
            (
                "fluentbit_build_info",
                "gauge",
                "Build version information.",
                f'{{version="{versions.FLUENT_BIT}",edition="Community"}} 1',
            ),
        ):
            text += _block(name, kind, said, [line])
        return text

    def _v2(self, uptime: int) -> dict[str, Metric]:
        metrics: dict[str, Metric] = {}

        def add(name: str, kind: str, said: str, sample: str, value: float) -> None:
            """One value; `sample` is what comes after the metric's name: labels, in braces."""
            metrics.setdefault(name, (kind, said, []))[2].append((sample, value))

        host = self._process.kernel.hostname
        said = "Number of seconds that Fluent Bit has been running."
        add("fluentbit_uptime", "counter", said, f'{{hostname="{host}"}}', uptime)
        said = "Collect the count of hot reloaded times."
        add("fluentbit_hot_reloaded_times", "gauge", said, f'{{hostname="{host}"}}', 0)
        for level in ("error", "warn", "info", "debug", "trace"):
            sample = f'{{message_type="{level}"}}'
            add("fluentbit_logger_logs_total", "counter", "Total number of logs", sample, self._log.counts[level])
        for table, said in _ROUTING.items():
            for (source, output), number in self._routes.get(table, {}).items():
                add(f"fluentbit_{table}_total", "counter", said, f'{{input="{source}",output="{output}"}}', number)
        for kind, found in self._counts.items():
            for name, said in (_COUNTERS[kind] | (_TAIL if kind == "input" else {})).items():
                for instance, named in found.items():
                    if named.get(name) or name not in _TAIL:
                        sample = f'{{name="{instance}"}}'
                        add(f"fluentbit_{kind}_{name}_total", "counter", said, sample, named[name])
        started = self._started // 1_000_000_000
        said = "Start time of the process since unix epoch in seconds."
        add("fluentbit_process_start_time_seconds", "gauge", said, f'{{hostname="{host}"}}', started)
        build = f'{{hostname="{host}",version="{versions.FLUENT_BIT}",os="linux"}}'
        add("fluentbit_build_info", "gauge", "Build version information.", build, started)
        storage = self._storage()
        for key, (name, said) in _LAYER.items():
            add(f"fluentbit_storage_{name}", "gauge", said, "", storage["storage_layer"]["chunks"][key])
        for instance in storage["input_chunks"]:
            add("fluentbit_input_ingestion_paused", "gauge", "Is the input paused or not?", f'{{name="{instance}"}}', 0)
        for key, (suffix, said) in _STORED.items():
            for instance, stored in storage["input_chunks"].items():
                sample = f'{{name="{instance}"}}'
                add(f"fluentbit_input_storage_chunks{suffix}", "gauge", said, sample, stored["chunks"][key])
        for output, percent in self._room.items():
            name, said = "fluentbit_output_chunk_available_capacity_percent", "Available chunk capacity (percent)"
            add(name, "gauge", said, f'{{name="{output}"}}', percent)
        for (source, output), seconds in self._latencies.items():
            name, said = "fluentbit_output_latency_seconds", "End-to-end latency in seconds"
            for sample, value in _histogram(f'input="{source}",output="{output}"', seconds, _LATENCIES):
                add(name, "histogram", said, sample, value)
        for output, waits in self._waits.items():
            name, said = "fluentbit_output_backpressure_wait_seconds", "Output backpressure wait in seconds"
            for sample, value in _histogram(f'output="{output}"', waits, _WAITS):
                add(name, "histogram", said, sample, value)
        return metrics

    def _v2_prometheus(self, uptime: int) -> str:
        return "".join(
            _block(name, kind, said, [f"{sample} {_number(value)}" for sample, value in samples])
            for name, (kind, said, samples) in self._v2(uptime).items()
        )

    def _v2_text(self, uptime: int) -> str:
        seconds, rest = divmod(self._process.kernel.now(), 1_000_000_000)
        stamp = clock.strftime("%Y-%m-%dT%H:%M:%S", clock.gmtime(seconds)) + f".{rest:09d}Z"
        return "".join(
            f"{stamp} {name}{sample} = {_number(value)}\n"
            for name, (_, _, samples) in self._v2(uptime).items()
            for sample, value in samples
        )


def _histogram(labels: str, values: list[float], bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Samples of a histogram: how many values are below each bound, their sum and their number."""
    samples: list[tuple[str, float]] = [
        (f'_bucket{{le="{float(bound)}",{labels}}}', sum(value <= bound for value in values)) for bound in bounds
    ]
    samples.append((f'_bucket{{le="+Inf",{labels}}}', len(values)))
    return [*samples, (f"_sum{{{labels}}}", sum(values)), (f"_count{{{labels}}}", len(values))]


def _block(name: str, kind: str, said: str, lines: list[str]) -> str:
    return f"# HELP {name} {said}\n# TYPE {name} {kind}\n" + "".join(f"{name}{line}\n" for line in lines)


def _help(name: str) -> str:
    """A counter's description in /api/v1/metrics/prometheus, which knows those of inputs and outputs only."""
    _, kind, rest = name.split("_", 2)
    known = _COUNTERS[kind] if kind != "filter" else {}
    return known.get(rest.removesuffix("_total"), "Fluentbit metrics.")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def human_size(number: float) -> str:
    """Bytes as Fluent Bit writes them: `15.3M`."""
    if number < 1024:
        return f"{number:.0f}b"
    for unit in "KMGT":
        number /= 1024
        if number < 1024 or unit == "T":
            return f"{number:.1f}{unit}"
    return ""


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
