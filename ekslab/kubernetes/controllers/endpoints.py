"""Endpoints and EndpointSlices of services, and what kube-proxy and the cluster DNS do for these services."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ekslab.http import Handler, HttpRequest, HttpResponse
from ekslab.kubernetes.controllers.base import Controller, Key, owned_by, ready_since
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of, owner_reference
from ekslab.kubernetes.objects.store import Change
from ekslab.node import Network


class Endpoints(Controller):
    """Also what kube-proxy and the cluster's DNS do: a service's name and address answer with one of its pods."""

    name = "endpoint-controller"

    def __init__(self, registry: Registry, network: Network) -> None:
        super().__init__(registry)
        self._network = network
        self._served: dict[Key, tuple[Object, list[Callable[[], None]]]] = {}
        self._turn: dict[tuple[Key, int], int] = {}

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.SERVICES:
            yield Key.from_object(change.object)
        elif change.resource is r.PODS:
            labels = change.object["metadata"].get("labels") or {}
            for service in self.store.list(r.SERVICES, namespace_of(change.object)):
                selector = service["spec"].get("selector")
                if selector and selector.items() <= labels.items():
                    yield Key.from_object(service)

    def reconcile(self, key: Key) -> None:
        service = self.store.get(r.SERVICES, *key)
        endpoints = self.store.get(r.ENDPOINTS, *key)
        if service is None:
            self._unserve(key)
            if endpoints is not None:
                self.registry.delete(r.ENDPOINTS, *key)
            return
        self._serve(key, service)
        if not service["spec"].get("selector"):
            return
        subsets = self._subsets(service)
        self._slice(key, service, subsets)
        if endpoints is None:
            labels = dict(service["metadata"].get("labels") or {})
            self.registry.create(
                r.ENDPOINTS,
                key.namespace,
                {"metadata": {"name": key.name, **({"labels": labels} if labels else {})}, "subsets": subsets},
            )
        else:
            self.registry.change(r.ENDPOINTS, endpoints, lambda new: new.update(subsets=subsets))

    def _slice(self, key: Key, service: Object, subsets: list[Object]) -> None:
        """The same as an EndpointSlice, which belongs to the service and goes with it."""
        endpoints = [
            {
                "addresses": [address["ip"]],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "nodeName": address["nodeName"],
                "targetRef": address["targetRef"],
            }
            for subset in subsets
            for ready, group in ((True, "addresses"), (False, "notReadyAddresses"))
            for address in subset.get(group, ())
        ]
        ports = [{"name": "", **port} for subset in subsets for port in subset["ports"]]
        known = owned_by(self.store.list(r.ENDPOINT_SLICES, key.namespace), service)
        if known:
            self.registry.change(r.ENDPOINT_SLICES, known[0], lambda new: new.update(endpoints=endpoints, ports=ports))
            return
        metadata = {
            "generateName": f"{key.name}-",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": key.name,
            },
            "ownerReferences": [owner_reference(r.SERVICES, service)],
        }
        self.registry.create(
            r.ENDPOINT_SLICES,
            key.namespace,
            {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports},
        )

    def _subsets(self, service: Object) -> list[Object]:
        addresses: list[Object] = []
        unready: list[Object] = []
        ports: list[Object] = []
        for pod in self._pods(service):
            reference = {
                "kind": "Pod",
                "namespace": namespace_of(pod),
                "name": name_of(pod),
                "uid": pod["metadata"]["uid"],
            }
            address = {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference}
            (addresses if ready_since(pod) else unready).append(address)
            ports = ports or [
                {
                    **({"name": port["name"]} if port.get("name") else {}),
                    "port": number,
                    "protocol": port.get("protocol", "TCP"),
                }
                for port in service["spec"].get("ports") or ()
                if (number := target_port(pod, port)) is not None
            ]
        if not addresses and not unready:
            return []
        subset: Object = {"ports": ports}
        if addresses:
            subset["addresses"] = addresses
        if unready:
            subset["notReadyAddresses"] = unready
        return [subset]

    def _pods(self, service: Object) -> list[Object]:
        selector = service["spec"].get("selector") or {}
        return [
            pod
            for pod in self.store.list(r.PODS, namespace_of(service))
            if pod["status"].get("podIP")
            and selector.items() <= (pod["metadata"].get("labels") or {}).items()
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def _serve(self, key: Key, service: Object) -> None:
        """Makes the service's address and ports lead to its pods."""
        if not service["spec"].get("selector") or service["spec"].get("clusterIP") in (None, "", "None"):
            return
        known = self._served.get(key)
        if known is not None and known[0] == service["spec"]:
            return
        self._unserve(key)
        address = service["spec"]["clusterIP"]
        self._network.add_name(_host(key), address)
        ends = [
            self._network.listen(address, int(port["port"]), self._forwarder(key, port))
            for port in service["spec"].get("ports") or ()
        ]
        self._served[key] = (service["spec"], ends)

    def _unserve(self, key: Key) -> None:
        if key in self._served:
            _, ends = self._served.pop(key)
            for end in ends:
                end()
            self._network.remove_name(_host(key))

    def _forwarder(self, key: Key, port: Object) -> Handler:
        async def forward(request: HttpRequest) -> HttpResponse:
            service = self.store.get(r.SERVICES, *key)
            ready = [pod for pod in self._pods(service) if ready_since(pod)] if service else []
            if not ready:
                raise ConnectionRefusedError(111, "Connection refused")
            turn = self._turn[(key, port["port"])] = self._turn.get((key, port["port"]), -1) + 1
            pod = ready[turn % len(ready)]
            scheme, _, rest = request.url.partition("://")
            path = rest.partition("/")[2]
            url = f"{scheme}://{pod['status']['podIP']}:{target_port(pod, port)}/{path}"
            headers = {"Host": request.host, **request.headers}
            return await self._network.http(HttpRequest(request.method, url, headers, request.body, request.peer))

        return forward


def _host(service: Key) -> str:
    return f"{service.name}.{service.namespace}.svc.cluster.local"


def target_port(pod: Object, port: Object) -> int | None:
    """The number of the pod's port that a service's port leads to; None if the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for own in container.get("ports") or ():
            if own.get("name") == target:
                return int(own["containerPort"])
    return None
