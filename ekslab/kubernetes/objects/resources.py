"""The table of kinds: discovery, routes and the keys of the store are derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as it travels: JSON."""

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """A kind and what can be done with it.

    `spec_fields` are the top-level fields whose change makes a new `metadata.generation` (empty: the kind has none).
    `selectable` are the field selectors it takes besides `metadata.name` and `metadata.namespace`.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    spec_fields: tuple[str, ...] = ()
    selectable: tuple[str, ...] = ()
    verbs: tuple[str, ...] = field(default=_VERBS)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name that messages use: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


_SPEC = ("spec",)
_RBAC = "rbac.authorization.k8s.io"
_REVIEW = ("create",)

NAMESPACES = Resource(
    "",
    "v1",
    "Namespace",
    "namespaces",
    False,
    ("ns",),
    subresources=("status", "finalize"),
    selectable=("status.phase",),
)
NODES = Resource(
    "", "v1", "Node", "nodes", False, ("no",), subresources=("status",), selectable=("spec.unschedulable",)
)
PODS = Resource(
    "",
    "v1",
    "Pod",
    "pods",
    short_names=("po",),
    categories=("all",),
    subresources=(
        "status",
        "log",
        "exec",
        "attach",
        "portforward",
        "ephemeralcontainers",
        "eviction",
        "binding",
        "proxy",
    ),
    selectable=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
)
SERVICES = Resource(
    "", "v1", "Service", "services", short_names=("svc",), categories=("all",),
    subresources=("status", "proxy"), selectable=("spec.clusterIP", "spec.type"),
)  # fmt: skip
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts", short_names=("sa",), subresources=("token",))
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps", short_names=("cm",))
SECRETS = Resource("", "v1", "Secret", "secrets", selectable=("type",))
EVENTS = Resource(
    "",
    "v1",
    "Event",
    "events",
    short_names=("ev",),
    selectable=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
ENDPOINTS = Resource("", "v1", "Endpoints", "endpoints", short_names=("ep",))
PERSISTENT_VOLUME_CLAIMS = Resource(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), subresources=("status",)
)
LIMIT_RANGES = Resource("", "v1", "LimitRange", "limitranges", short_names=("limits",))
RESOURCE_QUOTAS = Resource(
    "", "v1", "ResourceQuota", "resourcequotas", short_names=("quota",), subresources=("status",)
)
DEPLOYMENTS = Resource(
    "apps", "v1", "Deployment", "deployments", short_names=("deploy",), categories=("all",),
    subresources=("status", "scale"), spec_fields=_SPEC,
)  # fmt: skip
REPLICA_SETS = Resource(
    "apps", "v1", "ReplicaSet", "replicasets", short_names=("rs",), categories=("all",),
    subresources=("status", "scale"), spec_fields=_SPEC, selectable=("status.replicas",),
)  # fmt: skip
DAEMON_SETS = Resource(
    "apps", "v1", "DaemonSet", "daemonsets", short_names=("ds",), categories=("all",),
    subresources=("status",), spec_fields=_SPEC,
)  # fmt: skip
CONTROLLER_REVISIONS = Resource("apps", "v1", "ControllerRevision", "controllerrevisions")
JOBS = Resource(
    "batch", "v1", "Job", "jobs", categories=("all",), subresources=("status",), spec_fields=_SPEC,
    selectable=("status.successful",),
)  # fmt: skip
ROLES = Resource(_RBAC, "v1", "Role", "roles")
ROLE_BINDINGS = Resource(_RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLES = Resource(_RBAC, "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDINGS = Resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False)
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
NETWORK_POLICIES = Resource(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", short_names=("netpol",), spec_fields=_SPEC
)
INGRESSES = Resource(
    "networking.k8s.io", "v1", "Ingress", "ingresses", short_names=("ing",), subresources=("status",), spec_fields=_SPEC
)
POD_DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",), subresources=("status",),
    spec_fields=_SPEC,
)  # fmt: skip
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, short_names=("pc",))
_ADMISSION = "admissionregistration.k8s.io"
MUTATING_WEBHOOK_CONFIGURATIONS = Resource(
    _ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False, spec_fields=("webhooks",)
)
VALIDATING_WEBHOOK_CONFIGURATIONS = Resource(
    _ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False,
    spec_fields=("webhooks",),
)  # fmt: skip
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=_REVIEW
)
SELF_SUBJECT_RULES_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=_REVIEW
)
SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=_REVIEW
)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, verbs=_REVIEW)
SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=_REVIEW
)

RESOURCES: tuple[Resource, ...] = (
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    SELF_SUBJECT_REVIEWS,
    TOKEN_REVIEWS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    JOBS,
    LEASES,
    ENDPOINT_SLICES,
    INGRESSES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    PRIORITY_CLASSES,
)

_READ = ("get", "list")
METRICS: tuple[Resource, ...] = (
    Resource("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", False, verbs=_READ),
    Resource("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", verbs=_READ),
)
"""What a metrics server serves: computed, not stored."""


def _lacked(group: str, version: str, *kinds: str) -> list[Resource]:
    """Kinds written as `Kind plural[,short name ...]`; a leading `+` marks a kind without namespaces."""
    found = []
    for text in kinds:
        kind, _, names = text.removeprefix("+").partition(" ")
        plural, *short = names.split(",")
        found.append(Resource(group, version, kind, plural, not text.startswith("+"), tuple(short)))
    return found


LACKED: tuple[Resource, ...] = (
    *_lacked(
        "", "v1", "+PersistentVolume persistentvolumes,pv", "PodTemplate podtemplates",
        "ReplicationController replicationcontrollers,rc",
    ),
    *_lacked(
        "admissionregistration.k8s.io", "v1", "+ValidatingAdmissionPolicy validatingadmissionpolicies",
        "+ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings",
    ),
    *_lacked("apiextensions.k8s.io", "v1", "+CustomResourceDefinition customresourcedefinitions,crd,crds"),
    *_lacked("apiregistration.k8s.io", "v1", "+APIService apiservices"),
    *_lacked("apps", "v1", "StatefulSet statefulsets,sts"),
    *_lacked("autoscaling", "v2", "HorizontalPodAutoscaler horizontalpodautoscalers,hpa"),
    *_lacked("batch", "v1", "CronJob cronjobs,cj"),
    *_lacked("certificates.k8s.io", "v1", "+CertificateSigningRequest certificatesigningrequests,csr"),
    *_lacked(
        "flowcontrol.apiserver.k8s.io", "v1", "+FlowSchema flowschemas",
        "+PriorityLevelConfiguration prioritylevelconfigurations",
    ),
    *_lacked(
        "networking.k8s.io", "v1", "+IngressClass ingressclasses", "+IPAddress ipaddresses,ip",
        "+ServiceCIDR servicecidrs",
    ),
    *_lacked("node.k8s.io", "v1", "+RuntimeClass runtimeclasses"),
    *_lacked(
        "resource.k8s.io", "v1", "+DeviceClass deviceclasses", "ResourceClaim resourceclaims",
        "ResourceClaimTemplate resourceclaimtemplates", "+ResourceSlice resourceslices",
    ),
    *_lacked(
        "storage.k8s.io", "v1", "+CSIDriver csidrivers", "+CSINode csinodes", "CSIStorageCapacity csistoragecapacities",
        "+StorageClass storageclasses,sc", "+VolumeAttachment volumeattachments",
        "+VolumeAttributesClass volumeattributesclasses",
    ),
)  # fmt: skip
"""What a cluster has and the lab lacks: there is never one, and making one says that it is the lab that lacks it."""


def lacked(resource: Resource) -> str:
    """The message for a kind of `LACKED`."""
    return f"the embedded cluster doesn't emulate {resource.qualified}"


_BY_PATH = {(r.group, r.version, r.plural): r for r in (*RESOURCES, *METRICS, *LACKED)}
_BY_KIND = {(r.api_version, r.kind): r for r in RESOURCES}


def by_path(group: str, version: str, plural: str) -> Resource | None:
    return _BY_PATH.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    return _BY_KIND.get((api_version, kind))


def groups() -> dict[str, list[Resource]]:
    """All resources by API group, in discovery's order; the core group is the empty string."""
    found: dict[str, list[Resource]] = {}
    for resource in (*RESOURCES, *LACKED, *METRICS):
        found.setdefault(resource.group, []).append(resource)
    return found


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    """The object's namespace, empty for a cluster-scoped one."""
    return str(obj["metadata"].get("namespace", ""))


def uid_of(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference of the object's controller, if it has one."""
    for reference in obj["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return dict(reference)
    return None


def owner_reference(resource: Resource, owner: Object) -> dict[str, Any]:
    """The reference with which `owner`'s controller marks what it makes."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }
