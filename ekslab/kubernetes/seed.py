"""What a new cluster contains: namespaces, roles and bindings, priority classes and the `kubernetes` service."""

from __future__ import annotations

from ekslab.kubernetes.apiserver.auth import MASTERS
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object

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
    "pods/portforward",
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
    _rule([""], ["pods/attach", "pods/exec", "pods/portforward", "secrets"], _READ),
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
