"""Who may use the console: a one-time token, then a cookie and a key; and what pages of other origins are refused.

The cookie alone isn't enough: browsers send it to every port of this computer. The key is in the address after `#`,
which no server sees, and the page keeps it in its own origin's storage. Both follow from the lab's token, so that an
open page goes on when the lab was restarted.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ekslab.identity import Credentials

COOKIE = "ekslab-console"
KEY_HEADER = "X-Console-Key"
KEY_PROTOCOL = "console.key."
"""Prefix of a WebSocket's subprotocol that carries the key."""
_TOKEN_SECONDS = 3600.0
_SESSION_SECONDS = 7 * 24 * 3600
_MAX_TOKENS = 256

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access:
    """The tokens and sessions of a console on `port`."""

    def __init__(self, credentials: Credentials, port: int, clock: Callable[[], float] = time.time) -> None:
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.cookie = f"{COOKIE}-{port}"
        self.frames: set[int] = set()
        """Ports of loopback whose pages may show the console in a frame: JupyterLab's."""
        self._secret = hmac.digest(credentials.kubernetes_token.encode(), b"ekslab console", "sha256")
        self._clock = clock
        self._tokens: dict[bytes, float] = {}

    def new_token(self) -> str:
        """A token for one use within the hour."""
        now = self._clock()
        self._tokens = {token: until for token, until in self._tokens.items() if until > now}
        while len(self._tokens) >= _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        token = secrets.token_urlsafe(24)
        self._tokens[hashlib.sha256(token.encode()).digest()] = now + _TOKEN_SECONDS
        return token

    def spend(self, token: str) -> bool:
        """Whether a token is valid; from now on it isn't."""
        until = self._tokens.pop(hashlib.sha256(token.encode("utf-8", "replace")).digest(), 0.0)
        return until > self._clock()

    def new_session(self) -> tuple[str, str]:
        """A cookie's value, and the page's key."""
        name = f"{int(self._clock())}.{secrets.token_urlsafe(18)}"
        return f"{name}.{self._mac('session', name)}", self._mac("key", name)

    def key_of(self, cookie: str) -> str | None:
        """The key that belongs to a cookie; None if the cookie is none of this lab's, or too old."""
        name, _, mac = cookie.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac("session", name).encode()):
            return None
        if int(name.partition(".")[0]) + _SESSION_SECONDS < self._clock():
            return None
        return self._mac("key", name)

    def _mac(self, purpose: str, name: str) -> str:
        return hmac.digest(self._secret, f"{purpose} {name}".encode("utf-8", "replace"), "sha256").hex()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses what doesn't come from a page of the console, and sets the headers that protect its pages."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = error
        if not response.prepared:
            self.protect(request, response)
        if isinstance(response, web.HTTPException):
            raise response
        return response

    def _check(self, request: web.Request) -> None:
        if request.host not in self.hosts:  # a name that leads to this computer: DNS rebinding
            raise web.HTTPMisdirectedRequest(text="The console answers to 127.0.0.1 and localhost only.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            raise web.HTTPForbidden(text="The console does not answer to pages of another origin.")
        guarded = request.path.startswith("/api/")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if guarded and site != "same-origin":
            raise web.HTTPForbidden(text="The console does not answer to pages of another origin.")
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET"])
        if not guarded:
            return
        key = self.key_of(request.cookies.get(self.cookie, ""))
        sent = request.headers.get(KEY_HEADER, "")
        if request.path == "/api/terminal":  # a WebSocket has no headers of its own; browsers always send an Origin
            if origin is None:
                raise web.HTTPForbidden(text="A terminal is for pages of the console.")
            offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            sent = next((p.strip().removeprefix(KEY_PROTOCOL) for p in offered if KEY_PROTOCOL in p), "")
        if key is None or not hmac.compare_digest(sent.encode("utf-8", "replace"), key.encode()):
            raise web.HTTPUnauthorized(text="Open the console anew with `labkit console`, or lab.console().")

    def protect(self, request: web.Request, response: web.StreamResponse, nonce: str = "") -> None:
        """Sets the headers that restrict what a page may load, and who may show it."""
        if "Content-Security-Policy" in response.headers:
            return
        names = [host.partition(":")[0] for host in self.hosts]
        frames = " ".join(f"http://{name}:{port}" for port in sorted(self.frames) for name in names)
        style = f"'self' 'nonce-{nonce}'" if nonce else "'self'"
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'self'; style-src {style}; img-src 'self' blob: data:; "
            f"connect-src 'self' ws://{request.host}; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors 'self' {frames}".strip()
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if not frames:
            response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers.setdefault("Cache-Control", "no-store")
