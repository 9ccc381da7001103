"""Serves the console on a port of loopback: pages, their data, live events and terminals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from ekslab import connections
from ekslab.console import terminal, views
from ekslab.console.access import Access
from ekslab.console.doors import DoorError, Doors
from ekslab.console.feed import Feed
from ekslab.state import Endpoints

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_HEARTBEAT = 5.0  # seconds; after twice that without a word, a page takes the lab for gone


class Console:
    """The console of one lab. `start` it, and `close` it."""

    def __init__(self, endpoints: Endpoints, diagnosis: Sequence[str] = ()) -> None:
        self._endpoints = endpoints
        self._note = endpoints.home / "console.json"
        self._doors = Doors(endpoints)
        self._feed = Feed(self._doors, diagnosis)
        self._streams: set[asyncio.Task[Any]] = set()

    async def start(self, listen: Callable[[int], socket.socket]) -> None:
        """Listens on the port of the last time if it is free. `listen` makes the socket, for a preferred port."""
        listener = listen(self._last_port())
        self.port: int = listener.getsockname()[1]
        self.access = Access(self._endpoints.credentials, self.port)
        app = web.Application(middlewares=[self.access.middleware])
        app.router.add_get("/", self._index)
        app.router.add_get("/open", self._open)
        app.router.add_get("/static/{path:.+}", self._static)
        app.router.add_get("/api/feed", self._live)
        app.router.add_get("/api/tail", self._tail)
        app.router.add_get("/api/follow", self._follow)
        app.router.add_get("/api/terminal", self._terminal)
        app.router.add_get("/api/image", self._image)
        app.router.add_get("/api/{view}", self._view)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        self._server = await connections.serve(self._runner, listener, None)
        self._note.write_text(json.dumps({"port": self.port}), encoding="utf-8")

    def _last_port(self) -> int:
        try:
            return int(json.loads(self._note.read_text(encoding="utf-8"))["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def open(self, frames: Sequence[int] = ()) -> str:
        """An address that opens the console once. Pages of the ports `frames` of loopback may show it in a frame."""
        self.access.frames.update(port for port in frames if 0 < port < 65536)
        return f"http://127.0.0.1:{self.port}/open?token={self.access.new_token()}"

    async def close(self) -> None:
        await self._feed.close()
        for task in tuple(self._streams):
            task.cancel()
        self._server.close()
        await self._runner.cleanup()
        await self._doors.close()

    # -- pages

    async def _open(self, request: web.Request) -> web.StreamResponse:
        """Turns a one-time token into a session, and leads on to the page without it."""
        access = self.access
        view = request.query.get("view", "")
        onward = f"&view={view}" if view.isalpha() and view.isascii() else ""
        known = access.key_of(request.cookies.get(access.cookie, ""))
        if access.spend(request.query.get("token", "")):
            value, key = access.new_session()
            response = web.HTTPSeeOther(f"./#key={key}{onward}")
            response.set_cookie(access.cookie, value, httponly=True, samesite="Strict", path="/")
            return response
        if known is not None and request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return web.HTTPSeeOther(f"./#/{view}" if onward else "./")  # the address of a page that is open already
        return web.HTTPSeeOther("./#used")

    async def _index(self, request: web.Request) -> web.StreamResponse:
        nonce = secrets.token_urlsafe(16)  # for the style sheets that the terminal makes
        text = (_STATIC / "index.html").read_text(encoding="utf-8").replace("{nonce}", nonce)
        response = web.Response(text=text, content_type="text/html")
        self.access.protect(request, response, nonce)
        return response

    async def _static(self, request: web.Request) -> web.StreamResponse:
        try:
            file = (_STATIC / request.match_info["path"]).resolve()
            found = file.is_relative_to(_STATIC) and file.is_file() and file.suffix in _TYPES
        except (ValueError, OSError):  # a name that no file can have
            found = False
        if not found:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "no-cache", "Content-Type": f"{_TYPES[file.suffix]}; charset=utf-8"}
        return web.Response(body=file.read_bytes(), headers=headers)

    # -- data

    async def _view(self, request: web.Request) -> web.StreamResponse:
        view = views.VIEWS.get(request.match_info["view"])
        if view is None:
            raise web.HTTPNotFound
        return await _answered(view(self._doors, request.query))

    async def _image(self, request: web.Request) -> web.StreamResponse:
        try:
            png = await views.image(self._doors, request.query)
        except DoorError as error:
            return _refused(error)
        return web.Response(body=png, content_type="image/png")

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        return await terminal.serve(request, self._doors)

    # -- what is live

    async def _live(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, self._feed.messages())

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, views.tail(self._doors, request.query))

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, views.follow(self._doors, request.query))

    async def _events(self, request: web.Request, messages: AsyncIterator[tuple[str, Any]]) -> web.StreamResponse:
        """Server-sent events, with a comment now and then while there are none."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self.access.protect(request, response)
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        iterator = aiter(messages)
        following: asyncio.Future[tuple[str, Any]] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(iterator))
                done, _ = await asyncio.wait([following], timeout=_HEARTBEAT)
                if not done:
                    await response.write(b": still here\n\n")
                    continue
                kind, content = following.result()
                following = None
                await response.write(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n")
        except (StopAsyncIteration, ConnectionError):
            pass
        except (DoorError, aiohttp.ClientError) as error:
            with contextlib.suppress(ConnectionError):
                await response.write(b"event: failed\ndata: " + orjson.dumps({"message": str(error)}) + b"\n\n")
        finally:
            self._streams.discard(task)
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, DoorError, aiohttp.ClientError):
                    await following
            await iterator.aclose()  # type: ignore[attr-defined]
        return response


async def _answered(answer: Awaitable[dict[str, Any]]) -> web.Response:
    try:
        return web.Response(body=orjson.dumps(await answer), content_type="application/json")
    except DoorError as error:
        return _refused(error)
    except (KeyError, ValueError) as error:
        return _refused(DoorError("", f"The console can't show this: {error}", 400))


def _refused(error: DoorError) -> web.Response:
    body = {"code": error.code, "message": error.message}
    status = error.status if 400 <= error.status < 600 else 502
    # 401 is the console's own word for a page that isn't allowed in.
    return web.Response(
        status=403 if status == 401 else status, body=orjson.dumps(body), content_type="application/json"
    )
