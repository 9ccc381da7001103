"""A Jupyter server's route to the embedded lab's console, for browsers that don't reach the lab's loopback.

On a JupyterHub, the browser is on another computer than the lab. The page is then below the address of the attendee's
server, which lets in nobody else; the console's token, cookie and key stay as they are. The route leads to one port of
loopback: one to any port would serve what others listen with as pages of the attendee.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.websocket import WebSocketHandler

from labkit.connect import console_address
from labkit.console import ROUTE
from labkit.errors import LabError
from labkit.settings import Settings

_SENT = ("Accept", "Range", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-Dest", "X-Console-Key")
_COOKIE = "ekslab-console-"
"""How names of the console's cookies begin. Others, such as the Hub's, are not for it."""
_RETURNED = (
    *("Cache-Control", "Content-Type", "Location", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"),
    *("Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options"),
)
_LARGEST = 1 << 20  # bytes of a message between a terminal and its page


class _Way:
    """The way to the console of the lab."""

    port = 0

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)  # events come for as long as a page is open
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        return self._session

    async def find(self) -> None:
        """Asks the lab for its console's port, and so starts the console. Raises `LabError`."""
        address = await asyncio.to_thread(lambda: console_address(Settings.load()))
        self.port = urlsplit(address).port or 0

    def headers(self, handler: JupyterHandler) -> dict[str, str]:
        """What is sent on: as a page of the console itself would, if the page is one of this server."""
        if not handler.check_origin():
            raise web.HTTPError(403, "The console does not answer to pages of another origin.")
        asked = handler.request.headers
        sent = {name: asked[name] for name in _SENT if name in asked} | {"Host": f"127.0.0.1:{self.port}"}
        cookies = (
            f"{name}={found.value}" for name, found in handler.request.cookies.items() if name.startswith(_COOKIE)
        )
        sent["Cookie"] = "; ".join(cookies)
        return sent | ({"Origin": f"http://127.0.0.1:{self.port}"} if "Origin" in asked else {})


class Page(JupyterHandler):  # type: ignore[misc, unused-ignore]
    """Pages, data and live events of the console."""

    def initialize(self, way: _Way) -> None:
        self._way = way
        self._answering: asyncio.Task[Any] | None = None

    @web.authenticated
    async def get(self, path: str) -> None:
        await self._answer(path)

    async def _answer(self, path: str) -> None:
        self._answering = asyncio.current_task()
        query = f"?{self.request.query}" if self.request.query else ""
        for known in (bool(self._way.port), False):
            try:
                if not known:
                    await self._way.find()
                url = f"http://127.0.0.1:{self._way.port}/{path}{query}"
                answer = await self._way.session.get(url, headers=self._way.headers(self), allow_redirects=False)
                break
            except LabError as error:
                self.set_status(503)
                self.set_header("Content-Type", "text/plain; charset=utf-8")
                self.finish(f"{error.message}\n{error.hint}\n")
                return
            except aiohttp.ClientConnectionError:  # a lab that was started again may have another port
                if not known:
                    raise web.HTTPError(502, "The lab's console doesn't answer.") from None
        try:
            await self._hand_on(answer)
        except (asyncio.CancelledError, aiohttp.ClientError):
            answer.close()  # the page is gone, or the lab is

    async def _hand_on(self, answer: aiohttp.ClientResponse) -> None:
        self.set_status(answer.status)
        for name in _RETURNED:
            self.clear_header(name)
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        host = self.request.host
        policy = answer.headers.get("Content-Security-Policy", "default-src 'none'")
        policy = policy.replace(f"ws://127.0.0.1:{self._way.port}", f"ws://{host} wss://{host}")
        self.set_header("Content-Security-Policy", policy)
        place = url_path_join(self.base_url, ROUTE, "/")
        for cookie in answer.headers.getall("Set-Cookie", []):
            secure = "; Secure" if self.request.protocol == "https" else ""
            self.add_header("Set-Cookie", re.sub(r"(?i)(?<=; path=)/(?=;|$)", place, cookie) + secure)
        async for chunk in answer.content.iter_any():
            self.write(chunk)
            await self.flush()
        self.finish()

    def on_connection_close(self) -> None:
        if self._answering is not None:
            self._answering.cancel()


class Static(Page):
    """The console's own scripts and styles. A JupyterHub takes modules of a page for requests without a person."""

    @allow_unauthenticated  # type: ignore[untyped-decorator, unused-ignore]
    async def get(self, path: str) -> None:
        await self._answer(f"static/{path}")


class Terminal(WebSocketMixin, WebSocketHandler, JupyterHandler):  # type: ignore[misc, unused-ignore]
    """A terminal in a pod."""

    def initialize(self, way: _Way) -> None:
        self._way = way
        self._pod: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None

    @web.authenticated
    async def get(self, *arguments: Any) -> None:  # type: ignore[override, unused-ignore]
        if not self._way.port:
            await self._way.find()
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        url = f"ws://127.0.0.1:{self._way.port}/api/terminal?{self.request.query}"
        protocols = [word.strip() for word in offered.split(",") if word.strip()]
        try:
            self._pod = await self._way.session.ws_connect(
                url, headers=self._way.headers(self), protocols=protocols, max_msg_size=_LARGEST
            )
        except aiohttp.WSServerHandshakeError as error:
            raise web.HTTPError(error.status) from None
        except aiohttp.ClientError:
            raise web.HTTPError(502, "The lab's console doesn't answer.") from None
        await super().get(*arguments)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return self._pod.protocol if self._pod is not None else None

    def open(self, *arguments: Any) -> None:
        super().open(*arguments)
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._pod is not None
        try:
            async for message in self._pod:
                await self.write_message(message.data, binary=message.type is aiohttp.WSMsgType.BINARY)
            self.close()
        finally:
            await self._pod.close()

    async def on_message(self, message: str | bytes) -> None:
        assert self._pod is not None
        await (self._pod.send_str(message) if isinstance(message, str) else self._pod.send_bytes(message))

    def on_close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    way = {"way": _Way()}
    route = re.escape(url_path_join(server.web_app.settings["base_url"], ROUTE))
    handlers = [
        (rf"{route}/api/terminal", Terminal, way),
        (rf"{route}/static/(.*)", Static, way),
        (rf"{route}/(.*)", Page, way),
    ]
    server.web_app.add_handlers(".*$", handlers)
