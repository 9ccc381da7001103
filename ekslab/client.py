"""Starts, finds and stops the embedded lab of a state folder. The one door between `labkit` and `ekslab`."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ekslab import state
from ekslab.state import Endpoints
from labkit import files
from labkit.errors import NoLabError, NotRunningError
from labkit.settings import Settings

STARTUP_SECONDS = 30.0
SHUTDOWN_SECONDS = 10.0
CONTROL_PATH = "/_labkit/"
HEALTH_PATH = f"{CONTROL_PATH}health"
RECORDING_PATH = f"{CONTROL_PATH}recording"
PARENT = "LABKIT_PARENT"
"""Variable with the pid of a run (of chapters, of tests): labs that are started meanwhile end with that process."""


def ensure_running(settings: Settings) -> Endpoints:
    """The running lab of `settings.home`, started if it isn't. Safe to call from several processes at once.

    Raises `NotRunningError` with the end of the lab's log if it doesn't start.
    """
    recorded = state.read(settings.home)
    found = find(settings.home)
    if found is not None:
        return _checked(found, settings)
    _refuse_silent(settings.home, recorded)
    with _lock(settings.home):
        found = find(settings.home)  # another process may have started it while this one waited
        if found is not None:
            return _checked(found, settings)
        recorded = state.read(settings.home)
        _refuse_silent(settings.home, recorded)
        lost = state.holder(settings.home)
        if lost is not None:  # its state file was deleted or overwritten: nobody can use it any more
            _end(lost)
        gone = _gone(settings.home) if recorded is not None else ""
        (settings.home / "ledger.json").unlink(missing_ok=True)  # what it tells of went with the lab
        started = _start(settings)
    if recorded is not None:
        print(
            f"The embedded lab in {settings.home} has ended (killed, or the computer restarted), and what was in it is "
            f"gone: {gone}. A new one was started; apply again what you need.",
            file=sys.stderr,
        )
    return started


def _gone(home: Path) -> str:
    """What a lab that has ended had in it, as far as its ledger tells."""
    try:
        records = json.loads(files.read(home / "ledger.json", 1 << 24))["records"]
        steps = list(dict.fromkeys(str(record["step"]) for record in records))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        steps = []
    applied = f" and the steps {', '.join(steps)}" if steps else ""
    return f"pods, logs, alarms{applied}"


def running(home: Path) -> Endpoints:
    """The running lab of `home`. Raises `NoLabError` if there is none, `NotRunningError` if it doesn't answer."""
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
        hint="Start it with `labkit up`.",
        ended=ended,
    )


def _refuse_silent(home: Path, recorded: Endpoints | None) -> None:
    """Raises `NotRunningError` if the `recorded` lab is there, but doesn't answer."""
    said = silence(home)
    if said and recorded is not None and recorded.pid == state.holder(home):
        raise NotRunningError(f"The embedded lab in {home} does not answer.", hint=said)


def silence(home: Path) -> str:
    """Why a lab that is there doesn't answer, and what to do about that; empty if there is none."""
    pid = state.holder(home)
    if pid is None:
        return ""
    if is_stopped(pid):
        return f"It is stopped (pid {pid}): `kill -CONT {pid}` lets it go on; `labkit down` and `labkit up` start anew."
    return f"It is busy (pid {pid}): try again in a moment; `labkit down` and `labkit up` start anew."


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal (SIGSTOP, Ctrl-Z) and not continued."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            in "Tt"
        )
    except (OSError, IndexError):
        pass
    if not shutil.which("ps"):
        return False
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip().startswith("T")


def find(home: Path) -> Endpoints | None:
    """The lab of `home` if it is running and answers, else `None`."""
    endpoints = state.read(home)
    return endpoints if endpoints is not None and health(endpoints) is not None else None


def health(endpoints: Endpoints) -> dict[str, Any] | None:
    """What the lab says of itself (pid, id, uptime in seconds, memory in bytes, pods), or `None` if it doesn't answer.

    The answer has to name the id in the state file: another program, or another lab, may have taken the port.
    """
    if not _alive(endpoints.pid) or is_stopped(endpoints.pid):
        return None
    try:
        document = _ask(endpoints, "GET", HEALTH_PATH)
    except NotRunningError:
        return None
    return document if document.get("id") == endpoints.id else None


