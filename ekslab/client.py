"""Starts, finds and stops the embedded lab of a state folder. Other packages use the lab by this module only."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ekslab import state
from ekslab.errors import EksLabError, NoLabError, NotRunningError
from ekslab.state import Endpoints

__all__ = [
    "PARENT",
    "EksLabError",
    "Endpoints",
    "NoLabError",
    "NotRunningError",
    "Status",
    "console",
    "ensure_running",
    "find",
    "health",
    "is_stopped",
    "load",
    "noise",
    "recording",
    "running",
    "set_load",
    "set_noise",
    "silence",
    "status",
    "stop",
    "under_load",
]

STARTUP_SECONDS = 30.0
SHUTDOWN_SECONDS = 10.0
MOST_NODES = 5
CONTROL_PATH = "/_ekslab/"
HEALTH_PATH = f"{CONTROL_PATH}health"
RECORDING_PATH = f"{CONTROL_PATH}recording"
LOAD_PATH = f"{CONTROL_PATH}load"
NOISE_PATH = f"{CONTROL_PATH}noise"
CONSOLE_PATH = f"{CONTROL_PATH}console"
PROGRAM = [sys.executable, "-m", "ekslab.server"]
launch: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
"""Starts `PROGRAM`. A host of many labs, which has imported what they need, puts a fork in its place."""
PARENT = "EKSLAB_PARENT"
"""Environment variable with a pid: a lab that is started while it is set ends with that process."""


def _report_loss(home: Path) -> None:
    print(
        f"The embedded lab in {home} has ended (killed, or the computer restarted), and what was in it is gone. "
        "A new one was started.",
        file=sys.stderr,
    )


def ensure_running(
    home: Path | str,
    *,
    region: str = "us-east-1",
    cluster: str = "falco-workshop",
    nodes: int = 2,
    idle_minutes: float = 240.0,
    aws_port: int = 0,
    kubernetes_port: int = 0,
    functions: Sequence[Path] = (),
    diagnosis: Sequence[str] = (),
    on_loss: Callable[[Path], None] = _report_loss,
) -> Endpoints:
    """The running lab of the state folder `home`, started if it isn't. Safe to call from several processes at once.

    `idle_minutes`: the lab ends by itself after this long without a request. A port of 0 means any free one.
    `functions` are the Python files that Lambda functions may consist of. `diagnosis` is a command that prints broken
    links of the pipeline as JSON, for the console. `on_loss(home)` is called after a start if the previous lab was
    killed; by default it prints that to standard error. Raises `EksLabError` if an argument is out
    of its range, and `NotRunningError` with the end of the lab's log if the lab doesn't start.
    """
    home = Path(home)
    _check_settings(region, cluster, nodes, idle_minutes)
    ports = {"aws_port": aws_port, "kubernetes_port": kubernetes_port}
    recorded = state.read(home)
    found = find(home)
    if found is not None:
        return _checked(found, ports)
    _refuse_silent(home, recorded)
    with _lock(home):
        found = find(home)  # another process may have started it while this one waited
        if found is not None:
            return _checked(found, ports)
        recorded = state.read(home)
        _refuse_silent(home, recorded)
        lost = state.holder(home)
        if lost is not None:  # its state file was deleted or overwritten, so it can't be used
            _end(lost)
        options = [f"--home={home}", f"--region={region}", f"--cluster={cluster}", f"--nodes={nodes}"]
        options += [f"--idle-minutes={idle_minutes}", f"--aws-port={aws_port}", f"--kubernetes-port={kubernetes_port}"]
        options += [f"--function={file}" for file in functions]
        options += [f"--diagnosis={word}" for word in diagnosis]
        started = _start(home, options)
    if recorded is not None:
        on_loss(home)
    return started


def _check_settings(region: str, cluster: str, nodes: int, idle_minutes: float) -> None:
    accepted = (
        (
            "region",
            region,
            bool(re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", region)),
            "a region of AWS, such as us-east-1",
        ),
        (
            "cluster",
            cluster,
            bool(re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", cluster)),
            "1 to 100 letters, digits, hyphens and underscores, the first a letter or digit",
        ),
        ("nodes", nodes, 1 <= nodes <= MOST_NODES, f"1 to {MOST_NODES}"),
        ("idle_minutes", idle_minutes, 0 < idle_minutes < float("inf"), "minutes, more than 0"),
    )
    for name, value, is_accepted, range_ in accepted:
        if not is_accepted:
            raise EksLabError(f"{name} can't be {value!r}.", hint=f"Give {range_}.")


def running(home: Path | str) -> Endpoints:
    """The running lab of `home`. Raises `NoLabError` if there is none, `NotRunningError` if it doesn't answer."""
    home = Path(home)
    recorded = state.read(home)
    found = find(home)
    if found is not None:
        return found
    _refuse_silent(home, recorded)
    ended = state.read(home) is not None
    raise NoLabError(
        f"The embedded lab in {home} has ended, and what was in it is gone."
        if ended
        else f"No embedded lab is running in {home}.",
        hint="Start it with `python -m ekslab up`.",
        ended=ended,
    )


