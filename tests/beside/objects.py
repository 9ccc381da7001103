"""Kubernetes objects with one mistake each: the answers of a kube-apiserver and of the lab's."""

from __future__ import annotations

import copy
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import yaml

from ekslab import client
from ekslab.kubernetes.objects.resources import by_kind
from tests.beside.__main__ import Compared
from tests.beside.settings import places

VALID: list[dict[str, Any]] = list(yaml.safe_load_all(Path(__file__).with_name("objects.yaml").read_text()))
TEXTS = (
    "",
    "UPPER_case",
    "-x",
    "x" * 64,
    "x" * 254,
    "a/b/c",
    "../x",
    "/abs",
    "a b",
    "0",
    "é",
    "nonsense",
    5,
    None,
    [],
    {},
)
NUMBERS = (-1, 0, 1, 101, 65536, 2**31, 1.5, "7", None)
KEYS = ("", "UP_per", "a b", "x" * 254, "a/b/c", "..", "/x", "cpu", "x" * 64, "nonsense.io/y", "hugepages-2Mi")
MAPS = (
    "data",
    "binaryData",
    "stringData",
    "labels",
    "annotations",
    "nodeSelector",
    "matchLabels",
    "requests",
    "limits",
)


@dataclass
class Server:
    """One API server, asked over one connection."""

    url: str
    token: str
    _connection: http.client.HTTPSConnection = field(init=False)

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        unverified = ssl._create_unverified_context()
        self._connection = http.client.HTTPSConnection(address.netloc, context=unverified, timeout=120)

    def post(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Status, message, causes and warnings of an object that isn't kept."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self._connection.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", json.dumps(obj), headers)
        response = self._connection.getresponse()
        body = json.loads(response.read())
        warnings = sorted(value for name, value in response.getheaders() if name.lower() == "warning")
        if response.status < 400:
            return {"status": response.status, "warnings": warnings}
        causes = (body.get("details") or {}).get("causes", [])
        return {
            "status": response.status,
            "message": body["message"],
            "causes": [[cause.get(name) for name in ("field", "reason", "message")] for cause in causes],
            "warnings": warnings,
        }


def compared(server: str, token: str, inputs: int, seed: int) -> Iterator[Compared]:
    """The answers on `inputs` of the mistakes; on all of them if there aren't more."""
    chosen = list(mistakes())
    if len(chosen) > inputs:
        chosen = Random(seed).sample(chosen, inputs)
    with tempfile.TemporaryDirectory() as home:
        endpoints = client.ensure_running(home)
        try:
            real, here = Server(server, token), Server(endpoints.kubernetes_url, endpoints.credentials.kubernetes_token)
            for name, path, obj in chosen:
                yield Compared(name, real.post(path, obj), here.post(path, obj))
        finally:
            client.stop(home)


def mistakes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, path of the kind, and object: the valid ones, and each of their parts gone, replaced or doubled."""
    for valid in VALID:
        path, kind = _path(valid), f"{valid['kind']} {valid.get('type', '')}".strip()
        yield kind, path, valid
        for place in places(valid):
            at: Any = valid
            for key in place[:-1]:
                at = at[key]
            for number, changed in enumerate(_changes(at, place[-1])):
                yield f"{kind} {'.'.join(map(str, place))} {number}", path, _with(valid, place[:-1], changed)


def _changes(container: Any, key: Any) -> Iterator[Any]:
    """The container of a value with that value gone, replaced or doubled."""
    value = container[key]
    without = copy.copy(container)
    del without[key]
    yield without
    for other in _others(value):
        changed = copy.copy(container)
        changed[key] = other
        yield changed
    if isinstance(value, dict) and key in MAPS:
        for name in KEYS:
            yield {**container, key: {**value, name: next(iter(value.values()))}}


def _others(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return ("true", 1, None, not value)
    if isinstance(value, int):
        return NUMBERS
    if isinstance(value, str):
        return TEXTS
    if isinstance(value, dict):
        return ({}, None, "x", [], {**value, "unknownField": 1})
    return ([], None, "x", {}, value + value[:1], [*value, {} if value and isinstance(value[0], dict) else ""])


def _with(obj: Any, place: tuple[Any, ...], part: Any) -> Any:
    """A copy of the object with another part at a place."""
    if not place:
        return part
    changed = copy.copy(obj)
    changed[place[0]] = _with(obj[place[0]], place[1:], part)
    return changed


def _path(obj: dict[str, Any]) -> str:
    version = obj["apiVersion"]
    resource = by_kind(version, obj["kind"])
    assert resource is not None
    namespaced = "/namespaces/default" if resource.namespaced else ""
    return f"{'/apis' if '/' in version else '/api'}/{version}{namespaced}/{resource.plural}"
