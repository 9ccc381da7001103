"""Builds, starts and stops the parts of a cluster: store, API server, controllers and kubelets."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from ekslab.identity import Credentials, ServerCertificate, ServiceAccountIssuer
from ekslab.kubernetes.apiserver.auth import Authenticator, Authorizer, User
from ekslab.kubernetes.apiserver.reviews import Reviews
from ekslab.kubernetes.apiserver.server import Api
from ekslab.kubernetes.apiserver.tables import pod_status
from ekslab.kubernetes.controllers.base import Controller
from ekslab.kubernetes.controllers.daemonset import DaemonSets
from ekslab.kubernetes.controllers.deployment import Deployments
from ekslab.kubernetes.controllers.endpoints import Endpoints
from ekslab.kubernetes.controllers.garbage import Garbage
from ekslab.kubernetes.controllers.job import Jobs
from ekslab.kubernetes.controllers.namespace import Namespaces
from ekslab.kubernetes.controllers.node import Nodes
from ekslab.kubernetes.controllers.quota import Quotas
from ekslab.kubernetes.controllers.replicaset import ReplicaSets
from ekslab.kubernetes.controllers.scheduler import Scheduler
from ekslab.kubernetes.kubelet.faults import NodeFaults
from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.kubelet.registration import register_node
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.admission import Admission
from ekslab.kubernetes.objects.events import Recorder, forget_old
from ekslab.kubernetes.objects.network_policy import NetworkPolicies
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of
from ekslab.kubernetes.objects.store import Store
from ekslab.kubernetes.objects.timestamps import rfc3339_micro
from ekslab.kubernetes.seed import API_ADDRESS, API_HOST, NAMESPACES, seed
from ekslab.node import Node

_HEARTBEAT_SECONDS = 10.0


class Cluster:
    """An embedded Kubernetes cluster on simulated nodes; everything runs on one event loop.

    `aws_user` gives the user behind a `k8s-aws-v1.` token, None for one that the cluster refuses. `certificate` is the
    PEM certificate of the cluster's CA, which pods get. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        *,
        nodes: Sequence[Node],
        credentials: Credentials,
        issuer: ServiceAccountIssuer,
        region: str = "us-east-1",
        name: str = "falco-workshop",
        aws_user: Callable[[str], User | None] | None = None,
        certificate: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = Store()
        self.admission = Admission(self.store, region)
        self.registry = Registry(self.store, self.admission, clock)
        self.kubelets = {node.name: Kubelet(node, self.registry, issuer, clock) for node in nodes}
        authenticator = Authenticator(self.store, credentials, issuer, aws_user)
        reviews = Reviews(self.registry, authenticator, Authorizer(self.store), issuer, clock)
        self.api = Api(self.registry, reviews, self.kubelets)
        certificate = certificate or ServerCertificate.for_loopback().certificate
        self._namespaces = Namespaces(self.registry, certificate.decode())
        self._networks = list({id(node.network): node.network for node in nodes}.values())
        for network in self._networks:
            network.allows = NetworkPolicies(self.store).allows
        self.admission.webhooks.programs = [network.instant for network in self._networks]
        self._controllers: list[Controller] = [
            self._namespaces,
            Garbage(self.registry),
            Deployments(self.registry),
            ReplicaSets(self.registry),
            DaemonSets(self.registry),
            Jobs(self.registry),
            Quotas(self.registry),
            Nodes(self.registry),
            NodeFaults(self.registry, self.kubelets),
            Scheduler(self.registry),
            *(Endpoints(self.registry, network) for network in self._networks),
        ]
        self._heartbeat: asyncio.Task[None] | None = None
        self._ends: list[Callable[[], None]] = []
        seed(self.registry)
        for namespace in NAMESPACES:
            self._namespaces.provide(namespace)
        for index, node in enumerate(nodes):
            made = register_node(self.registry, node, index, region, name)
            message = f"Node {node.name} event: Registered Node {node.name} in Controller"
            Recorder(self.registry, "node-controller").event(r.NODES, made, "RegisteredNode", message)

    def web_app(self) -> web.Application:
        """The API server, to be served over HTTPS (kubectl sends no token over plain HTTP)."""
        return self.api.web_app()

    async def start(self) -> None:
        """Starts controllers and kubelets; pods in the cluster can reach the API from here on."""
        for controller in self._controllers:
            controller.start()
        for kubelet in self.kubelets.values():
            kubelet.start()
        self._ends = [network.serve(API_HOST, self.api.handle, ip=API_ADDRESS, port=443) for network in self._networks]
        self._heartbeat = asyncio.create_task(self._run_heartbeat())

    async def stop(self) -> None:
        """Stops controllers first, then every container."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for controller in self._controllers:
            controller.stop()
        for end in self._ends:
            end()
        await asyncio.gather(*(kubelet.stop() for kubelet in self.kubelets.values()))

    # Objects that EKS puts into the cluster (`ekslab.aws.eks.addons.Objects`)

    def install(self, item: Mapping[str, Any]) -> None:
        """Makes an object, or replaces the one that is there."""
        resource, namespace, name = _place(item)
        if self.store.get(resource, namespace, name) is not None:
            self.registry.delete(resource, namespace, name)
        self.registry.create(resource, namespace, copy.deepcopy(dict(item)))

    def uninstall(self, item: Mapping[str, Any]) -> None:
        """Deletes an object, if it is there."""
        resource, namespace, name = _place(item)
        if self.store.get(resource, namespace, name) is not None:
            self.registry.delete(resource, namespace, name)

    def unready(self, item: Mapping[str, Any]) -> str:
        """Why a DaemonSet isn't ready; empty if it is."""
        resource, namespace, name = _place(item)
        found = self.store.get(resource, namespace, name)
        status = (found or {}).get("status", {})
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        if found is not None and ready == wanted:
            return ""
        return f"The add-on is unhealthy because it doesn't have the desired number of replicas: {ready} of {wanted}."

    def describe_pods(self) -> list[dict[str, str]]:
        """Namespace, name and status word of each pod."""
        return [
            {"namespace": namespace_of(pod), "name": name_of(pod), "status": pod_status(pod)[0]}
            for pod in self.store.list(r.PODS)
        ]

    async def _run_heartbeat(self) -> None:
        """Renews leases and tokens, and removes old events."""
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            renewal = {"renewTime": rfc3339_micro(self.registry.clock())}
            for lease in self.store.list(r.LEASES, "kube-node-lease"):
                if (kubelet := self.kubelets.get(name_of(lease))) is not None and kubelet.silent:
                    continue
                self.registry.change(r.LEASES, lease, partial(_update_spec, renewal))
            for kubelet in self.kubelets.values():
                kubelet.refresh_volumes()
            forget_old(self.store, self.registry.clock)


def _place(item: Mapping[str, Any]) -> tuple[r.Resource, str, str]:
    """The kind, namespace and name of an object."""
    resource = r.by_kind(item["apiVersion"], item["kind"])
    assert resource is not None
    return resource, item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _update_spec(changes: Object, obj: Object) -> None:
    obj["spec"].update(changes)