@contextmanager
def recording(endpoints: Endpoints, namespace: str) -> Iterator[list[str]]:
    """Records what the containers of a namespace do meanwhile: at the end the list holds a line of JSON per event.

    Raises `NotRunningError` if the lab doesn't answer, or was restarted meanwhile.
    """
    lines: list[str] = []
    number = _ask(endpoints, "POST", f"{RECORDING_PATH}?{urlencode({'namespace': namespace})}")["id"]
    try:
        yield lines
    finally:
        answer = _ask(endpoints, "DELETE", f"{RECORDING_PATH}?{urlencode({'id': number})}")
        lines += answer["events"].splitlines(keepends=True)
        if answer["full"]:
            warnings.warn("The recording became too large: it holds the first events only.", stacklevel=4)


def _ask(endpoints: Endpoints, method: str, path: str) -> dict[str, Any]:
    """What the lab answers to a question of its own. Raises `NotRunningError` if that isn't an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", endpoints.aws_port, timeout=10)
    try:
        token = endpoints.credentials.kubernetes_token
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            document: dict[str, Any] = json.loads(body)
            return document
        reason = f"{response.status} {body[:200].decode(errors='replace')}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error)
    finally:
        connection.close()
    raise NotRunningError(
        f"The embedded lab in {endpoints.home} did not answer {method} {path.partition('?')[0]}: {reason}",
        hint="`labkit status` says whether it runs.",
    )


def stop(home: Path) -> bool:
    """Stop the lab of `home` and forget it. False if none was running."""
    with _lock(home):
        pid = state.holder(home)
        if pid is not None:
            _end(pid)
        state.remove(home)
        return pid is not None


def log_file(home: Path) -> Path:
    return home / "lab.log"


def _checked(endpoints: Endpoints, settings: Settings) -> Endpoints:
    running = {"region": endpoints.region, "cluster": endpoints.cluster}
    wanted = {"region": settings.region, "cluster": settings.cluster}
    # Another region or cluster is for AWS to answer (it finds nothing there, as on the real thing); only what can't
    # be served at all is refused here.
    for port, name in ((settings.aws_port, "aws_port"), (settings.kubernetes_port, "kubernetes_port")):
        if port and port != getattr(endpoints, name):
            raise NotRunningError(
                f"The embedded lab in {endpoints.home} is already running, with {name} {getattr(endpoints, name)}, "
                f"not {port} ({running if running == wanted else 'started with other settings'}).",
                hint="Run `labkit down` first, or leave the port out.",
            )
    return endpoints


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise NotRunningError(
            f"The state folder {home} can't be used: {error.strerror}.",
            hint="Set LABKIT_HOME to a folder that you may write to.",
        ) from error
    with lock as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(settings: Settings) -> Endpoints:
    home = settings.home
    ready_read, ready_write = os.pipe()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_", "KUBE"))}
    with log_file(home).open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ekslab.server"),
                *("--home", str(home), "--region", settings.region, "--cluster", settings.cluster),
                *("--nodes", str(settings.nodes), "--idle-minutes", str(settings.idle_minutes)),
                *("--aws-port", str(settings.aws_port), "--kubernetes-port", str(settings.kubernetes_port)),
                *("--ready-fd", str(ready_write)),
                *(("--parent", os.environ[PARENT]) if os.environ.get(PARENT) else ()),
            ],
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
        # The lab outlives this process on purpose; without this, Python would warn of a child left running.
        process.returncode = 0
        return endpoints
    if process.poll() is None:
        process.kill()
        process.wait()
    reason = said.decode(errors="replace") or _last_lines(log_file(home))
    full = os.strerror(errno.ENOSPC) in reason
    raise NotRunningError(
        f"The embedded lab did not start: {reason}",
        hint=f"Make room for {home}, or set LABKIT_HOME to a folder on another disk."
        if full
        else f"Read {log_file(home)}; then try `labkit down` and `labkit up`.",
    )


def _read_until(descriptor: int, seconds: float) -> bytes:
    """All that is written to a pipe until its other end is closed or the time is up."""
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
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)  # one that is stopped would not know
    if not _wait_for_exit(pid, SHUTDOWN_SECONDS):
        os.kill(pid, signal.SIGKILL)
        _wait_for_exit(pid, SHUTDOWN_SECONDS)


def _wait_for_exit(pid: int, seconds: float) -> bool:
    """Wait for a process that need not be a child of this one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return True
        except ChildProcessError:
            pass
        if not _alive(pid):
            return True
        time.sleep(0.02)  # there is no portable way to wait for another's child
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: not a lab of ours, but alive
        return True
    return True


def _last_lines(path: Path, count: int = 5) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it left no log."
    return " / ".join(line.strip() for line in lines[-count:]) or "its log is empty."
