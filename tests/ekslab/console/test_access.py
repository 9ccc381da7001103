"""Who gets into the console, and who doesn't: other pages, other users, other host names."""

from __future__ import annotations

import base64
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ekslab import client
from ekslab.console.access import Access
from ekslab.identity import Credentials
from ekslab.state import Endpoints
from tests.ekslab.console.page import Page

DATA = ("/api/about", "/api/events?group=falco", "/api/feed", "/api/tail?group=falco", "/api/image?widget={}")
STATIC = Path(__file__).parents[3] / "ekslab" / "console" / "static"


def test_an_address_opens_the_console_once(endpoints: Endpoints) -> None:
    url = client.console(endpoints)
    page = Page.of(url)
    assert page.get("about")["cluster"] == endpoints.cluster
    stranger = Page(page.port)
    status, headers, _ = stranger.request(f"{urlsplit(url).path}?{urlsplit(url).query}")
    assert (status, headers["Location"], headers["Set-Cookie"]) == (303, "./#used", None)
    status, headers, _ = page.request(f"{urlsplit(url).path}?{urlsplit(url).query}")
    assert (status, headers["Location"]) == (303, "./")  # the same browser: the page is open to it already


def test_the_cookie_is_for_the_server_only_and_the_address_goes_without_its_token(endpoints: Endpoints) -> None:
    url = client.console(endpoints)
    status, headers, body = Page(urlsplit(url).port or 0).request(f"/open?{urlsplit(url).query}")
    assert status == 303
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["Set-Cookie"].split("; "))
    token = url.partition("token=")[2]
    assert token not in headers["Location"] + headers["Set-Cookie"] + body.decode()
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_token_ends_after_an_hour_and_a_session_after_a_week() -> None:
    now = [1_000_000.0]
    access = Access(Credentials(), 1234, clock=lambda: now[0])
    token, late = access.new_token(), access.new_token()
    assert access.spend(token)
    assert not access.spend(token)
    now[0] += 3601
    assert not access.spend(late)
    cookie, key = access.new_session()
    assert access.key_of(cookie) == key
    now[0] += 8 * 24 * 3600
    assert access.key_of(cookie) is None


def test_a_session_outlives_the_process_and_not_the_labs_credentials() -> None:
    credentials = Credentials()
    cookie, key = Access(credentials, 1234).new_session()
    assert Access(credentials, 1234).key_of(cookie) == key
    assert Access(Credentials(), 1234).key_of(cookie) is None
    for other in ("", ".", "..", "1.x.y", cookie[:-1], cookie + "0", "é.ü.ß", "9" * 5000 + ".a.b"):
        assert Access(credentials, 1234).key_of(other) is None


@pytest.mark.parametrize("path", DATA)
def test_without_cookie_or_key_there_is_nothing(page: Page, path: str) -> None:
    strangers = {
        "another user": Page(page.port),
        "a server that got the cookie": Page(page.port, cookie=page.cookie),
        "the key alone": Page(page.port, key=page.key),
        "a wrong key": Page(page.port, cookie=page.cookie, key="0" * 64),
        "a wrong cookie": Page(page.port, cookie=page.cookie[:-4] + "0000", key=page.key),
    }
    for who, stranger in strangers.items():
        status, _, body = stranger.request(path)
        assert status == 401, who
        assert b"labkit console" in body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.nip.io:{port}"},
        {"Host": "localhost:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_other_hosts_and_origins_are_refused(page: Page, headers: dict[str, str]) -> None:
    sent = {name: value.format(port=page.port) for name, value in headers.items()}
    for path in DATA:
        status, answered, body = page.request(path, headers=sent)
        assert status in (403, 421), path
        assert b"falco-workshop" not in body
        assert "Access-Control-Allow-Origin" not in answered
    if "Host" in headers:  # nor is anything else served under another name
        assert page.request("/", headers=sent)[0] == 421


def test_nothing_is_changed_by_a_request(page: Page) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/open", *DATA):
            status, answered, _ = page.request(path, method)
            assert status == 405, (method, path)
            assert "Access-Control-Allow-Origin" not in answered


def _handshake(page: Page, **headers: str) -> int:
    """The status of a WebSocket's handshake at the terminal."""
    sent = {
        "Host": f"127.0.0.1:{page.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Cookie": page.cookie,
        "Origin": f"http://127.0.0.1:{page.port}",
        "Sec-WebSocket-Protocol": f"console.key.{page.key}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        lines = [f"{name}: {value}" for name, value in sent.items() if value]
        request = "\r\n".join(["GET /api/terminal?namespace=default&pod=none HTTP/1.1", *lines, "", ""])
        connection.sendall(request.encode())
        return int(connection.recv(4096).split()[1])


def test_a_terminal_is_for_pages_of_the_console_only(page: Page) -> None:
    assert _handshake(page) == 101
    assert _handshake(page, Cookie="") == 401
    assert _handshake(page, Sec_WebSocket_Protocol="") == 401
    assert _handshake(page, Sec_WebSocket_Protocol="console.key.0") == 401
    for origin in ("", "null", "http://evil.example", "http://127.0.0.1:1", f"http://localhost:{page.port}"):
        assert _handshake(page, Origin=origin) == 403, origin
    assert _handshake(page, Host="evil.example") == 421


def test_every_answer_restricts_what_a_page_may_do(page: Page) -> None:
    for path in ("/", "/static/app.js", "/static/nothing.js", "/api/about", "/api/nothing", "/open?token=x", "/else"):
        headers = page.request(path)[1]
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'", path
        assert policy["script-src"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_only_jupyterlab_may_show_it_in_a_frame(endpoints: Endpoints) -> None:
    page = Page.of(client.console(endpoints, frames=[8888]))
    ancestors = re.search(r"frame-ancestors ([^;]*)", page.request("/")[1]["Content-Security-Policy"])
    assert ancestors is not None
    assert set(ancestors[1].split()) == {"'self'", "http://127.0.0.1:8888", "http://localhost:8888"}


def test_files_beside_the_pages_are_not_served(page: Page) -> None:
    beside = ("../server.py", "%2e%2e/server.py", "..%2fserver.py", "/etc/passwd", "xterm", "xterm/../../access.py")
    for path in (*beside, "%00.js", f"{'x' * 300}.js"):
        assert page.request(f"/static/{path}")[0] == 404, path


def test_credentials_never_reach_the_browser(page: Page, endpoints: Endpoints) -> None:
    paths = ["/", "/static/app.js", *DATA[:2], "/api/pods", "/api/groups", "/api/rules", "/api/alarms", "/api/findings"]
    told = b"".join(page.request(path)[2] for path in paths).decode()
    credentials = endpoints.credentials
    for secret in (credentials.secret_access_key, credentials.kubernetes_token, credentials.access_key_id):
        assert secret not in told


def test_pages_make_text_nodes_and_load_nothing_from_outside() -> None:
    for file in [*STATIC.glob("*.js"), *STATIC.glob("*.html"), *STATIC.glob("*.css")]:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\b|new Function|https?://\S+", text
        )
        assert not found, (file.name, found)
    assert "MIT" in (STATIC / "xterm" / "LICENSE.txt").read_text() or "Permission is hereby granted" in (
        STATIC / "xterm" / "LICENSE.txt"
    ).read_text(encoding="utf-8")
