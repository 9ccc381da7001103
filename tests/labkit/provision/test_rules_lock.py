"""`labkit rules lock`: digests from a registry on loopback with the layout of ghcr.io."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import LabError, TargetError
from labkit.provision.falco import artifacts, lock_file
from labkit.provision.rules_lock import lock_rules
from labkit.settings import Settings

DIGEST = f"sha256:{'a1' * 32}"


class Registry(http.server.BaseHTTPRequestHandler):
    """Has two artifacts, and answers for a token only."""

    has = ("falco-rules/manifests/5.1.0", "falco-sandbox-rules/manifests/6.1.0")
    digest = DIGEST

    def do_GET(self) -> None:
        assert self.path.startswith("/token?scope=repository%3Afalcosecurity%2Frules%2F")
        self.answer(200, body=json.dumps({"token": "t"}).encode())

    def do_HEAD(self) -> None:
        if self.headers["Authorization"] != "Bearer t":
            return self.answer(401)
        assert "application/vnd.oci.image.manifest.v1+json" in self.headers["Accept"]
        found = self.path.removeprefix("/v2/falcosecurity/rules/") in self.has
        return self.answer(200 if found else 404, digest=self.digest)

    def answer(self, status: int, *, body: bytes = b"", digest: str = "") -> None:
        self.send_response(status)
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def settings(workshop: Path, tmp_path: Path) -> Settings:
    return Settings.load(environ={}, root=workshop, home=tmp_path / "home", target="eks", rule_tiers="sandbox")


def test_digests_are_those_of_the_registry_in_the_form_that_falcoctl_takes(registry: str, settings: Settings) -> None:
    file = lock_rules(settings, registry)
    assert file == lock_file(settings)
    assert artifacts([file]) == [f"falco-rules@{DIGEST}", f"falco-sandbox-rules@{DIGEST}"]
    assert f"falco-sandbox-rules@{DIGEST}  # 6.1.0" in file.read_text()


def test_a_version_that_the_registry_hasnt_leaves_no_lock(
    registry: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "has", Registry.has[:1])
    with pytest.raises(TargetError, match=r"manifests/6\.1\.0: Not Found"):
        lock_rules(settings, registry)
    assert not lock_file(settings).exists()


def test_a_registry_that_names_no_digest_is_no_help(
    registry: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "digest", "md5:0")
    with pytest.raises(TargetError, match=r"names no digest of falcosecurity/rules/falco-rules:5\.1\.0"):
        lock_rules(settings, registry)


@pytest.mark.parametrize(
    ("url", "said", "hint"),
    [
        ("http://127.0.0.1:1", "Can't ask http://127.0.0.1:1/token", "pinned by version"),
        ("nowhere", "'nowhere' is no address", "https://ghcr.io"),
        ("http://a b", "'http://a b' is no address", "https://ghcr.io"),
        ("file:///etc", "is no address", "https://ghcr.io"),
        ("http://a\nfalco: {}", "is no address", "https://ghcr.io"),
    ],
)
def test_without_a_network_or_an_address_it_says_so_in_two_lines(
    settings: Settings, url: str, said: str, hint: str
) -> None:
    with pytest.raises(LabError, match=said) as caught:
        lock_rules(settings, url)
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 2
    assert not lock_file(settings).exists()
