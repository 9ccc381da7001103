"""A terminal in a pod: a WebSocket of the page, bridged to `exec` of the Kubernetes API."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

import aiohttp
from aiohttp import web

from ekslab.console.access import KEY_PROTOCOL
from ekslab.console.doors import DoorError, Doors, segment

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_INPUT = 64 * 1024  # bytes of one message of the page
_WINDOW = 128 * 1024  # bytes on their way to the page
SHELLS = ("bash", "sh")  # the first that the image has


async def serve(request: web.Request, doors: Doors) -> web.StreamResponse:
    """Bridges a page's terminal to a command in a pod: bytes are what is typed and printed, texts are sizes as JSON."""
    query = request.query
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    keys = tuple(p.strip() for p in offered if p.strip().startswith(KEY_PROTOCOL))
    page = web.WebSocketResponse(protocols=keys, max_msg_size=_INPUT, heartbeat=30.0)
    await page.prepare(request)
    missing = ""
    for shell in SHELLS:
        missing = await _session(page, doors, query, shell)
        if not missing:
            break
    if missing:
        await page.send_str(json.dumps({"error": missing}))
    await page.close()
    return page


async def _session(page: web.WebSocketResponse, doors: Doors, query: Mapping[str, str], shell: str) -> str:
    """Runs a shell until it ends or the page goes away. If the image has no such shell: what the runtime says."""
    path = f"/api/v1/namespaces/{segment(query.get('namespace', 'default'))}/pods/{segment(query.get('pod', ''))}/exec"
    wanted = [("stdin", "true"), ("stdout", "true"), ("tty", "true"), ("command", shell)]
    if container := query.get("container"):
        wanted.append(("container", container))
    try:
        pod = await doors.kube_socket(path, wanted)
    except DoorError as error:
        await page.send_str(json.dumps({"error": error.message or str(error)}))
        return ""
    unread = _Unread()
    typing = asyncio.create_task(_type(page, pod, unread))
    try:
        async for message in pod:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in (_STDOUT, _STDERR) and data:
                await unread.room()
                await page.send_bytes(data)
                unread.sent += len(data)
            elif channel == _ERROR:
                said = str(json.loads(data or b"{}").get("message", ""))
                if "failed to start exec" in said:
                    return said
                await page.send_str(json.dumps({"ended": said}))
    except ConnectionError:
        pass
    finally:
        typing.cancel()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await typing
        await pod.close()
    return ""


class _Unread:
    """How much a page has been sent and has not shown yet: with megabytes on their way, Ctrl-C seems to do nothing."""

    def __init__(self) -> None:
        self.sent = self._shown = 0
        self._changed = asyncio.Event()

    def shown(self, count: int) -> None:
        """The page has shown so many bytes since the beginning."""
        self._shown = count
        self._changed.set()

    async def room(self) -> None:
        """Returns once more may be sent."""
        while self.sent - self._shown > _WINDOW:
            self._changed.clear()
            await self._changed.wait()


async def _type(page: web.WebSocketResponse, pod: aiohttp.ClientWebSocketResponse, unread: _Unread) -> None:
    """Passes on what is typed, and the terminal's size; notes what the page has shown."""
    async for message in page:
        if message.type is aiohttp.WSMsgType.BINARY:
            await pod.send_bytes(bytes((_STDIN,)) + message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
                said = json.loads(message.data)
                if "shown" in said:
                    unread.shown(int(said["shown"]))
                    continue
                sizes = {"Width": int(said["columns"]), "Height": int(said["rows"])}
                await pod.send_bytes(bytes((_RESIZE,)) + json.dumps(sizes).encode())
    unread.shown(unread.sent)
    await pod.close()  # the page was closed: the shell gets a hang-up


async def run(doors: Doors, namespace: str, pod: str, container: str, argv: list[str]) -> str:
    """What a command in a pod prints, as `kubectl exec` shows it. Raises `DoorError` if it fails."""
    query = [("stdout", "true"), ("stderr", "true"), ("container", container), *(("command", word) for word in argv)]
    path = f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(pod)}/exec"
    socket = await doors.kube_socket(path, query)
    printed = {_STDOUT: bytearray(), _STDERR: bytearray()}
    try:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in printed:
                printed[channel] += data
            elif channel == _ERROR:
                status = json.loads(data or b"{}")
                if status.get("status") != "Success":
                    said = printed[_STDERR].decode("utf-8", "replace").strip()
                    raise DoorError("", said or str(status.get("message", "the command failed")))
    finally:
        await socket.close()
    return printed[_STDOUT].decode("utf-8", "replace")
