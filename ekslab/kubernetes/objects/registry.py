"""Creates, changes and deletes objects: the only way into the store, for clients and controllers.

It sets identity (name, uid, times, generation) and defaults, admits and validates objects, records field managers, and
removes a deleted object once no finalizer or grace period holds it.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import orjson

from ekslab import names
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.admission import Admission
from ekslab.kubernetes.objects.defaults import drop_empty_metadata, set_defaults
from ekslab.kubernetes.objects.errors import (
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_patch,
    json_kind,
    not_found,
    quoted,
    unsupported_media_type,
)
from ekslab.kubernetes.objects.json_patch import json_patch, unknown_fields
from ekslab.kubernetes.objects.managed_fields import Manager, server_side_apply, track_update
from ekslab.kubernetes.objects.patch import go_map, merge_patch, strategic_merge
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.schema import TypeMismatch, decode
from ekslab.kubernetes.objects.services import keep_given
from ekslab.kubernetes.objects.store import Store
from ekslab.kubernetes.objects.timestamps import rfc3339
from ekslab.kubernetes.objects.validation import formats, validate, wrong_addresses
from ekslab.kubernetes.objects.validation.ephemeral import validate_ephemeral

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_SERVICE_RANGE = ip_network("10.100.0.0/16")
_NODE_PORTS = range(30_000, 32_768)
_PROTECTED_NAMESPACES = ("default", "kube-system", "kube-public")
_DELETED_OBJECT_IS_RETURNED = (r.PODS, r.SERVICES, r.SERVICE_ACCOUNTS, r.PERSISTENT_VOLUME_CLAIMS)
# What the API server puts into the status of a new object; clients insist on these fields.
_FIRST_STATUS: dict[Resource, Object] = {
    r.PODS: {"phase": "Pending"},
    r.NAMESPACES: {"phase": "Active"},
    r.SERVICES: {"loadBalancer": {}},
    r.INGRESSES: {"loadBalancer": {}},
    r.PERSISTENT_VOLUME_CLAIMS: {"phase": "Pending"},
    r.REPLICA_SETS: {"replicas": 0},
    r.DAEMON_SETS: dict.fromkeys(
        ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"), 0
    ),
    r.POD_DISRUPTION_BUDGETS: dict.fromkeys(
        ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"), 0
    ),
}
_SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "selfLink",
)


@dataclass
class Call:
    """How an object is written. `manager` is recorded in managedFields unless it is empty; `warnings` are returned.

    `strict` refuses fields that the kind doesn't have; otherwise they are left out, with a warning unless `lenient`.
    """

    manager: str = ""
    dry_run: bool = False
    force: bool = False
    strict: bool = False
    lenient: bool = False
    warnings: list[str] = field(default_factory=list)


class Registry:
    """Reads and writes of objects, by resource, namespace and name. `clock` gives seconds since the epoch."""

    def __init__(self, store: Store, admission: Admission, clock: Callable[[], float]) -> None:
        self.store = store
        self.clock = clock
        self._admission = admission
        self._generated: Counter[tuple[str, str, str]] = Counter()
        self._created: Counter[tuple[str, str, str]] = Counter()

    def now(self) -> str:
        return rfc3339(self.clock())

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The stored object (not to be changed). Raises a 404 error."""
        obj = self.store.get(resource, namespace, name)
        if obj is None:
            raise not_found(resource, name)
        return obj

    def create(self, resource: Resource, namespace: str, obj: Object, call: Call | None = None) -> Object:
        """Stores a new object and returns it. Raises 404, 409, 403 and 422 errors as the API server does."""
        call = call or Call()
        new = self._complete(resource, namespace, obj, call)
        if call.manager:
            track_update(None, new, Manager(call.manager, "Update", resource.api_version), self.now())
        return self._insert(resource, new, call)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Object,
        call: Call | None = None,
        subresource: str = "",
    ) -> Object:
        """Replaces an object, or only its part `subresource` (`status`, ...). Returns what is stored then."""
        return self._replace(resource, self.get(resource, namespace, name), obj, call or Call(), subresource)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        kind: str,
        patch: Any,
        call: Call | None = None,
        subresource: str = "",
    ) -> tuple[Object, bool]:
        """Applies a patch of the given media type. Returns the object, and whether it is new (apply creates)."""
        call = call or Call()
        old = self.store.get(resource, namespace, name)
        if kind == APPLY_PATCH:
            return self._apply(resource, namespace, name, old, patch, call, subresource)
        if old is None:
            raise not_found(resource, name)
        if kind == JSON_PATCH:
            new = json_patch(old, patch)
        elif patch is None and kind == MERGE_PATCH:
            raise bad_request("Invalid JSON Patch")
        elif not isinstance(patch, dict) and patch is not None:
            said = f"json: cannot unmarshal {json_kind(patch)} into Go value of type map[string]interface {{}}"
            raise bad_request(f"error decoding patch: {said}" if kind == MERGE_PATCH else said)
        elif kind == MERGE_PATCH:
            new = merge_patch(old, patch)
        elif kind == STRATEGIC_MERGE_PATCH:
            new = {**strategic_merge(old, patch or {}), "apiVersion": resource.api_version, "kind": resource.kind}
        else:
            accepted = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH))
            raise unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: " + accepted
            )
        if why := _wrong_patch(resource, kind, patch, new, call):
            printed = go_map(patch) if kind == STRATEGIC_MERGE_PATCH else orjson.dumps(new).decode()
            raise invalid_patch(Cause.invalid("patch", printed, why))
        if not (new.get("metadata") or {}).get("name"):
            raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if (uid := (new.get("metadata") or {}).get("uid")) and uid != old["metadata"]["uid"]:
            raise invalid(resource, name, [Cause.invalid("metadata.uid", uid, "field is immutable")])
        return self._replace(resource, old, new, call, subresource), False

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: Object | None = None,
    ) -> Object:
        """Deletes an object, or marks it as being deleted if finalizers or a grace period hold it.

        `options` are `DeleteOptions`; a dry run changes nothing. Returns the object where the API server does, else a
        `Status` that names it.
        """
        options = options or {}
        dry = dry_run(options.get("dryRun") or ())
        if options.get("propagationPolicy") and options.get("orphanDependents") is not None:
            why = "orphanDependents and deletionPropagation cannot be both set"
            raise _invalid_options(Cause.invalid("propagationPolicy", options["propagationPolicy"], why))
        old = self.get(resource, namespace, name)
        _check_preconditions(resource, old, options.get("preconditions") or {})
        if resource is r.NAMESPACES and name in _PROTECTED_NAMESPACES:
            raise forbidden(resource, name, "this namespace may not be deleted")
        finalizers = _with_propagation(list(old["metadata"].get("finalizers") or ()), _propagation(options), resource)
        grace = _grace_period(resource, old, options)
        held = bool(finalizers) or grace > 0 or bool(resource is r.NAMESPACES and old["spec"].get("finalizers"))
        if not held:
            last = old if dry else self.store.remove(resource, old)
            return last if resource in _DELETED_OBJECT_IS_RETURNED else _deleted(resource, last)
        new = copy.deepcopy(old)
        metadata = new["metadata"]
        if finalizers:
            metadata["finalizers"] = finalizers
        if "deletionTimestamp" not in metadata or grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = rfc3339(self.clock() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if resource.spec_fields:
                metadata["generation"] = metadata.get("generation", 0) + 1
        if resource is r.NAMESPACES:
            new["status"]["phase"] = "Terminating"
        return new if dry or _same(old, new) else self.store.put(resource, new)

    def set_status(self, resource: Resource, obj: Object, status: Object) -> Object:
        """Sets the status of the stored object; does nothing if the object is gone."""
        return self.change(resource, obj, lambda new: new.update(status=status))

    def change(self, resource: Resource, obj: Object, edit: Callable[[Object], object]) -> Object:
        """Stores an edited copy of the stored object; does nothing if the object is gone or the edit changes nothing.

        Unlike `update` it may change status and system metadata, and records no manager.
        """
        old = self.store.get(resource, namespace_of(obj), name_of(obj))
        if old is None or old["metadata"]["uid"] != obj["metadata"]["uid"]:
            return obj
        new = copy.deepcopy(old)
        edit(new)
        if any(old.get(name) != new.get(name) for name in resource.spec_fields):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        return self._store(resource, old, new)

    def _complete(self, resource: Resource, namespace: str, obj: Object, call: Call) -> Object:
        """A copy of `obj` with the metadata and status of a new object, not yet admitted."""
        new = _decoded(resource, obj, call)
        metadata = new.setdefault("metadata", {})
        if resource.namespaced:
            if not metadata.get("namespace"):
                metadata["namespace"] = namespace
            if metadata["namespace"] != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(resource, namespace, metadata["generateName"])
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(name, None)
        name = metadata.get("name", "")
        identity = (resource.qualified, namespace, name)
        metadata["uid"] = names.uid(*identity, self._created[identity] + 1)
        metadata["creationTimestamp"] = self.now()
        if resource.spec_fields:
            metadata["generation"] = 1
        if resource.has_status and resource is not r.NODES:
            new["status"] = copy.deepcopy(_FIRST_STATUS.get(resource, {}))
        return new

    def _generate_name(self, resource: Resource, namespace: str, prefix: str) -> str:
        """The next name with that prefix: the same until an object with it is stored, however often one is refused."""
        key = (resource.qualified, namespace, prefix)
        while True:
            name = prefix[:58] + names.suffix(5, *key, self._generated[key] + 1)
            if (resource.qualified, namespace, name) not in self._created:
                return name
            self._generated[key] += 1

    def _insert(self, resource: Resource, new: Object, call: Call) -> Object:
        name = new["metadata"].get("name", "")
        set_defaults(resource, new)
        self._admission.admit_create(resource, new)
        if resource is r.SERVICES:
            self._check_cluster_ip(new, call)
        if causes := validate(resource, new):
            raise invalid(resource, name, causes)
        drop_empty_metadata(new)
        self._admission.check(resource, new, None, call.warnings)
        if self.store.get(resource, namespace_of(new), name) is not None:
            raise already_exists(resource, name)
        if resource is r.PODS:
            new["status"]["qosClass"] = quality_of_service(new["spec"])
        if resource is r.SERVICES:
            self._give_cluster_ip(new)
        if call.dry_run:
            return new
        self._created[(resource.qualified, namespace_of(new), name)] += 1
        return self.store.put(resource, new)

    def _replace(self, resource: Resource, old: Object, obj: Object, call: Call, subresource: str) -> Object:
        new = self._successor(resource, old, obj, call, subresource)
        if call.manager:
            manager = Manager(call.manager, "Update", resource.api_version, subresource)
            track_update(old, new, manager, self.now())
        return new if call.dry_run else self._store(resource, old, new)

    def _successor(self, resource: Resource, old: Object, obj: Object, call: Call, subresource: str) -> Object:
        """The new state of `old` when a client sends `obj`: checked and completed, not stored."""
        new = _decoded(resource, obj, call)
        name = name_of(old)
        metadata = new.setdefault("metadata", {})
        if metadata.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if metadata.get("namespace", namespace_of(old)) != namespace_of(old):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        _check_preconditions(resource, old, metadata)
        if subresource == "status":
            kept = {k: v for k, v in metadata.items() if k == "managedFields"}
            new = {**copy.deepcopy(old), **({"status": new["status"]} if "status" in new else {})}
            new["metadata"].update(kept)
            return new
        if subresource == "ephemeralcontainers":
            wanted = (new.get("spec") or {}).get("ephemeralContainers") or []
            new = copy.deepcopy(old)
            new["spec"]["ephemeralContainers"] = wanted
            set_defaults(resource, new)
            if ephemeral := list(validate_ephemeral(new, old)):
                raise invalid(resource, name, ephemeral)
            if not wanted:
                del new["spec"]["ephemeralContainers"]
            self._admission.check(resource, new, old, call.warnings)
            return new
        moved = []
        if (time := metadata.get("deletionTimestamp")) and time != old["metadata"].get("deletionTimestamp"):
            moved = [Cause.invalid("metadata.deletionTimestamp", time, "field is immutable")]
        metadata["name"] = name
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if resource.namespaced:
            metadata["namespace"] = namespace_of(old)
        for key in _SYSTEM_METADATA:
            if key in old["metadata"]:
                metadata[key] = old["metadata"][key]
            else:
                metadata.pop(key, None)
        if resource.has_status:
            new["status"] = copy.deepcopy(old.get("status", {}))
        if resource is r.NAMESPACES:
            new["spec"] = copy.deepcopy(old["spec"])
        if resource is r.SERVICES:
            keep_given(new, old)
        set_defaults(resource, new, is_new=False)
        self._admission.admit_update(resource, new, old)
        if resource is r.SERVICES and (causes := wrong_addresses(new)):
            raise invalid(resource, name, causes)
        if causes := [*moved, *validate(resource, new, old)]:
            raise invalid(resource, name, causes)
        if resource is r.SERVICES:
            self._give_cluster_ip(new)
        drop_empty_metadata(new)
        self._admission.check(resource, new, old, call.warnings)
        if any(old.get(key) != new.get(key) for key in resource.spec_fields):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        return new

    def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        old: Object | None,
        patch: Any,
        call: Call,
        subresource: str,
    ) -> tuple[Object, bool]:
        if not isinstance(patch, dict) or not patch.get("apiVersion") or not patch.get("kind"):
            raise bad_request("invalid object type: /, Kind=")
        if not call.manager:
            cause = Cause.required("fieldManager", "is required for apply patch")
            raise invalid(resource, "", [cause])
        applied, unknown = _typed(resource, patch)
        if unknown:
            about = f"{namespace}/{name}; {applied['apiVersion']}, Kind={applied['kind']}"
            said = f"failed to create typed patch object ({about}): .{unknown[0]}: field not declared in schema"
            raise ApiError(500, "InternalError", said)
        metadata = applied.setdefault("metadata", {})
        metadata["name"] = name
        if resource.namespaced:
            metadata["namespace"] = namespace
        complete = partial(set_defaults, resource)
        manager = Manager(call.manager, "Apply", str(applied["apiVersion"]), subresource)
        if old is None:
            if subresource:
                raise not_found(resource, name)
            new = self._complete(resource, namespace, applied, call)
            managed = server_side_apply(None, applied, manager, force=True, now=self.now(), complete=complete)
            new["metadata"]["managedFields"] = managed["metadata"].get("managedFields", [])
            return self._insert(resource, new, call), True
        merged = server_side_apply(old, applied, manager, force=call.force, now=self.now(), complete=complete)
        new = self._successor(resource, old, merged, call, subresource)
        return (new if call.dry_run else self._store(resource, old, new)), False

    def _store(self, resource: Resource, old: Object, new: Object) -> Object:
        metadata = new["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            metadata.pop("finalizers", None)
            waits = metadata.get("deletionGracePeriodSeconds", 0) > 0 if resource is r.PODS else False
            if not waits and not (resource is r.NAMESPACES and new["spec"].get("finalizers")):
                if not _same(old, new):
                    self.store.put(resource, new)
                self.store.remove(resource, new)
                return new
        return old if _same(old, new) else self.store.put(resource, new)

    def _check_cluster_ip(self, service: Object, call: Call) -> None:
        """What can't be allocated is refused before the rest is looked at; a dry run allocates nothing."""
        spec = service["spec"]
        causes = wrong_addresses(service)
        if causes:
            raise invalid(r.SERVICES, service["metadata"].get("name", ""), causes)
        if spec["type"] != "ExternalName":
            if (policy := spec.get("ipFamilyPolicy")) == "RequireDualStack":
                why = "this cluster is not configured for dual-stack services"
                causes.append(Cause.invalid("spec.ipFamilyPolicy", policy, why))
            families = enumerate(spec.get("ipFamilies") or ())
            causes += [
                Cause.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
                for index, family in families
                if family == "IPv6"
            ]
        causes += _twice(spec)
        if not call.dry_run and not causes:
            causes += self._out_of_range(spec)
        if causes:
            raise invalid(r.SERVICES, service["metadata"].get("name", ""), causes)

    def _out_of_range(self, spec: Object) -> list[Cause]:
        causes = []
        address = spec.get("clusterIP", "")
        if address not in ("", "None") and not _is_wrong_address(address):
            why = f"failed to allocate IP {address}: "
            if ip_address(address) not in _SERVICE_RANGE:
                why += (
                    f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {_SERVICE_RANGE}"
                )
                causes.append(Cause.invalid("spec.clusterIPs", [address], why))
            elif any(other["spec"].get("clusterIP") == address for other in self.store.list(r.SERVICES)):
                causes.append(Cause.invalid("spec.clusterIPs", [address], f"{why}provided IP is already allocated"))
        taken = {p.get("nodePort") for other in self.store.list(r.SERVICES) for p in other["spec"].get("ports", ())}
        for index, port in enumerate(spec.get("ports") or () if spec["type"] in ("NodePort", "LoadBalancer") else ()):
            number, place = port.get("nodePort"), f"spec.ports[{index}].nodePort"
            if number and number not in _NODE_PORTS:
                low, high = _NODE_PORTS.start, _NODE_PORTS.stop - 1
                why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
                causes.append(Cause.invalid(place, number, why))
            elif number and number in taken:
                causes.append(Cause.invalid(place, number, "provided port is already allocated"))
        return causes

    def _give_cluster_ip(self, service: Object) -> None:
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            taken = {other["spec"].get("clusterIP") for other in self.store.list(r.SERVICES)}
            attempt = 0
            while True:
                third, fourth = names.digest("cluster-ip", namespace_of(service), name_of(service), attempt)[:2]
                address = f"10.100.{third}.{max(2, min(fourth, 254))}"
                if address not in taken:
                    break
                attempt += 1
            spec["clusterIP"] = address
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec["type"] in ("NodePort", "LoadBalancer"):
            taken = {p.get("nodePort") for other in self.store.list(r.SERVICES) for p in other["spec"].get("ports", ())}
            for port in spec.get("ports") or ():
                number = (
                    30_000
                    + int.from_bytes(
                        names.digest("node-port", namespace_of(service), name_of(service), port["port"])[:2]
                    )
                    % 2_768
                )
                while number in taken:
                    number += 1
                taken.add(port.setdefault("nodePort", number))


def _twice(spec: Object) -> list[Cause]:
    """The node ports that a service asks for twice, for ports of its own that differ."""
    causes: list[Cause] = []
    wanted: dict[int, int] = {}
    for index, port in enumerate(spec.get("ports") or () if spec["type"] in ("NodePort", "LoadBalancer") else ()):
        number = port.get("nodePort")
        if number and wanted.setdefault(number, port.get("port")) != port.get("port"):
            why = "provided port is already allocated"
            causes.append(Cause.invalid(f"spec.ports[{index}].nodePort", number, why))
    return causes


def _is_wrong_address(text: str) -> bool:
    return bool(formats.ip_address(text))


def quality_of_service(spec: Object) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, from requests and limits of cpu and memory."""
    guaranteed, any_set = True, False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        wants = container.get("resources") or {}
        limits, requests = wants.get("limits") or {}, wants.get("requests") or {}
        for name in ("cpu", "memory"):
            any_set = any_set or name in limits or name in requests
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _same(old: Object, new: Object) -> bool:
    """Equal but for the resourceVersion."""
    left = {**old, "metadata": {**old["metadata"], "resourceVersion": ""}}
    right = {**new, "metadata": {**new["metadata"], "resourceVersion": ""}}
    return left == right


def dry_run(values: Iterable[str]) -> bool:
    """Whether `dryRun`, of the query or of `DeleteOptions`, asks for a dry run. Raises a 400 error for other values."""
    values = tuple(values)
    for value in values:
        if value != "All":
            raise bad_request(f'invalid dryRun value "{value}": supported values: "All"')
    return bool(values)


def _invalid_options(cause: Cause) -> ApiError:
    return ApiError(422, "Invalid", f'DeleteOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.detail}')


_SUMMARY = 30  # bytes of a body that a message shows


def check_type(resource: Resource, body: Any) -> None:
    """Whether a body says that it is of that kind, or doesn't say. Raises a 400 error."""
    if why := _untyped(body):
        raise unrecognized(resource.kind, why, orjson.dumps(body))
    if why := _other_type(resource, body):
        version, kind = _type_of(resource, body)
        said = f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a {resource.kind}'
        raise bad_request(f"{said}: {why}")


def _untyped(body: Any) -> str:
    """Why a body can't say of which kind it is; empty if it can."""
    if not isinstance(body, dict):
        struct = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
        return unread(f"json: cannot unmarshal {json_kind(body)} into Go value of type {struct}")
    for name in ("apiVersion", "kind"):
        if not isinstance(body.get(name) or "", str) or body.get(name) in ([], {}, 0, False):
            return unread(f"json: cannot unmarshal {json_kind(body[name])} into Go struct field .{name} of type string")
    version = body.get("apiVersion") or ""
    return f"unexpected GroupVersion string: {version}" if version.count("/") > 1 else ""


def _type_of(resource: Resource, body: Object) -> tuple[str, str]:
    """The version and kind that a body names; what it leaves out is the resource's."""
    version, kind = (str(body.get(name) or getattr(resource, own)) for name, own in _TYPE)
    return version.removeprefix("/"), kind


def _other_type(resource: Resource, body: Object) -> str:
    """Why a body of the kind it names isn't one of the resource's; empty if it is."""
    version, kind = _type_of(resource, body)
    if (version, kind) == (resource.api_version, resource.kind):
        return ""
    if r.by_kind(version, kind) is None:
        return f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
    internal = f"{_PACKAGES.get(resource.group) or resource.group.partition('.')[0]}.{resource.kind}"
    return f"converting ({version.rpartition('/')[2]}.{kind}) to ({internal}): unknown conversion"


_TYPE = (("apiVersion", "api_version"), ("kind", "kind"))
_PACKAGES = {"": "core"}  # of Go, of an API group whose name has another first part


def unread(why: str) -> str:
    """What is said of a body that should be an object in JSON, and isn't for that reason."""
    return f"couldn't get version/kind; json parse error: {why}"


def unrecognized(kind: str, why: str, body: bytes) -> ApiError:
    """A 400 error for a body that is no object. It shows the beginning, of what is no map as hexadecimal digits."""
    text = body[:_SUMMARY].decode(errors="replace") if body.startswith(b"{") else body[:_SUMMARY].hex()
    summary = f"{text} ..." if len(body) > _SUMMARY else text or "<empty>"
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({summary})")


def _check_preconditions(resource: Resource, old: Object, wanted: Object) -> None:
    uid, version = wanted.get("uid"), wanted.get("resourceVersion")
    have = old["metadata"]
    if uid and uid != have["uid"]:
        raise conflict(
            resource,
            name_of(old),
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {have['uid']}",
        )
    if version and version not in ("0", have["resourceVersion"]):
        raise conflict(resource, name_of(old))


def _propagation(options: Object) -> str:
    if options.get("propagationPolicy"):
        return str(options["propagationPolicy"])
    return "Orphan" if options.get("orphanDependents") else "Background"


def _with_propagation(finalizers: list[str], policy: str, resource: Resource) -> list[str]:
    if policy not in ("Background", "Foreground", "Orphan"):
        raise _invalid_options(Cause.unsupported("propagationPolicy", policy, ("Foreground", "Background", "Orphan")))
    wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy)
    kept = [name for name in finalizers if name not in ("foregroundDeletion", "orphan") or name == wanted]
    return [*kept, wanted] if wanted and wanted not in kept and resource is not r.NAMESPACES else kept


