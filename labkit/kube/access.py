"""What an identity may do in a cluster: verbs on resources, and reviews that tell whether it may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.kube.objects import WORKLOADS, Object

if TYPE_CHECKING:
    from labkit.kube.client import Client

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# In which a workload's earlier versions are kept.
_VERSIONS = {"Deployment": "replicasets.apps", "DaemonSet": "controllerrevisions.apps"}


@dataclass(frozen=True, order=True)
class Access:
    """One verb on one resource, e.g. `Access("create", "pods/exec", "default")`. No namespace: all, or none has one."""

    verb: str
    resource: str
    """Plural, with its API group (`daemonsets.apps`) and its subresource (`pods/exec`)."""
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f' in {self.namespace}' if self.namespace else ''}"

    @property
    def attributes(self) -> dict[str, str]:
        """As a SelfSubjectAccessReview takes them."""
        whole, _, subresource = self.resource.partition("/")
        resource, _, group = whole.partition(".")
        return {
            "verb": self.verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
        }

    def is_granted(self, client: Client) -> bool:
        """Whether the caller may; the API server asks its authorizers. Raises `KubernetesError`."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": self.attributes},
        }
        return bool(client.request("POST", _REVIEWS, body=review)["status"].get("allowed", False))


EVERYTHING = Access("*", "*.*")
"""What a cluster's administrator may."""


def resource_of(item: Object) -> str:
    """The resource of an object's kind: `daemonsets.apps`."""
    group = item["apiVersion"].rpartition("/")[0]
    return f"{item['kind'].lower()}s{f'.{group}' if group else ''}"


def to_apply(item: Object) -> Iterator[Access]:
    """What applying, reading and deleting an object needs, and waiting until it is rolled out or gone."""
    resource, namespace = resource_of(item), item["metadata"].get("namespace", "")
    # A server-side apply is a patch, which creates what isn't there.
    yield from (Access(verb, resource, namespace) for verb in ("get", "list", "watch", "create", "patch", "delete"))
    if item["kind"] in WORKLOADS.values():
        yield from to_roll_out(item["kind"], namespace)


def to_roll_out(kind: str, namespace: str) -> Iterator[Access]:
    """What waiting for a workload's rollout needs, and to say why it doesn't come about."""
    yield from (Access(verb, "pods", namespace) for verb in ("get", "list", "watch"))
    yield Access("get", "pods/log", namespace)
    yield Access("list", "events", namespace)
    yield from of("get list", ["nodes"])
    if kind in _VERSIONS:
        yield Access("list", _VERSIONS[kind], namespace)


def of(verbs: str, resources: Iterable[str], namespace: str = "") -> Iterator[Access]:
    """Each of the verbs (with spaces between them) on each of the resources."""
    return (Access(verb, resource, namespace) for resource in resources for verb in verbs.split())
