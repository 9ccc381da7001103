"""Starts and ends the kernels of a run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from papermill.engines import NBClientEngine


class Kernels:
    """A context: kernels on Unix sockets, which other users of the computer can't open; their stderr goes to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._started = 0

    def __enter__(self) -> Kernels:
        self._folder = TemporaryDirectory(prefix="labkit-")  # short: the path of a socket has at most 108 bytes
        template = Path(__file__).with_name("template.py")
        with self._log.open("wb") as log:
            self._template = subprocess.Popen(
                [sys.executable, "-P", str(template)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._ends = ThreadPoolExecutor(1, "kernels")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.shutdown()
        self._template.communicate()
        self._folder.cleanup()

    @contextmanager
    def start(self, cwd: Path) -> Iterator[Kernel]:
        """A kernel in the folder `cwd`, with this process's environment. Its end isn't waited for."""
        self._started += 1
        kernel = Kernel(kernel_name="python3", connection_file=f"{self._folder.name}/{self._started}.json")
        kernel.fork = self._fork
        history = "--HistoryManager.hist_file=:memory:"  # else chapters would be in the person's history
        _run(kernel.start_kernel(cwd=str(cwd), extra_arguments=[history]))
        try:
            yield kernel
        finally:
            for client in kernel.clients:
                client.stop_channels()
            self._ends.submit(lambda: _run(kernel.shutdown_kernel()))

    def _fork(self, argv: list[str], cwd: str) -> int:
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        request = {"argv": argv, "cwd": cwd, "environ": dict(os.environ), "log": str(self._log.resolve())}
        with suppress(BrokenPipeError):
            self._template.stdin.write(json.dumps(request).encode() + b"\n")
            self._template.stdin.flush()
        pid = self._template.stdout.readline()
        if not pid:
            raise RuntimeError(f"no kernel could be started; {self._log} says why")
        return int(pid)


def _run(awaitable: Awaitable[Any]) -> None:
    async def done() -> None:
        await awaitable

    asyncio.run(done())


class Kernel(AsyncKernelManager):  # type: ignore[misc, unused-ignore]
    """A kernel that `fork` starts."""

    transport = "ipc"
    fork: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        self.clients.append(super().client(**options))
        return self.clients[-1]

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        provisioner: Any = self.provisioner
        arguments = kernel_cmd[kernel_cmd.index("-f") :]
        pid = self.fork(["ipykernel_launcher", *arguments], options["cwd"])
        provisioner.process = _Process(pid)
        provisioner.pid = provisioner.pgid = pid  # it leads a session of its own
        self._reconcile_connection_info(provisioner.connection_info)


class _Process:
    """What a kernel's provisioner uses of a `Popen`, for a process that isn't this one's child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self.returncode = 0  # it may be another: only its parent knows
        return self.returncode

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class SeldomSaved(NBClientEngine):  # type: ignore[misc, unused-ignore]
    """papermill's engine, which writes the whole notebook before and after each cell: here every other second."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        save, saved = nb_man.save, time.monotonic()

        def seldom(**what: Any) -> None:
            nonlocal saved
            if time.monotonic() - saved > 2:
                save(**what)
                saved = time.monotonic()

        nb_man.save = seldom
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.save = save  # for the end, which is written in any case
