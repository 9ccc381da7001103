"""Validation names each field that is wrong, and says why in the words of Kubernetes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.defaults import set_defaults
from ekslab.kubernetes.objects.resources import Resource
from ekslab.kubernetes.objects.validation import validate

CONTAINER = {"name": "c", "image": "i"}
LABELS = {"app": "web"}


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER | (container or {})], **spec}}


def workload(kind: str = "Deployment", pod_spec: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": pod_spec or {"containers": [CONTAINER]}}
    selector = {"selector": {"matchLabels": LABELS}} if kind != "Job" else {}
    return {"kind": kind, "metadata": {"name": "w", "uid": "u"}, "spec": {**selector, "template": template, **spec}}


def service(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"ports": list(ports), **spec}}


def binding(kind: str, role: str, *subjects: dict[str, Any], name: str = "r") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "b"}, "roleRef": {"kind": role, "name": name}, "subjects": subjects}


def causes(resource: Resource, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """Field and reason of each cause, of objects that have their defaults."""
    obj, old = copy.deepcopy(obj), copy.deepcopy(old)
    set_defaults(resource, obj)
    if old is not None:
        set_defaults(resource, old)
    return [(c.field, c.reason.removeprefix("FieldValue")) for c in validate(resource, obj, old)]


USER = {"kind": "User", "name": "bob"}
ROBOT = {"kind": "ServiceAccount", "name": "robot", "namespace": "n"}


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        (r.PODS, pod()),
        (r.PODS, pod({"ports": [{"containerPort": 65535}], "resources": {"limits": {"cpu": "1.5", "memory": "1Gi"}}})),
        (r.PODS, pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v"}])),
        (r.PODS, pod({"env": [{"name": "my.env-NAME_1", "value": "x"}]}, tolerations=[{"operator": "Exists"}])),
        (r.DEPLOYMENTS, workload()),
        (r.DEPLOYMENTS, workload(replicas=0, strategy={"type": "Recreate"})),
        (r.DEPLOYMENTS, workload(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})),
        (r.DAEMON_SETS, workload("DaemonSet", updateStrategy={"type": "OnDelete"})),
        (r.JOBS, workload("Job", {"containers": [CONTAINER], "restartPolicy": "OnFailure"})),
        (r.CONFIG_MAPS, {"metadata": {"name": "a.b"}, "data": {"k": "x" * 1024 * 1024}}),
        (r.SECRETS, {"metadata": {"name": "s"}, "data": {"k": "dg=="}}),
        (r.SERVICES, service({"port": 80})),
        (r.SERVICES, service({"port": 1, "name": "a"}, {"port": 65535, "name": "b"})),
        (r.SERVICES, service(clusterIP="None")),
        (r.SERVICES, service(type="ExternalName", externalName="example.com")),
        (r.ROLE_BINDINGS, binding("RoleBinding", "Role", USER, ROBOT)),
        (r.ROLE_BINDINGS, binding("RoleBinding", "ClusterRole", {"kind": "Group", "name": "g"})),
        (r.CLUSTER_ROLES, {"metadata": {"name": "system:node"}, "rules": []}),
        (r.NAMESPACES, {"metadata": {"name": "n" * 63}}),
        (
            r.CONFIG_MAPS,
            {"metadata": {"name": "c", "labels": {"a.b/c": "D_e.f", "x": ""}, "annotations": {"A.b/C": ""}}},
        ),
    ],
)
def test_what_is_right_has_no_causes(resource: Resource, obj: dict[str, Any]) -> None:
    assert causes(resource, obj) == []


C, V = "spec.containers[0]", "spec.volumes"


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (r.CONFIG_MAPS, {"metadata": {}}, [("metadata.name", "Required")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "A"}}, [("metadata.name", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "a" * 254}}, [("metadata.name", "Invalid")]),
        (r.NAMESPACES, {"metadata": {"name": "a.b"}}, [("metadata.name", "Invalid")]),
        (r.NAMESPACES, {"metadata": {"name": "n" * 64}}, [(f"metadata.{x}", "Invalid") for x in ("name", "labels")]),
        (r.SERVICES, service({"port": 80}) | {"metadata": {"name": "1a"}}, [("metadata.name", "Invalid")]),
        (r.SERVICES, service({"port": 80}) | {"metadata": {"name": "a" * 64}}, [("metadata.name", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"k": "-x"}}}, [("metadata.labels", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"k": "x" * 64}}}, [("metadata.labels", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"-k": "x"}}}, [("metadata.labels", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "a", "annotations": {"_/k": ""}}}, [("metadata.annotations", "Invalid")]),
        (r.PODS, {"metadata": {"name": "p"}, "spec": {}}, [("spec.containers", "Required")]),
        (r.PODS, pod({"name": ""}), [(f"{C}.name", "Required")]),
        (r.PODS, pod({"name": "a" * 64}), [(f"{C}.name", "Invalid")]),
        (r.PODS, pod(initContainers=[CONTAINER]), [("spec.initContainers[0].name", "Duplicate")]),
        (r.PODS, pod({"image": ""}), [(f"{C}.image", "Required")]),
        (r.PODS, pod({"image": " i"}), [(f"{C}.image", "Invalid")]),
        (r.PODS, pod({"imagePullPolicy": "Often"}), [(f"{C}.imagePullPolicy", "NotSupported")]),
        (r.PODS, pod({"env": [{"name": ""}]}), [(f"{C}.env[0].name", "Required")]),
        (r.PODS, pod({"env": [{"name": "A=B"}]}), [(f"{C}.env[0].name", "Invalid")]),
        (
            r.PODS,
            pod({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            [(f"{C}.env[0].valueFrom", "Invalid")],
        ),
        (
            r.PODS,
            pod({"volumeMounts": [{"mountPath": "/v"}]}),
            [(f"{C}.volumeMounts[0].name", reason) for reason in ("Required", "NotFound")],
        ),
        (r.PODS, pod({"volumeMounts": [{"name": "v", "mountPath": "/"}]}), [(f"{C}.volumeMounts[0].name", "NotFound")]),
        (
            r.PODS,
            pod({"volumeMounts": [{"name": "v"}, {"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/v"}]},
                volumes=[{"name": "v"}]),
            [(f"{C}.volumeMounts[0].mountPath", "Required"), (f"{C}.volumeMounts[2].mountPath", "Invalid")],
        ),
        (r.PODS, pod({"ports": [{"name": "a"}]}), [(f"{C}.ports[0].containerPort", "Required")]),
        (r.PODS, pod({"ports": [{"containerPort": 65536}]}), [(f"{C}.ports[0].containerPort", "Invalid")]),
        (r.PODS, pod({"resources": {"requests": {"cpu": "-1"}}}), [(f"{C}.resources.requests[cpu]", "Invalid")]),
        (r.PODS, pod(volumes=[{"name": ""}]), [(f"{V}[0].name", "Required")]),
        (r.PODS, pod(volumes=[{"name": "V"}]), [(f"{V}[0].name", "Invalid")]),
        (r.PODS, pod(volumes=[{"name": "v"}, {"name": "v"}]), [(f"{V}[1].name", "Duplicate")]),
        (
            r.PODS,
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            [(f"{V}[0].hostPath", "Forbidden")],
        ),
        (r.PODS, pod(volumes=[{"name": "v", "hostPath": {}}]), [(f"{V}[0].hostPath.path", "Required")]),
        (r.PODS, pod(volumes=[{"name": "v", "configMap": {}}]), [(f"{V}[0].configMap.name", "Required")]),
        (r.PODS, pod(volumes=[{"name": "v", "secret": {}}]), [(f"{V}[0].secret.secretName", "Required")]),
        (r.PODS, pod(restartPolicy="Sometimes"), [("spec.restartPolicy", "NotSupported")]),
        (r.PODS, pod(tolerations=[{"key": "a"}, {"key": "b", "operator": "Like"}]),
         [("spec.tolerations[1].operator", "NotSupported")]),
        (r.DEPLOYMENTS, workload(selector=None),
         [("spec.selector", "Required"), ("spec.template.metadata.labels", "Invalid")]),
        (r.DEPLOYMENTS, workload(selector={}), [("spec.selector", "Invalid")]),
        (r.DEPLOYMENTS, workload(replicas=-1), [("spec.replicas", "Invalid")]),
        (
            r.DEPLOYMENTS,
            workload(selector={"matchLabels": {"a": "b"}}),
            [("spec.template.metadata.labels", "Invalid")],
        ),
        (
            r.DEPLOYMENTS,
            workload("Deployment", {"containers": [CONTAINER], "restartPolicy": "Never"}),
            [("spec.template.spec.restartPolicy", "NotSupported")],
        ),
        (r.DEPLOYMENTS, workload(strategy={"type": "Sideways"}), [("spec.strategy", "NotSupported")]),
        (
            r.DEPLOYMENTS,
            workload(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
            [("spec.strategy.rollingUpdate", "Forbidden")],
        ),
        (
            r.DEPLOYMENTS,
            workload(strategy={"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}),
            [("spec.strategy.rollingUpdate.maxUnavailable", "Invalid")],
        ),
        (
            r.DAEMON_SETS,
            workload("DaemonSet", updateStrategy={"type": "Never"}),
            [("spec.updateStrategy", "NotSupported")],
        ),
        (r.JOBS, workload("Job"), [("spec.template.spec.restartPolicy", "Required")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a b": ""}}, [("data[a b]", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "c"}, "binaryData": {"a/b": ""}}, [("binaryData[a/b]", "Invalid")]),
        (r.CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"k": "x" * (1024 * 1024 + 1)}}, [("[]", "TooLong")]),
        (r.SECRETS, {"metadata": {"name": "s"}, "data": {"a b": "dg=="}}, [("data[a b]", "Invalid")]),
        (r.SERVICES, service(), [("spec.ports", "Required")]),
        (r.SERVICES, service({"port": 80}, type="Tunnel"), [("spec.type", "NotSupported")]),
        (r.SERVICES, service({"port": 0, "targetPort": 80}), [("spec.ports[0].port", "Invalid")]),
        (r.SERVICES, service({"port": 65536, "targetPort": 80}), [("spec.ports[0].port", "Invalid")]),
        (r.SERVICES, service({"port": 1, "name": "a"}, {"port": 2}), [("spec.ports[1].name", "Required")]),
        (
            r.SERVICES,
            service({"port": 1, "name": "a"}, {"port": 2, "name": "a"}),
            [("spec.ports[1].name", "Duplicate")],
        ),
        (r.CLUSTER_ROLE_BINDINGS, binding("ClusterRoleBinding", "Role"), [("roleRef.kind", "NotSupported")]),
        (r.ROLE_BINDINGS, binding("RoleBinding", "Role", name=""), [("roleRef.name", "Required")]),
        (
            r.ROLE_BINDINGS,
            binding("RoleBinding", "Role", {"kind": "Robot", "name": "x"}, {"kind": "User"}),
            [("subjects[0].kind", "NotSupported"), ("subjects[1].name", "Required")],
        ),
        (
            r.CLUSTER_ROLE_BINDINGS,
            binding("ClusterRoleBinding", "ClusterRole", {"kind": "ServiceAccount", "name": "x"}),
            [("subjects[0].namespace", "Required")],
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_found(resource: Resource, obj: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert causes(resource, obj) == expected


FIXED = {"metadata": {"name": "c"}, "data": {"k": "1"}, "immutable": True}


@pytest.mark.parametrize(
    ("resource", "old", "new", "expected"),
    [
        (r.PODS, pod(), pod({"image": "other"}), []),
        (r.PODS, pod(), pod(activeDeadlineSeconds=5), []),
        (r.PODS, pod(tolerations=[{"key": "a"}]), pod(tolerations=[{"key": "a"}, {"key": "b"}]), []),
        (r.PODS, pod(tolerations=[{"key": "a"}]), pod(tolerations=[{"key": "b"}]), [("spec.tolerations", "Forbidden")]),
        (r.PODS, pod(), pod({"command": ["x"]}), [("spec", "Forbidden")]),
        (r.PODS, pod(), pod(hostPID=True), [("spec", "Forbidden")]),
        (r.PODS, pod(initContainers=[{"name": "i", "image": "a"}]), pod(),
         [("spec.initContainers", "Forbidden")]),
        (r.DEPLOYMENTS, workload(), workload(replicas=5), []),
        (
            r.DAEMON_SETS,
            workload("DaemonSet"),
            workload("DaemonSet", selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
            [("spec.selector", "Invalid")],
        ),
        (
            r.JOBS,
            workload("Job", {"containers": [CONTAINER], "restartPolicy": "Never"}),
            workload("Job", {"containers": [CONTAINER], "restartPolicy": "OnFailure"}),
            [("spec.template", "Invalid")],
        ),
        (r.CONFIG_MAPS, FIXED, FIXED | {"metadata": {"name": "c", "labels": {"a": "b"}}}, []),
        (r.CONFIG_MAPS, FIXED | {"immutable": False}, FIXED | {"data": {"k": "2"}}, []),
        (r.CONFIG_MAPS, FIXED, FIXED | {"data": {"k": "2"}}, [("data", "Forbidden")]),
        (r.CONFIG_MAPS, FIXED, FIXED | {"immutable": False}, [("immutable", "Forbidden")]),
        (
            r.SECRETS,
            {"metadata": {"name": "s"}, "type": "Opaque"},
            {"metadata": {"name": "s"}, "type": "example.com/mine"},
            [("type", "Invalid")],
        ),
        (
            r.SERVICES,
            service({"port": 80}, clusterIP="10.100.0.2"),
            service({"port": 80}, clusterIP="10.100.0.3"),
            [("spec.clusterIPs[0]", "Invalid")],
        ),
        (r.SERVICES, service({"port": 80}), service({"port": 80}, clusterIP="10.100.0.3"), []),
        (r.ROLE_BINDINGS, binding("RoleBinding", "Role"), binding("RoleBinding", "Role", USER), []),
        (
            r.ROLE_BINDINGS,
            binding("RoleBinding", "Role"),
            binding("RoleBinding", "Role", name="other"),
            [("roleRef", "Invalid")],
        ),
    ],
)  # fmt: skip
def test_fields_that_may_not_change(
    resource: Resource, old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert causes(resource, new, old) == expected


def test_causes_are_worded_as_in_kubernetes() -> None:
    bad = pod({"imagePullPolicy": "Often", "volumeMounts": [{"name": "v", "mountPath": "/v"}]})
    set_defaults(r.PODS, bad)
    assert [cause.detail for cause in validate(r.PODS, bad)] == [
        'Not found: "v"',
        'Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"',
    ]
