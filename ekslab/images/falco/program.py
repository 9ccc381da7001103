"""Falco: rules and settings from its files, system calls from the node's kernel, alerts on standard output.

Reads what the Helm release mounted, evaluates every event with `falcorules`, and says and does what Falco 0.44 does
when it starts, when a rule is wrong, when its files change and when it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import signal
import time as clock
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.falco.config import DEFAULT_FILE, ConfigError, Settings, load, rules_files
from ekslab.node import Process, Watch, program, subscribe

# The rule engine is imported when a Falco starts: the lab is up sooner without it.
if TYPE_CHECKING:
    from falcorules import Alert, Engine, Event, Report

_BLOCK = 4096
"""Bytes that the C library collects before it writes to something that isn't a terminal."""
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


@dataclass
class _Options:
    config: str = DEFAULT_FILE
    settings: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    list_rules: bool = False


class _Exit(Exception):
    """Falco ends with an error, which is the text."""


@program("falco")
async def falco(p: Process) -> int:
    """Takes `-c`, `-o key=value`, `-r FILE`, `-V FILE`, `--disable-source` and `--version`; runs until SIGTERM."""
    options = _Options()
    takes = {
        "-c": "config", "--config": "config", "-o": "settings", "--option": "settings", "-r": "rules",
        "--rules": "rules", "-V": "validate", "--validate": "validate", "--disable-source": "disabled",
    }  # fmt: skip
    words = list(p.argv[1:])
    while words:
        word = words.pop(0)
        name, separator, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name == "--version":
            return _version(p)
        if name in ("-U", "--unbuffered"):
            options.settings.append("buffered_outputs=false")
        elif name == "-L":
            options.list_rules = True
        elif name in takes and (separator or words):
            given = value if separator else words.pop(0)
            if name in ("-c", "--config"):
                options.config = given
            else:
                getattr(options, takes[name]).append(given)
        elif name in takes:
            p.stderr.write(f"Error: Option '{name.lstrip('-')}' is missing an argument\n")
            return 1
        else:
            p.stderr.write(f"Error: Option '{name.lstrip('-')}' isn't emulated by the embedded lab, or doesn't exist\n")
            return 1
    try:
        if options.validate:
            return await _validate(p, options)
        if options.list_rules:
            return await _list_rules(p, options)
        return await _Falco(p, options).run()
    except (ConfigError, _Exit) as error:
        p.stderr.write(f"Error: {error}\n")
        return 1


def _version(p: Process) -> int:
    p.print(f"Falco version: {versions.FALCO}")
    p.print("Libs version:  0.25.4")
    p.print(f"Engine:        {versions.FALCO_ENGINE}")
    p.print("Driver:        modern_ebpf (built in)")
    return 0


async def _validate(p: Process, options: _Options) -> int:
    from falcorules import check

    settings = load(p, options.config, options.settings) if p.exists(options.config) else Settings()
    files = []
    for path in options.validate:
        try:
            files.append((path, p.read_text(path)))
        except OSError as error:
            raise _Exit(f"Could not open {path}: {error.strerror}") from error
    report = await asyncio.to_thread(check, files)
    p.print(report.to_json() if settings.flag("json_output") else str(report).rstrip("\n"))
    return 0 if report.successful else 1


async def _list_rules(p: Process, options: _Options) -> int:
    """`falco -L`: each loaded rule and its description; all there is to know of them with `-o json_output=true`."""
    from falcorules.ast import canonical

    settings = load(p, options.config, options.settings)
    loaded = await _load_rules(p, options, settings, "")
    if loaded.refusal:
        raise _Exit(loaded.refusal)
    engine = loaded.engine
    active = set(engine.active)
    if not settings.flag("json_output"):
        for rule in engine.rules:
            p.print(f"{rule.name:<50} {rule.description.strip()}")
        return 0
    infos = [
        {
            "condition": canonical(rule.condition),
            "description": rule.description.strip(),
            "enabled": rule in active,
            "name": rule.name,
            "output": rule.output,
            "priority": rule.priority,
            "source": rule.source,
            "tags": list(rule.tags),
        }
        for rule in engine.rules
    ]
    rules = [
        # Falco evaluates every rule for asynchronous events, whatever the condition says of types.
        {"details": {"events": sorted({*rule.event_types, "asyncevent"}), "macros": list(rule.macros)}, "info": info}
        for rule, info in zip(engine.rules, infos, strict=True)
    ]
    p.print(json.dumps({"required_engine_version": versions.FALCO_ENGINE, "rules": rules}))
    return 0


