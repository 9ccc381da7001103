"""The lab's public doors, as any client uses them: signed calls of AWS, the Kubernetes API with a token."""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson

from ekslab.sigv4 import ALGORITHM, Scope, sign
from ekslab.state import Endpoints

_TARGETS = {"logs": "Logs_20140328", "monitoring": "GraniteServiceVersion20100801"}
_SECONDS = 60.0
_LINE = 4 * 1024 * 1024  # bytes; a longer line of a log is cut
_FRAME = 16 * 1024 * 1024  # bytes; as of one message of an event stream


class DoorError(Exception):
    """An answer that is an error: the service's code and words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message
        self.status = status


class Doors:
    """AWS and Kubernetes of one lab. Close it."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._session: aiohttp.ClientSession | None = None
        self._tls = ssl.create_default_context(cadata=endpoints.certificate.certificate.decode())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit: a page follows several logs at the same time.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        return self._session

    # -- AWS

    async def aws(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Calls an operation of `logs` or `monitoring`. Raises `DoorError` with the service's words."""
        return await self._call(service, f"{_TARGETS[service]}.{operation}", "/", parameters)

    async def rest(self, service: str, method: str, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Calls an operation of a service that is reached by paths: `securityhub`, `lambda`, `eks`."""
        return await self._call(service, "", path, parameters, method)

    async def _call(
        self, service: str, target: str, path: str, parameters: Mapping[str, Any], method: str = "POST"
    ) -> dict[str, Any]:
        body = orjson.dumps(parameters) if method != "GET" else b""
        headers = self._signed(service, target, method, path, body)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with self._http().request(
                method, self.endpoints.aws_url + path, data=body, headers=headers, timeout=timeout
            ) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise _aws_error(response, answer)
                found: dict[str, Any] = orjson.loads(answer or b"{}")
                return found
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise DoorError("", f"AWS does not answer: {error or type(error).__name__}", 503) from error

    @asynccontextmanager
    async def live_tail(self, **parameters: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """A session of StartLiveTail: the content of its updates. Raises `DoorError`."""
        body = orjson.dumps(parameters)
        headers = self._signed("logs", f"{_TARGETS['logs']}.StartLiveTail", "POST", "/", body)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS)
        async with self._http().post(
            self.endpoints.aws_url + "/", data=body, headers=headers, timeout=timeout
        ) as response:
            if response.status >= 400:
                raise _aws_error(response, await response.read())
            yield _updates(response.content)

    def _signed(self, service: str, target: str, method: str, path: str, body: bytes) -> dict[str, str]:
        now = dt.datetime.now(dt.UTC)
        timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        e = self.endpoints
        scope = Scope(e.access_key_id, timestamp[:8], e.region, service)
        headers = {"host": f"127.0.0.1:{e.aws_port}", "x-amz-date": timestamp}
        headers["content-type"] = "application/x-amz-json-1.1" if target else "application/json"
        if target:
            headers["x-amz-target"] = target
        plain, _, query = path.partition("?")
        signature = sign(
            e.secret_access_key,
            scope,
            timestamp,
            method=method,
            path=plain,
            query=query,
            headers=sorted(headers.items()),
            payload_hash=hashlib.sha256(body).hexdigest(),
        )
        names = ";".join(sorted(headers))
        credential = f"{e.access_key_id}/{scope}"
        headers["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return headers

    # -- Kubernetes

    async def kube(self, path: str, *, accept: str = "application/json", **query: str) -> bytes:
        """The body of a GET. Raises `DoorError` with the API server's words."""
        try:
            async with self._http().get(
                self._kube_url(path, query),
                headers=self._bearer(accept),
                ssl=self._tls,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
            ) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise _kube_error(response.status, answer)
                return answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise DoorError("", f"Kubernetes does not answer: {error or type(error).__name__}", 503) from error

    async def objects(self, path: str, **query: str) -> dict[str, Any]:
        """An object, or a list of objects."""
        found: dict[str, Any] = orjson.loads(await self.kube(path, **query))
        return found

    @asynccontextmanager
    async def kube_stream(self, path: str, **query: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, such as a log that is followed. Raises `DoorError`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS)
        async with self._http().get(
            self._kube_url(path, query), headers=self._bearer("*/*"), ssl=self._tls, timeout=timeout
        ) as response:
            if response.status >= 400:
                raise _kube_error(response.status, await response.read())
            yield _lines(response.content)

    async def kube_socket(self, path: str, query: list[tuple[str, str]]) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket of the API server with channels (v5), as `kubectl exec` opens. Raises `DoorError`."""
        try:
            return await self._http().ws_connect(
                f"{self.endpoints.kubernetes_url}{path}?{urlencode(query)}",
                protocols=("v5.channel.k8s.io",),
                headers=self._bearer("*/*"),
                ssl=self._tls,
                max_msg_size=_FRAME,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise DoorError("", error.message, error.status) from error
        except (aiohttp.ClientError, OSError) as error:
            raise DoorError("", f"Kubernetes does not answer: {error}", 503) from error

    def _kube_url(self, path: str, query: Mapping[str, str]) -> str:
        return self.endpoints.kubernetes_url + path + (f"?{urlencode(query)}" if query else "")

    def _bearer(self, accept: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.endpoints.credentials.kubernetes_token}", "Accept": accept}


def segment(name: str) -> str:
    """A name as a part of a path: with nothing in it that would lead elsewhere."""
    return quote(name, safe="") if name not in (".", "..") else "%2E" * len(name)


def _aws_error(response: aiohttp.ClientResponse, answer: bytes) -> DoorError:
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        said = {}
    code = str(said.get("__type") or response.headers.get("x-amzn-ErrorType") or "").rpartition("#")[2]
    message = str(said.get("message") or said.get("Message") or answer[:500].decode("utf-8", "replace"))
    return DoorError(code, message, response.status)


def _kube_error(status: int, answer: bytes) -> DoorError:
    try:
        said = orjson.loads(answer)
        return DoorError(str(said.get("reason", "")), str(said.get("message", "")), status)
    except (orjson.JSONDecodeError, AttributeError):
        return DoorError("", answer[:500].decode("utf-8", "replace"), status)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, without their ends; what is too long for one is cut."""
    pending = bytearray()
    cut = False
    async for part in content.iter_any():
        *complete, rest = part.split(b"\n")
        for piece in complete:
            if not cut:
                pending += piece
            yield bytes(pending[:_LINE])
            pending.clear()
            cut = False
        if not cut:
            pending += rest
            cut = len(pending) > _LINE


async def _updates(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The events `sessionUpdate` of an event stream. Raises `DoorError` for an exception in it."""
    while True:
        try:
            prelude = await content.readexactly(12)
            total, headers_length = struct.unpack(">II", prelude[:8])
            if total > _FRAME:
                raise DoorError("", "The live tail sends too much at once.", 502)
            rest = await content.readexactly(total - 12)
        except (EOFError, aiohttp.ClientError, OSError):  # IncompleteReadError is an EOFError
            return
        headers = _headers(rest[:headers_length])
        payload = orjson.loads(rest[headers_length:-4] or b"{}")
        if headers.get(":message-type") == "exception":
            raise DoorError(headers.get(":exception-type", ""), str(payload.get("message", "")))
        if headers.get(":event-type") == "sessionUpdate":
            yield payload


def _headers(data: bytes) -> dict[str, str]:
    """The headers of a message, which are all texts."""
    found = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        name = data[at + 1 : end].decode()
        (length,) = struct.unpack(">H", data[end + 1 : end + 3])
        found[name] = data[end + 3 : end + 3 + length].decode()
        at = end + 3 + length
    return found
