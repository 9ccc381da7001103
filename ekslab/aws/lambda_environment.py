"""The execution environment of a Lambda function: a child process with a temporary folder.

The process gets the configured variables and nothing of the lab's environment. It ends when it is closed, after a
timeout, and with the lab; then its folder is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RUNTIME = Path(__file__).with_name("lambda_runtime.py")
_INIT_SECONDS = 10.0
_MAX_LINE = 64 * 1024**2  # bytes; a result is JSON within JSON
# The only variables that the interpreter inherits: the loader may need them to find libpython.
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Outcome:
    """The result of an invocation."""

    payload: str
    """The result as JSON, or the error."""
    failed: bool
    status: str
    """`success`, `error` (the handler raised), `timeout`, or `exit` (the process ended)."""
    output: list[tuple[int, str]]
    """What was printed, as (ms since the epoch, log event)."""
    milliseconds: float
    init_milliseconds: float | None
    """How long the process took to start, where it was started for this invocation."""
    memory: int
    """Bytes held at most; 0 if the process ended before it could say."""


class Environment:
    """One environment, which runs one invocation at a time. `closed` after it has ended."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        handler: str,
        variables: Mapping[str, str],
        *,
        memory: int,
        clock: Callable[[], float],
    ) -> None:
        """`memory` is in MiB. The process starts with the first invocation."""
        self.closed = False
        self._timed_out = False
        self._files = files
        self._start = {"handler": handler, "memory": memory}
        self._variables = variables
        self._clock = clock
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output = -1
        self._printed: list[tuple[int, bytes]] = []
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None if no process runs."""
        return self._process.pid if self._process else None

    async def invoke(self, request_id: str, event: str, *, function_arn: str, timeout: float) -> Outcome:
        """Runs the handler on an event (JSON) for at most `timeout` seconds."""
        init: float | None = None
        if self._process is None:
            began = time.monotonic()
            answer = await self._launch(timeout)
            init = (time.monotonic() - began) * 1000
            if answer is None or answer["failed"]:
                self.close()
                return self._outcome(answer, request_id, 0.0, init, _INIT_SECONDS + timeout)
        request = {"request_id": request_id, "event": event, "function_arn": function_arn}
        began = time.monotonic()
        answer = await self._exchange({**request, "deadline": time.time() + timeout}, timeout)
        spent = (time.monotonic() - began) * 1000
        if answer is None:
            self.close()
        return self._outcome(answer, request_id, spent, init, timeout)

    async def _launch(self, timeout: float) -> dict[str, Any] | None:
        self._folder = tempfile.TemporaryDirectory(prefix="ekslab-function-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        for name, data in self._files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        ours, theirs = socket.socketpair()
        self._output, printing = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_RUNTIME), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=printing,
                stderr=printing,
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env={name: os.environ[name] for name in _LOADER if name in os.environ},
                start_new_session=True,
            )
        finally:
            os.close(printing)
            theirs.close()
        asyncio.get_running_loop().add_reader(self._output, self._read_output)
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_MAX_LINE)
        private = {"HOME": str(folder), "TMPDIR": str(folder), "LAMBDA_TASK_ROOT": str(folder)}
        start = {**self._start, "folder": str(folder), "variables": {**self._variables, **private}}
        return await self._exchange(start, _INIT_SECONDS + timeout)

    async def _exchange(self, message: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """The process's response; None after the timeout, or if the process has ended."""
        assert self._reader is not None
        assert self._writer is not None
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(json.dumps(message).encode() + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
        except TimeoutError:
            self._timed_out = True
            return None
        except (ConnectionError, ValueError):
            line = b""
        if not line:
            self._await_end()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _await_end(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(1)  # it has closed its socket, so it is about to end
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _outcome(
        self, answer: dict[str, Any] | None, request_id: str, spent: float, init: float | None, limit: float
    ) -> Outcome:
        self._read_output()
        output = self._events()
        if answer is not None:
            status = "error" if answer["failed"] else "success"
            return Outcome(answer["payload"], answer["failed"], status, output, spent, init, answer["memory"])
        assert self._process is not None
        code = self._process.returncode
        if self._timed_out:
            kind, message, status = "Sandbox.Timedout", f"Error: Task timed out after {limit:.2f} seconds", "timeout"
        else:
            how = f"exit status {code}" if code > 0 else "signal: killed" if code == -9 else f"signal: {-code}"
            reason = f"with error: {how}" if code else "without providing a reason"
            kind, message, status = "Runtime.ExitError", f"Error: Runtime exited {reason}", "exit"
        payload = json.dumps({"errorType": kind, "errorMessage": f"RequestId: {request_id} {message}"})
        return Outcome(payload, True, status, output, spent, init, 0)

    def _read_output(self) -> None:
        """Reads the output that is in the pipe: a handler's output is there before its result is on the socket."""
        while self._output >= 0:
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            if not data:
                self._stop_reading()
                return
            self._printed.append((int(self._clock() * 1000), data))

    def _stop_reading(self) -> None:
        asyncio.get_running_loop().remove_reader(self._output)
        os.close(self._output)
        self._output = -1

    def _events(self) -> list[tuple[int, str]]:
        """The printed lines as log events: (time of the line's end in ms, text)."""
        events, rest = [], b""
        for at, data in self._printed:
            *lines, rest = (rest + data).split(b"\n")
            events += [(at, line) for line in lines]
        if rest:
            events.append((self._printed[-1][0], rest))
        self._printed.clear()
        return [(at, line.decode("utf-8", "replace").replace("\r", "\n")) for at, line in events if line.strip()]

    def close(self) -> None:
        """Kills the process and removes its folder."""
        if self.closed:
            return
        self.closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._writer is not None:
            self._writer.close()
        if self._output >= 0:
            with contextlib.suppress(OSError):
                self._read_output()
        if self._output >= 0:
            self._stop_reading()
        if self._folder is not None:
            self._folder.cleanup()
