"""SPDY/3.1 frames as `kubectl port-forward` sends them: decodes a client's bytes, encodes the server's frames.

Only what Kubernetes' clients use: streams with headers, data, resets, pings and the end of a session. There is no flow
control in it. A frame or header block that is too large is refused, so that a client can't fill the memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_FRAME = 1024 * 1024  # bytes; clients send 32 KiB at a time
_MAX_HEADERS = 16 * 1024  # bytes, after decompression
_CONTROL, _FIN = 0x8003, 0x01
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
REFUSED_STREAM = 3

_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
    "keep-alive|origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack("!I", len(word)) + word.encode() for word in _WORDS.split("|")) + _REST.encode()
"""What both sides know before the first header: the protocol's dictionary for zlib."""


class SpdyError(Exception):
    """The client sent what isn't SPDY, or too much of it; the session can't go on."""


@dataclass(frozen=True)
class StreamOpened:
    id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True)
class StreamData:
    id: int
    data: bytes
    finished: bool = False


@dataclass(frozen=True)
class StreamReset:
    id: int


@dataclass(frozen=True)
class Ping:
    id: int


@dataclass(frozen=True)
class GoAway:
    pass


Frame = StreamOpened | StreamData | StreamReset | Ping | GoAway


class Decoder:
    """The frames in a client's bytes. Frames of other types are left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises `SpdyError`."""
        self._buffer += data
        while len(self._buffer) >= 8:
            word, length = struct.unpack_from("!II", self._buffer)
            flags, length = length >> 24, length & 0xFFFFFF
            if length > MAX_FRAME:
                raise SpdyError(f"a frame of {length} bytes is too large")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if word >> 31 == 0:
                yield StreamData(word, payload, bool(flags & _FIN))
            elif word >> 16 != _CONTROL:
                raise SpdyError("not a frame of SPDY/3")
            elif (frame := self._control(word & 0xFFFF, flags, payload)) is not None:
                yield frame

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        try:
            (number,) = struct.unpack_from("!I", payload)
            match kind:
                case 1:  # SYN_STREAM
                    return StreamOpened(number & 0x7FFFFFFF, self._block(payload[10:]), bool(flags & _FIN))
                case 2 | 8:  # replies and more headers: nothing to do but to keep the decompressor in step
                    self._block(payload[4:])
                case 3:
                    return StreamReset(number & 0x7FFFFFFF)
                case 6:
                    return Ping(number)
                case 7:
                    return GoAway()
        except (struct.error, zlib.error) as error:
            raise SpdyError(f"a frame is malformed: {error}") from error
        return None

    def _block(self, payload: bytes) -> dict[str, str]:
        text = self._headers.decompress(payload, _MAX_HEADERS)
        if self._headers.unconsumed_tail:
            raise SpdyError("the headers are too large")
        (count,) = struct.unpack_from("!I", text)
        position, headers, pair = 4, {}, [""] * 2
        for _ in range(count):
            for part in (0, 1):
                (length,) = struct.unpack_from("!I", text, position)
                pair[part] = text[position + 4 : position + 4 + length].decode("latin-1")
                position += 4 + length
            headers[pair[0].lower()] = pair[1]
        return headers


class Encoder:
    """The bytes of the server's frames."""

    def __init__(self) -> None:
        self._headers = zlib.compressobj(zdict=DICTIONARY)

    def reply(self, stream: int) -> bytes:
        """Says that a stream was taken; without headers."""
        block = self._headers.compress(struct.pack("!I", 0)) + self._headers.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, struct.pack("!I", stream) + block)

    @staticmethod
    def data(stream: int, data: bytes, *, finished: bool = False) -> bytes:
        return struct.pack("!II", stream, (_FIN if finished else 0) << 24 | len(data)) + data

    @staticmethod
    def reset(stream: int, status: int) -> bytes:
        return _control(_RST_STREAM, struct.pack("!II", stream, status))

    @staticmethod
    def pong(number: int) -> bytes:
        return _control(_PING, struct.pack("!I", number))

    @staticmethod
    def go_away(last: int) -> bytes:
        return _control(_GOAWAY, struct.pack("!II", last, 0))


def _control(kind: int, payload: bytes) -> bytes:
    return struct.pack("!HHI", _CONTROL, kind, len(payload)) + payload
