"""A running Falco: starts up, watches system calls, reloads changed files, answers health checks, ends.

What it does and logs is what Falco 0.44 does when it starts, when a rule is wrong, when its files change and when it
is stopped.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import signal
import time as clock
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.falco.config import AbortError, ConfigError, Plugin, Settings, check_plugin, load
from ekslab.images.falco.metrics import CONTENT_TYPE, Counts
from ekslab.images.falco.options import FatalError, Options
from ekslab.images.falco.outputs import Outputs
from ekslab.images.falco.rules import Loaded, load_rules, read_files
from ekslab.node import Process, Watch, subscribe

if TYPE_CHECKING:
    from falcorules import Engine, Event

_CPUS = 2
_LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"]
_SEVERITIES = ["fatal", "critical", "error", "warning", "notice", "info", "debug", "trace"]
# What Falco does besides, which the lab leaves out.
_NOT_EMULATED = {
    "program_output.enabled": "the output to a program",
    "metrics.output_rule": "Falco's metrics as alerts",
    "metrics.output_file": "Falco's metrics in a file",
    "capture.enabled": "captures of events",
}
# What the modern eBPF probe needs where the container isn't privileged.
_LEAST_PRIVILEGE = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE", "CAP_SYS_PTRACE"}
_ENGINES = ("podman", "docker", "cri", "containerd", "lxc", "libvirt_lxc", "bpm")
_SOCKETS = {
    "podman": ("/run/podman/podman.sock",),
    "docker": ("/var/run/docker.sock",),
    "cri": (
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/k3s/containerd/containerd.sock",
        "/run/host-containerd/containerd.sock",
    ),
    "containerd": ("/run/host-containerd/containerd.sock",),
}


class RuntimeFault(Exception):
    """Falco ends with 1 by an exception, which it logs as a runtime error; nothing is wound up."""


# How Falco ends by rules that it can't load, by `Report.crash`.
_REFUSALS: dict[str, type[Exception]] = {"": FatalError, "exception": RuntimeFault, "abort": AbortError}


class Daemon:
    """One Falco process, over all its restarts on changed files."""

    def __init__(self, process: Process, options: Options) -> None:
        self._p = process
        self._options = options
        self._settings = Settings()
        self._outputs = Outputs(process, self._settings, self._log)
        self._busy = False
        self._counts = Counts((), hostname="", started=0)

    async def run(self) -> int:
        stop, again = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._p.on_signal(number, stop.set)
        self._p.on_signal(signal.SIGHUP, again.set)
        try:
            loaded = await self._first_load()
            if self._options.dry_run:
                self._check_outputs()
                return 0
            while True:
                async with AsyncExitStack() as session:
                    self._open(loaded.engine, session)
                    loaded = await self._changed(stop, again, loaded)
                if stop.is_set():
                    break
                self._log("info", "SIGHUP received, restarting...")
                self._settings = self._outputs.settings = loaded.settings
                self._log_configuration()
                self._load_plugins()
                self._log_rule_files(loaded)
        except RuntimeFault as fault:
            text = f"Runtime error: {fault}. Exiting."
            if not self._settings["log_stderr"]:
                self._p.stderr.write(f"{text}\n")
            self._log("error", text)
            return 1
        finally:
            self._outputs.flush()
        # Falco names SIGINT whichever signal ended it.
        self._log("info", "SIGINT received, exiting...")
        self._outputs.write_statistics(rule.name for rule in loaded.engine.rules)
        return 0

    # -- starting

    async def _first_load(self) -> Loaded:
        """Loads settings and rules, and logs each step. Raises `FatalError`, `ConfigError`, `RuntimeFault` and
        `AbortError`."""
        self._settings = self._outputs.settings = self._read_settings()
        self._log_configuration()
        self._load_plugins()
        self._select_sources()
        loaded = await load_rules(self._p, self._options, self._settings, self._hostname())
        self._log_rule_files(loaded)
        if loaded.refusal:
            raise _REFUSALS[loaded.report.crash](loaded.refusal)
        return loaded

    def _read_settings(self) -> Settings:
        settings = load(self._p, self._options.config, self._options.settings)
        if self._options.unbuffered:
            settings.values["buffered_outputs"] = False
        return settings

    def _log_configuration(self) -> None:
        for warning in self._settings.warnings:
            self._log("warning", warning)
        self._log("info", f"Falco version: {versions.FALCO} (x86_64)")
        self._log("debug", f"CLI args: {' '.join(self._p.argv)}")
        self._log("info", "Falco initialized with configuration files:")
        for name, outcome in self._settings.files:
            self._log("info" if outcome == "ok" else "warning", f"   {name} | schema validation: {outcome}")
        if self._settings["engine.kind"] in ("kmod", "modern_ebpf"):
            self._log("info", f"System info: {_system(self._p)}")

    def _log_rule_files(self, loaded: Loaded) -> None:
        """Logs each rules file, up to the first that is refused."""
        self._log("info", "Loading rules from:")
        for file in loaded.report.files:
            empty = not loaded.texts[file.name].strip()
            outcome = "none" if empty else "failed" if file.schema_warnings else "ok"
            self._log("info" if outcome == "ok" else "warning", f"   {file.name} | schema validation: {outcome}")
            if file.errors:
                return
            if file.warnings:
                warnings = "".join(map(str, file.warnings)).rstrip("\n")
                self._log("warning", f"{file.name}: Ok, with warnings\n{len(file.warnings)} Warnings:\n{warnings}")
        if loaded.refusal:
            return
        for entry in self._settings["rules"]:
            for operation, chosen in entry.items():
                verb = {"enable": "Enabling", "disable": "Disabling"}[operation]
                for key, text in (("rule", "name"), ("tag", "tag")):
                    if key in chosen:
                        self._log("info", f"{verb} rules with {text}: {chosen[key]}")

    def _load_plugins(self) -> None:
        """Loads each plugin, then starts it with its settings. Raises `RuntimeFault`."""
        plugins: list[Plugin] = self._settings["plugins"]
        for place, plugin in enumerate(plugins):
            path = plugin.library_path
            if not self._p.exists(path):
                reason = f"{path}: cannot open shared object file: No such file or directory"
                raise RuntimeFault(f"cannot load plugin {path}: can't load plugin dynamic library: {reason}")
            names = [other.own_name for other in plugins[:place]]
            if plugin.own_name in names:
                raise RuntimeFault(
                    f"cannot register plugin {path} in inspector: found another plugin with name {plugin.own_name}. "
                    "Aborting."
                )
            version = versions.CONTAINER_PLUGIN
            self._log("info", f"Loaded plugin '{plugin.name}@{version}' from file {path}")
        for plugin in plugins:
            if fault := check_plugin(plugin):
                raise RuntimeFault(fault)
            if plugin.own_name == "container":
                self._start_container_plugin(json.loads(plugin.init_config or "{}"))

    def _start_container_plugin(self, config: dict[str, Any]) -> None:
        engines = config.get("engines") or {}
        root = self._p.env.get("HOST_ROOT", "")
        static = engines.get("static") or {}
        if static.get("enabled"):
            named = {key: static[f"container_{key}"] for key in ("id", "name", "image")}
            listed = ", ".join(f"{key}: '{value}'" for key, value in named.items())
            self._log_library("info", f"container: Enabled static container engine with {listed}.")
            return
        for name in _ENGINES:
            given = engines.get(name) or {}
            if given.get("enabled", True):
                self._log_library("info", f"container: Enabled '{name}' container engine.")
                for socket in given.get("sockets") or _SOCKETS.get(name, ()):
                    self._log_library("info", f"container: * enabled container runtime socket at '{root}{socket}'")

    def _select_sources(self) -> None:
        """Raises `FatalError` for sources that there aren't, and if none is left."""
        enabled, disabled = self._options.enabled, self._options.disabled
        if enabled and disabled:
            raise FatalError("You can not mix --enable-source and --disable-source")
        for verb, sources in (("enabling", enabled), ("disabling", disabled)):
            for source in sources:
                if source != "syscall":
                    raise FatalError(f"Attempted {verb} an unknown event source: {source}")
        if disabled:
            raise FatalError("Must enable at least one event source")

    def _hostname(self) -> str:
        env = self._p.env
        return env.get("FALCO_HOSTNAME") or env.get("HOSTNAME") or self._p.read_text("/etc/hostname").strip()

    def _check_outputs(self) -> None:
        outputs = ("file", "stdout", "syslog", "program", "http")
        if not any(self._settings[f"{output}_output.enabled"] for output in outputs):
            raise FatalError("No output configured, please make sure at least one output is configured and enabled.")

    def _open(self, engine: Engine, session: AsyncExitStack) -> None:
        """Opens what alerts go to and events come from. Raises `FatalError` and `RuntimeFault`."""
        settings = self._settings
        self._check_outputs()
        if "FALCO_HOSTNAME" in self._p.env:
            name = self._p.env["FALCO_HOSTNAME"]
            self._log("info", f"Hostname value has been overridden via environment variable to: {name}")
        self._outputs.hostname = self._hostname()
        for key, what in _NOT_EMULATED.items():
            if settings[key]:
                self._log("warning", f"[embedded lab] {key} is on, but the lab doesn't emulate {what}")
        try:
            self._open_source(engine, session)
        except FatalError:
            # Once it has outputs, Falco prints its statistics whatever ends it.
            self._outputs.write_statistics(())
            raise

    def _open_source(self, engine: Engine, session: AsyncExitStack) -> None:
        settings, kind = self._settings, self._settings["engine.kind"]
        preset = settings[f"engine.{kind}.buf_size_preset"] if kind in ("kmod", "modern_ebpf") else None
        if preset is not None:
            if not 1 <= preset <= 10:
                raise FatalError("The 'buf_size_preset' value must be between '1' and '10'\n")
            size = 1 << (19 + preset)
            self._log("info", f"The chosen syscall buffer dimension is: {size} bytes ({size >> 20} MBs)")
        cpus = settings["engine.modern_ebpf.cpus_for_each_buffer"]
        if kind == "modern_ebpf" and cpus > _CPUS:
            self._log(
                "warning",
                f"you required a buffer every '{cpus}' CPUs but there are only '{_CPUS}' online CPUs. "
                f"Falco changed the config to: one buffer every '{_CPUS}' CPUs",
            )
            cpus = _CPUS
        if settings["webserver.enabled"] and kind != "replay":
            self._start_webserver(session)
        self._check_metrics()
        if settings["capture.enabled"]:
            mode, folder = settings["capture.mode"], settings["capture.path_prefix"]
            self._log("info", f"Capture is enabled in mode '{mode}'. Capturing events to {folder}")
        if kind == "replay":
            file = settings["engine.replay.capture_file"]
            if not self._p.exists(file):
                raise FatalError(f"Could not open trace filename {file} for reading: can't open file {file}")
            raise FatalError("[embedded lab] engine.kind is replay: the lab doesn't read capture files")
        self._log("info", "Loaded event sources: syscall")
        self._log("info", "Enabled event sources: syscall")
        try:
            if kind == "nodriver":
                text = "Enabled event source 'syscall' will be opened with no driver, no event will be produced"
                self._log("warning", text)
                self._log("info", "Opening 'syscall' source with no driver")
                return
            if kind == "kmod":
                self._open_kernel_module()
            self._log("info", "Opening 'syscall' source with modern BPF probe.")
            self._log("info", f"One ring buffer every '{cpus}' CPUs.")
            self._log_library("info", "Trying to open the right engine!")
            self._load_probe()
        except FatalError:
            self._log("info", "An error occurred in an event source, forcing termination...")
            raise
        session.callback(subscribe(self._p.kernel, self._watcher(engine)))

    def _load_probe(self) -> None:
        """Loads the modern eBPF probe. Raises `FatalError` with the words of Falco's libraries and the kernel."""
        fault, may = self._p.kernel.bpf_fault, self._p.capabilities
        admin = "CAP_SYS_ADMIN" in may
        refused = "(errno: 1 | message: Operation not permitted)"
        failed = FatalError("Initialization issues during scap_init")
        # The first checks are made before the library has a logger.
        if fault == "old" or not (admin or "CAP_BPF" in may):
            why = "(errno: 22 | message: Invalid argument)" if fault == "old" else refused
            self._p.stderr.write(f"libpman: ring buffer map type is not supported {why}\n")
            raise failed
        if fault == "no-btf":
            self._p.stderr.write("libpman: prog 'BPF_TRACE_RAW_TP' is not supported\n")
            raise failed
        if not (admin or "CAP_SYS_RESOURCE" in may):
            self._log_library("error", f"libpman: unable to bump RLIMIT_MEMLOCK to RLIM_INFINITY {refused}")
            raise FatalError("unable to configure the libpman state.")
        if fault == "locked-down" or not (admin or may >= _LEAST_PRIVILEGE):
            if fault == "locked-down":
                said = "program of this type cannot use helper bpf_probe_read_kernel#113"
                self._log_library("warning", f"libbpf: prog 'sys_exit': -- BEGIN PROG LOAD LOG --\n{said}")
            self._log_library("warning", "libbpf: prog 'sys_exit': failed to load: -EPERM")
            self._log_library("warning", "libbpf: failed to load object 'bpf_probe'")
            self._log_library("error", f"libpman: failed to load BPF object {refused}")
            raise failed

    def _start_webserver(self, session: AsyncExitStack) -> None:
        settings = self._settings
        port, address = settings["webserver.listen_port"], settings["webserver.listen_address"]
        ssl, threads = settings["webserver.ssl_enabled"], settings["webserver.threadiness"] or _CPUS
        self._log(
            "info",
            f"Starting health webserver with threadiness {threads}, listening on {address}:{port}"
            + (" (SSL)" if ssl else ""),
        )
        if ssl and not _is_certificate(self._p, settings["webserver.ssl_certificate"]):
            raise RuntimeFault("invalid webserver configuration")
        try:
            session.callback(self._p.listen(port, self._answer))
        except OSError as error:
            raise RuntimeFault("an error occurred while starting webserver") from error

    def _check_metrics(self) -> None:
        settings = self._settings
        if not settings["metrics.enabled"]:
            return
        text, milliseconds = settings["metrics.interval"], settings["metrics.interval_ms"]
        if milliseconds < 100:
            raise FatalError(
                "Metrics interval must have a minimum value of 100ms and reflect a Prometheus compliant time duration "
                "format: https://prometheus.io/docs/prometheus/latest/querying/basics/#time-durations. "
            )
        if not any(
            settings[key]
            for key in ("metrics.output_rule", "metrics.output_file", "webserver.prometheus_metrics_enabled")
        ):
            raise FatalError(
                "Metrics are enabled with no output configured. Please enable at least one output channel "
                "('metrics.output_rule', 'metrics.output_file' or 'webserver.prometheus_metrics_enabled')"
            )
        self._log("info", f"Setting metrics interval to {text}, equivalent to {milliseconds} (ms)")

    def _open_kernel_module(self) -> NoReturn:
        """The nodes of the lab have no kernel module, and no headers to build one. Raises `FatalError`."""
        self._log("info", "Opening 'syscall' source with Kernel module")
        self._log_library("info", "Trying to open the right engine!")
        self._log("info", "Trying to inject the Kernel module and opening the capture again...")
        self._log("error", "Unable to load the driver")
        self._log_library("info", "Trying to open the right engine!")
        device = f"{self._p.env.get('HOST_ROOT', '')}/dev/falco0"
        raise FatalError(
            f"error opening device {device}. Make sure you have root credentials and that the falco module is loaded: "
            "No such file or directory"
        )

    async def _changed(self, stop: asyncio.Event, again: asyncio.Event, loaded: Loaded) -> Loaded:
        """Waits for the end (returns `loaded`), or until changed files load without an error (returns the new ones)."""
        known, forced = loaded.texts, False
        while True:
            folders = {posixpath.dirname(path) for path in known}
            # A folder of rules is watched though there is no file in it yet.
            folders |= {path for path in self._options.rules or self._settings["rules_files"] if self._p.isdir(path)}
            # Watched before it is read: what changes while the rules are being loaded counts as well.
            with self._p.watch(*known, *sorted(folders)) as watch:
                try:
                    settings = self._read_settings()
                    texts = read_files(self._p, self._options, settings)
                    if texts == known and not forced:
                        forced = await self._woken(stop, again, watch)
                        if stop.is_set():
                            return loaded
                        continue
                    known, forced = texts, False
                    new = await load_rules(self._p, self._options, settings, self._hostname())
                except (ConfigError, AbortError, FatalError, OSError) as error:
                    refusal = str(error)
                else:
                    refusal = new.refusal
            if not refusal:
                return new
            # What runs goes on running: Falco tries new files out before it restarts.
            rule = "Falco internal: hot restart failure"
            self._outputs.report("Critical", rule, f"{rule}: {refusal}")

    async def _woken(self, stop: asyncio.Event, again: asyncio.Event, watch: Watch) -> bool:
        """Waits for the end, for SIGHUP, or for a change of the files if these are watched; whether it was SIGHUP."""
        waits: list[Coroutine[Any, Any, bool]] = [stop.wait(), again.wait()]
        if self._settings["watch_config_files"]:
            waits.append(watch.wait())
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        forced = again.is_set()
        again.clear()
        return forced

    def _log(self, level: str, text: str) -> None:
        if not self._settings["log_stderr"]:
            return
        if _LEVELS.index(level) > _LEVELS.index(self._settings["log_level"]):
            return
        iso = self._settings["time_format_iso_8601"]
        form = "%Y-%m-%dT%H:%M:%S+0000" if iso else "%a %b %d %H:%M:%S %Y"
        stamp = clock.strftime(form, clock.gmtime(self._p.kernel.now() // 1_000_000_000))
        self._p.stderr.write(f"{stamp}: {text}\n")

    def _log_library(self, level: str, text: str) -> None:
        """Logs what Falco's libraries and plugins say; their level is one of its own."""
        settings = self._settings
        if settings["libs_logger.enabled"] and _SEVERITIES.index(level) <= _SEVERITIES.index(
            settings["libs_logger.severity"]
        ):
            self._log(settings["log_level"], f"[libs]: {text}")

    def _watcher(self, engine: Engine) -> Callable[[Event], None]:
        process = engine.process
        self._counts = counts = Counts(engine.rules, hostname=self._outputs.hostname, started=self._p.kernel.now())

        def watch(event: Event) -> None:
            # Writing an alert makes events, too. Falco ignores its own process, and so does this.
            if self._busy:
                return
            self._busy = True
            counts.events += 1
            try:
                for alert in process(event):
                    counts.matches[alert.rule] += 1
                    self._outputs.write(alert)
            finally:
                self._busy = False

        return watch

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        path = "/" + request.url.split("://", 1)[-1].partition("/")[2].partition("?")[0]
        headers = {"Content-Type": "application/json"}
        if path == self._settings["webserver.k8s_healthz_endpoint"]:
            return HttpResponse(200, headers, b'{"status": "ok"}')
        if path == "/versions":
            body: dict[str, Any] = {
                "default_driver_version": "10.2.0+driver",
                "engine_version_semver": versions.FALCO_ENGINE,
                "falco_version": versions.FALCO,
                "libs_version": "0.25.4",
            }
            return HttpResponse(200, headers, json.dumps(body).encode())
        settings = self._settings
        if path == "/metrics" and settings["metrics.enabled"] and settings["webserver.prometheus_metrics_enabled"]:
            text = self._counts.text(
                now=self._p.kernel.now(),
                by_rule=settings["metrics.rules_counters_enabled"],
                kernel=settings["metrics.kernel_event_counters_enabled"],
            )
            return HttpResponse(200, {"Content-Type": CONTENT_TYPE}, text.encode())
        return HttpResponse(404, headers, b"")


def _is_certificate(p: Process, path: str) -> bool:
    """Whether a file has a certificate and its private key."""
    try:
        text = p.read_text(path)
    except OSError:
        return False
    return "-----BEGIN CERTIFICATE-----" in text and "PRIVATE KEY-----" in text


def _system(p: Process) -> str:
    for path in ("/host/proc/version", "/proc/version"):
        if p.exists(path):
            return p.read_text(path).strip()
    return "Linux"
