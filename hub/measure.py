"""Starts a Hub with people who all begin at once, and measures what they wait for: `python -m hub.measure 20`.

They log in through the proxy, start their server, and run the first cell of chapter 00 in a kernel, as JupyterLab does.
Then ten of them set off a fork bomb in a pod, and the cells of the others are timed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from hub.spawner import free_port

WORKSHOP = Path(__file__).resolve().parent.parent
FIRST_CELL = "from labkit import Lab\n\nlab = Lab.connect()\nlab"
READY_SECONDS = 60.0


class HubError(Exception):
    """The Hub or a server answered otherwise than expected."""


@dataclass
class Hub:
    """A running Hub."""

    url: str
    state: Path
    process: subprocess.Popen[bytes]
    passwords: dict[str, str]

    @property
    def log(self) -> str:
        return (self.state / "hub.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stops the Hub and waits for its end. It may take half a minute with many servers."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running(names: Sequence[str], state: Path, before: Sequence[str] = (), **environ: str) -> Iterator[Hub]:
    """A Hub with attendees, in a folder of its own; `environ` are its settings. Stopped at the end.

    `before` is put before its command.
    """
    port, hub_port, api_port = (free_port() for _ in range(3))
    passwords = {name: uuid.uuid4().hex for name in names}
    file = state / "attendees"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name} {password}\n" for name, password in passwords.items()))
    url = f"http://127.0.0.1:{port}"
    with (state / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *before,
                *(sys.executable, "-m", "jupyterhub", f"--config={WORKSHOP / 'hub/jupyterhub_config.py'}"),
                *(f"--JupyterHub.hub_port={hub_port}", f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{api_port}"),
            ],
            cwd=state,
            env=os.environ | {"HUB_BIND": url, "HUB_STATE": str(state)} | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    hub = Hub(url, state, process, passwords)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "JupyterHub is now running" not in hub.log:
            if process.poll() is not None or time.monotonic() > deadline:
                raise HubError(f"The Hub did not start:\n{hub.log[-3000:]}")
            time.sleep(0.1)
        yield hub
    finally:
        if process.poll() is None:
            hub.stop()


@dataclass
class Person:
    """An attendee in a browser, as far as the Hub sees one."""

    hub: Hub
    name: str
    session: aiohttp.ClientSession
    server_time: float = 0.0
    """Seconds from the click on "start my server" until JupyterLab's page is there."""
    cell_time: float = 0.0
    """Seconds from that click until the first cell has run."""
    first_kernel: str = ""

    @property
    def server(self) -> str:
        return f"{self.hub.url}/user/{self.name}"

    def _xsrf(self, path: str) -> str:
        """The token of a page that this session has loaded."""
        cookies = self.session.cookie_jar.filter_cookies(URL(self.hub.url + path))
        return cookies["_xsrf"].value

    async def request(self, method: str, path: str, body: object = None, expected: int = 200) -> Any:
        headers = {"X-XSRFToken": self._xsrf(path), "Referer": f"{self.server}/lab"}
        async with self.session.request(method, self.hub.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status != expected:
                raise HubError(f"{self.name}: {method} {path} answered {answer.status}: {text[:500]}")
            return json.loads(text) if text else None

    async def log_in(self, password: str = "") -> bool:
        """Logs in by the form; whether that was accepted."""
        async with self.session.get(f"{self.hub.url}/hub/login") as page:
            await page.read()
        form = {"username": self.name, "password": password or self.hub.passwords[self.name]}
        form["_xsrf"] = self._xsrf("/hub/")
        async with self.session.post(f"{self.hub.url}/hub/login", data=form, allow_redirects=False) as answer:
            return answer.status == 302

    async def start(self) -> None:
        """Starts the server, opens JupyterLab's page when it is there, and runs the first cell."""
        began = time.monotonic()
        async with self.session.get(f"{self.hub.url}/hub/spawn/{self.name}") as page:
            await page.read()
        await self._progress()
        async with self.session.get(f"{self.server}/lab") as page:
            text = await page.text()
            if page.status != 200 or "jupyter-config-data" not in text:
                raise HubError(f"{self.name}: JupyterLab's page is {page.status}: {text[:500]}")
        self.server_time = time.monotonic() - began
        self.first_kernel = await self.kernel()
        output = await self.run(FIRST_CELL, self.first_kernel)
        self.cell_time = time.monotonic() - began
        if "falco-workshop" not in output:
            raise HubError(f"{self.name}: the first cell printed {output!r}")

    async def _progress(self) -> None:
        """Reads the events that fill the bar of the waiting page, until the server is ready."""
        url = f"{self.hub.url}/hub/api/users/{self.name}/server/progress"
        headers = {"X-XSRFToken": self._xsrf("/hub/"), "Referer": f"{self.hub.url}/hub/"}
        async with self.session.get(url, headers=headers) as events:
            async for line in events.content:
                event = json.loads(line.removeprefix(b"data:")) if line.startswith(b"data:") else {}
                if event.get("failed"):
                    raise HubError(f"{self.name}: {event['message']}")
                if event.get("ready"):
                    return
        raise HubError(f"{self.name}: the server did not start; the Hub's log says why.")

    async def kernel(self) -> str:
        """The id of a new kernel, in the folder of the chapters."""
        body = {"name": "python3", "path": "my-notebooks/00-start-here.ipynb"}
        return str((await self.request("POST", f"/user/{self.name}/api/kernels", body, expected=201))["id"])

    async def run(self, code: str, kernel: str) -> str:
        """What a cell prints and returns, as text. Raises `HubError` for an error in it."""
        url = f"{self.server}/api/kernels/{kernel}/channels"
        async with self.session.ws_connect(url, max_msg_size=0) as channel:
            header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
            header |= {"username": self.name, "session": uuid.uuid4().hex, "date": ""}
            content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
            await channel.send_json(message)
            said: list[str] = []
            async for received in channel:
                reply = json.loads(received.data)
                if reply["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                kind, content = reply["msg_type"], reply["content"]
                if kind == "stream":
                    said.append(content["text"])
                elif kind in ("execute_result", "display_data"):
                    said.append(content["data"].get("text/plain", ""))
                elif kind == "error":
                    raise HubError(f"{self.name}: {content['ename']}: {content['evalue']}")
                elif kind == "status" and content["execution_state"] == "idle":
                    break
            return "".join(said)

    async def stop(self) -> None:
        """Stops the server."""
        await self.request("DELETE", f"/hub/api/users/{self.name}/server", expected=204)


@asynccontextmanager
async def person(hub: Hub, name: str) -> AsyncIterator[Person]:
    """An attendee with a browser of their own, not logged in."""
    jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name, too
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=300)) as session:
        yield Person(hub, name, session)


