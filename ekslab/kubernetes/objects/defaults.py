"""Default values, as the API server sets them.

Each function fills in a new or changed object in place.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, Resource

_VOLUME_MODES = ("configMap", "secret", "projected", "downwardAPI")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_AFFINITY_SECONDS = 10_800
_UNLESS_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")


def set_defaults(resource: Resource, obj: Object, is_new: bool = True) -> None:
    """Fills in what `obj` leaves out."""
    if resource is r.JOBS and is_new:
        _select_own(obj)
    fill = _DEFAULTS.get(resource)
    if fill is not None:
        fill(obj)


def drop_empty_metadata(obj: Object) -> None:
    """Leaves out labels and the like that are empty, of a valid object that is to be stored."""
    for described in (obj, (obj.get("spec") or {}).get("template")):
        metadata = (described or {}).get("metadata") or {}
        for name in _UNLESS_EMPTY:
            if name in metadata and not metadata[name]:
                del metadata[name]


def _default(obj: Object, **values: Any) -> None:
    """Sets what is absent or empty: to the API server text that is empty isn't there."""
    for key, value in values.items():
        if obj.get(key) in (None, "", 0) and obj.get(key) is not False:
            obj[key] = value


def pod_spec(spec: Object) -> None:
    """Defaults common to pods and to pod templates."""
    _default(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for container in _containers(spec):
        _container(container)


def _containers(spec: Object) -> list[Object]:
    return [c for kind in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(kind) or ()]


def _volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for kind in _VOLUME_MODES:
        if isinstance(volume.get(kind), dict):
            volume[kind].setdefault("defaultMode", 420)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if isinstance(volume.get("image"), dict):
        _default(volume["image"], pullPolicy=_pull_policy(str(volume["image"].get("reference", ""))))
    items = [*((volume.get("downwardAPI") or {}).get("items") or ())]
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        items += (source.get("downwardAPI") or {}).get("items") or ()
    for item in items:
        if "fieldRef" in item:
            _default(item["fieldRef"], apiVersion="v1")


_IMAGE = re.compile(
    r"([a-zA-Z0-9][a-zA-Z0-9.-]*(:\d+)?/)?[a-z0-9]+((?:[._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+((?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[\w+.-]+:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def _pull_policy(image: str) -> str:
    if _IMAGE.fullmatch(image) is None:
        return "IfNotPresent"
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2] or ("" if digest else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _container(container: Object) -> None:
    container.setdefault("resources", {})
    _default(
        container,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy=_pull_policy(str(container.get("image", ""))),
    )
    for port in container.get("ports") or ():
        _default(port, protocol="TCP")
    for variable in container.get("env") or ():
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            _default(field, apiVersion="v1")
    handlers = [*(container.get("lifecycle") or {}).values()]
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            _default(probe, **_PROBE)
            handlers.append(probe)
    for handler in handlers:
        if isinstance(handler, dict) and "httpGet" in handler:
            _default(handler["httpGet"], path="/", scheme="HTTP")


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    pod_spec(spec)
    for container in _containers(spec):
        limits = (container.get("resources") or {}).get("limits") or {}
        for name, amount in limits.items():
            container["resources"].setdefault("requests", {}).setdefault(name, amount)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                if port.get("containerPort"):
                    _default(port, hostPort=port["containerPort"])


def _template(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    return spec


def _deployment(obj: Object) -> None:
    spec = _template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    _default(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _replica_set(obj: Object) -> None:
    spec = _template(obj)
    spec.setdefault("replicas", 1)
    labels = spec["template"]["metadata"].get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _daemon_set(obj: Object) -> None:
    spec = _template(obj)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    _default(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _select_own(job: Object) -> None:
    """A new job's pods have labels of their own, by which it selects them."""
    spec, metadata = _template(job), job["metadata"]
    if not metadata.get("uid") or spec.get("manualSelector"):
        return
    uid, name = metadata["uid"], metadata.get("name", "")
    template_labels = spec["template"]["metadata"].setdefault("labels", {})
    for prefix in ("batch.kubernetes.io/", ""):
        template_labels.setdefault(f"{prefix}controller-uid", uid)
        template_labels.setdefault(f"{prefix}job-name", name)
    selected = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selected.setdefault("batch.kubernetes.io/controller-uid", uid)


def _job(obj: Object) -> None:
    spec, metadata = _template(obj), obj["metadata"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("completionMode", "NonIndexed")
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            _default(condition, status="True")
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    if spec["template"]["metadata"].get("labels") and not metadata.get("labels"):
        metadata["labels"] = dict(spec["template"]["metadata"]["labels"])


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _default(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if config.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("ipFamilies", ["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        _default(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or ():
        _default(port, protocol="TCP")
        if port.get("port"):
            _default(port, targetPort=port["port"])


def _secret(obj: Object) -> None:
    _default(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


_CLAIM_SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def _claim(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    source = spec.get("dataSource")
    if source is not None and (source.get("apiGroup") or "", source.get("kind")) not in _CLAIM_SOURCES:
        del spec["dataSource"]  # the API server drops what it can't fill a volume from


def _priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _network_policy(obj: Object) -> None:
    spec = obj.get("spec") or {}
    if spec and not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if "egress" in spec else [])]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _namespace(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _binding(obj: Object) -> None:
    _default(obj.setdefault("roleRef", {}), apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _default(subject, apiGroup="rbac.authorization.k8s.io")


def _event(obj: Object) -> None:
    obj.setdefault("type", "Normal")
    obj.setdefault("source", {})
    for key in ("reportingComponent", "reportingInstance"):
        obj.setdefault(key, "")


_DEFAULTS: dict[Resource, Callable[[Object], None]] = {
    r.PODS: _pod,
    r.DEPLOYMENTS: _deployment,
    r.REPLICA_SETS: _replica_set,
    r.DAEMON_SETS: _daemon_set,
    r.JOBS: _job,
    r.SERVICES: _service,
    r.SECRETS: _secret,
    r.NAMESPACES: _namespace,
    r.PERSISTENT_VOLUME_CLAIMS: _claim,
    r.PRIORITY_CLASSES: _priority_class,
    r.NETWORK_POLICIES: _network_policy,
    r.ROLE_BINDINGS: _binding,
    r.CLUSTER_ROLE_BINDINGS: _binding,
    r.EVENTS: _event,
}
