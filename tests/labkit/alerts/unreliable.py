"""CloudWatch Logs on loopback that answers FilterLogEvents as badly as a test tells it to."""

from __future__ import annotations

import http.server
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Event = dict[str, Any]

PASSING = ("throttled", "error 500", "error 503", "reset", "cut off", "no json", "no events", "html")
"""Faults of a request that a reader gets over by asking again."""
ODD = ("empty", "repeated", "duplicates", "shuffled", "expired")
"""Answers that are no faults and yet no plain page."""


def event(number: int, timestamp: int, message: str = "-", stream: str = "alerts") -> Event:
    return {
        **{"eventId": f"{number:056d}", "timestamp": timestamp, "ingestionTime": timestamp + 5},
        **{"message": message, "logStreamName": stream},
    }


class Unreliable(http.server.ThreadingHTTPServer):
    """What it has and how it behaves: attributes, set by `reset`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.reset([])

    def reset(
        self,
        events: list[Event],
        *,
        page: int = 3,
        faults: list[str] | None = None,
        before: Callable[[Unreliable, int], None] | None = None,
        honest: bool = True,
        permuted: bool = False,
        patience: int = 1000,
    ) -> None:
        """`faults`: how the first requests are answered, in turn. `before` is called with each request's number.

        `honest`: it knows times and order, and not only tokens. `permuted`: pages come in any order. `patience`: how
        often one request is answered with a fault.
        """
        self.events, self.page, self.faults = list(events), page, list(faults or [])
        self.before, self.honest, self.permuted = before, honest, permuted
        self.patience, self._faulty = patience, Counter[str]()
        self.requests: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.random = random.Random(len(events))

    def answer(self, asked: dict[str, Any]) -> tuple[int, bytes, int]:
        """Status, body, and how many bytes of the body are sent (-1: the connection is reset)."""
        with self.lock:
            self.requests.append(asked)
            if self.before is not None:
                self.before(self, len(self.requests))
            fault = self.faults.pop(0) if self.faults else ""
            token = asked.get("nextToken", "")
            if fault in PASSING:
                self._faulty[json.dumps(asked)] += 1
                fault = fault if self._faulty[json.dumps(asked)] <= self.patience else ""
            if fault == "expired":
                if not token:
                    fault = ""  # there is none that could be
                else:
                    return _error(400, "InvalidParameterException", "The specified nextToken has expired.")
            if fault == "throttled":
                return _error(400, "ThrottlingException", "Rate exceeded")
            if fault in ("error 500", "error 503"):
                return _error(int(fault[-3:]), "ServiceUnavailableException", "try later")
            if fault == "html":
                return 502, b"<html>Bad Gateway</html>", 24
            if fault == "no json":
                return 200, b'{"events": [', 12
            if fault == "no events":
                return 200, b'{"events": 5}', 13
            if fault == "reset":
                return 200, b"", -1
            body = json.dumps(self._page(asked, token, fault)).encode()
            return 200, body, len(body) // 2 if fault == "cut off" else len(body)

    def _page(self, asked: dict[str, Any], token: str, fault: str) -> dict[str, Any]:
        low, high = (asked.get("startTime", 0), asked.get("endTime", 1 << 62)) if self.honest else (0, 1 << 62)
        found = sorted(
            (e for e in self.events if low <= e["timestamp"] <= high), key=lambda e: (e["timestamp"], e["eventId"])
        )
        if asked.get("startFromHead") is False and self.honest:
            found.reverse()
        if self.permuted:
            order = list(range(0, len(found), self.page))
            random.Random(1).shuffle(order)
            found = [e for at in order for e in found[at : at + self.page]]
        # Tokens count what a reader has passed, so that what arrives in between doesn't move it: as the service's do.
        passed = token.partition("/")[2].split(",") if token else []
        here = [e for e in found if e["eventId"][-4:] not in passed][: self.page]
        if fault == "empty" or (fault == "repeated" and not token):
            return {"events": [], "nextToken": f"{len(self.requests)}/{','.join(passed)}"}
        if fault == "repeated":
            return {"events": here, "nextToken": token}
        after = [*passed, *(e["eventId"][-4:] for e in here)]
        more = len([e for e in found if e["eventId"][-4:] not in after])
        if fault == "duplicates":
            here = [*here, *here[:1], *(e for e in found if e["eventId"][-4:] in passed[-2:])]
        if fault == "shuffled":
            self.random.shuffle(here)
        return {"events": here, **({"nextToken": f"{len(self.requests)}/{','.join(after)}"} if more else {})}


def _error(status: int, code: str, message: str) -> tuple[int, bytes, int]:
    body = json.dumps({"__type": code, "message": message}).encode()
    return status, body, len(body)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body at once
    server: Unreliable

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        status, body, sent = self.server.answer(asked)
        with self.server.lock:
            self.server.at_once -= 1
        if sent < 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()
        self.close_connection = sent < len(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving() -> Iterator[tuple[Unreliable, str]]:
    """The service, and its URL."""
    with Unreliable() as service:
        threading.Thread(target=service.serve_forever, args=[0.01], daemon=True).start()
        yield service, f"http://127.0.0.1:{service.server_port}"
        service.shutdown()
