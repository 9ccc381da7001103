"""A profile with IAM Identity Center (SSO): the session's token, the portal that gives credentials, and its end."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit.aws import Aws
from labkit.errors import TargetError

CONFIG = """\
[profile class]
sso_session = portal
sso_account_id = 111122223333
sso_role_name = Instructor
[sso-session portal]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_registration_scopes = sso:account:access
"""


class Portal(ThreadingHTTPServer):
    """The portal's API on loopback: credentials for a good token, 401 for others."""

    def __init__(self, credentials: dict[str, Any]) -> None:
        portal = self
        self.credentials, self.asked = credentials, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                portal.asked += 1
                good = self.headers.get("x-amz-sso_bearer_token") == "good"
                said = (
                    {"roleCredentials": portal.credentials}
                    if good
                    else {"message": "Session token not found or invalid"}
                )
                body = json.dumps(said).encode()
                self.send_response(200 if good else 401)
                if not good:
                    self.send_header("x-amzn-ErrorType", "UnauthorizedException")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def portal(embedded: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    for name, value in embedded.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso"))
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso"))
    (tmp_path / "config").write_text(CONFIG)
    keys = {"accessKeyId": embedded.access_key_id, "secretAccessKey": embedded.secret_access_key, "sessionToken": ""}
    server = Portal({**keys, "expiration": int((time.time() + 3600) * 1000)})
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO_OIDC", "http://127.0.0.1:9")
    yield server
    server.shutdown()
    server.server_close()


def log_in(folder: Path, token: str, *, hours: float = 8) -> None:
    """What `aws sso login` leaves behind."""
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
    document = {"accessToken": token, "expiresAt": f"{ends:%Y-%m-%dT%H:%M:%SZ}", "region": "us-east-1"}
    (folder / "sso").mkdir(exist_ok=True)
    (folder / "sso" / f"{hashlib.sha1(b'portal').hexdigest()}.json").write_text(json.dumps(document))


def test_a_session_gives_credentials_and_its_end_is_told(portal: Portal, tmp_path: Path) -> None:
    log_in(tmp_path, "good")
    assert Aws("us-east-1", hint="", profile="class").identity.account_id == "111122223333"
    assert portal.asked == 1
    for token, hours in (("ended by the administrator", 8), ("good", -1)):
        log_in(tmp_path, token, hours=hours)
        with pytest.raises(TargetError, match="The SSO session of profile 'class' has ended") as caught:
            _ = Aws("us-east-1", hint="", profile="class").identity
        assert caught.value.hint == "`aws sso login --profile class`, then run this again."
        assert len(str(caught.value).splitlines()) == 2


def test_credentials_are_fetched_again_before_they_end(portal: Portal, tmp_path: Path) -> None:
    log_in(tmp_path, "good")
    portal.credentials["expiration"] = int((time.time() + 300) * 1000)  # botocore renews in the last 15 minutes
    sts = Aws("us-east-1", hint="", profile="class").client("sts")
    for _ in range(2):
        assert sts.get_caller_identity()["Account"] == "111122223333"
    assert portal.asked >= 2
