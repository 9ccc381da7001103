"""What is in a cluster before anybody uses it: namespaces, roles, the API's own service, and the nodes."""

from __future__ import annotations

from typing import Any

from ekslab import names, versions
from ekslab.kubernetes import resources as r
from ekslab.kubernetes.auth import MASTERS
from ekslab.kubernetes.registry import Registry
from ekslab.kubernetes.resources import Object
from ekslab.kubernetes.timestamps import rfc3339, rfc3339_micro
from ekslab.node import Node
from ekslab.node.procfs import KERNEL_RELEASE

API_ADDRESS = "10.100.0.1"
API_HOST = "kubernetes.default.svc.cluster.local"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_CORE_READ = [
    "configmaps",
    "endpoints",
    "events",
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "pods/log",
    "pods/status",
    "serviceaccounts",
    "services",
]
_CORE_WRITE = [
    "configmaps",
    "events",
    "persistentvolumeclaims",
    "pods",
    "pods/attach",
    "pods/eviction",
    "pods/exec",
    "secrets",
    "serviceaccounts",
    "serviceaccounts/token",
    "services",
]
_APPS = [
    "controllerrevisions",
    "daemonsets",
    "deployments",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
]


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


_VIEW = [
    _rule([""], _CORE_READ, _READ),
    _rule(["apps"], _APPS, _READ),
    _rule(["batch"], ["jobs"], _READ),
    _rule(["networking.k8s.io"], ["ingresses", "networkpolicies"], _READ),
    _rule(["policy"], ["poddisruptionbudgets"], _READ),
]
_EDIT = [
    *_VIEW,
    _rule([""], ["secrets"], _READ),
    _rule([""], _CORE_WRITE, _WRITE),
    _rule(["apps"], _APPS, _WRITE),
    _rule(["batch"], ["jobs"], _WRITE),
    _rule(["networking.k8s.io"], ["ingresses", "networkpolicies"], _WRITE),
    _rule(["policy"], ["poddisruptionbudgets"], _WRITE),
]
_ADMIN = [
    *_EDIT,
    _rule(["rbac.authorization.k8s.io"], ["roles", "rolebindings"], [*_READ, *_WRITE]),
]
_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version"]
_ROLES: dict[str, list[Object]] = {
    "cluster-admin": [
        _rule(["*"], ["*"], ["*"]),
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "admin": _ADMIN,
    "edit": _EDIT,
    "view": _VIEW,
    "system:discovery": [{"nonResourceURLs": [*_PATHS, "/version/"], "verbs": ["get"]}],
    "system:public-info-viewer": [
        {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}
    ],
    "system:basic-user": [
        _rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
        _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ],
    "system:service-account-issuer-discovery": [
        {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]}
    ],
}
_BINDINGS = {
    "cluster-admin": (MASTERS,),
    "system:discovery": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:basic-user": ("system:authenticated",),
}
_PRIORITY_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def seed(registry: Registry) -> None:
    """Makes namespaces, roles and bindings, priority classes and the `kubernetes` service."""
    for name in NAMESPACES:
        registry.create(r.NAMESPACES, "", {"metadata": {"name": name}})
    bootstrapping = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    for name, rules in _ROLES.items():
        registry.create(r.CLUSTER_ROLES, "", {"metadata": {"name": name, "labels": bootstrapping}, "rules": rules})
    for name, groups in _BINDINGS.items():
        subjects = [{"kind": "Group", "name": group} for group in groups]
        binding: Object = {
            "metadata": {"name": name, "labels": bootstrapping},
            "roleRef": {"kind": "ClusterRole", "name": name},
            "subjects": subjects,
        }
        registry.create(r.CLUSTER_ROLE_BINDINGS, "", binding)
    for name, value in _PRIORITY_CLASSES.items():
        registry.create(
            r.PRIORITY_CLASSES,
            "",
            {"metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority"},
        )
    labels = {"component": "apiserver", "provider": "kubernetes"}
    registry.create(
        r.SERVICES,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {
                "clusterIP": API_ADDRESS,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
            },
        },
    )
    registry.create(
        r.ENDPOINTS,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [
                {"addresses": [{"ip": "10.0.0.100"}], "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}
            ],
        },
    )
    registry.create(
        r.ENDPOINT_SLICES,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.100"], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        },
    )


def node_address(node: Node) -> str:
    """The node's address: the one in its name (`ip-10-0-1-23.ec2.internal`), else the one it was given."""
    first = node.name.partition(".")[0]
    parts = first.removeprefix("ip-").split("-")
    if first.startswith("ip-") and len(parts) == 4 and all(part.isdigit() for part in parts):
        return ".".join(parts)
    return node.ip


def register_node(registry: Registry, node: Node, index: int, region: str, account_id: str, cluster: str) -> Object:
    """Makes the Node object and its lease, as a kubelet on an EKS node does."""
    now, address = registry.clock(), node_address(node)
    zone = f"{region}{'abc'[index % 3]}"
    instance = "i-0" + names.hex_id(16, "instance", node.name)
    version = versions.KUBERNETES
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/instance-type": "m5.large",
        "beta.kubernetes.io/os": "linux",
        "eks.amazonaws.com/capacityType": "ON_DEMAND",
        "eks.amazonaws.com/nodegroup": "workshop",
        "failure-domain.beta.kubernetes.io/region": region,
        "failure-domain.beta.kubernetes.io/zone": zone,
        "k8s.io/cloud-provider-aws": names.hex_id(32, "cloud-provider", cluster),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "m5.large",
        "topology.k8s.aws/zone-id": f"use1-az{index % 3 + 1}",
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
    }
    made = registry.create(
        r.NODES,
        "",
        {
            "metadata": {
                "name": node.name,
                "labels": labels,
                "annotations": {
                    "alpha.kubernetes.io/provided-node-ip": address,
                    "node.alpha.kubernetes.io/ttl": "0",
                    "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                },
            },
            "spec": {"providerID": f"aws:///{zone}/{instance}"},
            "status": _status(node.name, address, instance, version, rfc3339(now)),
        },
    )
    registry.create(
        r.LEASES,
        "kube-node-lease",
        {
            "metadata": {
                "name": node.name,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": made["metadata"]["uid"]}
                ],
            },
            "spec": {
                "holderIdentity": node.name,
                "leaseDurationSeconds": 40,
                "renewTime": rfc3339_micro(now),
            },
        },
    )
    return made


def _status(name: str, address: str, instance: str, version: str, now: str) -> dict[str, Any]:
    healthy = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    return {
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "InternalDNS", "address": name},
            {"type": "Hostname", "address": name},
        ],
        "capacity": {
            "cpu": "2",
            "ephemeral-storage": "20893676Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": "7919632Ki",
            "pods": "29",
        },
        "allocatable": {
            "cpu": "1930m",
            "ephemeral-storage": "18181869946",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": "7229456Ki",
            "pods": "29",
        },
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, status, reason, message in healthy
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": names.uid("boot", name),
            "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": KERNEL_RELEASE,
            "kubeProxyVersion": f"v{version}-eks-113cf36",
            "kubeletVersion": f"v{version}-eks-113cf36",
            "machineID": names.hex_id(32, "machine", name),
            "operatingSystem": "linux",
            "osImage": "Amazon Linux 2023.8.20250818",
            "systemUUID": "ec2" + names.uid("system", instance)[3:],
        },
    }
