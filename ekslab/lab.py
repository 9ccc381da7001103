"""Assembles the embedded lab: network, nodes with their images, AWS, and the Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ekslab.aws import Aws
from ekslab.aws.lambda_functions import digest
from ekslab.http import HttpRequest, HttpResponse
from ekslab.identity import ServiceAccountIssuer
from ekslab.images import registry
from ekslab.kubernetes import Cluster
from ekslab.kubernetes.apiserver.auth import User
from ekslab.node import Network, Node
from ekslab.noise import Noise
from ekslab.state import Endpoints


class EmbeddedLab:
    """The simulated account and cluster. All of it runs on one event loop."""

    def __init__(
        self, endpoints: Endpoints, issuer: ServiceAccountIssuer, *, nodes: int = 2, functions: Iterable[Path] = ()
    ) -> None:
        self.network = Network()
        images = registry(endpoints.home / "rules")
        addresses = [f"10.0.{index + 1}.{23 * (index + 1)}" for index in range(nodes)]
        self.nodes = [
            Node(f"ip-{ip.replace('.', '-')}.ec2.internal", network=self.network, images=images, ip=ip)
            for ip in addresses
        ]
        self.aws = Aws(
            credentials=endpoints.credentials,
            issuer=issuer,
            region=endpoints.region,
            account_id=endpoints.account_id,
            cluster=endpoints.cluster,
            kubernetes_url=endpoints.kubernetes_url,
            kubernetes_ca=endpoints.certificate.certificate,
            url=endpoints.aws_url,
            trusted_code=[digest(file.read_bytes()) for file in functions],
        )
        self.cluster = Cluster(
            nodes=self.nodes,
            credentials=endpoints.credentials,
            issuer=issuer,
            region=endpoints.region,
            name=endpoints.cluster,
            certificate=endpoints.certificate.certificate,
            aws_user=self._aws_user,
        )
        self.cluster.admission.associated = self.aws.eks.pod_identity.has_association
        self.aws.eks.addons.objects = self.cluster
        self.network.serve("*.amazonaws.com", self.aws.handle)
        self.network.serve("eks-auth.*.api.aws", self._eks_auth)
        self.noise = Noise(self.cluster)

    def _aws_user(self, token: str) -> User | None:
        found = self.aws.eks_user(token)
        if found is None:
            return None
        return User(found.name, (*found.groups, "system:authenticated"), extra=found.extra, grants=found.grants)

    async def _eks_auth(self, request: HttpRequest) -> HttpResponse:
        """EKS Auth, for the agent on a node: only processes in a node's network have the node's credentials."""
        if request.peer not in {node.ip for node in self.nodes}:
            return HttpResponse(403, {"x-amzn-ErrorType": "MissingAuthenticationTokenException"}, b"{}")
        return await self.aws.handle_as_node(request)

    async def start(self) -> None:
        """Start the controllers and kubelets; returns when the cluster accepts requests."""
        await self.cluster.start()

    async def stop(self) -> None:
        await self.noise.stop()
        await self.cluster.stop()

    def describe(self) -> dict[str, Any]:
        """The nodes' names, and each pod's namespace, name and status."""
        return {"nodes": [node.name for node in self.nodes], "pods": self.cluster.describe_pods()}
