"""The Pod Security Standards: the violations of a pod, in the admission controller's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object, name_of

LEVELS = ("privileged", "baseline", "restricted")

_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
"""What annotations of AppArmor profiles begin with; a container's name follows."""
_PROFILES = ("", "runtime/default")
_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)")
_REASON = re.compile(r" \(.*\)$")  # what is in parentheses says where

_BASELINE_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
_RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "image",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def level(labels: Mapping[str, str], mode: str) -> tuple[str, str]:
    """The level and version a namespace's labels ask for in a mode (`enforce`, `warn`, `audit`)."""
    wanted = labels.get(f"{_PREFIX}{mode}", "privileged")
    version = labels.get(f"{_PREFIX}{mode}-version", "latest")
    unknown = "restricted" if mode == "enforce" else "privileged"
    return (wanted if wanted in LEVELS else unknown, version if _VERSION.fullmatch(version) else "latest")


def warn_level(labels: Mapping[str, str]) -> tuple[str, str]:
    """The level and version of which clients are warned: without a label, that which is enforced."""
    wanted = level(labels, "warn")
    if f"{_PREFIX}warn" in labels or labels.get(f"{_PREFIX}enforce") not in LEVELS:
        return wanted
    enforced, version = level(labels, "enforce")
    return enforced, wanted[1] if f"{_PREFIX}warn-version" in labels else version


_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


def wrong_labels(labels: Mapping[str, str]) -> list[Cause]:
    """What is wrong with a namespace's labels: a level or a version that there isn't."""
    causes = []
    for mode in ("enforce", "audit", "warn"):
        for name, is_known, why in (
            (f"{_PREFIX}{mode}", LEVELS.__contains__, f"must be one of {', '.join(LEVELS)}"),
            (f"{_PREFIX}{mode}-version", _VERSION.fullmatch, 'must be "latest" or "v1.x"'),
        ):
            if name in labels and not is_known(labels[name]):
                causes.append(Cause.invalid(f"metadata.labels[{name}]", labels[name], why))
    return causes


def is_tighter(new: tuple[str, str], old: tuple[str, str]) -> bool:
    """Whether pods that were allowed may be refused now."""
    if new == old or new[0] == "privileged":
        return False
    return new[1] != old[1] or LEVELS.index(new[0]) > LEVELS.index(old[0])


