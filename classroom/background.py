"""The gate in the background: `labkit class up` starts it, `down` ends it, and it outlives the terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from classroom.attendees import folder
from labkit.errors import LabError
from labkit.settings import Settings
from labkit.target import Target
from labkit.waiting import poll

_SECONDS = 20.0  # in which it has to end


def running(target: Target) -> int | None:
    """Pid of the gate that runs in the background, None if none does.

    It inherits a file with a lock, which it holds for as long as it lives, however it ends.
    """
    path = _lock(target)
    try:
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # several may ask at once
            except BlockingIOError:
                return int(lock.read() or 0) or None
            if (pid := int(lock.read() or 0)) > 0:
                os.waitpid(pid, os.WNOHANG)  # one that this process has started is a zombie until then
    except (OSError, ValueError):
        pass
    return None


def start(target: Target) -> int:
    """Starts the gate unless it runs; its pid. What it prints is in `gate.log`, in the class's folder."""
    path = _lock(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock, log(target).open("ab") as output:

        def known_or_locked() -> int | None:
            if (known := running(target)) is not None:
                return known
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another asks at this moment, or starts one
                return None
            return 0

        known = poll(known_or_locked, "the gate's file", _SECONDS)
        if known is None:
            raise LabError("Another command is starting the gate.", hint="Run this again when that is done.")
        if known:
            return known
        lock.truncate(0)
        gate = subprocess.Popen(
            [sys.executable, "-m", "labkit.cli", "class", "gate"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **_environment(target.settings)},
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.write(str(gate.pid))
        lock.flush()
    gate.returncode = 0  # it outlives this process, which isn't to complain about that
    return gate.pid


def stop(target: Target) -> bool:
    """Ends the gate in the background; False if none runs. Raises `LabError` if it doesn't end."""
    pid = running(target)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if poll(lambda: running(target) is None or None, "the gate to end", _SECONDS) is None:
        raise LabError(f"The gate (process {pid}) doesn't end.", hint=f"End it: `kill -9 {pid}`. Then run this again.")
    return True


def log(target: Target) -> Path:
    """The file that the gate in the background writes to."""
    return folder(target) / "gate.log"


def _lock(target: Target) -> Path:
    return folder(target) / "gate.lock"


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, with which a program has the same, however this one got them."""
    return {f"LABKIT_{field.name.upper()}": str(getattr(settings, field.name)) for field in fields(Settings)}
