"""Storage of releases: a Secret for each revision, in Helm's encoding, so that a real Helm reads them."""

from __future__ import annotations

import base64
import gzip
import json
import time
from dataclasses import dataclass, field
from typing import Any

from ekslab.helm.cluster import Cluster, Object, path_of

_TYPE = "helm.sh/release.v1"
_SYSTEM_LABELS = {"name", "owner", "status", "version", "createdAt", "modifiedAt"}


@dataclass
class Revision:
    """One revision of a release. Times are RFC 3339."""

    name: str
    namespace: str
    version: int
    status: str
    description: str
    first_deployed: str
    last_deployed: str
    chart: dict[str, Any]
    """The chart's metadata: `name`, `version`, `appVersion`..."""
    config: dict[str, Any] = field(default_factory=dict)
    """The values the user gave."""
    manifest: str = ""
    notes: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """Labels of the user's own (`--labels`); Helm keeps them on the Secret only."""

    @property
    def secret_name(self) -> str:
        return f"sh.helm.release.v1.{self.name}.v{self.version}"

    @property
    def secret(self) -> Object:
        """The Secret."""
        labels = {"name": self.name, "owner": "helm", "status": self.status, "version": str(self.version)}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": _TYPE,
            "metadata": {
                "name": self.secret_name,
                "namespace": self.namespace,
                "labels": self.labels | labels | {"modifiedAt": str(int(time.time()))},
            },
            "data": {"release": base64.b64encode(_encode(self._document())).decode()},
        }

    def _document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "namespace": self.namespace,
            "version": self.version,
            "info": {
                "first_deployed": self.first_deployed,
                "last_deployed": self.last_deployed,
                "deleted": "",
                "description": self.description,
                "status": self.status,
                "notes": self.notes,
            },
            "chart": {
                "metadata": self.chart,
                "lock": None,
                "templates": [],
                "values": self.defaults,
                "schema": None,
                "files": None,
            },
            "config": self.config,
            "manifest": self.manifest,
        }


def revisions(cluster: Cluster, name: str, namespace: str) -> list[Revision]:
    """All stored revisions of a release, oldest first."""
    found = cluster.list("v1", "Secret", namespace, labels=f"owner=helm,name={name}")
    return sorted((_decode(secret) for secret in found), key=lambda revision: revision.version)


def all_releases(cluster: Cluster, namespace: str = "", *, selector: str = "") -> list[Revision]:
    """The latest revision of each release that a label selector selects, in one namespace or all."""
    latest: dict[tuple[str, str], Revision] = {}
    for secret in cluster.list("v1", "Secret", namespace, labels=",".join(filter(None, ["owner=helm", selector]))):
        revision = _decode(secret)
        known = latest.get((revision.namespace, revision.name))
        if known is None or known.version < revision.version:
            latest[revision.namespace, revision.name] = revision
    return [latest[key] for key in sorted(latest)]


def create(cluster: Cluster, revision: Revision) -> None:
    """Stores a new revision."""
    cluster.create(revision.secret)


def update(cluster: Cluster, revision: Revision) -> None:
    """Replaces a stored revision."""
    secret = revision.secret
    cluster.request("PUT", path_of(secret), body=secret)


def _encode(document: dict[str, Any]) -> bytes:
    # A fixed time in the header: the same release is the same bytes.
    return base64.b64encode(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0))


def _decode(secret: Object) -> Revision:
    raw = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    document = json.loads(gzip.decompress(raw))
    info, chart = document["info"], document["chart"]
    return Revision(
        name=document["name"],
        namespace=document["namespace"],
        version=document["version"],
        status=info["status"],
        description=info.get("description", ""),
        first_deployed=info["first_deployed"],
        last_deployed=info["last_deployed"],
        chart=chart["metadata"],
        config=document.get("config") or {},
        manifest=document.get("manifest", ""),
        notes=info.get("notes", ""),
        defaults=chart.get("values") or {},
        labels={k: v for k, v in secret["metadata"]["labels"].items() if k not in _SYSTEM_LABELS},
    )
