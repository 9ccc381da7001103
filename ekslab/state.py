"""The state folder of a lab: `lab.json`, a kubeconfig and its certificate, readable by the owner only.

A folder has at most one running lab. Ports, credentials and certificate stay in it when the lab ends, and the next lab
takes them over: shells and notebooks that were opened before keep working.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from ekslab.identity import Credentials, ServerCertificate


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials of a lab."""

    pid: int
    id: str
    """Random for each start: unlike a pid, it is never used again."""
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

    @property
    def helm(self) -> tuple[str, ...]:
        """The command of the stand-in for Helm; Helm's arguments are appended."""
        return (sys.executable, "-m", "ekslab.helm")

    @property
    def programs(self) -> Path:
        """A folder for the start of the PATH: `kubectl`, `aws` and `helm`, which run the real ones on this lab.

        They exit with a message if the lab isn't running. Without a real Helm, `helm` is the stand-in.
        """
        return Path(__file__).parent / "shell" / "bin"

    @property
    def summary(self) -> str:
        """Three lines of text: AWS, Kubernetes, state folder."""
        return (
            f"  AWS         {self.aws_url}  (region {self.region}, account {self.account_id})\n"
            f"  Kubernetes  {self.kubernetes_url}  (cluster {self.cluster})\n"
            f"  state       {self.home}"
        )

    def environment(self) -> dict[str, str]:
        """The variables that make kubectl, Helm, the AWS CLI and boto3 use this lab."""
        return {
            "EKSLAB_HOME": str(self.home),
            "EKSLAB_PYTHON": sys.executable,
            "KUBECONFIG": str(self.kubeconfig),
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": str(self.home / "aws-config"),  # neither file has to exist
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "aws-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",  # else version 2 of the AWS CLI shows each answer in `less`
        }


def state_file(home: Path) -> Path:
    """The file about the lab that runs in `home`, or that was killed."""
    return home / "lab.json"


def _last_file(home: Path) -> Path:
    """The file about the last lab of `home` that was stopped."""
    return home / "last.json"


def write(endpoints: Endpoints) -> None:
    """Writes the state folder. `lab.json` comes last: when it exists, the other files do."""
    home = endpoints.home
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
    """The lab in `lab.json`, running or killed; `None` if there is no such file, or an invalid one."""
    return _read(state_file(home), home)


def previous(home: Path) -> Endpoints | None:
    """The last lab of `home`, killed or stopped."""
    return read(home) or _read(_last_file(home), home)


def _read(file: Path, home: Path) -> Endpoints | None:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
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
    """Marks `home` as used by this process for as long as the returned file is open."""
    file = (home / "server.lock").open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(home: Path) -> int | None:
    """The pid of the process that has marked `home` as used, independent of `lab.json`; None if there is none."""
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
    """Marks the lab as stopped: after this, `read` returns `None`, and `previous` the lab that was."""
    if read(home) is not None:
        os.replace(state_file(home), _last_file(home))
    state_file(home).unlink(missing_ok=True)


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
