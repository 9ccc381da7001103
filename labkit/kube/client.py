"""Requests to one cluster's API server, with objects as dictionaries, over the official client's connection.

The official client brings the kubeconfig, TLS and credentials (and renews them). Its thousand models aren't used:
importing and validating them costs more than the requests.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from labkit.causes import cause
from labkit.errors import Hint, StepError, StoppedError, TargetError, UnreachableError
from labkit.kube import kubeconfig as kubeconfigs
from labkit.kube.objects import (
    API_VERSIONS,
    WORKLOADS,
    Object,
    Objects,
    behaviour,
    held_by,
    in_order,
    label_selector,
    requested,
)
from labkit.waiting import waiting

FIELD_MANAGER = "labkit"
_CLOCK_MINUTES = 5  # by which a clock may be wrong until tokens are refused
FIRST_LOOK, LONGEST_LOOK = 0.2, 2.0
"""Seconds between two looks of a wait in which no change is reported: the first, and in the end."""
HELD_SECONDS = 10.0
"""How long finalizers may keep an object that is being deleted until that is an error."""


_PASSING = (429, 500, 502, 503, 504)
"""Statuses of an API server that can't answer now: it is being replaced, is overloaded, has lost its etcd."""


class KubernetesError(StepError):
    """The API server refused a request. `status` is the HTTP status, `reason` Kubernetes' word (`NotFound`...)."""

    def __init__(self, message: str, *, status: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class Client:
    """One cluster. Raises `KubernetesError` for what the API server refuses, `TargetError` if it can't be reached."""

    def __init__(
        self,
        *,
        kubeconfig: Path | None = None,
        context: str = "",
        hint: Hint = "",
        before: Callable[[], None] = lambda: None,
        unauthorized: Hint = "",
    ) -> None:
        """`hint` is what to do if the cluster doesn't answer, `unauthorized` if it knows no such caller.

        `before` is called before each request, and may raise.
        """
        self.kubeconfig = kubeconfig
        self.context = context
        self._hint = hint or "Check the kubeconfig and its context: `kubectl cluster-info`."
        self._before = before
        self._unauthorized = unauthorized
        self._skew = dt.timedelta()
        self._gone_since = 0.0
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    def __repr__(self) -> str:
        return (
            f"Kubernetes by {self.kubeconfig or 'the kubeconfig'}{f', context {self.context}' if self.context else ''}"
        )

    @cached_property
    def client(self) -> Any:
        """The official client's `ApiClient`, for `kubernetes.client.CoreV1Api(lab.kube.client)` and the like."""
        client = kubeconfigs.load(self.kubeconfig, self.context, self._hint)
        client.user_agent = "labkit"
        return client

    @cached_property
    def core(self) -> Any:
        """The official client's `CoreV1Api`: pods, nodes, config maps and the like, as typed objects."""
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    # Requests

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
        stream: bool = False,
    ) -> Any:
        """The parsed answer to one request; text if it isn't JSON. With `stream`, urllib3's response, to be read."""
        import urllib3

        self._before()
        configuration = self.client.configuration
        url = configuration.host + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": "labkit", **self.authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        sent = dt.datetime.now(dt.UTC)
        try:
            response = self.client.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body),
                headers=headers,
                preload_content=not stream,
                # A request that never reached the server may be sent again; others are the caller's to repeat.
                retries=urllib3.Retry(total=3, connect=2, read=0, redirect=0, status=0, backoff_factor=0.1),
                timeout=urllib3.Timeout(connect=5.0, read=timeout),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from error
        if stream:
            return response
        self._note_clock(response.headers.get("Date"), sent)
        if response.status >= 400:
            raise self._refused(response.status, response.data, method, path)
        json_ = "json" in response.headers.get("Content-Type", "")
        return json.loads(response.data) if json_ else response.data.decode("utf-8", "replace")

    def authorization(self) -> dict[str, str]:
        with kubeconfigs.plugin_errors(self.context):  # a token that ends soon is replaced
            auth = self.client.configuration.auth_settings().get("BearerToken")
        return {auth["key"]: auth["value"]} if auth and auth["value"] else {}

    def unreachable(self, error: Exception) -> TargetError:
        host = self.client.configuration.host
        said, hint = kubeconfigs.silence(error, host, self.context)
        said = said or f"The Kubernetes API at {host} does not answer ({_root_cause(error)})."
        return UnreachableError(said, service="Kubernetes", hint=hint or self._hint)

    def _refused(self, status: int, data: bytes, method: str, path: str) -> KubernetesError:
        error = _refused(status, data, method, path)
        if status == 401:
            error.hint = self._why_unauthorized() or error.hint
        elif status == 403 and '"system:anonymous"' in error.message:
            error.hint = "The kubeconfig gives no credentials to this context's user: correct it, or make it again."
        return error

    def _why_unauthorized(self) -> str:
        minutes = round(self._skew.total_seconds() / 60)
        if abs(minutes) >= _CLOCK_MINUTES:
            slow = "slow" if minutes > 0 else "fast"
            return f"Set this computer's clock, which is {abs(minutes)} min {slow}, then run this again."
        configuration = self.client.configuration
        if not (self.authorization() or configuration.cert_file):
            return "The kubeconfig has no credentials for the user of this context: correct it, or make it again."
        if configuration.cert_file and (ended := kubeconfigs.certificate_ended(configuration.cert_file)):
            again = kubeconfigs.renewal(self.context) or "make its entry in the kubeconfig again"
            return f"The certificate of this context's user ended on {ended}: {again}."
        if self._unauthorized:
            return self._unauthorized if isinstance(self._unauthorized, str) else self._unauthorized()
        again = kubeconfigs.renewal(self.context)
        return f"The context's credentials have ended or are another cluster's: {again}." if again else ""

    def _note_clock(self, date: str | None, sent: dt.datetime) -> None:
        if date:
            # The header is cut to whole seconds, so the server's clock showed some time in this one second.
            earliest = email.utils.parsedate_to_datetime(date)
            received = dt.datetime.now(dt.UTC)
            agrees = earliest <= received and sent < earliest + dt.timedelta(seconds=1)
            self._skew = dt.timedelta() if agrees else earliest - received

    def now(self, *, latest: bool = False) -> dt.datetime:
        """The time (UTC) by the cluster's clock, so that alerts can be told from older ones when clocks differ.

        Where they differ, it is the earliest that it can be, because the cluster tells it in whole seconds; with
        `latest`, the latest.
        """
        unsure = dt.timedelta(seconds=1) if latest and self._skew else dt.timedelta()
        return dt.datetime.now(dt.UTC) + self._skew + unsure

    # Objects

    def path(self, api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
        """The URL path of a kind's collection, or of one object. An empty `api_version` is that of kubectl's kinds."""
        api_version = api_version or API_VERSIONS.get(kind, "v1")
        base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if api_version not in self._resources:
            self._resources[api_version] = {
                item["kind"]: (item["name"], item["namespaced"])
                for item in self.request("GET", base)["resources"]
                if "/" not in item["name"]
            }
        if kind not in self._resources[api_version]:
            said = f"The cluster knows no {kind} in {api_version}."
            raise KubernetesError(said, status=404, reason="NotFound")
        plural, namespaced = self._resources[api_version][kind]
        if namespaced and (namespace or name):
            base += f"/namespaces/{quote(namespace or 'default', safe='')}"
        return f"{base}/{plural}" + (f"/{quote(name, safe=':')}" if name else "")

    def get(self, kind: str, name: str, namespace: str = "", *, api_version: str = "") -> Object | None:
        """The object, or None if there is none. `namespace` defaults to `default` for kinds that have one."""
        try:
            found: Object = self.request("GET", self.path(api_version, kind, namespace, name))
        except KubernetesError as error:
            if error.status != 404:
                raise
            return None
        return found

    def list(
        self, kind: str, namespace: str = "", *, api_version: str = "", labels: str = "", fields: str = ""
    ) -> Objects:
        """Objects of a kind, in one namespace or all, sorted by namespace and name."""
        query = {
            key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields), ("limit", 500)) if value
        }
        path = self.path(api_version, kind, namespace)
        items: Objects = []
        while True:
            page = self.request("GET", path, query=query)
            items += page["items"]
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        return sorted(items, key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))

    def find(self, item: Object) -> Object | None:
        """The cluster's version of an object, or None."""
        meta = item["metadata"]
        return self.get(item["kind"], meta["name"], meta.get("namespace", ""), api_version=item["apiVersion"])

    def apply_one(self, item: Object) -> str:
        """Server-side apply of one object; tells what it did: `created`, `updated` or `unchanged`."""
        before = self.find(item)
        after = self._patch(item)
        if before is None:
            return "created"
        return "unchanged" if requested(before) == requested(after) else "updated"

    def would_change(self, item: Object) -> bool:
        """Whether applying would change more than the labels of an object that is there, as the API server tells."""
        try:
            return behaviour(self.find(item) or {}) != behaviour(self._patch(item, dryRun="All"))
        except KubernetesError as error:
            if error.status != 422:  # it would change what can't be changed
                raise
            return True

    def _patch(self, item: Object, **query: str) -> Object:
        meta = item["metadata"]
        after: Object = self.request(
            "PATCH",
            self.path(item["apiVersion"], item["kind"], meta.get("namespace", ""), meta["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true", **query},
            body=item,
            content_type="application/apply-patch+yaml",
        )
        return after

    def apply(self, objects: Iterable[Object]) -> Sequence[tuple[Object, str]]:
        """Applies objects in dependency order; each with what happened to it."""
        return [(item, self.apply_one(item)) for item in in_order(objects)]

    def delete_one(self, item: Object, *, timeout: float = 60.0) -> bool:
        """Deletes an object and waits until it and its pods are gone. False if it wasn't there."""
        meta = item["metadata"]
        path = self.path(item["apiVersion"], item["kind"], meta.get("namespace", ""), meta["name"])
        current = self.find(item)
        if current is None:
            return False
        try:
            self.request("DELETE", path, query={"propagationPolicy": "Background"})
        except KubernetesError as error:
            if error.status != 404:
                raise
        self.wait_gone(current, timeout=timeout)
        return True

    def wait_gone(self, last: Object, *, timeout: float = 60.0) -> None:
        """Waits until an object that is being deleted is gone, and its pods; `last` is the object as it was.

        Raises `StepError` after `timeout` seconds, or when finalizers or a namespace's contents have held it for
        `HELD_SECONDS`.
        """
        meta, kind = last["metadata"], last["kind"]
        selector = last.get("spec", {}).get("selector", {})
        labels = label_selector(selector) if kind in set(WORKLOADS.values()) - {"Pod"} else ""
        namespace = meta.get("namespace", "default")
        label = f"{kind} {meta['name']}"
        held_since = time.monotonic()

        def left() -> str:
            nonlocal held_since
            found = self.find(last)
            there = found is not None and found["metadata"].get("uid") == meta.get("uid")
            pods = [] if there or not labels else self.list("Pod", namespace, labels=labels)
            held = held_by(found) if there and found else next(filter(None, map(self._held_pod, pods)), "")
            if not held:
                held_since = time.monotonic()
            elif time.monotonic() - held_since >= HELD_SECONDS:
                option = f" -n {namespace}" if "namespace" in meta else ""
                which = f"{kind.lower()} {meta['name']}" if there else "pods"
                raise StepError(
                    f"{label} is being deleted, but does not go: {held}.",
                    hint=f"`kubectl get {which}{option} -o yaml` says what it waits for: "
                    "see to that, or remove the finalizer; then run this again.",
                )
            if there:
                return f"{label} is still being deleted" + (f" ({held})" if held else "")
            return f"{len(pods)} of its pods still end" + (f" ({held})" if held else "") if pods else ""

        watched = self.path("v1", "Pod", namespace) if labels else self.path(last["apiVersion"], kind, namespace)
        self.wait(left, watched, timeout=timeout, what=f"{label} to be gone")

    def _held_pod(self, pod: Object) -> str:
        """What keeps a pod whose time to end is over; empty if it has time left, or nothing is known to keep it."""
        due = pod["metadata"].get("deletionTimestamp")
        held = held_by(pod)
        if not due or not held or dt.datetime.fromisoformat(due) > self.now():
            return ""
        return f"{held} of pod {pod['metadata']['name']}"

    def delete(self, objects: Iterable[Object]) -> Objects:
        """Deletes objects in reverse dependency order; returns those that were there."""
        return [item for item in reversed(in_order(objects)) if self.delete_one(item)]

    def restart(self, kind: str, name: str, namespace: str) -> None:
        """What `kubectl rollout restart` does: new pods, one after another."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}
        self.request(
            "PATCH",
            self.path("", kind, namespace, name),
            query={"fieldManager": "labkit-restart"},
            body={"spec": {"template": template}},
            content_type="application/strategic-merge-patch+json",
        )

    # Waiting

    def wait(self, unmet: Any, path: str, *, timeout: float, what: str) -> None:
        """Waits until `unmet()` returns an empty string; looks again whenever something at `path` changes.

        What `unmet()` looks at may change a moment later, as a workload's status after its pods do, or be elsewhere: it
        looks again soon after a change, too, and then ever more seldom, every `LONGEST_LOOK` seconds at least.

        Raises `StepError` with the last thing `unmet()` said after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        reason, pause = "", FIRST_LOOK
        try:
            with waiting(what, timeout) as note:
                while True:
                    with self._riding_out(note):
                        version = self.version(path)
                        reason = unmet()
                        if not reason:
                            return
                        note(reason)
                        left = deadline - time.monotonic()
                        if left <= 0:
                            break
                        changed = self.until_change(path, version, min(left, pause))
                        pause = FIRST_LOOK if changed else min(pause * 1.6, LONGEST_LOOK)
        except KeyboardInterrupt:
            raise StoppedError(f"Stopped waiting for {what}.", hint="Run it again to go on waiting.") from None
        raise StepError(f"Waited {timeout:g} s for {what}: {reason}.", hint="Run it again to keep waiting.")

    @contextmanager
    def _riding_out(self, note: Callable[[str], None]) -> Iterator[None]:
        """Within a wait: an API server that doesn't answer, or can't now, is given `HELD_SECONDS` to come back."""
        try:
            yield
        except (UnreachableError, KubernetesError) as error:
            now = time.monotonic()
            self._gone_since = self._gone_since or now
            if getattr(error, "status", 503) not in _PASSING or now - self._gone_since >= HELD_SECONDS:
                self._gone_since = 0.0
                raise
            note(error.message)
            time.sleep(0.5)
        else:
            self._gone_since = 0.0

    def version(self, path: str) -> str:
        """A collection's resource version: changes after it are what a watch from it reports."""
        found: str = self.request("GET", path, query={"limit": 1})["metadata"]["resourceVersion"]
        return found

    def until_change(self, path: str, version: str, seconds: float, *, fields: str = "") -> bool:
        """Waits until something at `path` changes after `version`, or for about `seconds`. `fields` is a selector.

        Whether something changed, as far as is known.
        """
        import urllib3

        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": max(1, round(seconds))}
        query |= {"fieldSelector": fields} if fields else {}
        response = self.request("GET", path, query=query, stream=True, timeout=seconds + 5)
        try:
            if response.status >= 400:  # who may read need not be allowed to watch
                time.sleep(seconds)
                return False
            if (connection := response.connection) is not None and connection.sock is not None:
                connection.sock.settimeout(seconds)  # the server counts in whole seconds
            return bool(response.read(1))
        except urllib3.exceptions.HTTPError:
            return False
        finally:
            response.close()

    def pod_log(
        self,
        pod: str,
        namespace: str,
        *,
        container: str = "",
        tail: int | None = None,
        since: dt.datetime | None = None,
        previous: bool = False,
    ) -> str:
        """A container's log: its last `tail` lines, or those after `since`; with `previous`, of before its restart."""
        query = {
            "container": container,
            "tailLines": tail,
            "sinceTime": since.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if since else None,
            "previous": "true" if previous else None,
        }
        path = self.path("v1", "Pod", namespace, pod) + "/log"
        text = self.request("GET", path, query={key: value for key, value in query.items() if value})
        return text if isinstance(text, str) else json.dumps(text)


def _refused(status: int, data: bytes, method: str, path: str) -> KubernetesError:
    try:
        document = json.loads(data)
    except ValueError:
        document = {}
    said = document.get("message") or data.decode("utf-8", "replace").strip()[:300] or f"HTTP {status}"
    reason = document.get("reason", "")
    hints = {
        401: "The cluster doesn't accept these credentials: get new ones, then `Lab.connect()` again.",
        403: "This identity may not do that: ask for the permission, or use another kubeconfig context.",
        404: "Apply the step that makes it first: lab.status() shows the steps.",
    }
    namespace = re.search(r"/namespaces/([^/]+)", path)
    known = cause("refusal", said, reason, namespace=namespace[1] if namespace else "") if method != "GET" else None
    hint = known.mend if known and status != 401 else hints.get(status, "")
    return KubernetesError(f"Kubernetes refused {method} {path}: {said}", status=status, reason=reason, hint=hint)


def _root_cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _root_cause(reason)
    text = str(reason or error).rstrip("\"')")
    return text.rsplit(": ", 1)[-1] if "Errno" in text else text
