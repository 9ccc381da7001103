"""An API server on loopback that answers as a test tells it to: for what the embedded lab's never says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from labkit.kube import Kube

CORE = ("Pod", "ConfigMap", "Event", "Namespace", "Node")
APPS = ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ControllerRevision")


def discovery(*kinds: str) -> dict[str, Any]:
    listed = [
        {"name": f"{kind.lower()}s", "kind": kind, "namespaced": kind not in ("Namespace", "Node")} for kind in kinds
    ]
    return {"resources": [*listed, {"name": "pods/log", "kind": "Pod", "namespaced": True}]}


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """`answers` by method and path: an object, a status and an object or bytes, or a list of these, used one by one.

    The last of a list stays. A watch ends at once, as after a change, unless watches are `quiet`.
    """

    port: int
    kubeconfig: Path
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    date: str = ""
    quiet: bool = False

    def kube(self, **options: Any) -> Kube:
        return Kube(kubeconfig=self.kubeconfig, **options)

    def put(self, path: str, *items: dict[str, Any]) -> None:
        """A collection, and each of its objects."""
        self.answers[f"GET {path}"] = {"metadata": {"resourceVersion": "1"}, "items": list(items)}
        for item in items:
            self.answers[f"GET {path}/{item['metadata']['name']}"] = item

    def sent(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def answer(self, request: Request) -> tuple[int, Any]:
        found = self.answers.get(f"{request.method} {request.path}")
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            return 404, {"kind": "Status", "reason": "NotFound", "message": f"{request.path} not found"}
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture(scope="module")
def _server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            api: Api = self.server.api  # type: ignore[attr-defined]
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(
                str(self.command),
                url.path,
                dict(parse_qsl(url.query)),
                {k.lower(): v for k, v in self.headers.items()},
                json.loads(body or "null"),
            )
            api.requests.append(request)
            is_watch = "watch" in request.query
            status, said = api.answers.get(f"WATCH {url.path}", (200, b"{")) if is_watch else api.answer(request)
            if not status:  # the connection is cut
                self.close_connection = True
                return
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "text/plain" if isinstance(said, bytes) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            if api.date:
                self.send_header("Date", api.date)
            self.end_headers()
            if is_watch and api.quiet:
                self.rfile.read(1)  # until the client closes the connection
                self.close_connection = True
                return
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def api(_server: ThreadingHTTPServer, tmp_path: Path) -> Api:
    port = _server.server_port
    kubeconfig = tmp_path / "kubeconfig"
    document = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "c", "user": {"token": "secret"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    kubeconfig.write_text(json.dumps(document))
    api = Api(port, kubeconfig, {"GET /api/v1": discovery(*CORE), "GET /apis/apps/v1": discovery(*APPS)})
    _server.api = api  # type: ignore[attr-defined]
    return api
