"""An attendee: the workshop's folder, a home with an account of their own, `make lab` and a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ekslab import client

ROOT = Path(__file__).parents[2]
# What a person's start-up files do: another account and cluster, and programs before all others.
EXPORTS = """
export AWS_PROFILE=prod AWS_ACCESS_KEY_ID=AKIAPRODPRODPRODPROD AWS_SECRET_ACCESS_KEY=real AWS_SESSION_TOKEN=real
export AWS_CONFIG_FILE=$HOME/.aws/config AWS_ENDPOINT_URL_STS={elsewhere} AWS_ENDPOINT_URL={elsewhere}
export KUBECONFIG=$HOME/.kube/config LABKIT_TARGET=eks HTTP_PROXY={elsewhere} http_proxy={elsewhere} NO_PROXY=
export PATH=$HOME/bin:$PATH
alias kubectl="kubectl --kubeconfig $HOME/.kube/config"
"""


class Elsewhere:
    """Where a person's own account and cluster seem to be: a port that notes each connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.connections += 1
            connection.close()


@dataclass
class Attendee:
    """A computer with the workshop's folder and a person's own files."""

    folder: Path
    home: Path
    elsewhere: Elsewhere
    environ: dict[str, str] = field(default_factory=dict)

    def make_lab(self, browser: str = "--no-browser") -> list[str]:
        """The command: `make lab` in the folder, with the environment that these tests run in."""
        venv = Path(sys.prefix)
        options = f"{browser} --port=0 --LabApp.expose_app_in_browser=True"
        return ["make", f"--old-file={venv}/.ready", "lab", f"VENV={venv}", f"OPTIONS={options}"]

    @contextmanager
    def jupyterlab(self, **environ: str) -> Iterator[JupyterLab]:
        """A JupyterLab as `make lab` starts it."""
        log, before = self.home / "jupyterlab.log", self.servers()
        with log.open("w") as file:
            process = subprocess.Popen(
                self.make_lab(),
                cwd=self.folder,
                env=self.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 90
            while not (new := [server for server in self.servers() if server not in before]):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            while not listens(new[0]["port"]):  # a server writes its file before it listens
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield JupyterLab(new[0]["url"].rstrip("/"), new[0]["token"], new[0]["root_dir"])
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)

    def servers(self) -> list[dict[str, Any]]:
        """What running JupyterLabs say of themselves to `jupyter server list`: url, token, root_dir..."""
        found = (self.home / ".local/share/jupyter/runtime").glob("jpserver-*.json")
        return [json.loads(text) for file in found if (text := file.read_text())]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionError:
        return False
    return True


@dataclass(frozen=True)
class JupyterLab:
    url: str
    token: str
    root: str


@pytest.fixture(scope="module")
def attendee(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attendee]:
    """Somebody whose start-up files, profiles, kubeconfig and Jupyter configuration lead elsewhere."""
    place = tmp_path_factory.mktemp("attendee")
    folder, home, elsewhere = place / "Übung mit Falco", place / "home", Elsewhere()
    for name in ("notebooks", "manifests", "custom-rules", "images", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    exports = EXPORTS.format(elsewhere=elsewhere.url)
    cluster = {"name": "prod", "cluster": {"server": elsewhere.url}}
    context = {"name": "prod", "context": {"cluster": "prod", "user": "prod"}}
    kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "prod", "user": {"token": "real"}}]}
    files = {
        **dict.fromkeys((".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".env"), exports),
        ".aws/config": f"[default]\nendpoint_url = {elsewhere.url}\n[profile prod]\nendpoint_url = {elsewhere.url}\n",
        ".aws/credentials": "[default]\naws_access_key_id = AKIAPROD\naws_secret_access_key = real\n",
        ".kube/config": json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "prod", **kubeconfig}),
        ".jupyter/jupyter_server_config.json": json.dumps(
            {
                "ServerApp": {"root_dir": str(home), "preferred_dir": str(home), "ip": "0.0.0.0"},
                "FileContentsManager": {"root_dir": str(home)},
            }
        ),
        # As JupyterLab keeps a person's preference: all cells are on the page, also those that are out of sight.
        ".jupyter/lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": json.dumps(
            {"windowingMode": "none"}
        ),
        ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings": json.dumps(
            {"fetchNews": "false"}
        ),
        ".jupyter/lab/workspaces/default-37a8.jupyterlab-workspace": json.dumps(
            {"data": {"file-browser-filebrowser:cwd": {"path": "elsewhere"}}, "metadata": {"id": "default"}}
        ),
        "bin/labkit": "#!/bin/sh\necho another labkit\n",
        "bin/browser": '#!/bin/sh\ncp "${1#file://}" "$HOME/opened.html"\n',
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    for program in (home / "bin").iterdir():
        program.chmod(0o755)
    environ = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "USER") if name in os.environ},
        "HOME": str(home),
        "SHELL": shutil.which("bash") or "/bin/sh",
        "ENV": str(home / ".env"),
        "BASH_ENV": str(home / ".bashrc"),
        "AWS_PROFILE": "prod",
        "AWS_ENDPOINT_URL_LOGS": elsewhere.url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/dev/null",
        "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/admin",
        "KUBECONFIG": str(home / ".kube" / "config"),
        "HTTP_PROXY": elsewhere.url,
        "http_proxy": elsewhere.url,
    }
    yield Attendee(folder, home, elsewhere, environ)
    client.stop(folder / ".labkit")
