"""The `Table` form of objects, which `kubectl get` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, Resource, name_of
from ekslab.kubernetes.objects.selectors import selector_text
from ekslab.kubernetes.objects.timestamps import age, parse

Cells = Callable[[Object, float], list[Any]]
_NONE = "<none>"


def table(resource: Resource, objects: Iterable[Object], now: float, *, include: str, revision: str) -> Object:
    """A `Table` of the objects. `include` is `Metadata`, `Object` or `None`: what goes with each row."""
    columns, cells = _TABLES.get(resource, (_COLUMNS_NAME_AGE, _name_age))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": priority,
            }
            for name, priority in columns
        ],
        "rows": [_row(resource, obj, cells(obj, now), include) for obj in objects],
    }


def _row(resource: Resource, obj: Object, cells: list[Any], include: str) -> Object:
    row: Object = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = partial_metadata(obj)
    return row


def partial_metadata(obj: Object) -> Object:
    """Only the object's metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _age(obj: Object, now: float) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _since(timestamp: str | None, now: float) -> str:
    return age(now - parse(timestamp)) if timestamp else "<unknown>"


def _columns(*names: str) -> list[tuple[str, int]]:
    """Column names with their priority; a leading `+` marks one that only `-o wide` shows."""
    return [(name.removeprefix("+"), int(name.startswith("+"))) for name in names]


_COLUMNS_NAME_AGE = _columns("Name", "Age")


def _name_age(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), _age(obj, now)]


def pod_status(pod: Object) -> tuple[str, int, int, int, str]:
    """What kubectl shows of a pod: status word, ready and all containers, restarts, time of the last restart."""
    status, spec = pod.get("status", {}), pod["spec"]
    reason = status.get("reason") or status.get("phase", "Unknown")
    restarts, last_restart = 0, ""
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    sidecar_restarts, last_sidecar_restart = 0, ""
    initializing, ready = False, 0
    for index, container in enumerate(status.get("initContainerStatuses") or []):
        restarts += container.get("restartCount", 0)
        last_restart = max(last_restart, _last_end(container))
        if container.get("name") in sidecars:
            sidecar_restarts += container.get("restartCount", 0)
            last_sidecar_restart = max(last_sidecar_restart, _last_end(container))
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated:
            reason = "Init:" + (terminated.get("reason") or f"ExitCode:{terminated.get('exitCode')}")
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        initializing = True
        break
    if not initializing or _condition(status, "Initialized"):
        restarts, last_restart, running = sidecar_restarts, last_sidecar_restart, False
        for container in reversed(status.get("containerStatuses") or []):
            restarts += container.get("restartCount", 0)
            last_restart = max(last_restart, _last_end(container))
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if waiting and waiting.get("reason"):
                reason = waiting["reason"]
            elif terminated:
                reason = terminated.get("reason") or f"ExitCode:{terminated.get('exitCode')}"
            elif container.get("ready") and state.get("running") is not None:
                running = True
                ready += 1
        if reason == "Completed" and running:
            reason = "Running" if _condition(status, "Ready") else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return reason, ready, len(spec.get("containers") or ()) + len(sidecars), restarts, last_restart


