"""ResourceQuota and LimitRange: defaults and bounds of containers, and what a namespace may hold altogether."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import forbidden
from ekslab.kubernetes.objects.quantities import quantity, quantity_text
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.store import Store

_OVER = ("Succeeded", "Failed")
_COMPUTED = ("cpu", "memory", "ephemeral-storage")
_BINARY = ("memory", "storage")
Usage = dict[str, float]


# LimitRange


def default_limits(store: Store, pod: Object) -> None:
    """Gives containers the requests and limits that the namespace's limit ranges have for those that say none."""
    for item in _items(store, pod["metadata"]["namespace"], "Container"):
        for container in _containers(pod["spec"]):
            for key, default in (("limits", item.get("default")), ("requests", item.get("defaultRequest"))):
                for name, amount in (default or {}).items():
                    said = container.setdefault("resources", {}).setdefault(key, {})
                    # A request that isn't said is as high as the limit, where there is one.
                    if key == "requests" and name in container["resources"].get("limits", {}) and name not in said:
                        given = container["resources"]["limits"][name]
                        said[name] = given if name not in (item.get("default") or {}) else amount
                    said.setdefault(name, amount)


def check_limits(store: Store, pod: Object) -> None:
    """Raises the 403 error for a pod with a container below or above what a limit range allows."""
    wrong = []
    for item in _items(store, pod["metadata"]["namespace"], "Container"):
        for container in _containers(pod["spec"]):
            resources = container.get("resources") or {}
            requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
            for name, least in sorted((item.get("min") or {}).items()):
                if name not in requests:
                    wrong.append(f"minimum {name} usage per Container is {least}.  No request is specified")
                elif quantity(requests[name]) < quantity(least):
                    wrong.append(f"minimum {name} usage per Container is {least}, but request is {requests[name]}")
            for name, most in sorted((item.get("max") or {}).items()):
                if name not in limits:
                    wrong.append(f"maximum {name} usage per Container is {most}.  No limit is specified")
                elif quantity(limits[name]) > quantity(most):
                    wrong.append(f"maximum {name} usage per Container is {most}, but limit is {limits[name]}")
    if wrong:
        why = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise forbidden(r.PODS, pod["metadata"].get("name", ""), why)


def _items(store: Store, namespace: str, kind: str) -> list[Object]:
    return [
        item
        for limits in store.list(r.LIMIT_RANGES, namespace)
        for item in limits["spec"].get("limits") or ()
        if item.get("type") == kind
    ]


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


# ResourceQuota


def check_quotas(store: Store, resource: Resource, obj: Object, old: Object | None) -> None:
    """Raises the 403 error for an object with which its namespace would exceed a quota."""
    if not resource.namespaced or resource is r.RESOURCE_QUOTAS:
        return
    quotas = store.list(r.RESOURCE_QUOTAS, obj["metadata"]["namespace"])
    if not quotas:
        return
    name = obj["metadata"].get("name", "")
    before = usage(resource, old) if old is not None else {}
    wanted = {key: amount - before.get(key, 0) for key, amount in usage(resource, obj).items()}
    for quota in quotas:
        if not _in_scope(quota, resource, obj):
            continue
        title, hard = quota["metadata"]["name"], quota["spec"].get("hard") or {}
        if resource is r.PODS and old is None and (lacking := _unsaid(hard, obj)):
            why = "; ".join(f"must specify {key} for: {','.join(names)}" for key, names in lacking.items())
            raise forbidden(resource, name, f"failed quota: {title}: {why}")
        asked = {key: wanted[key] for key in hard if wanted.get(key, 0) > 0}
        used = used_of(store, quota)
        over = sorted(key for key, amount in asked.items() if used[key] + amount > quantity(hard[key]))
        if over:
            lists = (
                ("requested", {key: _text(key, asked[key]) for key in over}),
                ("used", {key: _text(key, used[key]) for key in over}),
                ("limited", {key: hard[key] for key in over}),
            )
            said = ", ".join(f"{word}: {','.join(f'{k}={v}' for k, v in some.items())}" for word, some in lists)
            raise forbidden(resource, name, f"exceeded quota: {title}, {said}")


def status(store: Store, quota: Object) -> Object:
    """A quota's status: what it allows, and what is used of that."""
    hard = dict(quota["spec"].get("hard") or {})
    return {"hard": hard, "used": {key: _text(key, amount) for key, amount in used_of(store, quota).items()}}


