"""StartLiveTail: an event stream with the matching log events of each second."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any

import orjson

from ekslab.aws.event_blocks import Event
from ekslab.aws.log_store import Group, Stream

INTERVAL = 1.0  # seconds between two updates
MAX_EVENTS = 500  # in one update; more are sampled
MAX_BUFFERED = 5_000
MAX_SESSION = 3 * 3600.0  # seconds


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of the `application/vnd.amazon.eventstream` encoding."""
    encoded = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(encoded) + len(payload) + 16, len(encoded))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + encoded + payload
    return message + struct.pack(">I", binascii.crc32(message))


def _event(kind: str, content: dict[str, Any]) -> bytes:
    headers = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    return frame(headers, orjson.dumps(content))


class LiveTail:
    """One session over some groups. `streams` decides by group and stream, `matches` by message."""

    def __init__(
        self,
        groups: list[Group],
        *,
        selects: Callable[[Stream], bool],
        matches: Callable[[str], bool],
        start: dict[str, Any],
    ) -> None:
        self._groups = groups
        self._selects = selects
        self._matches = matches
        self._start = start
        self._buffer: list[dict[str, Any]] = []
        self._dropped = False
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Ends the session."""
        self._closed.set()

    def _listen(self, group: Group, stream: Stream, batch: list[Event]) -> None:
        if not self._selects(stream):
            return
        self._buffer += [
            {
                "logStreamName": stream.name,
                "logGroupIdentifier": group.arn,
                "message": event[3],
                "timestamp": event[0],
                "ingestionTime": event[2],
            }
            for event in batch
            if self._matches(event[3])
        ]
        if len(self._buffer) > MAX_BUFFERED:
            del self._buffer[:-MAX_BUFFERED]
            self._dropped = True

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The encoded messages of the session, until it has lasted three hours, is closed, or the reader goes away."""
        for group in self._groups:
            group.listeners.append(self._listen)
        try:
            yield _event("initial-response", {})
            yield _event("sessionStart", self._start)
            loop = asyncio.get_running_loop()
            end = loop.time() + MAX_SESSION
            while loop.time() < end:
                # As the service does: an update each second, even if it is empty.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), INTERVAL)
                if self._closed.is_set():
                    return
                yield _event("sessionUpdate", self._update())
            content = {"message": "The session has been open for three hours."}
            headers = {
                ":message-type": "exception",
                ":exception-type": "SessionTimeoutException",
                ":content-type": "application/json",
            }
            yield frame(headers, orjson.dumps(content))
        finally:
            for group in self._groups:
                group.listeners.remove(self._listen)

    def _update(self) -> dict[str, Any]:
        events, self._buffer = self._buffer, []
        sampled, self._dropped = self._dropped or len(events) > MAX_EVENTS, False
        if len(events) > MAX_EVENTS:
            # A sample of the whole second, not only of its beginning.
            events = [events[index * len(events) // MAX_EVENTS] for index in range(MAX_EVENTS)]
        return {"sessionMetadata": {"sampled": sampled}, "sessionResults": events}