def _last_end(container: Object) -> str:
    """When the container ended before it was restarted; empty if it wasn't."""
    return str(((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "")


def _condition(status: Object, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions") or ())


def _pod(pod: Object, now: float) -> list[Any]:
    reason, ready, total, restarts, last_restart = pod_status(pod)
    status, spec = pod.get("status", {}), pod["spec"]
    shown = f"{restarts} ({_since(last_restart, now)} ago)" if restarts and last_restart else str(restarts)
    gates = spec.get("readinessGates") or ()
    return [
        name_of(pod),
        f"{ready}/{total}",
        reason,
        shown,
        _age(pod, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"0/{len(gates)}" if gates else _NONE,
    ]


def _images(spec: Object) -> tuple[str, str]:
    containers = spec.get("containers") or ()
    return ",".join(c["name"] for c in containers), ",".join(c["image"] for c in containers)


def _deployment(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    names, images = _images(spec["template"]["spec"])
    return [
        name_of(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        str(status.get("updatedReplicas", 0)),
        str(status.get("availableReplicas", 0)),
        _age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    names, images = _images(spec["template"]["spec"])
    return [
        name_of(obj),
        str(spec.get("replicas", 0)),
        str(status.get("replicas", 0)),
        str(status.get("readyReplicas", 0)),
        _age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _daemon_set(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    names, images = _images(spec["template"]["spec"])
    node_selector = spec["template"]["spec"].get("nodeSelector") or {}
    return [
        name_of(obj),
        str(status.get("desiredNumberScheduled", 0)),
        str(status.get("currentNumberScheduled", 0)),
        str(status.get("numberReady", 0)),
        str(status.get("updatedNumberScheduled", 0)),
        str(status.get("numberAvailable", 0)),
        ",".join(f"{k}={v}" for k, v in sorted(node_selector.items())) or _NONE,
        _age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _job(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    names, images = _images(spec["template"]["spec"])
    kinds = [c["type"] for c in status.get("conditions") or () if c["status"] == "True"]
    word = "Complete" if "Complete" in kinds else "Failed" if "Failed" in kinds else "Running"
    duration = ""
    if start := status.get("startTime"):
        end = status.get("completionTime")
        duration = age((parse(end) if end else now) - parse(start))
    return [
        name_of(obj),
        word,
        f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}",
        duration,
        _age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _service(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    ports = []
    for port in spec.get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}")
    external = _NONE
    if spec["type"] == "LoadBalancer":
        external = "<pending>"
    elif spec["type"] == "ExternalName":
        external = spec.get("externalName", _NONE)
    selector = ",".join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items()))
    return [
        name_of(obj),
        spec["type"],
        spec.get("clusterIP") or _NONE,
        external,
        ",".join(ports) or _NONE,
        _age(obj, now),
        selector or _NONE,
    ]


def _node(obj: Object, now: float) -> list[Any]:
    status, labels = obj.get("status", {}), obj["metadata"].get("labels") or {}
    ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "Unknown")
    words = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    if obj.get("spec", {}).get("unschedulable"):
        words += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix)))
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or ()}
    info = status.get("nodeInfo") or {}
    return [
        name_of(obj),
        words,
        roles or _NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"),
        info.get("containerRuntimeVersion", "<unknown>"),
    ]


def _event(obj: Object, now: float) -> list[Any]:
    about = obj["involvedObject"]
    component = (obj.get("source") or {}).get("component") or obj.get("reportingComponent", "")
    host = (obj.get("source") or {}).get("host")
    first, last = obj.get("firstTimestamp"), obj.get("lastTimestamp")
    count = obj.get("count", 1)
    seen = _since(last or obj.get("eventTime"), now)
    if count > 1:
        seen = f"{seen} (x{count} over {_since(first, now)})"
    return [
        seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        obj.get("message", "").strip(),
        _since(first or obj.get("eventTime"), now),
        str(count),
        name_of(obj),
    ]


def _endpoints(obj: Object, now: float) -> list[Any]:
    shown = []
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            shown += [f"{address['ip']}:{port['port']}" for address in subset.get("addresses") or ()]
    more = f" + {len(shown) - 3} more..." if len(shown) > 3 else ""
    return [name_of(obj), (",".join(shown[:3]) + more) or _NONE, _age(obj, now)]


def _endpoint_slice(obj: Object, now: float) -> list[Any]:
    ports = ",".join(str(port["port"]) for port in obj.get("ports") or ()) or "<unset>"
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint["addresses"]]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return [name_of(obj), obj["addressType"], ports, (",".join(addresses[:3]) + more) or "<unset>", _age(obj, now)]


def _role_binding(obj: Object, now: float) -> list[Any]:
    def named(kind: str) -> str:
        found = [s for s in obj.get("subjects") or () if s["kind"] == kind]
        return ",".join(f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"] for s in found)

    reference = obj["roleRef"]
    return [
        name_of(obj),
        f"{reference['kind']}/{reference['name']}",
        _age(obj, now),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]


def _role(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "")]


def _resource_quota(obj: Object, now: float) -> list[Any]:
    status = obj.get("status") or {}
    shown = [
        (key, f"{key}: {status.get('used', {}).get(key, '0')}/{most}") for key, most in status.get("hard", {}).items()
    ]
    requests = ", ".join(text for key, text in sorted(shown) if not key.startswith("limits."))
    return [
        name_of(obj),
        requests,
        ", ".join(text for key, text in sorted(shown) if key.startswith("limits.")),
        _age(obj, now),
    ]


def _controller_revision(obj: Object, now: float) -> list[Any]:
    owner = next(iter(obj["metadata"].get("ownerReferences") or ()), None)
    resource = r.by_kind(owner["apiVersion"], owner["kind"]) if owner else None
    noun = f"{resource.singular}.{resource.group}/{owner['name']}" if resource and owner else _NONE
    return [name_of(obj), noun, str(obj.get("revision", 0)), _age(obj, now)]


def _lease(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), obj.get("spec", {}).get("holderIdentity", ""), _age(obj, now)]


def _network_policy(obj: Object, now: float) -> list[Any]:
    selector = selector_text(obj.get("spec", {}).get("podSelector"))
    return [name_of(obj), selector, _age(obj, now)]


def _disruption_budget(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec", {}), obj.get("status", {})
    return [
        name_of(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        str(status.get("disruptionsAllowed", 0)),
        _age(obj, now),
    ]


def _ingress(obj: Object, now: float) -> list[Any]:
    spec = obj.get("spec", {})
    hosts = ",".join(rule.get("host", "*") for rule in spec.get("rules") or ()) or "*"
    ports = "80, 443" if spec.get("tls") else "80"
    return [name_of(obj), spec.get("ingressClassName") or _NONE, hosts, "", ports, _age(obj, now)]


def _priority_class(obj: Object, now: float) -> list[Any]:
    return [
        name_of(obj),
        str(obj.get("value", 0)),
        str(obj.get("globalDefault", False)).lower(),
        _age(obj, now),
        obj.get("preemptionPolicy", "PreemptLowerPriority"),
    ]


def _volume_claim(obj: Object, now: float) -> list[Any]:
    # Nothing in the lab provides volumes, so a claim stays pending.
    spec, phase = obj.get("spec", {}), obj.get("status", {}).get("phase", "")
    name, mode = spec.get("storageClassName") or "", spec.get("volumeMode", "Filesystem")
    return [name_of(obj), phase, spec.get("volumeName", ""), "", "", name, "<unset>", _age(obj, now), mode]


_WORKLOAD_WIDE = ("+Containers", "+Images", "+Selector")
_BINDING_COLUMNS = _columns("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts")
_TABLES: dict[Resource, tuple[list[tuple[str, int]], Cells]] = {
    r.PODS: (
        _columns("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"),
        _pod,
    ),
    r.DEPLOYMENTS: (
        _columns("Name", "Ready", "Up-to-date", "Available", "Age", *_WORKLOAD_WIDE),
        _deployment,
    ),
    r.REPLICA_SETS: (_columns("Name", "Desired", "Current", "Ready", "Age", *_WORKLOAD_WIDE), _replica_set),
    r.DAEMON_SETS: (
        _columns(
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            *_WORKLOAD_WIDE,
        ),
        _daemon_set,
    ),
    r.JOBS: (_columns("Name", "Status", "Completions", "Duration", "Age", *_WORKLOAD_WIDE), _job),
    r.SERVICES: (_columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"), _service),
    r.NODES: (
        _columns(
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ),
        _node,
    ),
    r.EVENTS: (
        _columns(
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "+Subobject",
            "+Source",
            "Message",
            "+First Seen",
            "+Count",
            "+Name",
        ),
        _event,
    ),
    r.NAMESPACES: (
        _columns("Name", "Status", "Age"),
        lambda obj, now: [name_of(obj), obj["status"]["phase"], _age(obj, now)],
    ),
    r.CONFIG_MAPS: (
        _columns("Name", "Data", "Age"),
        lambda obj, now: [
            name_of(obj),
            str(len(obj.get("data") or ()) + len(obj.get("binaryData") or ())),
            _age(obj, now),
        ],
    ),
    r.SECRETS: (
        _columns("Name", "Type", "Data", "Age"),
        lambda obj, now: [name_of(obj), obj.get("type", ""), str(len(obj.get("data") or ())), _age(obj, now)],
    ),
    r.SERVICE_ACCOUNTS: (
        _columns("Name", "Secrets", "Age"),
        lambda obj, now: [name_of(obj), str(len(obj.get("secrets") or ())), _age(obj, now)],
    ),
    r.PERSISTENT_VOLUME_CLAIMS: (
        _columns(
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "+VolumeMode",
        ),
        _volume_claim,
    ),
    r.ENDPOINTS: (_columns("Name", "Endpoints", "Age"), _endpoints),
    r.ENDPOINT_SLICES: (_columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    r.CONTROLLER_REVISIONS: (_columns("Name", "Controller", "Revision", "Age"), _controller_revision),
    r.LIMIT_RANGES: (_columns("Name", "Created At"), _role),
    r.RESOURCE_QUOTAS: (_columns("Name", "Request", "Limit", "Age"), _resource_quota),
    r.ROLES: (_columns("Name", "Created At"), _role),
    r.CLUSTER_ROLES: (_columns("Name", "Created At"), _role),
    r.ROLE_BINDINGS: (_BINDING_COLUMNS, _role_binding),
    r.CLUSTER_ROLE_BINDINGS: (_BINDING_COLUMNS, _role_binding),
    r.LEASES: (_columns("Name", "Holder", "Age"), _lease),
    r.NETWORK_POLICIES: (_columns("Name", "Pod-Selector", "Age"), _network_policy),
    r.POD_DISRUPTION_BUDGETS: (
        _columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"),
        _disruption_budget,
    ),
    r.INGRESSES: (_columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), _ingress),
    r.PRIORITY_CLASSES: (
        _columns("Name", "Value", "Global-Default", "Age", "+PreemptionPolicy"),
        _priority_class,
    ),
}