def _refuse_silent(home: Path, recorded: Endpoints | None) -> None:
    """Raises `NotRunningError` if the `recorded` lab is running, but doesn't answer."""
    reason = silence(home)
    if reason and recorded is not None and recorded.pid == state.holder(home):
        raise NotRunningError(f"The embedded lab in {home} does not answer.", hint=reason)


def silence(home: Path) -> str:
    """Why a running lab doesn't answer, and what to do; empty if no lab is running."""
    pid = state.holder(home)
    if pid is None:
        return ""
    if is_stopped(pid):
        what = f"It is stopped (pid {pid}): `kill -CONT {pid}` lets it go on"
    else:
        what = f"It is busy (pid {pid}): try again in a moment"
    return f"{what}; `python -m ekslab down` and `python -m ekslab up` start anew."


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal (SIGSTOP, Ctrl-Z) and not continued."""
    state = _state(pid)
    if not state and shutil.which("ps"):
        done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state = done.stdout.strip()[:1]
    return state in ("T", "t")


def _state(pid: int) -> str:
    """Linux's letter for the state of a process; empty if it doesn't tell."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # The first thread of a process may have ended before the others, which have its files open.
        return "R" if words[0] == "Z" and int(words[17]) > 1 else words[0]
    except (OSError, IndexError):
        return ""


def find(home: Path | str) -> Endpoints | None:
    """The lab of `home` if it is running and answers, else `None`."""
    home = Path(home)
    endpoints = state.read(home)
    return endpoints if endpoints is not None and health(endpoints) is not None else None


def health(endpoints: Endpoints) -> dict[str, Any] | None:
    """The lab's report (pid, id, uptime in seconds, memory in bytes, nodes, pods), or `None` if it doesn't answer.

    The report has to have the id of `endpoints`: another program, or another lab, may use the port.
    """
    if not _alive(endpoints.pid) or is_stopped(endpoints.pid):
        return None
    try:
        document = _request(endpoints, "GET", HEALTH_PATH)
    except NotRunningError:
        return None
    return document if document.get("id") == endpoints.id else None


@dataclass(frozen=True)
class Status:
    """Whether the lab of a state folder is running, and how it is."""

    running: bool
    details: dict[str, Any]
    """What `status --json` prints."""
    text: str
    """What `status` prints."""


def status(home: Path | str) -> Status:
    """The status of the lab of `home`."""
    home = Path(home)
    endpoints = find(home)
    report = health(endpoints) if endpoints else None
    if endpoints is None or report is None:
        return _not_running(home)
    minutes, rest = divmod(round(report["uptime"]), 60)
    lasted = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    pods = [(f"{pod['namespace']}/{pod['name']}", str(pod["status"])) for pod in report["pods"]]
    width = max((len(name) for name, _ in pods), default=0)
    lines = [f"Running for {lasted}, pid {report['pid']}, {report['memory'] / 1e6:.0f} MB", endpoints.summary]
    lines += condition_lines(report)
    lines += [f"  {len(pods)} pod{'' if len(pods) == 1 else 's'}"]
    lines += [f"  {name.ljust(width)}  {condition}" for name, condition in pods]
    details = {
        "running": True,
        "home": str(home),
        "aws_url": endpoints.aws_url,
        "kubernetes_url": endpoints.kubernetes_url,
        "region": endpoints.region,
        "cluster": endpoints.cluster,
        **report,
    }
    return Status(True, details, "\n".join(lines))


def condition_lines(report: Mapping[str, Any]) -> list[str]:
    """What is switched on in a lab that `health` reports on, in lines for people: AWS's load, and noise."""
    load, noise = report.get("load", {}), report.get("noise", {})
    parts = [f"answers after {load['latency'] * 1000:g} ms"] if load.get("latency") else []
    parts += [f"Insights queries take {load['query_seconds']:g} s or more"] if load.get("query_seconds") else []
    if quotas := load.get("quotas"):
        shown = ", ".join(f"{name} {quotas[name]:g}/s" for name in ("FilterLogEvents", "StartQuery", "GetQueryResults"))
        parts += [f"quotas: {shown}, {quotas['ConcurrentQueries']:g} queries at a time"]
    lines = [f"  AWS load    {'; '.join(parts)}"] if parts else []
    if noise.get("rate"):
        lines += [
            f"  noise       {noise['rate']:g} alerts a minute on average, in namespace {noise['namespace']} "
            f"(seed {noise['seed']})"
        ]
    return lines


