"""Limits the connections of a server: above the limit, each new connection closes an idle one."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl

from aiohttp import web

# Of one server. A new connection has sent no request that was read until the event loop has turned some five times, and
# each time as many as the backlog are accepted: so many must fit beside it.
_MAX_CONNECTIONS = 1024
_BACKLOG = 128
_HANDSHAKE_SECONDS = 10.0
_FILES = 8192  # file descriptors, where the system's hard limit allows so many


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


async def serve(runner: web.AppRunner, listener: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
    """Serves a runner's application on a listening socket."""
    server = runner.server
    assert server is not None

    def connection() -> asyncio.BaseProtocol:
        if len(server.connections) >= _MAX_CONNECTIONS:
            # Connections that never sent a request come first: others are in use, between two requests.
            unused = (c for c in server.connections if c._current_request is None and not c._next_keepalive_close_time)
            idle = next(unused, None) or next((c for c in server.connections if c._current_request is None), None)
            if idle is None:
                return _Refused()
            idle.force_close()
            if idle.transport is not None:
                idle.transport.abort()
        return server()

    return await asyncio.get_running_loop().create_server(
        connection,
        sock=listener,
        ssl=context,
        backlog=_BACKLOG,
        ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
    )


def raise_file_limit() -> None:
    """Raises the limit of open files to what the connections need."""
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
