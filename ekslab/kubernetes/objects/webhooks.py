"""Admission webhooks: which of them a request goes to, and what becomes of it when one refuses or doesn't answer.

The lab reaches webhooks in its own pods, by their Service, without TLS; it asks nothing outside.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from ekslab import names
from ekslab.http import HttpRequest, HttpResponse
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.json_patch import json_patch
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.selectors import matches
from ekslab.kubernetes.objects.store import Store

Handler = Callable[[HttpRequest], HttpResponse | None]
"""Answers in one step, as admission is one; None if it would take longer."""
_KINDS = {"mutating": r.MUTATING_WEBHOOK_CONFIGURATIONS, "validating": r.VALIDATING_WEBHOOK_CONFIGURATIONS}


_LACK = (
    "the embedded cluster doesn't evaluate matchConditions: it lacks CEL, their language, which a real cluster has. "
    "Leave them out, and say with rules, namespaceSelector and objectSelector what the webhook is asked about"
)


class _Failed(Exception):
    """A webhook could not be asked; the message is what follows `failed to call webhook: `."""


class Webhooks:
    """Asks the webhooks that the cluster's configurations name. `programs` answer at an address and port each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.programs: Sequence[Mapping[tuple[str, int], Handler]] = ()

    def call(self, stage: str, resource: Resource, obj: Object, old: Object | None) -> None:
        """Asks all of a stage (`mutating`, `validating`); raises the error with which a request is refused."""
        if resource in _KINDS.values():
            if any(webhook.get("matchConditions") for webhook in obj.get("webhooks") or ()):
                raise ApiError(501, "NotImplemented", _LACK, {})
            return
        for webhook in self._of(stage, resource, obj, old):
            try:
                self._ask(stage, webhook, resource, obj, old)
            except _Failed as failed:
                if webhook.get("failurePolicy", "Fail") != "Ignore":
                    said = f'failed calling webhook "{webhook["name"]}": failed to call webhook: {failed}'
                    raise ApiError(500, "InternalError", f"Internal error occurred: {said}") from None

    def _of(self, stage: str, resource: Resource, obj: Object, old: Object | None) -> Iterator[Object]:
        operation = "CREATE" if old is None else "UPDATE"
        namespace = obj["metadata"].get("namespace", "")
        space = self._store.get(r.NAMESPACES, "", namespace) if namespace else obj if resource is r.NAMESPACES else None
        for configuration in self._store.list(_KINDS[stage]):
            for webhook in configuration.get("webhooks") or ():
                labels = (space or {}).get("metadata", {}).get("labels") or {}
                if (
                    any(_covers(rule, operation, resource) for rule in webhook.get("rules") or ())
                    and (space is None or matches(webhook.get("namespaceSelector") or {}, labels))
                    and matches(webhook.get("objectSelector") or {}, obj["metadata"].get("labels") or {})
                ):
                    yield webhook

    def _ask(self, stage: str, webhook: Object, resource: Resource, obj: Object, old: Object | None) -> None:
        uid = names.uid("admission", webhook["name"], obj["metadata"].get("uid", ""))
        request = {
            "uid": uid,
            "kind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
            "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
            "name": obj["metadata"].get("name", ""),
            "namespace": obj["metadata"].get("namespace", ""),
            "operation": "CREATE" if old is None else "UPDATE",
            "userInfo": {},
            "object": {"apiVersion": resource.api_version, "kind": resource.kind, **obj},
            "oldObject": old,
            "dryRun": False,
        }
        review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        answer = self._answer(webhook, review)
        response = answer.get("response")
        if not isinstance(response, dict):
            raise _Failed(f"webhook response was absent: {webhook['name']}")
        if not response.get("allowed"):
            raise _denied(webhook["name"], response.get("status") or {})
        if stage == "mutating" and response.get("patch"):
            obj.update(json_patch(obj, orjson.loads(base64.b64decode(response["patch"]))))

    def _answer(self, webhook: Object, review: Object) -> dict[str, Any]:
        target = webhook.get("clientConfig") or {}
        seconds = webhook.get("timeoutSeconds", 10)
        if url := target.get("url"):
            host = urlsplit(url).hostname
            why = f"dial tcp: lookup {host} on 10.0.0.2:53: no such host"
            raise _Failed(f'Post "{url}?timeout={seconds}s": {why}')
        service = target.get("service") or {}
        name, namespace, port = service.get("name", ""), service.get("namespace", ""), int(service.get("port", 443))
        path = "/" + str(service.get("path", "")).lstrip("/")
        post = f'Post "https://{name}.{namespace}.svc:{port}{path}?timeout={seconds}s"'
        found = self._store.get(r.SERVICES, namespace, name)
        if found is None:
            raise _Failed(f'{post}: service "{name}" not found')
        addresses = list(self._addresses(namespace, name))
        if not addresses:
            raise _Failed(f'{post}: no endpoints available for service "{name}"')
        ports = {item["port"]: item.get("targetPort", item["port"]) for item in found["spec"].get("ports") or ()}
        if port not in ports:
            raise _Failed(f"{post}: no service port {port} found for service {name!r}".replace("'", '"'))
        place = addresses[0], int(ports[port]) if str(ports[port]).isdigit() else port
        handler = next((program[place] for program in self.programs if place in program), None)
        if handler is None:
            raise _Failed(f"{post}: dial tcp {addresses[0]}:{ports[port]}: connect: connection refused")
        headers = {"Content-Type": "application/json"}
        asked = HttpRequest("POST", f"https://{name}.{namespace}.svc:{port}{path}", headers, orjson.dumps(review))
        answered = handler(asked)
        if answered is None:
            raise _Failed(f"{post}: context deadline exceeded")
        if answered.status != 200:
            raise _Failed("the server could not find the requested resource" if answered.status == 404 else "an error")
        try:
            document = orjson.loads(answered.body)
        except ValueError:
            document = None
        return document if isinstance(document, dict) else {}

    def _addresses(self, namespace: str, name: str) -> Iterator[str]:
        endpoints = self._store.get(r.ENDPOINTS, namespace, name) or {}
        for subset in endpoints.get("subsets") or ():
            yield from (address["ip"] for address in subset.get("addresses") or ())


def _covers(rule: Object, operation: str, resource: Resource) -> bool:
    def has(field: str, value: str) -> bool:
        return bool({"*", value} & set(rule.get(field) or ()))

    if rule.get("scope", "*") not in ("*", "Namespaced" if resource.namespaced else "Cluster"):
        return False
    named = {"*", "*/*", resource.plural, f"{resource.plural}/*"} & set(rule.get("resources") or ())
    return (
        bool(named)
        and has("operations", operation)
        and has("apiGroups", resource.group)
        and has("apiVersions", resource.version)
    )


def _denied(name: str, status: Object) -> ApiError:
    said = status.get("message") or status.get("reason")
    code = int(status.get("code") or 400)
    denied = f'admission webhook "{name}" denied the request'
    message = f"{denied}: {said}" if said else f"{denied} without explanation"
    return ApiError(code if 400 <= code < 600 else 400, str(status.get("reason") or ""), message)
