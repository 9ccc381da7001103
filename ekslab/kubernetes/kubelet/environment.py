"""The environment variables of a container: values, references, services, `$(VAR)` expansion."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ekslab.kubernetes.kubelet.volumes import contents, field_value
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.store import Store

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class ConfigError(Exception):
    """A container can't be created because something it refers to isn't there; the message is the kubelet's."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where the variable exists; `$$` is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def environment(container: Object, pod: Object, store: Store) -> dict[str, str]:
    """The container's variables. Raises `ConfigError` for a missing ConfigMap, Secret or key that isn't optional."""
    namespace = namespace_of(pod)
    services = service_variables(store, namespace, links=bool(pod["spec"].get("enableServiceLinks", True)))
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for key, resource in (("configMapRef", r.CONFIG_MAPS), ("secretRef", r.SECRETS)):
            if key in source:
                found = _contents(store, resource, namespace, source[key])
                variables |= {prefix + name: value.decode(errors="replace") for name, value in found.items()}
    for variable in container.get("env") or ():
        name = variable["name"]
        reference = variable.get("valueFrom")
        if not reference:
            variables[name] = expand(str(variable.get("value", "")), services | variables)
            continue
        value = _referenced(reference, container, pod, store)
        if value is not None:
            variables[name] = value
    return services | variables


def _referenced(reference: Object, container: Object, pod: Object, store: Store) -> str | None:
    if "fieldRef" in reference:
        return field_value(pod, reference["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in reference:
        kind, _, name = str(reference["resourceFieldRef"]["resource"]).partition(".")
        return str(((container.get("resources") or {}).get(kind) or {}).get(name, "0"))
    for key, resource in (("configMapKeyRef", r.CONFIG_MAPS), ("secretKeyRef", r.SECRETS)):
        if key in reference:
            selector = reference[key]
            found = _contents(store, resource, namespace_of(pod), selector)
            if selector["key"] in found:
                return found[selector["key"]].decode(errors="replace")
            if selector.get("optional"):
                return None
            noun = "ConfigMap" if resource is r.CONFIG_MAPS else "Secret"
            raise ConfigError(f"couldn't find key {selector['key']} in {noun} {namespace_of(pod)}/{selector['name']}")
    return None


def _contents(store: Store, resource: Resource, namespace: str, reference: Object) -> dict[str, bytes]:
    obj = store.get(resource, namespace, reference.get("name", ""))
    if obj is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{resource.singular} "{reference.get("name", "")}" not found')
    return contents(resource, obj)


def service_variables(store: Store, namespace: str, *, links: bool) -> dict[str, str]:
    """The variables by which containers find services: always the API's, and with `links` those of the namespace."""
    found = [store.get(r.SERVICES, "default", "kubernetes")]
    if links:
        found += [service for service in store.list(r.SERVICES, namespace) if service is not found[0]]
    variables: dict[str, str] = {}
    for service in found:
        address = (service or {}).get("spec", {}).get("clusterIP", "None")
        ports = (service or {}).get("spec", {}).get("ports") or []
        if service is None or address in ("", "None") or not ports:
            continue
        prefix = name_of(service).upper().replace("-", "_")
        variables[f"{prefix}_SERVICE_HOST"] = address
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        first = ports[0]
        variables[f"{prefix}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{address}:{first['port']}"
        for port in ports:
            protocol = port.get("protocol", "TCP")
            entry = f"{prefix}_PORT_{port['port']}_{protocol}"
            variables[entry] = f"{protocol.lower()}://{address}:{port['port']}"
            variables[f"{entry}_PROTO"] = protocol.lower()
            variables[f"{entry}_PORT"] = str(port["port"])
            variables[f"{entry}_ADDR"] = address
    return variables
