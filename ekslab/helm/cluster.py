"""A Kubernetes client with what releases need: JSON requests over HTTPS with a kubeconfig's credentials, and waits.

The official client isn't used: importing it takes longer than all that this program does.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ekslab.helm.errors import HelmError

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_TIMEOUT = 30.0  # seconds for an answer
_WATCH = 2  # seconds until the state is read again though a watch reported no change
_CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


class RequestError(HelmError):
    """The API server refused a request. `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """The embedded lab's cluster. Raises `RequestError` for refused requests, `HelmError` if there is no answer."""

    def __init__(self, kubeconfig: str, context: str = "") -> None:
        """Raises `HelmError` if the kubeconfig is unusable or its cluster isn't on loopback."""
        document = _read(kubeconfig)
        contexts = {entry["name"]: entry["context"] for entry in document.get("contexts") or []}
        chosen = contexts.get(context or document.get("current-context", ""), {})
        clusters = {entry["name"]: entry["cluster"] for entry in document.get("clusters") or []}
        users = {entry["name"]: entry["user"] for entry in document.get("users") or []}
        cluster = clusters.get(chosen.get("cluster", ""), {})
        self._server = str(cluster.get("server", ""))
        if urlsplit(self._server).hostname != "127.0.0.1":
            raise HelmError(
                "the embedded lab's stand-in for Helm works on the lab's cluster only, not on "
                f"{self._server or 'no cluster'}.\n"
                'What to do: eval "$(python -m ekslab env)"; for a cluster of your own, install Helm.'
            )
        self.namespace: str = chosen.get("namespace", "default")
        """The context's namespace."""
        self._token = _token(users.get(chosen.get("user", ""), {}))
        certificate = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
        self._tls = ssl.create_default_context(cadata=certificate)
        self._connection: http.client.HTTPSConnection | None = None

    # Requests

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded JSON answer to a request."""
        reused = self._connection is not None
        connection = self._connection = self._connection or self._connect()
        try:
            response = self._send(connection, method, path, query, body, content_type)
            data = response.read()
        except BaseException as error:  # an interrupt, too, leaves a connection that can't be used again
            connection.close()
            self._connection = None
            if reused and isinstance(error, http.client.RemoteDisconnected):
                # The server closed an idle connection, and has not read the request.
                return self.request(method, path, query=query, body=body, content_type=content_type)
            if isinstance(error, http.client.HTTPException | OSError):
                raise self._unreachable(error) from error
            raise
        if response.status >= 400:
            raise _refused(response.status, data)
        return json.loads(data)

    def _connect(self, timeout: float = _TIMEOUT) -> http.client.HTTPSConnection:
        address = urlsplit(self._server)
        return http.client.HTTPSConnection(str(address.hostname), address.port, context=self._tls, timeout=timeout)

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "",
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "Helm", "Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = content_type
        data = None if body is None else json.dumps(body)
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, body=data, headers=headers)
        return connection.getresponse()

    def _unreachable(self, error: Exception) -> HelmError:
        return HelmError(f"Kubernetes cluster unreachable: {self._server}: {error}")

    # Objects

    def find(self, item: Object) -> Object | None:
        """The cluster's version of an object, or None."""
        try:
            found: Object = self.request("GET", path_of(item))
        except RequestError as error:
            if error.status == 404:
                return None
            raise
        return found

    def create(self, item: Object) -> None:
        self.request("POST", path(item["apiVersion"], item["kind"], item["metadata"].get("namespace", "")), body=item)

    def apply(self, item: Object) -> None:
        """Server-side apply as field manager `helm`."""
        query = {"fieldManager": "helm", "force": "true"}
        self.request("PATCH", path_of(item), query=query, body=item, content_type=APPLY)

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "") -> list[Object]:
        """Objects of a kind, in one namespace or all, sorted by namespace and name."""
        query: dict[str, Any] = {"limit": 500} | ({"labelSelector": labels} if labels else {})
        items: list[Object] = []
        while True:
            page = self.request("GET", path(api_version, kind, namespace), query=query)
            items += page["items"]
            query["continue"] = page["metadata"].get("continue")
            if not query["continue"]:
                break
        return sorted(items, key=lambda item: (item["metadata"].get("namespace", ""), item["metadata"]["name"]))

    def delete(self, item: Object, *, deadline: float | None = None) -> None:
        """Deletes an object if it exists. With `deadline` (`time.monotonic`), waits until it and its pods are gone."""
        try:
            self.request("DELETE", path_of(item), query={"propagationPolicy": "Background"})
        except RequestError as error:
            if error.status != 404:
                raise
        if deadline is not None:
            self.wait(lambda: self._left(item), item["metadata"]["namespace"], deadline)

    def _left(self, item: Object) -> str:
        meta = item["metadata"]
        name = f"{item['kind']}/{meta['namespace']}/{meta['name']}"
        if self.find(item) is not None:
            return f"resource {name} still exists. status: Terminating, message: Resource scheduled for deletion"
        selector = item.get("spec", {}).get("selector", {}).get("matchLabels")
        labels = ",".join(f"{key}={value}" for key, value in (selector or {}).items())
        if labels and (pods := self.list("v1", "Pod", meta["namespace"], labels=labels)):
            return f"{len(pods)} pods of {name} still exist"
        return ""

    # Waiting

    def wait_ready(self, item: Object, deadline: float) -> None:
        """Waits until a DaemonSet or Deployment is rolled out, and returns at once for other kinds."""
        if item["kind"] in ("DaemonSet", "Deployment"):
            self.wait(lambda: _not_ready(self.find(item), item), item["metadata"]["namespace"], deadline)

    def wait(self, unmet: Callable[[], str], namespace: str, deadline: float) -> None:
        """Waits until `unmet()` returns an empty text; calls it again when a pod of the namespace changes.

        Raises `HelmError` with the last text after the deadline (`time.monotonic`).
        """
        pods = path("v1", "Pod", namespace)
        while True:
            version = self.request("GET", pods, query={"limit": 1})["metadata"]["resourceVersion"]
            reason = unmet()
            if not reason:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise HelmError(f"{reason}: context deadline exceeded")
            self._until_change(pods, version, min(left, _WATCH))

    def _until_change(self, collection: str, version: str, seconds: float) -> None:
        """Returns when something in a collection changes after `version`, at the latest after so many seconds."""
        connection = self._connect(timeout=seconds)
        try:
            query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": _WATCH}
            self._send(connection, "GET", collection, query).read(1)
        except TimeoutError:
            pass
        except (http.client.HTTPException, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()


def path(api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
    """The URL path of a kind's collection, or of one object."""
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    if namespace and kind not in _CLUSTER_SCOPED:
        base += f"/namespaces/{quote(namespace, safe='')}"
    return f"{base}/{kind.lower()}s" + (f"/{quote(name, safe=':')}" if name else "")


def path_of(item: Object) -> str:
    """The URL path of an object."""
    meta = item["metadata"]
    return path(item["apiVersion"], item["kind"], meta.get("namespace", ""), meta["name"])


def _not_ready(found: Object | None, item: Object) -> str:
    """Why a DaemonSet or Deployment isn't rolled out, as Helm words it; empty if it is."""
    meta, kind = item["metadata"], item["kind"]
    label = f"resource {kind}/{meta['namespace']}/{meta['name']} not ready."
    if found is None:
        return f"{label} status: NotFound, message: Resource not found"
    status = found.get("status") or {}
    generation, observed = found["metadata"].get("generation", 0), status.get("observedGeneration", 0)
    if observed < generation:
        message = f"{kind} generation is {generation}, but latest observed generation is {observed}"
        return f"{label} status: InProgress, message: {message}"
    if kind == "Deployment":
        wanted = (found.get("spec") or {}).get("replicas", 1)
        for word, field in (("Updated", "updatedReplicas"), ("Available", "availableReplicas")):
            if status.get(field, 0) < wanted:
                return f"{label} status: InProgress, message: {word}: {status.get(field, 0)}/{wanted}"
        return ""
    wanted = status.get("desiredNumberScheduled", 0)
    for word, field in (
        ("Current", "currentNumberScheduled"),
        ("Updated", "updatedNumberScheduled"),
        ("Available", "numberAvailable"),
        ("Ready", "numberReady"),
    ):
        if status.get(field, 0) < wanted:
            return f"{label} status: InProgress, message: {word}: {status.get(field, 0)}/{wanted}"
    return ""


def _read(kubeconfig: str) -> dict[str, Any]:
    try:
        text = Path(kubeconfig).read_text(encoding="utf-8") if kubeconfig else "{}"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HelmError(f"Kubernetes cluster unreachable: {kubeconfig}: {reason}") from error
    try:
        document = json.loads(text)  # as the lab writes it
    except ValueError:
        document = _parse_yaml(kubeconfig, text)
    return document if isinstance(document, dict) else {}


def _parse_yaml(kubeconfig: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HelmError(f"Kubernetes cluster unreachable: {kubeconfig}: {error}") from error


def _token(user: Mapping[str, Any]) -> str:
    """A user's bearer token: the one in the kubeconfig, or what its credential plugin prints."""
    plugin = user.get("exec")
    if plugin is None:
        return str(user.get("token", ""))
    import subprocess

    environment = os.environ | {entry["name"]: entry["value"] for entry in plugin.get("env") or []}
    command = [plugin["command"], *(plugin.get("args") or [])]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return str(json.loads(done.stdout)["status"]["token"])
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        raise HelmError(f"Kubernetes cluster unreachable: {command[0]}: {error}") from error


def _refused(status: int, data: bytes) -> RequestError:
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        message = data.decode("utf-8", "replace").strip()[:300] or f"HTTP {status}"
    return RequestError(str(message), status=status)
