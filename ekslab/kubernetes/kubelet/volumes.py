"""The volumes of a pod: ConfigMaps, Secrets, tokens and fields as files that follow their source, and host paths."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from ekslab.identity import API_AUDIENCE, ServiceAccountIssuer
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.store import Store
from ekslab.node import EmptyDir, Files, Filesystem, HostPath, Mount

_REFRESH_AT = 0.8  # of a token's life, as the kubelet does


class MountError(Exception):
    """A volume can't be set up now; the message is the kubelet's."""


Source: TypeAlias = HostPath | EmptyDir | Files


class Volumes:
    """The volumes of one pod on one node. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        pod: Object,
        store: Store,
        issuer: ServiceAccountIssuer,
        filesystem: Filesystem,
        clock: Callable[[], float],
    ) -> None:
        self._pod = pod
        self._store = store
        self._issuer = issuer
        self._filesystem = filesystem
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._tokens: dict[tuple[str, int], tuple[str, float]] = {}

    def set_up(self) -> None:
        """Makes every volume ready. Raises `MountError` for the first that can't be."""
        for volume in self._pod["spec"].get("volumes") or ():
            name = volume["name"]
            if name not in self._sources:
                try:
                    self._sources[name] = self._source(volume)
                except MountError as error:
                    raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error

    def refresh(self, pod: Object) -> None:
        """Brings files up to date with their ConfigMaps, Secrets, the pod's own fields and the tokens' age."""
        self._pod = pod
        for volume in pod["spec"].get("volumes") or ():
            source = self._sources.get(volume["name"])
            if isinstance(source, Files):
                try:
                    wanted = self._files(volume)
                except MountError:  # deleted meanwhile: what is mounted stays
                    continue
                if wanted != dict(source.content):
                    source.update(wanted)

    def mounts(self, container: Object) -> tuple[Mount, ...]:
        """What a container of the pod mounts."""
        return tuple(
            Mount(
                mount["mountPath"],
                self._sources[mount["name"]],
                bool(mount.get("readOnly")),
                sub_path=mount.get("subPath", ""),
            )
            for mount in container.get("volumeMounts") or ()
        )

    def _source(self, volume: Object) -> Source:
        if "hostPath" in volume:
            return self._host_path(volume["hostPath"])
        if "emptyDir" in volume:
            return EmptyDir()
        spec = next(volume[kind] for kind in volume if kind != "name")
        return Files(self._files(volume), mode=int((spec or {}).get("defaultMode", 0o644)))

    def _host_path(self, spec: Object) -> HostPath:
        path, kind = spec["path"], spec.get("type") or ""
        exists = self._filesystem.exists(path)
        if not exists and kind in ("", "DirectoryOrCreate"):
            self._filesystem.mkdir(path)
        elif not exists and kind == "FileOrCreate":
            self._filesystem.write_bytes(path, b"")
        elif not exists:
            words = {"Directory": "a directory", "File": "a file", "Socket": "a socket file"}
            raise MountError(f"hostPath type check failed: {path} is not {words.get(kind, kind)}")
        return HostPath(path)

    def _files(self, volume: Object) -> dict[str, bytes]:
        if "configMap" in volume:
            spec = volume["configMap"]
            return self._projection(r.CONFIG_MAPS, spec.get("name", ""), spec)
        if "secret" in volume:
            spec = volume["secret"]
            return self._projection(r.SECRETS, spec.get("secretName", ""), spec)
        if "downwardAPI" in volume:
            return self._downward(volume["downwardAPI"])
        if "projected" in volume:
            files: dict[str, bytes] = {}
            for source in volume["projected"].get("sources") or ():
                if "configMap" in source:
                    files |= self._projection(r.CONFIG_MAPS, source["configMap"].get("name", ""), source["configMap"])
                elif "secret" in source:
                    files |= self._projection(r.SECRETS, source["secret"].get("name", ""), source["secret"])
                elif "downwardAPI" in source:
                    files |= self._downward(source["downwardAPI"])
                elif "serviceAccountToken" in source:
                    spec = source["serviceAccountToken"]
                    files[spec["path"]] = self._token(spec).encode()
            return files
        kind = next((key for key in volume if key != "name"), "")
        raise MountError(f"no volume plugin matched name: {kind} volumes don't exist in the embedded cluster")

    def _projection(self, resource: Resource, name: str, spec: Object) -> dict[str, bytes]:
        obj = self._store.get(resource, namespace_of(self._pod), name)
        if obj is None:
            if spec.get("optional"):
                return {}
            raise MountError(f'{resource.singular} "{name}" not found')
        content = contents(resource, obj)
        if "items" not in spec:
            return content
        chosen = {}
        for item in spec["items"]:
            if item["key"] not in content:
                if spec.get("optional"):
                    continue
                raise MountError(f"{resource.singular} references non-existent {_noun(resource)} key: {item['key']}")
            chosen[item["path"]] = content[item["key"]]
        return chosen

    def _downward(self, spec: Object) -> dict[str, bytes]:
        files = {}
        for item in spec.get("items") or ():
            reference = item.get("fieldRef")
            value = field_value(self._pod, reference["fieldPath"]) if reference else ""
            files[item["path"]] = value.encode()
        return files

    def _token(self, spec: Object) -> str:
        audience, lifetime = spec.get("audience") or API_AUDIENCE, int(spec.get("expirationSeconds") or 3600)
        now = self._clock()
        token, issued = self._tokens.get((audience, lifetime), ("", 0.0))
        if token and now < issued + lifetime * _REFRESH_AT:
            return token
        account = self._pod["spec"].get("serviceAccountName", "default")
        stored = self._store.get(r.SERVICE_ACCOUNTS, namespace_of(self._pod), account)
        if stored is None:
            raise MountError(f'failed to fetch token: serviceaccounts "{account}" not found')
        token = self._issuer.issue(
            namespace_of(self._pod),
            account,
            audience=audience,
            now=now,
            lifetime=lifetime,
            pod=name_of(self._pod),
            pod_uid=self._pod["metadata"]["uid"],
            service_account_uid=stored["metadata"]["uid"],
        )
        self._tokens[(audience, lifetime)] = (token, now)
        return token


def _noun(resource: Resource) -> str:
    return "config" if resource is r.CONFIG_MAPS else "secret"


def contents(resource: Resource, obj: Object) -> dict[str, bytes]:
    """A ConfigMap's or Secret's entries as bytes."""
    data = obj.get("data") or {}
    if resource is r.SECRETS:
        return {key: base64.b64decode(value) for key, value in data.items()}
    plain = {key: str(value).encode() for key, value in data.items()}
    return plain | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(pod: Object, path: str) -> str:
    """The value of a pod's field as the downward API gives it, empty if it isn't set."""
    if match := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = pod["metadata"].get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(entries.items()))
    if path in ("status.podIPs", "status.hostIPs"):
        return ",".join(item["ip"] for item in pod.get("status", {}).get(path.rpartition(".")[2]) or ())
    value: Any = pod
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
