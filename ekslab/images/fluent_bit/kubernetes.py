"""The kubernetes filter: adds the metadata of the pod, as the API server knows it, to the records of its log."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ekslab.images.fluent_bit.config import Section
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import Event, Record

if TYPE_CHECKING:
    from ekslab.node import Process

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_FILE = re.compile(r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>.+)-(?P<id>[a-z0-9]{64})\.log$")


class Kubernetes:
    """One filter section. `look_up` must have been awaited for a tag before `apply` knows its pod."""

    def __init__(self, process: Process, section: Section, log: Log) -> None:
        self._process = process
        self._section = section
        self._log = log
        self._label = f"[{section.label}]"
        self._url = section.get("kube_url", "https://kubernetes.default.svc:443").rstrip("/")
        self._prefix = section.get("kube_tag_prefix", "kube.var.log.containers.")
        self._known: dict[str, Record | None] = {}

    def announce(self) -> None:
        host, _, port = self._url.partition("://")[2].partition(":")
        https = int(self._url.startswith("https:"))
        self._log.info(f"{self._label} https={https} host={host} port={port or '443'}")

    def knows(self, tag: str) -> bool:
        """Whether a tag's pod was looked up, with success or not."""
        return tag in self._known

    async def look_up(self, tag: str) -> None:
        self._known[tag] = await self._fetch(tag)

    def apply(self, tag: str, events: list[Event]) -> list[Event]:
        pod = self._known.get(tag)
        return [
            Event(event.time, self._merged(event.record) | ({"kubernetes": pod} if pod else {})) for event in events
        ]

    def _merged(self, record: Record) -> Record:
        """The record with what its log holds, as merge_log, merge_log_key and keep_log say."""
        text = record.get("log")
        if not self._section.flag("merge_log") or not isinstance(text, str):
            return record
        try:
            parsed = json.loads(text)
        except ValueError:
            return record
        if not isinstance(parsed, dict):
            return record
        key = self._section.get("merge_log_key")
        added = {key: parsed} if key else parsed
        keep = self._section.flag("keep_log", True)
        rest = {k: v for k, v in record.items() if k not in added and (k != "log" or keep)}
        return rest | added

    async def _fetch(self, tag: str) -> Record | None:
        match = _FILE.match(tag.removeprefix(self._prefix))
        if match is None or not tag.startswith(self._prefix):
            return None
        try:
            token = self._process.read_text(self._section.get("kube_token_file", f"{_ACCOUNT}/token")).strip()
        except OSError as error:
            self._log.warn(f"{self._label} cannot open token file: {error.strerror}")
            token = ""
        path = f"/api/v1/namespaces/{match['namespace']}/pods/{match['pod']}"
        try:
            response = await self._process.http("GET", self._url + path, {"Authorization": f"Bearer {token}"})
        except (OSError, TimeoutError) as error:
            self._log.error(f"{self._label} upstream connection error: {error}")
            self._log.warn(f"{self._label} could not get meta for POD {match['pod']}")
            return None
        if response.status != 200:
            self._log.warn(f"{self._label} could not get meta for POD {match['pod']}: HTTP status {response.status}")
            return None
        return self._metadata(json.loads(response.body), match["container"], match["id"])

    def _metadata(self, pod: dict[str, Any], container: str, container_id: str) -> Record:
        meta, status = pod["metadata"], pod.get("status") or {}
        states = {state["name"]: state for state in status.get("containerStatuses") or []}
        state = states.get(container) or {}
        found: Record = {"pod_name": meta["name"], "namespace_name": meta["namespace"], "pod_id": meta.get("uid", "")}
        for name in ("labels", "annotations"):
            if meta.get(name) and self._section.flag(name, True):
                found[name] = meta[name]
        found["host"] = (pod.get("spec") or {}).get("nodeName", "")
        if status.get("podIP"):
            found["pod_ip"] = status["podIP"]
        found |= {"container_name": container, "docker_id": container_id}
        if state.get("imageID"):
            found["container_hash"] = state["imageID"].removeprefix("docker-pullable://")
        if state.get("image"):
            found["container_image"] = state["image"]
        return found