def _grace_period(resource: Resource, obj: Object, options: Object) -> int:
    if resource is not r.PODS:
        return 0
    spec, status = obj["spec"], obj.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.get("gracePeriodSeconds")
    return int(spec.get("terminationGracePeriodSeconds", 30) if wanted is None else max(0, wanted))


def _deleted(resource: Resource, obj: Object) -> Object:
    details = {"name": name_of(obj), "kind": resource.plural, "uid": obj["metadata"]["uid"]}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _typed(resource: Resource, obj: Object) -> tuple[Object, list[str]]:
    """The object by its kind's types, and its unknown fields. Raises a 400 error."""
    check_type(resource, obj)
    try:
        return decode(resource, {**obj, "apiVersion": resource.api_version, "kind": resource.kind})
    except TypeMismatch as mismatch:
        raise _unhandled(resource, str(mismatch)) from mismatch


def _decoded(resource: Resource, obj: Object, call: Call) -> Object:
    decoded, unknown = _typed(resource, obj)
    said = [f'unknown field "{path}"' for path in unknown]
    if said and call.strict:
        raise _unhandled(resource, f"strict decoding error: {', '.join(said)}")
    if not call.lenient:
        call.warnings += said
    return decoded


def _wrong_patch(resource: Resource, kind: str, patch: Any, new: Object, call: Call) -> str:
    """Why what a patch makes isn't of the kind, in the words for that kind of patch; empty if it is."""
    extra = [f"json patch unknown field {quoted(path)}" for path in unknown_fields(patch)] if kind == JSON_PATCH else []
    if why := _untyped(new) or _other_type(resource, new):
        return why
    try:
        _, unknown = decode(resource, new)
    except TypeMismatch as mismatch:
        return mismatch.converted if kind == STRATEGIC_MERGE_PATCH else str(mismatch)
    said = [*extra, *(f'unknown field "{path}"' for path in unknown)]
    if said and call.strict:
        return f"strict decoding error: {', '.join(said)}"
    call.warnings += [] if call.lenient else extra
    return ""


def _unhandled(resource: Resource, why: str) -> ApiError:
    kind, version = resource.kind, resource.version
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')
