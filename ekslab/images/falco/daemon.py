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
from typing import TYPE_CHECKING, Any

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.falco.config import ConfigError, Settings, load
from ekslab.images.falco.options import FatalError, Options
from ekslab.images.falco.outputs import Outputs
from ekslab.images.falco.rules import Loaded, has_container_plugin, load_rules, read_files
from ekslab.node import Process, Watch, subscribe

if TYPE_CHECKING:
    from falcorules import Engine, Event

_LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"]
# What the modern eBPF probe needs where the container isn't privileged.
_LEAST_PRIVILEGE = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE", "CAP_SYS_PTRACE"}
_ENGINES = ("podman", "docker", "cri", "containerd", "lxc", "libvirt_lxc", "bpm")
_SOCKETS = {
    "podman": ("/run/podman/podman.sock",),
    "docker": ("/var/run/docker.sock",),
    "cri": ("/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock"),
    "containerd": ("/run/host-containerd/containerd.sock",),
}


class Daemon:
    """One Falco process, over all its restarts on changed files."""

    def __init__(self, process: Process, options: Options) -> None:
        self._p = process
        self._options = options
        self._settings = Settings()
        self._outputs = Outputs(process, self._settings, self._log)
        self._busy = False

    async def run(self) -> int:
        stop, again = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._p.on_signal(number, stop.set)
        self._p.on_signal(signal.SIGHUP, again.set)
        loaded: Loaded | None = None
        try:
            while not stop.is_set():
                if loaded is None:
                    loaded = await self._first_load()
                else:
                    self._log("info", "SIGHUP received, restarting...")
                    self._settings = self._outputs.settings = loaded.settings
                    self._log_configuration()
                    self._log_rule_files(loaded)
                async with AsyncExitStack() as session:
                    self._open(loaded.engine, session)
                    loaded = await self._changed(stop, again, loaded)
        finally:
            self._outputs.flush()
        # Falco names SIGINT whichever signal ended it.
        self._log("info", "SIGINT received, exiting...")
        self._outputs.write_statistics()
        return 0

    # -- starting

    async def _first_load(self) -> Loaded:
        """Loads settings and rules, and logs each step. Raises `FatalError` and `ConfigError`."""
        self._settings = self._outputs.settings = load(self._p, self._options.config, self._options.settings)
        self._log_configuration()
        loaded = await load_rules(self._p, self._options, self._settings, self._hostname())
        self._log_rule_files(loaded)
        if loaded.refusal:
            raise FatalError(loaded.refusal)
        return loaded

    def _log_configuration(self) -> None:
        self._log("info", f"Falco version: {versions.FALCO} (x86_64)")
        self._log("info", f"CLI args: {' '.join(self._p.argv)}")
        self._log("info", "Falco initialized with configuration files:")
        for name, outcome in self._settings.files:
            self._log("info", f"   {name} | schema validation: {outcome}")
        self._log("info", f"System info: {_system(self._p)}")
        self._load_container_plugin()

    def _log_rule_files(self, loaded: Loaded) -> None:
        """Logs each rules file, up to the first that is refused."""
        self._log("info", "Loading rules from:")
        for file in loaded.report.files:
            empty = not loaded.texts[file.name].strip()
            outcome = "none" if empty else "failed" if file.schema_warnings else "ok"
            self._log("info", f"   {file.name} | schema validation: {outcome}")
            if file.errors:
                return
            if file.warnings:
                warnings = "".join(map(str, file.warnings)).rstrip("\n")
                self._log("warning", f"{file.name}: Ok, with warnings\n{len(file.warnings)} Warnings:\n{warnings}")

    def _load_container_plugin(self) -> None:
        if not has_container_plugin(self._settings):
            return
        plugins: list[dict[str, Any]] = self._settings.get("plugins") or []
        plugin: dict[str, Any] = next((x for x in plugins if x.get("name") == "container"), {})
        library = str(plugin.get("library_path", "libcontainer.so"))
        path = library if library.startswith("/") else f"/usr/share/falco/plugins/{library}"
        if not self._p.exists(path):
            raise FatalError(f"cannot load plugin {path}: can't find plugin dynamic library: {path}")
        self._log("info", f"Loaded plugin 'container@{versions.CONTAINER_PLUGIN}' from file {path}")
        engines = (plugin.get("init_config") or {}).get("engines") or {}
        for name in _ENGINES:
            given = engines.get(name) or {}
            if given.get("enabled", True):
                self._log("info", f"[libs]: container: Enabled '{name}' container engine.")
                for socket in given.get("sockets", _SOCKETS.get(name, ())):
                    self._log("info", f"[libs]: container: * enabled container runtime socket at '/host{socket}'")

    def _hostname(self) -> str:
        env = self._p.env
        return env.get("FALCO_HOSTNAME") or env.get("HOSTNAME") or self._p.read_text("/etc/hostname").strip()

    def _open(self, engine: Engine, session: AsyncExitStack) -> None:
        settings = self._settings
        if "FALCO_HOSTNAME" in self._p.env:
            name = self._p.env["FALCO_HOSTNAME"]
            self._log("info", f"Hostname value has been overridden via environment variable to: {name}")
        self._log("info", "The chosen syscall buffer dimension is: 8388608 bytes (8 MBs)")
        if settings.flag("webserver.enabled", True):
            port = int(settings.get("webserver.listen_port", 8765))
            address = settings.get("webserver.listen_address", "0.0.0.0")
            self._log("info", f"Starting health webserver with threadiness 2, listening on {address}:{port}")
            session.callback(self._p.listen(port, self._answer))
        self._log("info", "Loaded event sources: syscall")
        if "syscall" in self._options.disabled:
            raise FatalError("Must enable at least one event source")
        self._log("info", "Enabled event sources: syscall")
        kind = settings.get("engine.kind", "modern_ebpf")
        if kind != "modern_ebpf":
            raise FatalError(f"[embedded lab] engine.kind is {kind}: the nodes of the lab have modern_ebpf only")
        self._log("info", "Opening 'syscall' source with modern BPF probe.")
        cpus = settings.get("engine.modern_ebpf.cpus_for_each_buffer", 2)
        self._log("info", f"One ring buffer every '{cpus}' CPUs.")
        self._log("info", "[libs]: Trying to open the right engine!")
        if not ("CAP_SYS_ADMIN" in self._p.capabilities or self._p.capabilities >= _LEAST_PRIVILEGE):
            self._log("error", "An error occurred in an event source, forcing termination...")
            raise FatalError("Initialization issues during scap_init")
        session.callback(subscribe(self._p.kernel, self._watcher(engine)))

    async def _changed(self, stop: asyncio.Event, again: asyncio.Event, loaded: Loaded) -> Loaded:
        """Waits for the end (returns `loaded`), or until changed files load without an error (returns the new ones)."""
        known, forced = loaded.texts, False
        while True:
            folders = {posixpath.dirname(path) for path in known}
            # Watched before it is read: what changes while the rules are being loaded counts as well.
            with self._p.watch(*known, *sorted(folders)) as watch:
                try:
                    settings = load(self._p, self._options.config, self._options.settings)
                    texts = read_files(self._p, self._options, settings)
                    if texts == known and not forced:
                        forced = await self._woken(stop, again, watch)
                        if stop.is_set():
                            return loaded
                        continue
                    known, forced = texts, False
                    new = await load_rules(self._p, self._options, settings, self._hostname())
                except (ConfigError, FatalError, OSError) as error:
                    refusal = str(error)
                else:
                    refusal = new.refusal
            if not refusal:
                return new
            # What runs goes on running: Falco tries new files out before it restarts.
            self._log("error", f"Unable to reload, the configuration or rules changed and are not valid: {refusal}")

    async def _woken(self, stop: asyncio.Event, again: asyncio.Event, watch: Watch) -> bool:
        """Waits for the end, for SIGHUP, or for a change of the files if these are watched; whether it was SIGHUP."""
        waits: list[Coroutine[Any, Any, bool]] = [stop.wait(), again.wait()]
        if self._settings.flag("watch_config_files", True):
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
        if not self._settings.flag("log_stderr", True):
            return
        if _LEVELS.index(level) > _LEVELS.index(str(self._settings.get("log_level", "info")).lower()):
            return
        iso = self._settings.flag("time_format_iso_8601")
        form = "%Y-%m-%dT%H:%M:%S+0000" if iso else "%a %b %d %H:%M:%S %Y"
        stamp = clock.strftime(form, clock.gmtime(self._p.kernel.now() // 1_000_000_000))
        self._p.stderr.write(f"{stamp}: {text}\n")

    def _watcher(self, engine: Engine) -> Callable[[Event], None]:
        process = engine.process

        def watch(event: Event) -> None:
            # Writing an alert makes events, too. Falco ignores its own process, and so does this.
            if self._busy:
                return
            self._busy = True
            try:
                for alert in process(event):
                    self._outputs.write(alert)
            finally:
                self._busy = False

        return watch

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        path = "/" + request.url.split("://", 1)[-1].partition("/")[2].partition("?")[0]
        headers = {"Content-Type": "application/json"}
        if path == self._settings.get("webserver.k8s_healthz_endpoint", "/healthz"):
            return HttpResponse(200, headers, b'{"status": "ok"}')
        if path == "/versions":
            body: dict[str, Any] = {
                "default_driver_version": "10.2.0+driver",
                "engine_version_semver": versions.FALCO_ENGINE,
                "falco_version": versions.FALCO,
                "libs_version": "0.25.4",
            }
            return HttpResponse(200, headers, json.dumps(body).encode())
        return HttpResponse(404, headers, b"")


def _system(p: Process) -> str:
    for path in ("/host/proc/version", "/proc/version"):
        if p.exists(path):
            return p.read_text(path).strip()
    return "Linux"
