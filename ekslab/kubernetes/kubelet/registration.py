"""Registers a node: makes its Node object and its lease, as a kubelet on an EKS node does."""

from __future__ import annotations

from typing import Any

from ekslab import names, versions
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.timestamps import rfc3339, rfc3339_micro
from ekslab.node import Node
from ekslab.node.procfs import KERNEL_RELEASE


def node_address(node: Node) -> str:
    """The node's address: the one in its name (`ip-10-0-1-23.ec2.internal`), else the one it was given."""
    first = node.name.partition(".")[0]
    parts = first.removeprefix("ip-").split("-")
    if first.startswith("ip-") and len(parts) == 4 and all(part.isdigit() for part in parts):
        return ".".join(parts)
    return node.ip


def register_node(registry: Registry, node: Node, index: int, region: str, cluster: str) -> Object:
    """Creates both; returns the Node. `index` chooses its availability zone."""
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