def _not_running(home: Path) -> Status:
    pid = state.holder(home)
    if pid is not None:
        condition = "stopped" if is_stopped(pid) else "busy"
        text = f"Not answering ({home}).\n  {silence(home)}"
    elif state.read(home) is not None:
        condition = "ended"
        text = (
            f"Not running ({home}): it has ended, and what was in it is gone.\n  `python -m ekslab up` starts it anew."
        )
    else:
        condition = "none"
        text = f"Not running ({home}). Start it with `python -m ekslab up`."
    return Status(False, {"running": False, "home": str(home), "state": condition, "pid": pid}, text)


@contextmanager
def recording(endpoints: Endpoints, namespace: str) -> Iterator[list[str]]:
    """Records the system calls of a namespace's containers in the block. At its end, the list holds an event per line.

    The lines are JSON. Raises `NotRunningError` if the lab doesn't answer, or was restarted meanwhile.
    """
    lines: list[str] = []
    number = _request(endpoints, "POST", f"{RECORDING_PATH}?{urlencode({'namespace': namespace})}")["id"]
    try:
        yield lines
    finally:
        answer = _request(endpoints, "DELETE", f"{RECORDING_PATH}?{urlencode({'id': number})}")
        lines += answer["events"].splitlines(keepends=True)
        if answer["full"]:
            warnings.warn("The recording became too large: it holds the first events only.", stacklevel=4)


def load(endpoints: Endpoints) -> dict[str, Any]:
    """What is switched on of AWS's load: `latency` and `query_seconds` in seconds, `quotas` by name (empty: off).

    Raises `NotRunningError`.
    """
    return _request(endpoints, "GET", LOAD_PATH)


