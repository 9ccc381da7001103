"""The `proxy` subresource of pods and services: hands an HTTP request on to a port in the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from ekslab.http import HttpRequest, HttpResponse
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError, bad_request
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.node import Network

_OWN = {"authorization", "connection", "content-length", "host", "transfer-encoding", "upgrade"}
_NOT_BACK = {"connection", "content-length", "transfer-encoding"}


async def proxied(
    registry: Registry,
    network: Network,
    resource: Resource,
    namespace: str,
    name: str,
    path: str,
    query: str,
    method: str,
    headers: Mapping[str, str],
    body: bytes,
) -> HttpResponse:
    """The answer of what listens at `[scheme:]name[:port]`, as the path of a request names it.

    Raises 400 and 404 errors, and 503 when nothing answers there.
    """
    scheme, name, port = _parts(name)
    obj = registry.get(resource, namespace, name)
    address, number = _pod(obj, port) if resource is r.PODS else _service(registry, obj, port)
    passed = {key: value for key, value in headers.items() if key.lower() not in _OWN}
    url = f"{scheme or 'http'}://{address}:{number}/{path}" + (f"?{query}" if query else "")
    try:
        answer = await network.http(HttpRequest(method, url, {**passed, "Host": f"{address}:{number}"}, body), 30)
    except (OSError, TimeoutError) as error:
        why = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else "i/o timeout"
        message = f"error trying to reach service: dial tcp {address}:{number}: {why}"
        raise ApiError(503, "ServiceUnavailable", message, {}) from error
    back = {key: value for key, value in answer.headers.items() if key.lower() not in _NOT_BACK}
    return HttpResponse(answer.status, back, answer.body)


def _parts(name: str) -> tuple[str, str, str]:
    parts = name.split(":")
    if len(parts) > 3 or (len(parts) == 3 and parts[0] not in ("", "http", "https")):
        raise bad_request(f'invalid service request "{name}"')
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "", parts[0], parts[1] if len(parts) == 2 else ""


def _pod(pod: Object, port: str) -> tuple[str, int]:
    address = pod.get("status", {}).get("podIP")
    if not address:
        raise ApiError(503, "ServiceUnavailable", "pod doesn't have an address", {})
    ports = [entry for container in pod["spec"]["containers"] for entry in container.get("ports") or ()]
    if port.isdecimal() and len(port) <= 5:
        return str(address), int(port)
    for entry in ports:
        if not port or entry.get("name") == port:
            return str(address), int(entry["containerPort"])
    return str(address), 80


def _service(registry: Registry, service: Object, port: str) -> tuple[str, int]:
    spec, metadata = service["spec"], service["metadata"]
    name = metadata["name"]
    for entry in spec.get("ports") or ():
        if port in (entry.get("name"), str(entry["port"])) or (not port and len(spec["ports"]) == 1):
            break
    else:
        raise ApiError(503, "ServiceUnavailable", f'no service port "{port}" found for service "{name}"', {})
    endpoints = registry.store.get(r.ENDPOINTS, metadata["namespace"], name)
    for subset in (endpoints or {}).get("subsets") or ():
        for target in subset.get("ports") or ():
            if subset.get("addresses") and target.get("name", "") == entry.get("name", ""):
                return str(subset["addresses"][0]["ip"]), int(target["port"])
    raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})
