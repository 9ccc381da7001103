"""A page of the console as its server sees it: requests with a cookie and a key."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass
class Page:
    """What a browser has after it has opened the console's address."""

    port: int
    cookie: str = ""
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> Page:
        """Opens a one-time address."""
        parts = urlsplit(url)
        page = cls(parts.port or 0)
        status, headers, _ = page.request(f"{parts.path}?{parts.query}")
        assert status == 303, status
        page.cookie = headers.get("Set-Cookie", "").partition(";")[0]
        page.key = headers["Location"].partition("#key=")[2]
        return page

    def request(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Cookie": self.cookie, "X-Console-Key": self.key, **self.headers, **(headers or {})}
        try:
            connection.request(method, path, headers={name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, view: str, **query: object) -> Any:
        """The data of a view; an error's status is in `refused`."""
        status, _, body = self.request(f"/api/{view}?{urlencode(query)}")
        answer = json.loads(body)
        return answer if status == 200 else {**answer, "refused": status}

    @contextmanager
    def live(self, path: str = "feed", **query: object) -> Iterator[Iterator[tuple[str, Any]]]:
        """Server-sent events: kind and content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(
            "GET", f"/api/{path}?{urlencode(query)}", headers={"Cookie": self.cookie, "X-Console-Key": self.key}
        )
        response = connection.getresponse()
        assert response.status == 200, response.read()

        def messages() -> Iterator[tuple[str, Any]]:
            kind = ""
            while line := response.readline():
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    kind = text[7:]
                elif text.startswith("data: "):
                    yield kind, json.loads(text[6:])

        try:
            yield messages()
        finally:
            connection.close()
