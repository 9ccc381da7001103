"""Starts and stops attendees' sessions: a server, a lab and kernels each, forked from one template."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import pwd
import random
import socket
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, ClassVar

from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner, SpawnException
from jupyterhub.utils import wait_for_server

from hub.template import WORKSHOP

FOLDER = "falco-workshop"
"""An attendee's folder, in their home."""
AT_A_TIME = 2 * (os.cpu_count() or 1)
"""Sessions that start at the same time: more would only make all of them later."""


_held: dict[Path, IO[str]] = {}
_given: deque[int] = deque(maxlen=200)
"""Ports of servers that may not listen yet."""


def hold(state: Path) -> bool:
    """Marks a folder as this Hub's until it ends; False if it is another's, whose proxy this one would end."""
    if state not in _held:
        file = (state / "running").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        _held[state] = file
    return True


def free_port() -> int:
    """A free port of loopback that no program gets that asks for any free one, as labs do.

    Else a lab could have it before the server listens, and the Hub would take that for the server. Raises `OSError`.
    """
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        low, high = 32_768, 60_999  # Linux's usual ones
    outside: list[int] = [port for port in (*range(10_000, low), *range(high + 1, 65_536)) if port not in _given]
    for port in random.sample(outside, len(outside)):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            _given.append(port)
            return port
    raise OSError(errno.EADDRINUSE, "No port of 127.0.0.1 is free for a server.")


class Template:
    """The process that sessions are forked from. It ends with this one."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")  # mode 0700
        self._turn = asyncio.Lock()
        self._start()

    def _start(self) -> None:
        """Starts the process, and returns when it has imported all. Raises `OSError` if it ended instead."""
        self._socket = os.path.join(self._folder.name, os.urandom(4).hex())
        # The Hub's environment may hold secrets, and a session can read what the template began with.
        kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "TZ")
        environ = {name: os.environ[name] for name in kept if name in os.environ}
        # Fewer heaps and pools of threads: a server, a lab and a kernel do one thing at a time.
        environ |= {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning about a debugger that kernels don't have
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hub.template", self._socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=WORKSHOP,
            env=environ,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise OSError("The process that attendees' servers are forked from did not start; the Hub's log says why.")

    async def session(self, request: dict[str, Any], *, again: bool = True) -> tuple[Session, int]:
        """A new session, and its pid. Raises `OSError` or `EOFError` if there can't be one."""
        async with self._turn:
            if self._process.poll() is not None:  # killed
                await asyncio.to_thread(self._start)
        process = self._process
        session = None
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
            session = Session(reader, writer)
            writer.write(json.dumps(request).encode() + b"\n")
            return session, await session.answer()
        except (ConnectionError, EOFError):  # it is being killed, or this session's process was
            if session is not None:
                session.close()
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 1)
            if not again or process.poll() is None:
                raise
            return await self.session(request, again=False)


class Session:
    """The connection with a session that is starting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def answer(self) -> Any:
        """Its next answer. Raises `EOFError` if it has ended without one."""
        line = await self._reader.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def close(self) -> None:
        self._writer.close()


class Sessions:
    """The mixin of both spawners."""

    template: ClassVar[Template]
    turns: ClassVar[asyncio.Semaphore] = asyncio.Semaphore(AT_A_TIME)

    async def start(self: Any) -> tuple[str, int]:
        """Starts the session, and returns where its server listens."""
        async with self.turns:
            self.port = free_port()
            environ = self.get_env()
            folder = Path(environ["HOME"]) / FOLDER
            environ |= {"LABKIT_HOME": str(folder / ".labkit")}
            request = {
                "account": self.account(),
                "folder": str(folder),
                "environ": environ,
                "argv": self.get_args(),
            }
            try:
                session, self.pid = await self.template.session(request)
                try:
                    error = await session.answer()
                finally:
                    session.close()
            except EOFError:
                error = f"it ended; {folder}/server.log may say why."
            if error:
                self.log.error("The session of %s did not start: %s", self.user.name, error)
                raise SpawnException(f"Your lab did not start: {error}", reason="session", status_code=500)
            with suppress(TimeoutError):  # the Hub waits longer, and says so
                await wait_for_server("127.0.0.1", self.port, timeout=self.http_timeout / 2)
        return "127.0.0.1", self.port


class Accounts(Sessions, LocalProcessSpawner):  # type: ignore[misc, unused-ignore]
    """Each attendee's processes run as the Unix account of their name: files and processes are the account's."""

    def account(self) -> str:
        return str(self.user.name)

    async def _signal(self, sig: int) -> bool:
        """Sends a signal, and says whether the session is there. A pid that another account has now is none of it."""
        with suppress(OSError, KeyError):
            if os.stat(f"/proc/{self.pid}").st_uid == pwd.getpwnam(self.account()).pw_uid:
                return bool(await super()._signal(sig))
        return False


class OneAccount(Sessions, SimpleLocalProcessSpawner):  # type: ignore[misc, unused-ignore]
    """All attendees' processes run as this account: each has a lab, and can read everything of the others."""

    def account(self) -> str:
        return ""