def violating(namespace: str, wanted: tuple[str, str], pods: Iterable[Object]) -> list[str]:
    """Warnings that name the pods of a namespace that don't meet a level and version."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        if reasons := violations(pod["spec"], wanted[0]):
            found.setdefault(", ".join(_REASON.sub("", reason) for reason in reasons), []).append(name_of(pod))
    if not found:
        return []
    said = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{":".join(wanted)}"'
    lines = []
    for why, names in found.items():
        more = len(names) - 1
        others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
        lines.append(f"{min(names)}{others}: {why}")
    return [said, *sorted(lines)]


def images(spec: Object) -> list[tuple[str, str]]:
    """Containers and their images: a change of these is checked again."""
    return [(container.get("name", ""), container.get("image", "")) for container in _containers(spec)]


def violations(
    spec: Object, wanted: str, annotations: Mapping[str, str] | None = None, *, is_pod: bool = True
) -> list[str]:
    """One sentence per broken rule of a level, in the order in which the controller names them; empty if it is met.

    `annotations` are the pod's or the template's: an AppArmor profile can be there. A pod's is copied into its spec.
    """
    app_armor = partial(_app_armor, annotations=annotations or {}, is_pod=is_pod)
    checks: Iterable[Callable[[Object], str]] = {
        "privileged": (),
        "baseline": (
            app_armor,
            _capabilities_baseline,
            _host_namespaces,
            _host_path,
            _host_ports,
            _privileged,
            _selinux,
            _seccomp_baseline,
            _sysctls,
        ),
        "restricted": (
            app_armor,
            _host_namespaces,
            _host_ports,
            _privileged,
            _selinux,
            _sysctls,
            _privilege_escalation,
            _capabilities_restricted,
            _proc_mount,
            _restricted_volumes,
            _run_as_non_root,
            _run_as_user,
            _seccomp_restricted,
        ),
    }[wanted]
    return [found for check in checks if (found := check(spec))]


def _containers(spec: Object) -> list[Object]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind) or ()]


def _security(container: Object) -> dict[str, Any]:
    return container.get("securityContext") or {}


def _named(noun: str, names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"{noun}{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _host_namespaces(spec: Object) -> str:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return f"host namespaces ({', '.join(used)})" if used else ""


def _host_path(spec: Object) -> str:
    used = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    return f"hostPath volumes ({_named('volume', used)})" if used else ""


def _host_ports(spec: Object) -> str:
    found = [
        (container["name"], [str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")])
        for container in _containers(spec)
    ]
    used = [(name, ports) for name, ports in found if ports]
    if not used:
        return ""
    ports = sorted({port for _, some in used for port in some})
    noun = "hostPorts" if len(ports) > 1 else "hostPort"
    verb = "use" if len(used) > 1 else "uses"
    return f"{noun} ({_named('container', (name for name, _ in used))} {verb} {noun} {', '.join(ports)})"


def _privileged(spec: Object) -> str:
    used = [c["name"] for c in _containers(spec) if _security(c).get("privileged")]
    return f"privileged ({_named('container', used)} must not set securityContext.privileged=true)" if used else ""


def _added(spec: Object, allowed: set[str]) -> tuple[list[str], list[str]]:
    names: list[str] = []
    capabilities: set[str] = set()
    for container in _containers(spec):
        extra = set((_security(container).get("capabilities") or {}).get("add") or ()) - allowed
        if extra:
            names.append(container["name"])
            capabilities |= extra
    return names, sorted(capabilities)


def _listed(capabilities: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in capabilities)


def _capabilities_baseline(spec: Object) -> str:
    names, extra = _added(spec, _BASELINE_CAPABILITIES)
    if not names:
        return ""
    said = f"{_named('container', names)} must not include {_listed(extra)} in securityContext.capabilities.add"
    return f"non-default capabilities ({said})"


def _capabilities_restricted(spec: Object) -> str:
    undropped = [
        c["name"]
        for c in _containers(spec)
        if "ALL" not in ((_security(c).get("capabilities") or {}).get("drop") or ())
    ]
    names, extra = _added(spec, {"NET_BIND_SERVICE"})
    said = []
    if undropped:
        said.append(f'{_named("container", undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if names:
        said.append(
            f"{_named('container', names)} must not include {_listed(extra)} in securityContext.capabilities.add"
        )
    return f"unrestricted capabilities ({'; '.join(said)})" if said else ""


def _seccomp(holder: Object) -> str:
    return str(((holder.get("securityContext") or {}).get("seccompProfile") or {}).get("type", ""))


def _seccomp_baseline(spec: Object) -> str:
    pod = _seccomp(spec) == "Unconfined"
    used = [c["name"] for c in _containers(spec) if _seccomp(c) == "Unconfined"]
    who = " and ".join([*(["pod"] if pod else []), *([_named("container", used)] if used else [])])
    return f'seccompProfile ({who} must not set securityContext.seccompProfile.type to "Unconfined")' if who else ""


def _seccomp_restricted(spec: Object) -> str:
    if said := _seccomp_baseline(spec):
        return said
    used = [c["name"] for c in _containers(spec) if not _seccomp(c)] if not _seccomp(spec) else []
    who = f"pod or {_named('container', used)}" if used else ""
    must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"seccompProfile ({who} {must})" if who else ""


def _setters(spec: Object, is_bad: Callable[[Object], bool]) -> str:
    """The pod and the containers whose security context is bad."""
    used = [container["name"] for container in _containers(spec) if is_bad(_security(container))]
    pod = ["pod"] if is_bad(_security(spec)) else []
    return " and ".join([*pod, *([_named("container", used)] if used else [])])


def _app_armor(spec: Object, annotations: Mapping[str, str], is_pod: bool) -> str:
    named = {key: value for key, value in annotations.items() if key.startswith(_APP_ARMOR)}
    bad = {key: value for key, value in named.items() if value not in _PROFILES and not value.startswith("localhost/")}

    def type_of(holder: Object) -> str:
        copied = bad.get(f"{_APP_ARMOR}{holder.get('name')}") if is_pod else None
        given = (_security(holder).get("appArmorProfile") or {}).get("type", "")
        return given or ("Unconfined" if copied == "unconfined" else "")

    used = [container["name"] for container in _containers(spec) if type_of(container) == "Unconfined"]
    who = ["pod"] if (_security(spec).get("appArmorProfile") or {}).get("type") == "Unconfined" else []
    who += [_named("container", used)] if used else []
    values = ['"Unconfined"'] if who else []
    if bad:
        who.append("annotation" if len(bad) == 1 else "annotations")
        values += [f'"{key}="{value}""' for key, value in sorted(bad.items())]
    noun = "profile" if len(values) == 1 else "profiles"
    said = f"{' and '.join(who)} must not set AppArmor profile type to {', '.join(values)}"
    return f"forbidden AppArmor {noun} ({said})" if who else ""


def _selinux(spec: Object) -> str:
    def is_bad(context: Object) -> bool:
        options = context.get("seLinuxOptions") or {}
        return bool(options.get("type", "") not in _SELINUX_TYPES or options.get("user") or options.get("role"))

    who = _setters(spec, is_bad)
    if not who:
        return ""
    options = [_security(holder).get("seLinuxOptions") or {} for holder in (spec, *_containers(spec))]
    types = sorted({each.get("type", "") for each in options} - _SELINUX_TYPES)
    said = [_named("type", types)] if types else []
    said += [f"{name} may not be set" for name in ("user", "role") if any(each.get(name) for each in options)]
    return f"seLinuxOptions ({who} set forbidden securityContext.seLinuxOptions: {'; '.join(said)})"


def _sysctls(spec: Object) -> str:
    names = [sysctl["name"] for sysctl in _security(spec).get("sysctls") or ()]
    used = [name for name in names if name not in _SYSCTLS]
    return f"forbidden sysctls ({', '.join(used)})" if used else ""


def _proc_mount(spec: Object) -> str:
    used = [c["name"] for c in _containers(spec) if _security(c).get("procMount", "Default") != "Default"]
    must = 'must not set securityContext.procMount to "Unmasked"'
    return f"procMount ({_named('container', used)} {must})" if used else ""


def _privilege_escalation(spec: Object) -> str:
    used = [c["name"] for c in _containers(spec) if _security(c).get("allowPrivilegeEscalation") is not False]
    if not used:
        return ""
    said = f"{_named('container', used)} must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({said})"


def _restricted_volumes(spec: Object) -> str:
    used = [
        (volume["name"], kind)
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in _RESTRICTED_VOLUMES
    ]
    if not used:
        return ""
    kinds = sorted({kind for _, kind in used})
    verb = "use" if len(used) > 1 else "uses"
    noun = "restricted volume types" if len(kinds) > 1 else "restricted volume type"
    said = f"{_named('volume', (name for name, _ in used))} {verb} {noun} {_listed(kinds)}"
    return f"restricted volume types ({said})"


def _run_as_non_root(spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""  # root in there is nobody on the node
    pod = _security(spec).get("runAsNonRoot")
    if who := _setters(spec, lambda context: context.get("runAsNonRoot") is False):
        return f"runAsNonRoot != true ({who} must not set securityContext.runAsNonRoot=false)"
    unset = [c["name"] for c in _containers(spec) if _security(c).get("runAsNonRoot") is None]
    if pod or not unset:
        return ""
    return f"runAsNonRoot != true (pod or {_named('container', unset)} must set securityContext.runAsNonRoot=true)"


def _run_as_user(spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    pod = (spec.get("securityContext") or {}).get("runAsUser") == 0
    used = [c["name"] for c in _containers(spec) if _security(c).get("runAsUser") == 0]
    who = " and ".join([*(["pod"] if pod else []), *([_named("container", used)] if used else [])])
    return f"runAsUser=0 ({who} must not set runAsUser=0)" if who else ""
