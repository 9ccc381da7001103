"""The lab's control API on the AWS port: health, recordings of system calls, AWS's load, noise, and the console."""

from __future__ import annotations

import hmac
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ekslab.client import CONSOLE_PATH, CONTROL_PATH, HEALTH_PATH, LOAD_PATH, NOISE_PATH, RECORDING_PATH
from ekslab.node import subscribe
from falcorules import Event, as_line

if TYPE_CHECKING:
    from ekslab.lab import EmbeddedLab

_MAX_RECORDINGS = 8
_MAX_CHARACTERS = 64 * 1024 * 1024

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Recording:
    """Records the system calls of a namespace's containers on all nodes as lines of JSON, until stopped or full."""

    def __init__(self, lab: EmbeddedLab, namespace: str) -> None:
        self.lines: list[str] = []
        self.full = False
        self._namespace = namespace
        self._characters = 0
        self._ends = [subscribe(node.kernel, self._watch) for node in lab.nodes]

    def stop(self) -> None:
        for end in self._ends:
            end()
        self._ends = []

    def _watch(self, event: Event) -> None:
        if event.get("k8s.ns.name") != self._namespace:
            return
        line = as_line(event)
        self._characters += len(line)
        if self._characters > _MAX_CHARACTERS:
            self.full = True
            self.stop()
        else:
            self.lines.append(line)


class Control:
    """Serves the requests below `CONTROL_PATH`, which need the lab's token."""

    def __init__(
        self,
        lab: EmbeddedLab,
        token: str,
        health: Callable[[], dict[str, Any]],
        console: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self._lab = lab
        self._token = token
        self._health = health
        self._console = console
        self._recordings: dict[str, Recording] = {}
        self._numbers = itertools.count(1)

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answers control requests and passes all others on."""
        if not request.path.startswith(CONTROL_PATH):
            return await handler(request)
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), self._token.encode()):
            raise web.HTTPUnauthorized(text="Requests to the embedded lab itself need the lab's token.")
        match request.method, request.path:
            case "GET", path if path == HEALTH_PATH:
                return web.json_response(self._health())
            case "POST", path if path == RECORDING_PATH:
                return self._start(request.query.get("namespace", "default"))
            case "DELETE", path if path == RECORDING_PATH:
                return self._stop(request.query.get("id", ""))
            case "GET", path if path == LOAD_PATH:
                return self._load()
            case "PUT", path if path == LOAD_PATH:
                return self._set_load(await request.read())
            case "GET", path if path == NOISE_PATH:
                return web.json_response(self._lab.noise.described())
            case "PUT", path if path == NOISE_PATH:
                return await self._set_noise(await request.read())
            case "POST", path if path == CONSOLE_PATH:
                return await self._open_console(await request.read())
        raise web.HTTPNotFound

    def _load(self) -> web.Response:
        return web.json_response(self._lab.aws.load.described(self._lab.aws.region))

    def _set_load(self, body: bytes) -> web.Response:
        try:
            self._lab.aws.load.set(json.loads(body))
        except (ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return self._load()

    async def _set_noise(self, body: bytes) -> web.Response:
        try:
            await self._lab.noise.set(json.loads(body))
        except (ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(self._lab.noise.described())

    async def _open_console(self, body: bytes) -> web.Response:
        console = await self._console() if self._console is not None else None
        if console is None:
            raise web.HTTPBadRequest(text="This lab has no console: the package ekslab.console is not there.")
        try:
            frames = [int(port) for port in json.loads(body or b"{}").get("frames", [])]
        except (ValueError, TypeError, AttributeError) as error:
            raise web.HTTPBadRequest(text=f"frames: {error}") from error
        return web.json_response({"url": console.open(frames)})

    def _start(self, namespace: str) -> web.Response:
        if len(self._recordings) >= _MAX_RECORDINGS:  # the oldest was never stopped
            self._recordings.pop(next(iter(self._recordings))).stop()
        number = str(next(self._numbers))
        self._recordings[number] = Recording(self._lab, namespace)
        return web.json_response({"id": number})

    def _stop(self, number: str) -> web.Response:
        recording = self._recordings.pop(number, None)
        if recording is None:
            raise web.HTTPNotFound(text="There is no such recording.")
        recording.stop()
        return web.json_response({"full": recording.full, "events": "".join(recording.lines)})