def set_load(
    endpoints: Endpoints,
    *,
    latency: float | None = None,
    query_seconds: float | None = None,
    quotas: bool | Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Makes the lab's AWS answer as a real account does under load, until it is set again or the lab ends.

    `latency`: seconds that each answer is held back. `query_seconds`: the least time until the results of an Insights
    query are complete; 1 if only `latency` is given. `quotas`: whether CloudWatch Logs has those that AWS publishes for
    the region (requests per second; queries and live tail sessions at a time), or numbers that replace some of them,
    such as `{"FilterLogEvents": 5}`, and values that Service Quotas tells (`{"iam/L-FE177D64": 20}`). What is left out
    stays as it is. Returns what `load` does. Raises `EksLabError` if a value can't be, `NotRunningError` if the lab
    doesn't answer.
    """
    changes = {"latency": latency, "query_seconds": query_seconds, "quotas": quotas}
    body = {name: value for name, value in changes.items() if value is not None}
    return _request(endpoints, "PUT", LOAD_PATH, json.dumps(body, default=dict))


def noise(endpoints: Endpoints) -> dict[str, Any]:
    """The background noise: `rate` in alerts a minute (0: off), `seed`, `namespace`. Raises `NotRunningError`."""
    return _request(endpoints, "GET", NOISE_PATH)


def set_noise(endpoints: Endpoints, rate: float, *, seed: int | None = None) -> dict[str, Any]:
    """Makes ordinary things happen in pods of the cluster, so that Falco alerts `rate` times a minute on average.

    At a rate of 0 it ends, and its pods and their namespace are removed. The same `seed` gives the same pods, commands
    and order. Returns what `noise` does. Raises `EksLabError` if a value can't be, `NotRunningError` if the lab doesn't
    answer.
    """
    body = {"rate": rate} if seed is None else {"rate": rate, "seed": seed}
    return _request(endpoints, "PUT", NOISE_PATH, json.dumps(body))


def console(endpoints: Endpoints, *, frames: Sequence[int] = ()) -> str:
    """An address that opens the lab's console in a browser of this computer, once and within the hour.

    `frames` are ports of web servers on this computer whose pages may show it in a frame, as JupyterLab does. Raises
    `EksLabError` if this lab has no console, `NotRunningError` if it doesn't answer.
    """
    url: str = _request(endpoints, "POST", CONSOLE_PATH, json.dumps({"frames": list(frames)}))["url"]
    return url


@contextmanager
def under_load(
    endpoints: Endpoints,
    *,
    latency: float = 0.0,
    query_seconds: float | None = None,
    quotas: bool | Mapping[str, float] = False,
) -> Iterator[dict[str, Any]]:
    """`set_load` for a block. At its end, what was switched on before holds again."""
    before = load(endpoints)
    try:
        yield set_load(endpoints, latency=latency, query_seconds=query_seconds, quotas=quotas)
    finally:
        set_load(endpoints, **{**before, "quotas": before["quotas"] or False})


def _request(endpoints: Endpoints, method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """Sends a request to the lab's control API. Raises `NotRunningError` unless the answer is 200.

    What the lab refuses in the body is an `EksLabError` with its words.
    """
    connection = http.client.HTTPConnection("127.0.0.1", endpoints.aws_port, timeout=10)
    try:
        token = endpoints.credentials.kubernetes_token
        connection.request(method, path, body, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        answer = response.read()
        if response.status == 200:
            document: dict[str, Any] = json.loads(answer)
            return document
        text = answer[:500].decode(errors="replace")
        if response.status == 400:
            raise EksLabError(text)
        reason = f"{response.status} {text}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error)
    finally:
        connection.close()
    raise NotRunningError(
        f"The embedded lab in {endpoints.home} did not answer {method} {path.partition('?')[0]}: {reason}",
        hint="`python -m ekslab status` shows whether it runs.",
    )


def stop(home: Path | str) -> bool:
    """Stops the lab of `home`. False if none was running."""
    home = Path(home)
    with _lock(home):
        pid = state.holder(home)
        if pid is not None:
            _end(pid)
        state.remove(home)
        return pid is not None


def log_file(home: Path) -> Path:
    return home / "lab.log"


def _checked(endpoints: Endpoints, ports: dict[str, int]) -> Endpoints:
    """Raises `NotRunningError` if the running lab has other ports than those asked for.

    Another region or cluster is no error here: AWS answers that there is nothing.
    """
    for name, port in ports.items():
        if port and port != getattr(endpoints, name):
            raise NotRunningError(
                f"The embedded lab in {endpoints.home} is already running, with {name} {getattr(endpoints, name)}, "
                f"not {port}.",
                hint="Run `python -m ekslab down` first, or leave the port out.",
            )
    return endpoints


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise NotRunningError(
            f"The state folder {home} can't be used: {error.strerror}.",
            hint="Set EKSLAB_HOME to a folder that you may write to.",
        ) from error
    with lock as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(home: Path, options: Sequence[str]) -> Endpoints:
    ready_read, ready_write = os.pipe()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_", "KUBE"))}
    parent = ["--parent", os.environ[PARENT]] if os.environ.get(PARENT) else []
    with log_file(home).open("ab") as log:
        process = launch(
            [*PROGRAM, *options, f"--ready-fd={ready_write}", *parent],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[ready_write],
            start_new_session=True,  # Ctrl-C in the caller's terminal is not for the lab
            env=environment,
        )
    os.close(ready_write)
    with os.fdopen(ready_read, "rb") as ready:
        said = _read_until(ready.fileno(), STARTUP_SECONDS)
    endpoints = state.read(home)
    if said == b"ready" and endpoints is not None:
        # The lab outlives this process on purpose; without this, Python warns of a child that is still running.
        process.returncode = 0
        return endpoints
    if process.poll() is None:
        process.kill()
        process.wait()
    reason = said.decode(errors="replace") or _last_lines(log_file(home))
    full = os.strerror(errno.ENOSPC) in reason
    raise NotRunningError(
        f"The embedded lab did not start: {reason}",
        hint=f"Make room for {home}, or set EKSLAB_HOME to a folder on another disk."
        if full
        else f"Read {log_file(home)}; then try `python -m ekslab down` and `python -m ekslab up`.",
    )


def _read_until(descriptor: int, seconds: float) -> bytes:
    """Reads from a pipe until its other end is closed or the time is up."""
    import select

    deadline = time.monotonic() + seconds
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        chunk = os.read(descriptor, 4096)
        if not chunk:
            break
        said += chunk
    return said


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):  # it may end by itself at any moment
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # a stopped process gets SIGTERM only then
        if not _wait_for_exit(pid, SHUTDOWN_SECONDS):
            os.kill(pid, signal.SIGKILL)
            _wait_for_exit(pid, SHUTDOWN_SECONDS)


def _wait_for_exit(pid: int, seconds: float) -> bool:
    """Waits for a process, which need not be a child of this one. False if it is still running."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return True
        except ChildProcessError:
            pass
        if not _alive(pid):
            return True
        time.sleep(0.02)  # there is no portable way to wait for a process that isn't a child
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return _state(pid) != "Z"  # in a container, there may be no process 1 that waits for it


def _last_lines(path: Path, count: int = 5) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it left no log."
    return " / ".join(line.strip() for line in lines[-count:]) or "its log is empty."
