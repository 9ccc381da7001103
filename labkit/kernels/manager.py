"""Starts and ends the kernels of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from papermill.engines import NBClientEngine

from labkit.kernels import Template
from labkit.kernels.process import Process


class Kernels:
    """A context: kernels on Unix sockets, which other users of the computer can't open."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._started = 0
        self._next: Kernel | None = None

    def __enter__(self) -> Kernels:
        self._folder = TemporaryDirectory(prefix="labkit-")  # short: the path of a socket has at most 108 bytes
        self._ends = ThreadPoolExecutor(1, "kernels")
        return self

    def __exit__(self, *_: object) -> None:
        if self._next is not None:
            self._end(self._next)
        self._ends.shutdown()
        self._template.stop()
        self._folder.cleanup()

    @contextmanager
    def start(self, cwd: Path, *, another: bool) -> Iterator[Kernel]:
        """A kernel in the folder `cwd`, with this process's environment. Its end isn't waited for.

        `another`: there will be one more, in the same folder. It gets ready meanwhile.
        """
        kernel = self._next or self._start(cwd)
        self._next = self._start(cwd) if another else None
        try:
            yield kernel
        finally:
            self._end(kernel)

    def _start(self, cwd: Path) -> Kernel:
        self._started += 1
        kernel = Kernel(kernel_name="python3", connection_file=f"{self._folder.name}/{self._started}.json")
        kernel.fork = self._template.fork
        history = "--HistoryManager.hist_file=:memory:"  # else chapters would be in the person's history
        _run(kernel.start_kernel(cwd=str(cwd), extra_arguments=[history]))
        return kernel

    def _end(self, kernel: Kernel) -> None:
        for client in kernel.clients:
            client.stop_channels()
        self._ends.submit(lambda: _run(kernel.shutdown_kernel()))


def _run(awaitable: Awaitable[Any]) -> None:
    async def done() -> None:
        await awaitable

    asyncio.run(done())


class Client(AsyncKernelClient):  # type: ignore[misc, unused-ignore]
    """A client that doesn't wait for 0.2 s of silence, in which jupyter_client drops what was printed before."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        deadline = time.monotonic() + (timeout or 60)
        while time.monotonic() < deadline:
            self.kernel_info()
            with suppress(Empty):
                reply = await self.get_shell_msg(timeout=1)
                await self.get_iopub_msg(timeout=0.2)  # so that channel is connected, too
                self._handle_kernel_info_reply(reply)
                return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before it was ready")
        raise RuntimeError(f"Kernel wasn't ready within {timeout or 60:g} s")


class Kernel(AsyncKernelManager):  # type: ignore[misc, unused-ignore]
    """A kernel that `fork` starts."""

    transport = "ipc"
    client_class = f"{__name__}.Client"
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
        pid = self.fork(["ipykernel_launcher", *arguments], options["cwd"], options["env"])
        provisioner.process = Process(pid)
        provisioner.pid = provisioner.pgid = pid  # it leads a session of its own
        self._reconcile_connection_info(provisioner.connection_info)


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
