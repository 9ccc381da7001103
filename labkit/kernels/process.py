"""A process that isn't this one's child: whether it runs, and signals to it."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress


class Process:
    """What users of a `subprocess.Popen` need of it.

    On Linux, by a descriptor: after the end of a process, its number may be another's.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = -1
        if hasattr(os, "pidfd_open"):
            try:
                self._descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self.returncode = 0

    def poll(self) -> int | None:
        """0 once it has ended, however it did: only its parent knows more. None while it runs."""
        if self.returncode is None and self._has_ended():
            self.returncode = 0
            self._close()
        return self.returncode

    def _has_ended(self) -> bool:
        if self._descriptor >= 0:
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLIN)
            return bool(waiting.poll(0))
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is not None:
            return
        with suppress(ProcessLookupError):
            if self._descriptor >= 0:
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self._close()
