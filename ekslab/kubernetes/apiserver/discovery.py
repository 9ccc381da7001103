"""Discovery documents (`/api`, `/apis`, `/version`), derived from the table of resources."""

from __future__ import annotations

from ekslab import versions
from ekslab.kubernetes.objects.resources import Object, Resource, groups

_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "binding": ("", "v1", "Binding"),
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
}
_SUBRESOURCE_VERBS = {
    "proxy": ("create", "delete", "get", "patch", "update"),
    "ephemeralcontainers": ("get", "patch", "update"),
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "finalize": ("update",),
    "log": ("get",),
    "exec": ("create", "get"),
    "attach": ("create", "get"),
    "portforward": ("create", "get"),
    "eviction": ("create",),
    "binding": ("create",),
    "token": ("create",),
}


def version() -> Object:
    """`/version`, as an EKS cluster words it."""
    server = versions.KUBERNETES
    major, minor, _ = server.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{server}-eks-3025e55",
        "gitCommit": "6a2a3b8a1c5d8e7f90b1c2d3e4f5061728394a5b",
        "gitTreeState": "clean",
        "buildDate": "2026-05-12T16:02:35Z",
        "goVersion": "go1.24.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def api_versions(address: str) -> Object:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(name: str, version: str) -> Object:
    preferred = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


def api_groups() -> Object:
    """`/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, found[0].version) for name, found in groups().items() if name],
    }


def api_group(name: str) -> Object | None:
    """`/apis/<group>`; None for a group that isn't there."""
    found = groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, found[0].version)} if name and found else None


def api_resources(group: str, version: str) -> Object | None:
    """`/api/v1` and `/apis/<group>/<version>`; None for a version that isn't there."""
    found = [resource for resource in groups().get(group, ()) if resource.version == version]
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for resource in found for entry in _entries(resource)],
    }


def _entries(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for name in resource.subresources:
        sub: Object = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(_SUBRESOURCE_VERBS[name]),
        }
        if name in _SUBRESOURCE_KINDS:
            group, version, kind = _SUBRESOURCE_KINDS[name]
            sub.update(kind=kind, **({"group": group, "version": version} if group else {}))
        entries.append(sub)
    return entries