@dataclass(frozen=True)
class Process:
    """A process, and its memory in bytes."""

    pid: int
    name: str
    user: int
    pss: int
    own: int


def processes() -> dict[str, list[Process]]:
    """The processes of each attendee, by the attendee's name, found by their session."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            comm, rest = (entry / "stat").read_text().partition("(")[2].rsplit(")", 1)
        except OSError:
            continue
        parents[int(entry.name)] = int(rest.split()[1]), comm
    found: dict[str, list[Process]] = {}
    for pid, (_, comm) in parents.items():
        session = pid
        while session in parents and parents[session][1] != "attendee":
            session = parents[session][0]
        if session not in parents:
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            home = Path(os.readlink(f"/proc/{session}/cwd"))
            found.setdefault(home.parent.name, []).append(_process(pid, comm))
    return found


def _process(pid: int, name: str) -> Process:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = {key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
    own = kilobytes["Private_Dirty"] + kilobytes["Private_Clean"]
    return Process(pid, name, os.stat(f"/proc/{pid}").st_uid, kilobytes["Pss"] << 10, own << 10)


BOMB = "bomb() { bomb | bomb & }; bomb"
SHORT = "_ = sum(range(2_000_000))"
"""A cell that computes for some 50 ms."""
IN_A_POD = 'lab.exec("deploy/nginx", "id").stdout'
ROUNDS = 10


async def seconds(one: Person, kernel: str, code: str) -> float:
    """How long a cell takes, as the person sees it."""
    began = time.monotonic()
    await one.run(code, kernel)
    return time.monotonic() - began


async def timed(people: Sequence[tuple[Person, str]], code: str) -> list[float]:
    """How long a cell takes, for one person after the other, some times."""
    return [await seconds(one, kernel, code) for _ in range(ROUNDS) for one, kernel in people]


async def measure(hub: Hub, names: Sequence[str], bombs: int) -> None:
    """Prints what all people wait for and what they take, and what fork bombs of some do to the others."""
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(person(hub, name)) for name in names]
        for one in people:
            if not await one.log_in():
                raise HubError(f"{one.name} can't log in.")
        await asyncio.gather(*(one.start() for one in people))
        print("| what | median | worst | unit |\n|---|--:|--:|---|")
        row(f"{len(people)} at once: click until JupyterLab's page", [one.server_time for one in people], "s")
        row(f"{len(people)} at once: click until the first cell has run", [one.cell_time for one in people], "s")
        kernels = {one.name: one.first_kernel for one in people}
        for one in people:
            await one.run(f'{FIRST_CELL}; _ = lab.ensure("nginx"); import pandas, matplotlib.pyplot', kernels[one.name])
        memory(hub)
        bombers, others = people[:bombs], [(one, kernels[one.name]) for one in people[bombs:]][:5]
        for when in ("", f", with fork bombs in {len(bombers)} labs"):
            if when:
                bomb = f'_ = lab.exec("deploy/nginx", "bash", "-c", {BOMB!r})'
                await asyncio.gather(*(one.run(bomb, kernels[one.name]) for one in bombers))
            row(f"a cell that computes{when}", await timed(others, SHORT), "ms")
            row(f"a cell that runs a command in a pod{when}", await timed(others, IN_A_POD), "ms")


def row(what: str, values: Sequence[float], unit: str) -> None:
    """A line of the table: the median and the worst of some times, which are in seconds."""
    factor = 1000 if unit == "ms" else 1
    shown = [f"{value * factor:.3g}" for value in (statistics.median(values), max(values))]
    print(f"| {what} | {shown[0]} | {shown[1]} | {unit} |", flush=True)


def memory(hub: Hub) -> None:
    """Prints what an attendee's processes hold: PSS, which shares out what several processes hold in common."""
    found = processes()
    by_kind: dict[str, list[int]] = {}
    for name, there in found.items():
        if name in hub.passwords:
            for kind, size in Counter({one.name: 0 for one in there}).items():
                by_kind.setdefault(kind, []).append(size + sum(one.pss for one in there if one.name == kind))
            by_kind.setdefault("all", []).append(sum(one.pss for one in there))
    words = {"attendee": "the session", "lab": "the lab", "jupyter": "the server", "kernel": "the kernel"}
    words["all"] = "together"
    for kind, label in words.items():
        values = [size / 1e6 for size in by_kind.get(kind, [])]
        if values:
            print(f"| memory of an attendee: {label} | {statistics.median(values):.3g} | {max(values):.3g} | MB |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hub.measure", description=__doc__)
    parser.add_argument("people", type=int, nargs="?", default=20)
    parser.add_argument("--bombs", type=int, default=10)
    options = parser.parse_args()
    names = [f"attendee-{number:02}" for number in range(1, options.people + 1)]
    accounts = os.environ.get("HUB_ACCOUNTS", "one")
    with tempfile.TemporaryDirectory(prefix="hub-") as state, running(names, Path(state), HUB_ACCOUNTS=accounts) as hub:
        asyncio.run(measure(hub, names, options.bombs))


if __name__ == "__main__":
    main()