def _engine(settings: Settings, hostname: str) -> Engine:
    """The engine that the settings ask for. Raises `_Exit` for what the lab doesn't emulate."""
    from falcorules import Engine, RuleError

    texts: list[str] = []
    fields: dict[str, str] = {}
    suggested = False
    for entry in settings.get("append_output") or []:
        if entry.get("match"):
            raise _Exit("[embedded lab] append_output with `match` isn't emulated: append to all rules")
        suggested = suggested or bool(entry.get("suggested_output"))
        if entry.get("extra_output"):
            texts.append(str(entry["extra_output"]))
        for extra in entry.get("extra_fields") or []:
            fields |= extra if isinstance(extra, dict) else {extra: f"%{extra}"}
    if settings.get("static_fields"):
        raise _Exit("[embedded lab] static_fields aren't emulated: use append_output with extra_fields")
    properties = [
        name
        for name, default in (("output", True), ("message", False), ("output_fields", True), ("tags", True))
        if settings.flag(f"json_include_{name}_property", default)
    ]
    try:
        return Engine(
            matching=settings.get("rule_matching", "first"),
            priority=str(settings.get("priority", "debug")),
            suggested_output=suggested,
            append_output=texts,
            hostname=hostname,
            extra_fields=fields,
            properties=properties,
            time_iso_8601=settings.flag("time_format_iso_8601"),
        )
    except RuleError as error:
        raise _Exit(error.message) from error


@dataclass(frozen=True)
class _Loaded:
    """Settings and rules as they were read; with a `refusal`, the engine has no rules."""

    settings: Settings
    texts: dict[str, str]
    """Every file that was read, and what was in it."""
    engine: Engine
    report: Report
    refusal: str


def _texts(p: Process, options: _Options, settings: Settings) -> dict[str, str]:
    paths = [*(name for name, _ in settings.files), *(options.rules or rules_files(p, settings))]
    return {path: p.read_text(path) for path in paths}


async def _load_rules(p: Process, options: _Options, settings: Settings, hostname: str) -> _Loaded:
    """The engine with the rules that the settings name. Raises `_Exit` for settings that can't be used."""
    from falcorules import LoadError, RuleError

    paths = options.rules or rules_files(p, settings)
    if not paths:
        raise _Exit(
            "You must specify at least one rules file/directory via a command line argument "
            "or in the configuration file"
        )
    texts = _texts(p, options, settings)
    engine = _engine(settings, hostname)
    try:
        # In a thread: it takes some tenths of a second, and everyone else in the lab would wait.
        report = await asyncio.to_thread(engine.load, [(path, texts[path]) for path in paths])
    except LoadError as error:
        report = error.report
    refusal = next((str(file).rstrip("\n") for file in report.files if file.errors), report.refused)
    if not refusal and not _has_container_plugin(settings):
        for alternatives in engine.loader.requirements:
            if any(name == "container" for name, _ in alternatives):
                wanted = ", or ".join(f"{name} (>= {version})" for name, version in alternatives)
                refusal = f"Plugin requirement not satisfied, must load one of: {wanted}"
    if not refusal:
        try:
            engine.select(settings.get("rules") or [])
        except RuleError as error:
            raise _Exit(error.message) from error
    return _Loaded(settings, texts, engine, report, refusal)


