"""What a lab leaves in its state folder so that others find it: `lab.json`, a kubeconfig and its certificate, `bin`.

Everything is readable by the owner only. A folder holds at most one lab; a file left by a lab that was killed is
recovered from: the next lab takes the same ports, credentials and certificate, so that clients keep working.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from labkit.embedded import tools
from labkit.embedded.identity import Credentials, ServerCertificate

# Variables of a person's own that would lead a client elsewhere, or make it sign with something else.
CONFLICTING = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ENDPOINT_URL_LOGS",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_CLOUDWATCH",
    "AWS_ENDPOINT_URL_SNS",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_LAMBDA",
    "AWS_ENDPOINT_URL_SECURITYHUB",
)


@dataclass(frozen=True)
class Endpoints:
    """Where a running embedded lab is and what it takes to use it."""

    pid: int
    id: str
    """Random, and another one each time a lab starts: what tells this lab from all others, as a pid doesn't."""
    region: str
    cluster: str
    account_id: str
    aws_port: int
    kubernetes_port: int
    credentials: Credentials
    certificate: ServerCertificate
    home: Path

    @property
    def aws_url(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def kubernetes_url(self) -> str:
        return f"https://127.0.0.1:{self.kubernetes_port}"

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def ca_file(self) -> Path:
        return self.home / "ca.crt"

    @property
    def access_key_id(self) -> str:
        return self.credentials.access_key_id

    @property
    def secret_access_key(self) -> str:
        return self.credentials.secret_access_key

    def environment(self) -> dict[str, str]:
        """The variables that make kubectl, the AWS CLI and boto3 use this lab."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_PAGER": "",  # version 2 of the AWS CLI would show each answer in `less`, and wait
            "PATH": tools.path(self.home),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }


def state_file(home: Path) -> Path:
    return home / "lab.json"


def write(endpoints: Endpoints) -> None:
    """Write the state folder. The kubeconfig comes first: whoever sees `lab.json` can use all of it."""
    home = endpoints.home
    tools.write(home)
    _write_private(endpoints.ca_file, endpoints.certificate.certificate.decode())
    _write_private(endpoints.kubeconfig, json.dumps(_kubeconfig(endpoints), indent=1))
    document = {
        "pid": endpoints.pid,
        "id": endpoints.id,
        "region": endpoints.region,
        "cluster": endpoints.cluster,
        "account_id": endpoints.account_id,
        "aws_port": endpoints.aws_port,
        "kubernetes_port": endpoints.kubernetes_port,
        "credentials": asdict(endpoints.credentials),
        "certificate": endpoints.certificate.certificate.decode(),
        "key": endpoints.certificate.key.decode(),
    }
    _write_private(state_file(home), json.dumps(document, indent=1))


def read(home: Path) -> Endpoints | None:
    """The lab that `home` tells of, running or not; `None` if there is none or the file makes no sense."""
    try:
        document = json.loads(state_file(home).read_text(encoding="utf-8"))
        return Endpoints(
            pid=int(document["pid"]),
            id=document["id"],
            region=document["region"],
            cluster=document["cluster"],
            account_id=document["account_id"],
            aws_port=int(document["aws_port"]),
            kubernetes_port=int(document["kubernetes_port"]),
            credentials=Credentials(**document["credentials"]),
            certificate=ServerCertificate(document["certificate"].encode(), document["key"].encode()),
            home=home,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def hold(home: Path) -> TextIO:
    """Marks `home` as taken by this process for as long as the result is open."""
    file = (home / "server.lock").open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(home: Path) -> int | None:
    """The pid of the lab that has marked `home` as taken, whatever `lab.json` says; None if there is none."""
    try:
        with (home / "server.lock").open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError):
        pass
    return None


def remove(home: Path) -> None:
    """Forget the lab: after this, `read` returns `None`."""
    for name in ("lab.json", "kubeconfig", "ca.crt"):
        (home / name).unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def _kubeconfig(endpoints: Endpoints) -> dict[str, object]:
    name = f"{endpoints.cluster}.{endpoints.region}.embedded"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": endpoints.kubernetes_url,
                    "certificate-authority-data": base64.b64encode(endpoints.certificate.certificate).decode(),
                },
            }
        ],
        "users": [{"name": name, "user": {"token": endpoints.credentials.kubernetes_token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    }