def used_of(store: Store, quota: Object) -> Usage:
    """What the namespace has of each thing that the quota is about."""
    namespace = quota["metadata"]["namespace"]
    found: Usage = dict.fromkeys(quota["spec"].get("hard") or {}, 0.0)
    for resource in _counted(found):
        for obj in store.list(resource, namespace):
            if _in_scope(quota, resource, obj):
                for key, amount in usage(resource, obj).items():
                    if key in found:
                        found[key] += amount
    return found


def _counted(keys: Iterable[str]) -> list[Resource]:
    """The kinds that a quota's keys are about."""
    wanted = set()
    for key in keys:
        plural = key.removeprefix("count/")
        if key.startswith("count/") or key in ("configmaps", "pods", "secrets", "persistentvolumeclaims"):
            wanted.add(plural)
        elif key.startswith("services"):
            wanted.add("services")
        else:
            wanted.add("pods")
    return [resource for resource in r.RESOURCES if resource.qualified in wanted and resource.namespaced]


def usage(resource: Resource, obj: Object) -> Usage:
    """What one object counts for, by the keys of quotas."""
    found: Usage = {f"count/{resource.qualified}": 1.0}
    if resource is r.PODS:
        return found | _of_pod(obj) if obj.get("status", {}).get("phase") not in _OVER else found
    if resource is r.SERVICES:
        spec = obj["spec"]
        exposed = (
            spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts") is not False
        )
        found |= {
            "services": 1.0,
            "services.loadbalancers": float(spec.get("type") == "LoadBalancer"),
            "services.nodeports": float(len(spec.get("ports") or ())) if exposed else 0.0,
        }
    elif resource in (r.CONFIG_MAPS, r.SECRETS, r.PERSISTENT_VOLUME_CLAIMS):
        found[resource.plural] = 1.0
    return found


def _of_pod(pod: Object) -> Usage:
    found: Usage = {"pods": 1.0}
    for kind in ("requests", "limits"):
        for name in _COMPUTED:
            amount = _effective(pod["spec"], kind, name)
            found[f"{kind}.{name}"] = amount
            if kind == "requests":
                found[name] = amount
    return found


def _effective(spec: Object, kind: str, name: str) -> float:
    """A pod's request or limit: of all containers together, or of the init container that needs more."""

    def amounts(which: str) -> list[float]:
        resources = [(c.get("resources") or {}).get(kind) or {} for c in spec.get(which) or ()]
        return [quantity(one.get(name, 0)) for one in resources]

    return max(sum(amounts("containers")), *amounts("initContainers"), 0.0)


def _unsaid(hard: Mapping[str, Any], pod: Object) -> dict[str, list[str]]:
    """Requests and limits that a quota is about, and containers that don't say theirs."""
    found: dict[str, list[str]] = {}
    for key in sorted(hard):
        kind, _, name = key.partition(".") if "." in key else ("requests", "", key)
        if kind in ("requests", "limits") and name in _COMPUTED:
            lacking = [
                container["name"]
                for container in _containers(pod["spec"])
                if name not in ((container.get("resources") or {}).get(kind) or {})
            ]
            if lacking:
                found[key] = lacking
    return found


def _in_scope(quota: Object, resource: Resource, obj: Object) -> bool:
    spec = quota["spec"]
    selected = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    selected += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not selected:
        return True
    return resource is r.PODS and all(_has_scope(obj["spec"], one) for one in selected)


def _has_scope(spec: Object, wanted: Mapping[str, Any]) -> bool:
    match wanted.get("scopeName"):
        case "PriorityClass":
            name = spec.get("priorityClassName") or ""
            match wanted.get("operator"):
                case "In":
                    return name in (wanted.get("values") or ())
                case "NotIn":
                    return name not in (wanted.get("values") or ())
                case "DoesNotExist":
                    return not name
            return bool(name)
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort" | "NotBestEffort" as scope:
            says = any((c.get("resources") or {}).get(k) for c in _containers(spec) for k in ("requests", "limits"))
            return bool(says == (scope == "NotBestEffort"))
    return False


def _text(key: str, amount: float) -> str:
    whole = int(amount)
    if key.rpartition(".")[2] in _BINARY and whole == amount:
        for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if whole and whole % size == 0:
                return f"{whole // size}{unit}"
    return quantity_text(f"{round(amount * 1000)}m")