class _Falco:
    """One Falco process, over all its restarts on changed files."""

    def __init__(self, process: Process, options: _Options) -> None:
        self._p = process
        self._options = options
        self._settings = Settings()
        self._buffer: list[str] = []
        self._busy = False
        self._by_rule: Counter[str] = Counter()
        self._by_priority: Counter[str] = Counter()
        self._posts: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        stop, again = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._p.on_signal(number, stop.set)
        self._p.on_signal(signal.SIGHUP, again.set)
        loaded: _Loaded | None = None
        try:
            while not stop.is_set():
                if loaded is None:
                    loaded = await self._first_load()
                else:
                    self._log("info", "SIGHUP received, restarting...")
                    self._settings = loaded.settings
                    self._introduce()
                    self._report(loaded)
                async with AsyncExitStack() as session:
                    self._open(loaded.engine, session)
                    loaded = await self._changed(stop, again, loaded)
        finally:
            self._flush()
        # Falco names SIGINT whichever signal ended it.
        self._log("info", "SIGINT received, exiting...")
        self._statistics()
        return 0

    # -- starting

    async def _first_load(self) -> _Loaded:
        """What the files say, told step by step: a refusal comes after what went well. Raises as `_load_rules`."""
        self._settings = load(self._p, self._options.config, self._options.settings)
        self._introduce()
        loaded = await _load_rules(self._p, self._options, self._settings, self._hostname())
        self._report(loaded)
        if loaded.refusal:
            raise _Exit(loaded.refusal)
        return loaded

    def _introduce(self) -> None:
        self._log("info", f"Falco version: {versions.FALCO} (x86_64)")
        self._log("info", f"CLI args: {' '.join(self._p.argv)}")
        self._log("info", "Falco initialized with configuration files:")
        for name, outcome in self._settings.files:
            self._log("info", f"   {name} | schema validation: {outcome}")
        self._log("info", f"System info: {_system(self._p)}")
        self._container_plugin()

    def _report(self, loaded: _Loaded) -> None:
        """Tells of each rules file, up to the first that is refused."""
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

    def _container_plugin(self) -> None:
        if not _has_container_plugin(self._settings):
            return
        plugins: list[dict[str, Any]] = self._settings.get("plugins") or []
        plugin: dict[str, Any] = next((x for x in plugins if x.get("name") == "container"), {})
        library = str(plugin.get("library_path", "libcontainer.so"))
        path = library if library.startswith("/") else f"/usr/share/falco/plugins/{library}"
        if not self._p.exists(path):
            raise _Exit(f"cannot load plugin {path}: can't find plugin dynamic library: {path}")
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
            raise _Exit("Must enable at least one event source")
        self._log("info", "Enabled event sources: syscall")
        kind = settings.get("engine.kind", "modern_ebpf")
        if kind != "modern_ebpf":
            raise _Exit(f"[embedded lab] engine.kind is {kind}: the nodes of the lab have modern_ebpf only")
        self._log("info", "Opening 'syscall' source with modern BPF probe.")
        cpus = settings.get("engine.modern_ebpf.cpus_for_each_buffer", 2)
        self._log("info", f"One ring buffer every '{cpus}' CPUs.")
        self._log("info", "[libs]: Trying to open the right engine!")
        if not ("CAP_SYS_ADMIN" in self._p.capabilities or self._p.capabilities >= _LEAST_PRIVILEGE):
            self._log("error", "An error occurred in an event source, forcing termination...")
            raise _Exit("Initialization issues during scap_init")
        session.callback(subscribe(self._p.kernel, self._watcher(engine)))

    async def _changed(self, stop: asyncio.Event, again: asyncio.Event, loaded: _Loaded) -> _Loaded:
        """Waits until it is time to end, or until files have changed into something that can be used."""
        known, forced = loaded.texts, False
        while True:
            folders = {posixpath.dirname(path) for path in known}
            # Watched before it is read: what changes while the rules are being loaded counts as well.
            with self._p.watch(*known, *sorted(folders)) as watch:
                try:
                    settings = load(self._p, self._options.config, self._options.settings)
                    texts = _texts(self._p, self._options, settings)
                    if texts == known and not forced:
                        forced = await self._woken(stop, again, watch)
                        if stop.is_set():
                            return loaded
                        continue
                    known, forced = texts, False
                    new = await _load_rules(self._p, self._options, settings, self._hostname())
                except (ConfigError, _Exit, OSError) as error:
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

    # -- alerting

    def _watcher(self, engine: Engine) -> Callable[[Event], None]:
        process = engine.process

        def watch(event: Event) -> None:
            # Writing an alert makes events of its own. Falco leaves out its own process, and so does this.
            if self._busy:
                return
            self._busy = True
            try:
                for alert in process(event):
                    self._alert(alert)
            finally:
                self._busy = False

        return watch

    def _alert(self, alert: Alert) -> None:
        self._by_rule[alert.rule] += 1
        self._by_priority[alert.priority.upper()] += 1
        settings = self._settings
        line = (alert.to_json() if settings.flag("json_output") else alert.to_text()) + "\n"
        if settings.flag("stdout_output.enabled", True):
            self._buffer.append(line)
            held_back = settings.flag("buffered_outputs") and not self._p.isatty(1)
            if not held_back or sum(map(len, self._buffer)) >= _BLOCK:
                self._flush()
        if settings.flag("file_output.enabled"):
            self._p.append_text(settings.get("file_output.filename", "./events.txt"), line)
        if settings.flag("http_output.enabled"):
            task = asyncio.ensure_future(self._post(line))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)

    def _flush(self) -> None:
        text, self._buffer = "".join(self._buffer), []
        if text:
            self._p.stdout.write(text)

    async def _post(self, line: str) -> None:
        url = str(self._settings.get("http_output.url", ""))
        headers = {"Content-Type": "application/json", "User-Agent": "falcosecurity/falco"}
        try:
            await self._p.http("POST", url, headers, line.encode())
        except (OSError, TimeoutError) as error:
            self._log("error", f"libcurl failed to perform call: {error}")

    # -- telling

    def _log(self, level: str, text: str) -> None:
        if not self._settings.flag("log_stderr", True):
            return
        if _LEVELS.index(level) > _LEVELS.index(str(self._settings.get("log_level", "info")).lower()):
            return
        iso = self._settings.flag("time_format_iso_8601")
        form = "%Y-%m-%dT%H:%M:%S+0000" if iso else "%a %b %d %H:%M:%S %Y"
        stamp = clock.strftime(form, clock.gmtime(self._p.kernel.now() // 1_000_000_000))
        self._p.stderr.write(f"{stamp}: {text}\n")

    def _statistics(self) -> None:
        lines = [f"Events detected: {self._by_rule.total()}", "Rule counts by severity:"]
        lines += [f"   {priority}: {count}" for priority, count in sorted(self._by_priority.items())]
        lines += ["Triggered rules by rule name:"]
        lines += [f"   {rule}: {count}" for rule, count in sorted(self._by_rule.items())]
        self._p.stdout.write("\n".join(lines) + "\n")

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


def _has_container_plugin(settings: Settings) -> bool:
    return "container" in (settings.get("load_plugins") or [])


def _system(p: Process) -> str:
    for path in ("/host/proc/version", "/proc/version"):
        if p.exists(path):
            return p.read_text(path).strip()
    return "Linux"
