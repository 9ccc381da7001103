"""Tables of pods and pod templates: containers, security contexts, scheduling, DNS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.amounts import container_resource, pod_resource, requirements
from ekslab.kubernetes.objects.validation.metadata import SELECTOR, annotation_map, label_key, labels
from ekslab.kubernetes.objects.validation.printed import internal
from ekslab.kubernetes.objects.validation.references import (
    ALL_KEYS,
    FIELD_OF_VARIABLE,
    KEY,
    RESOURCE_OF_VARIABLE,
)
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Field,
    Place,
    Rule,
    Scope,
    at_least_0,
    between,
    created,
    each,
    each_unplaced,
    equals,
    field,
    fields,
    first,
    forbidden,
    formatted,
    has,
    holds,
    invalid,
    is_unique,
    lacks,
    one_of,
    pointer,
    positive,
    required,
    union,
    when,
    within,
)
from ekslab.kubernetes.objects.validation.volumes import DEVICE, LOCAL_PATH, MOUNT, no_backsteps, volumes

_MAX_INT = 2**31 - 1
_id = between(0, _MAX_INT)
_port = between(1, 65535)
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def port_or_name(value: Any, at: Place, scope: Scope) -> Causes:
    rule = formatted(formats.port_name) if isinstance(value, str) else _port
    return rule(value, at, scope)


# Containers

PORT = fields(
    field("name", first(formatted(formats.port_name), is_unique)),
    required("containerPort", _port),
    field("hostPort", _port),
    required("protocol", one_of(*_PROTOCOLS)),
)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _one_source(value: Object, at: Place, _: Scope) -> Causes:
    count = sum(value.get("valueFrom", {}).get(name) is not None for name in _SOURCES)
    place = str(at.child("valueFrom"))
    if not count:
        listed = f"{', '.join(f'`{name}`' for name in _SOURCES[:-1])} or `{_SOURCES[-1]}`"
        yield Cause.invalid(place, "", f"must specify one of: {listed}")
    elif value.get("value"):
        yield Cause.invalid(place, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield Cause.invalid(place, "", "may not have more than one field specified at a time")


VARIABLE = fields(
    required("name", formatted(formats.environment_name)),
    field(
        "valueFrom",
        fields(
            field("fieldRef", FIELD_OF_VARIABLE),
            field("resourceFieldRef", RESOURCE_OF_VARIABLE),
            field("configMapKeyRef", KEY),
            field("secretKeyRef", KEY),
            field(
                "fileKeyRef",
                fields(
                    required("key", formatted(formats.environment_name)),
                    required("volumeName", formatted(formats.dns_label)),
                    required("path", no_backsteps),
                ),
            ),
        ),
    ),
    when(has("valueFrom"), _one_source),
)


def _one_of_two_sources(value: Object, at: Place, _: Scope) -> Causes:
    count = sum(value.get(name) is not None for name in ("configMapRef", "secretRef"))
    if not count:
        yield Cause.invalid(str(at.above()), "", "must specify one of: `configMapRef` or `secretRef`")
    elif count > 1:
        yield Cause.invalid(str(at.above()), "", "may not have more than one field specified at a time")


VARIABLES_FROM = fields(
    field("prefix", formatted(formats.environment_name)),
    field("configMapRef", ALL_KEYS),
    field("secretRef", ALL_KEYS),
    _one_of_two_sources,
)


def _sleep(value: Object, at: Place, scope: Scope) -> Causes:
    limit, seconds = scope.pod.get("terminationGracePeriodSeconds", 30), value.get("seconds", 0)
    if not 0 <= seconds <= limit:
        why = f"must be non-negative and less than terminationGracePeriodSeconds ({limit})"
        yield Cause.invalid(str(at), seconds, why)


_EXEC = field("exec", fields(required("command")))
_HTTP = field(
    "httpGet",
    fields(
        required("path"),
        field("port", port_or_name, absent=0),
        field("scheme", one_of("HTTP", "HTTPS"), absent=""),
        field(
            "httpHeaders",
            each_unplaced(lambda header, at, scope: formatted(formats.header_name)(header.get("name", ""), at, scope)),
        ),
    ),
)
_TCP = field("tcpSocket", fields(field("port", port_or_name, absent=0)))
_GRPC = field("grpc", fields(field("port", port_or_name, absent=0)))


def _one_handler(*members: Field) -> Rule:
    return union(*members, many="may not specify more than 1 handler type", none="must specify a handler type")


HANDLER = _one_handler(_EXEC, _HTTP, _TCP, field("sleep", _sleep))
PROBE = fields(
    _one_handler(_EXEC, _HTTP, _TCP, _GRPC),
    field("initialDelaySeconds", at_least_0),
    field("timeoutSeconds", at_least_0),
    field("periodSeconds", at_least_0),
    field("successThreshold", at_least_0),
    field("failureThreshold", at_least_0),
    pointer("terminationGracePeriodSeconds", holds(lambda seconds: seconds > 0, "must be greater than 0")),
)
_one_success = field("successThreshold", holds(lambda count: count == 1, "must be 1"), absent=0)
_no_grace = pointer("terminationGracePeriodSeconds", invalid("must not be set for readinessProbes"))

PROBES = (
    field(
        "lifecycle",
        fields(field("postStart", HANDLER), field("preStop", HANDLER)),
    ),
    field("livenessProbe", fields(PROBE, _one_success)),
    field("readinessProbe", fields(PROBE, _no_grace)),
    field("startupProbe", fields(PROBE, _one_success)),
)

_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
SECCOMP = fields(
    required("type", one_of(*_SECCOMP_TYPES), why="type is required when seccompProfile is set"),
    when(
        equals("type", "Localhost"),
        when(
            lacks("localhostProfile"),
            required("localhostProfile", why="must be set when seccomp type is Localhost"),
            otherwise=(pointer("localhostProfile", *LOCAL_PATH),),
        ),
        otherwise=(
            when(
                has("localhostProfile"),
                lambda value, at, _: (
                    Cause.invalid(
                        str(at.child("localhostProfile")),
                        internal("SeccompProfile", value),
                        "can only be set when seccomp type is Localhost",
                    ),
                ),
            ),
        ),
    ),
)
_localhost_needed = "must be set when AppArmor type is Localhost"
APP_ARMOR = when(
    equals("type", "Localhost"),
    required(
        "localhostProfile",
        holds(lambda name: name == name.strip(), "must not be padded with whitespace"),
        why=_localhost_needed,
    ),
    otherwise=(
        when(
            equals("type", "RuntimeDefault", "Unconfined"),
            pointer("localhostProfile", invalid("can only be set when AppArmor type is Localhost")),
            otherwise=(required("type", one_of(*_SECCOMP_TYPES), why="type is required when appArmorProfile is set"),),
        ),
    ),
)


def _unmasked(value: str, at: Place, scope: Scope) -> Causes:
    if value == "Unmasked" and scope.pod.get("hostUsers", True):
        yield Cause.invalid(str(at), value, "`hostUsers` must be false to use `Unmasked`")


def _escalation(value: Object, at: Place, _: Scope) -> Causes:
    if value.get("allowPrivilegeEscalation") is not False:
        return
    wrong = ["`privileged` to true"] if value.get("privileged") else []
    added = (value.get("capabilities") or {}).get("add") or ()
    wrong += ["`capabilities.Add` CAP_SYS_ADMIN" for name in added if name == "CAP_SYS_ADMIN"]
    for what in wrong:
        why = f"cannot set `allowPrivilegeEscalation` to false and {what}"
        yield Cause.invalid(str(at), internal("SecurityContext", value), why)


CONTAINER_SECURITY = fields(
    pointer("runAsUser", _id),
    pointer("runAsGroup", _id),
    pointer("procMount", one_of("Default", "Unmasked"), _unmasked),
    field("seccompProfile", SECCOMP),
    _escalation,
    field("appArmorProfile", APP_ARMOR),
)


def _at_list(rule: Rule) -> Rule:
    """Messages name the list and not the item's field."""
    return lambda value, at, scope: rule(value, at.above(2), scope)


def _resized_once(value: Object, at: Place, scope: Scope) -> Causes:
    seen = scope.seen.setdefault("resourceName", set())
    name = value.get("resourceName", "")
    if name in seen:
        yield Cause.duplicate(str(at), name)
    seen.add(name)


RESIZE = fields(
    _resized_once,
    field(
        "resourceName", _at_list(one_of("cpu", "memory")), needed=lambda _, at, __: (Cause.required(str(at.above(2))),)
    ),
    field(
        "restartPolicy",
        _at_list(one_of("NotRequired", "RestartContainer")),
        needed=lambda _, at, __: (Cause.required(str(at.above(2))),),
    ),
)
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESTART_RULE = fields(
    field("action", one_of("Restart"), absent=""),
    required("exitCodes", fields(field("operator", one_of("In", "NotIn"), absent="")), why="must be specified"),
)
_RESTART = fields(
    when(
        lacks("restartPolicy"),
        when(
            lambda container: bool(container.get("restartPolicyRules")),
            required("restartPolicy", why="must specify restartPolicy when restart rules are used"),
        ),
    ),
    pointer("restartPolicy", one_of(*_RESTART_POLICIES)),
    field("restartPolicyRules", each(_RESTART_RULE)),
)


def _in_container(rule: Rule) -> Rule:
    def check(value: Object, at: Place, scope: Scope) -> Causes:
        before, scope.container = scope.container, value
        causes = list(rule(value, at, scope))
        scope.container = before
        return causes

    return check


CONTAINER = _in_container(
    fields(
        required("name", formatted(formats.dns_label)),
        required("image"),
        required("terminationMessagePolicy", one_of("File", "FallbackToLogsOnError")),
        field("ports", each(PORT)),
        field("env", each(VARIABLE)),
        field("envFrom", each(VARIABLES_FROM)),
        field("volumeMounts", each(MOUNT)),
        field("volumeDevices", each(DEVICE)),
        required("imagePullPolicy", one_of(*_PULL_POLICIES)),
        field("resources", requirements(container_resource)),
        field("resizePolicy", each(RESIZE)),
        field("securityContext", CONTAINER_SECURITY),
    )
)
_of_sidecars = forbidden("may not be set for init containers without restartPolicy=Always")
_is_sidecar = equals("restartPolicy", "Always")
INIT_CONTAINER = fields(
    CONTAINER,
    when(
        _is_sidecar,
        field(
            "restartPolicyRules",
            forbidden("restartPolicyRules are not allowed for init containers with restart policy Always"),
        ),
        otherwise=(when(has("restartPolicy"), _RESTART),),
    ),
    field("name", is_unique),
    when(
        _is_sidecar,
        *PROBES,
        otherwise=[
            field(name, _of_sidecars) for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
        ],
    ),
)
_MAIN_CONTAINER = fields(CONTAINER, field("name", is_unique), *PROBES, _RESTART)


def _host_ports(containers: list[Object], at: Place, _: Scope) -> Causes:
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                yield Cause.duplicate(str(at.item(index).child("ports").item(number).child("hostPort")), text)
            seen.add(text)


def _init_containers(value: list[Object], at: Place, scope: Scope) -> Causes:
    scope.seen = {"name": {container.get("name", "") for container in scope.pod.get("containers") or ()}}
    for index, container in enumerate(value):
        yield from INIT_CONTAINER(container, at.item(index), scope)
        yield from _host_ports([container], at, scope)


def _host_network(pod: Object, at: Place, scope: Scope) -> Causes:
    if not pod.get("hostNetwork"):
        return
    for index, container in enumerate(pod.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            host, inner = port.get("hostPort", 0), port.get("containerPort", 0)
            if (scope.is_pod or host) and host != inner:
                place = at.child("containers").item(index).child("ports").item(number).child("hostPort")
                yield Cause.invalid(str(place), host, "must match `containerPort` when `hostNetwork` is true")


# Scheduling

_values_needed = "must be specified when `operator` is 'In' or 'NotIn'"
_values_unwanted = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_one_value_needed = "must be specified single value when `operator` is 'Lt' or 'Gt'"
_NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_is_operator = "not a valid selector operator"


def _node_expression(*value_rules: Rule) -> Rule:
    return fields(
        when(equals("operator", "In", "NotIn"), required("values", why=_values_needed)),
        when(equals("operator", "Exists", "DoesNotExist"), field("values", forbidden(_values_unwanted))),
        when(
            lambda term: term.get("operator") in ("Gt", "Lt") and len(term.get("values") or ()) != 1,
            lambda _, at, __: (Cause.required(str(at.child("values")), _one_value_needed),),
        ),
        field("operator", holds(lambda name: name in _NODE_OPERATORS, _is_operator), absent=""),
        field("key", label_key, absent=""),
        *(field("values", each(rule)) for rule in value_rules),
    )


_one_name_needed = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
_NODE_FIELD = fields(
    when(
        lambda term: term.get("operator") in ("In", "NotIn") and len(term.get("values") or ()) != 1,
        lambda _, at, __: (Cause.required(str(at.child("values")), _one_name_needed),),
    ),
    field("operator", holds(lambda name: name in ("In", "NotIn"), _is_operator), absent=""),
    when(
        equals("key", "metadata.name"),
        field("values", each(formatted(formats.dns_subdomain))),
        otherwise=(field("key", invalid("not a valid field selector key"), absent=""),),
    ),
)


def _node_term(expression: Rule) -> Rule:
    return fields(field("matchExpressions", each(expression)), field("matchFields", each(_NODE_FIELD)))


_weight = field("weight", within(1, 100, "must be in the range 1-100"), absent=0)
NODE_AFFINITY = fields(
    field(
        "requiredDuringSchedulingIgnoredDuringExecution",
        fields(
            required(
                "nodeSelectorTerms",
                each(_node_term(_node_expression(formatted(formats.label_value)))),
                why="must have at least one node selector term",
            )
        ),
    ),
    field(
        "preferredDuringSchedulingIgnoredDuringExecution",
        each(fields(_weight, field("preference", _node_term(_node_expression()), absent={}))),
    ),
)


def _namespaces(value: list[str], at: Place, scope: Scope) -> Causes:
    for name in value:
        yield from formatted(formats.dns_label)(name, at.above().child("namespace"), scope)


def match_label_keys(*names: str) -> Rule:
    """Keys of labels that are added to a selector: they need one, and may not be in it as well."""

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        selector = value.get("labelSelector")
        for name in names:
            keys = value.get(name) or []
            if keys and selector is None:
                yield Cause.forbidden(str(at.child(name)), "must not be specified when labelSelector is not set")
            elif keys:
                yield from each(label_key)(keys, at.child(name), scope)
        wanted, unwanted = (value.get(name) or [] for name in ("matchLabelKeys", "mismatchLabelKeys"))
        for index, key in enumerate(wanted):
            if key in unwanted:
                place = str(at.child("matchLabelKeys").item(index))
                yield Cause.invalid(place, key, "exists in both matchLabelKeys and mismatchLabelKeys")
        seen = set((selector or {}).get("matchLabels") or ())
        for expression in (selector or {}).get("matchExpressions") or ():
            key = expression.get("key", "")
            if key in wanted and key in seen:
                place = str(at.item(wanted.index(key)))
                yield Cause.invalid(place, key, "exists in both matchLabelKeys and labelSelector")
            seen.add(key)

    return check


_topology_needed = "can not be empty"
_POD_TERM = fields(
    field("labelSelector", SELECTOR),
    field("namespaceSelector", SELECTOR),
    field("namespaces", _namespaces),
    match_label_keys("matchLabelKeys", "mismatchLabelKeys"),
    required("topologyKey", why=_topology_needed),
    field("topologyKey", label_key, absent=""),
)
POD_AFFINITY = fields(
    field("requiredDuringSchedulingIgnoredDuringExecution", each(_POD_TERM)),
    field(
        "preferredDuringSchedulingIgnoredDuringExecution",
        each(fields(_weight, field("podAffinityTerm", _POD_TERM, absent={}))),
    ),
)

_all_keys = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'


def _toleration_value(value: Object, at: Place, _: Scope) -> Causes:
    place, text = str(at.child("operator")), value.get("value", "")
    match value.get("operator", ""):
        case "" | "Equal":
            if wrong := formats.label_value(text):
                yield Cause.invalid(place, text, ";".join(wrong))
        case "Exists":
            if text:
                yield Cause.invalid(place, text, "value must be empty when `operator` is 'Exists'")
        case other:
            yield Cause.unsupported(place, other, ("Equal", "Exists"))


TOLERATION = fields(
    field("key", label_key),
    when(
        lambda value: not value.get("key") and value.get("operator") != "Exists",
        lambda value, at, _: (Cause.invalid(str(at.child("operator")), value.get("operator", ""), _all_keys),),
    ),
    when(
        lambda value: value.get("tolerationSeconds") is not None and value.get("effect") != "NoExecute",
        lambda value, at, _: (
            Cause.invalid(
                str(at.child("effect")),
                value.get("effect", ""),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ),
        ),
    ),
    _toleration_value,
    field("effect", one_of("NoSchedule", "PreferNoSchedule", "NoExecute")),
)


def _spread_once(constraints: list[Object], at: Place, index: int) -> Causes:
    def key(constraint: Object) -> tuple[str, str]:
        return constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")

    if any(key(constraints[index]) == key(other) for other in constraints[index + 1 :]):
        topology, action = key(constraints[index])
        yield Cause.duplicate(str(at.child("{topologyKey, whenUnsatisfiable}")), f"{{{topology}, {action}}}")


def _min_domains(value: Object, at: Place, scope: Scope) -> Causes:
    count, action = value.get("minDomains"), value.get("whenUnsatisfiable", "")
    if count is None:
        return
    place = at.child("minDomains")
    yield from positive(count, place, scope)
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        yield Cause.invalid(str(place), count, why)


_SPREAD_FIRST = fields(
    field("maxSkew", positive, absent=0),
    required("topologyKey", why=_topology_needed),
    field("whenUnsatisfiable", one_of("DoNotSchedule", "ScheduleAnyway"), absent=""),
)
_SPREAD_THEN = fields(
    _min_domains,
    pointer("nodeAffinityPolicy", one_of("Honor", "Ignore")),
    pointer("nodeTaintsPolicy", one_of("Honor", "Ignore")),
    match_label_keys("matchLabelKeys"),
    field("labelSelector", SELECTOR),
)


def _spread(value: list[Object], at: Place, scope: Scope) -> Causes:
    for index, constraint in enumerate(value):
        place = at.item(index)
        yield from _SPREAD_FIRST(constraint, place, scope)
        yield from _spread_once(value, place, index)
        yield from _SPREAD_THEN(constraint, place, scope)


# The pod

SYSCTL = fields(
    required("name", first(formatted(formats.sysctl_name), is_unique)),
)
POD_SECURITY = fields(
    pointer("fsGroup", _id),
    pointer("runAsUser", _id),
    pointer("runAsGroup", _id),
    field("supplementalGroups", each(_id)),
    field("sysctls", each(SYSCTL)),
    pointer("fsGroupChangePolicy", one_of("Always", "OnRootMismatch")),
    field("seccompProfile", SECCOMP),
    field("appArmorProfile", APP_ARMOR),
    pointer("supplementalGroupsPolicy", one_of("Merge", "Strict")),
    pointer("seLinuxChangePolicy", one_of("Recursive")),
)


_SYSCTLS_OF_HOST = (
    ("hostNetwork", ("net.",)),
    ("hostIPC", ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")),
)


def _host_sysctls(pod: Object, at: Place, _: Scope) -> Causes:
    for index, sysctl in enumerate((pod.get("securityContext") or {}).get("sysctls") or ()):
        name = sysctl.get("name", "")
        for option, prefixes in _SYSCTLS_OF_HOST:
            if pod.get(option) and name.replace("/", ".").startswith(prefixes):
                place = at.child("securityContext").child("sysctls").item(index).child("name")
                yield Cause.invalid(str(place), name, f"may not be specified when '{option}' is true")


def _shared_processes(pod: Object, at: Place, _: Scope) -> Causes:
    if pod.get("hostPID") and pod.get("shareProcessNamespace"):
        place = str(at.child("securityContext").child("shareProcessNamespace"))
        yield Cause.invalid(place, True, "ShareProcessNamespace and HostPID cannot both be enabled")


def _host_users(pod: Object, at: Place, _: Scope) -> Causes:
    if pod.get("hostUsers") is False:
        for name, said in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
            if pod.get(name):
                yield Cause.forbidden(str(at.child(said)), "when `hostUsers` is false")


_NAMESERVERS, _SEARCHES, _SEARCH_CHARACTERS = 3, 32, 2048
_no_dns = "must provide `dnsConfig` when `dnsPolicy` is None"
_no_nameserver = "must provide at least one DNS nameserver when `dnsPolicy` is None"
_DNS_CONFIG = fields(
    field(
        "nameservers",
        holds(lambda value: len(value) <= _NAMESERVERS, f"must not have more than {_NAMESERVERS} nameservers"),
        each(formatted(formats.ip_address)),
    ),
    field(
        "searches",
        holds(lambda value: len(value) <= _SEARCHES, f"must not have more than {_SEARCHES} search paths"),
        holds(
            lambda value: len(" ".join(value)) <= _SEARCH_CHARACTERS,
            f"must not have more than {_SEARCH_CHARACTERS} characters (including spaces) in the search list",
        ),
        each(
            lambda text, at, _: [
                Cause.invalid(str(at), text.removesuffix("."), why) for why in formats.dns_search(text)
            ]
        ),
    ),
    field(
        "options",
        each(lambda option, at, _: () if option.get("name") else (Cause.required(str(at), "must not be empty"),)),
    ),
)


def _dns(pod: Object, at: Place, scope: Scope) -> Causes:
    config, place = pod.get("dnsConfig"), at.child("dnsConfig")
    if pod.get("dnsPolicy") == "None":
        if config is None:
            return (Cause.required(str(place), _no_dns),)
        if not config.get("nameservers"):
            return (Cause.required(str(place.child("nameservers")), _no_nameserver),)
    return _DNS_CONFIG(config, place, scope) if config is not None else ()


def _file_references(pod: Object, at: Place, _: Scope) -> Causes:
    """Variables that are read from files need an emptyDir."""
    volumes = {volume.get("name", ""): volume for volume in pod.get("volumes") or ()}
    for container, place in containers_of(pod, at):
        for index, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if reference is None:
                continue
            name = reference.get("volumeName", "")
            own = place.child("env").item(index).child("valueFrom").child("fileKeyRef").child("volumeName")
            if name not in volumes:
                yield Cause.not_found(str(own), name)
            elif volumes[name].get("emptyDir") is None:
                yield Cause.invalid(str(own), name, "referenced volume must be of type emptyDir")


def containers_of(pod: Object, at: Place) -> Iterator[tuple[Object, Place]]:
    """A pod's containers and their places, in the order in which Kubernetes visits them."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod.get(kind) or ()):
            yield container, at.child(kind).item(index)


_WINDOWS = "cannot be set for a windows pod"
_OF_LINUX_PODS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
_OF_LINUX_CONTAINERS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def _system(pod: Object, at: Place, _: Scope) -> Causes:
    if (system := pod.get("os")) is None:
        return
    name, security = system.get("name", ""), at.child("securityContext")
    if not name:
        yield Cause.required(str(at.child("os").child("name")))
    elif name not in ("linux", "windows"):
        yield Cause.unsupported(str(at.child("os")), name, ("linux", "windows"))
    elif name == "windows":
        for option in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.get(option):
                yield Cause.forbidden(str(at.child(option)), _WINDOWS)
        for option in _OF_LINUX_PODS:
            if (pod.get("securityContext") or {}).get(option) is not None:
                yield Cause.forbidden(str(security.child(option)), _WINDOWS)
        for container, place in containers_of(pod, at):
            for option in _OF_LINUX_CONTAINERS:
                if (container.get("securityContext") or {}).get(option) is not None:
                    yield Cause.forbidden(str(place.child("securityContext").child(option)), _WINDOWS)


def _image_is_trimmed(pod: Object, at: Place, _: Scope) -> Causes:
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(pod.get(kind) or ()):
            image = container.get("image", "")
            if image != image.strip():
                why = "must not have leading or trailing whitespace"
                yield Cause.invalid(str(at.child(kind).item(index).child("image")), image, why)


_CLAIM_REFERENCES = ("resourceClaimName", "resourceClaimTemplateName")


def _one_claim(value: Object, at: Place, _: Scope) -> Causes:
    count = sum(value.get(name) is not None for name in _CLAIM_REFERENCES)
    first_, second = (f"`{name}`" for name in _CLAIM_REFERENCES)
    if count > 1:
        why = f"at most one of {first_} or {second} may be specified"
        yield Cause.invalid(str(at), internal("PodResourceClaim", value), why)
    if not count:
        yield Cause.invalid(str(at), internal("PodResourceClaim", value), f"must specify one of: {first_}, {second}")


RESOURCE_CLAIM = fields(
    required("name", first(is_unique, formatted(formats.dns_label))),
    _one_claim,
    *(pointer(name, formatted(formats.dns_subdomain)) for name in _CLAIM_REFERENCES),
)

_SPEC = fields(
    field("volumes", volumes),
    field("resourceClaims", each(RESOURCE_CLAIM)),
    required("containers", each(_MAIN_CONTAINER), _host_ports),
    field("initContainers", _init_containers),
    field("resources", requirements(pod_resource)),
    _host_network,
    required("restartPolicy", one_of("Always", "OnFailure", "Never")),
    required("dnsPolicy", one_of("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")),
    field("nodeSelector", labels),
    field("securityContext", POD_SECURITY),
    _shared_processes,
    _host_sysctls,
    field(
        "affinity",
        fields(
            field("nodeAffinity", NODE_AFFINITY),
            field("podAffinity", POD_AFFINITY),
            field("podAntiAffinity", POD_AFFINITY),
        ),
    ),
    _dns,
    field("readinessGates", each(fields(field("conditionType", label_key, absent="")))),
    field(
        "schedulingGates",
        each(
            fields(field("name", lambda name, at, scope: label_key(name, at.above(), scope), absent="")),
        ),
    ),
    field("topologySpreadConstraints", _spread),
    _host_users,
    field("serviceAccountName", formatted(formats.dns_subdomain)),
    field("nodeName", formatted(formats.dns_subdomain)),
    pointer("activeDeadlineSeconds", between(1, _MAX_INT)),
    field("hostname", formatted(formats.dns_label)),
    field("subdomain", formatted(formats.dns_label)),
    field("tolerations", each(TOLERATION)),
    field(
        "hostAliases",
        each(
            fields(
                field("ip", formatted(formats.ip_address), absent=""),
                field("hostnames", each(formatted(formats.dns_subdomain))),
            )
        ),
    ),
    field("priorityClassName", formatted(formats.dns_subdomain)),
    pointer("runtimeClassName", formatted(formats.dns_subdomain)),
    pointer("preemptionPolicy", one_of("PreemptLowerPriority", "Never")),
    _system,
    _file_references,
)


def pod_spec(value: Object, at: Place, scope: Scope) -> Causes:
    """The table of a pod's spec, of pods and of templates."""
    before = scope.pod, scope.volumes
    scope.pod, scope.volumes = value, {}
    causes = list(_SPEC(value, at, scope))
    scope.pod, scope.volumes = before
    return causes


def _in_pod(value: Object, at: Place, scope: Scope) -> Causes:
    scope.is_pod = True
    return pod_spec(value, at, scope)


_is_deletion_cost = holds(
    lambda text: text.lstrip("+-").isdecimal() and -(2**31) <= int(text) < 2**31 and not text.startswith("+"),
    "must be a 32bit integer",
)


def pod_annotations(value: Object, at: Place, scope: Scope) -> Causes:
    """What annotations of pods must be, which Kubernetes reads."""
    cost = "controller.kubernetes.io/pod-deletion-cost"
    if value.get(cost):
        yield from _is_deletion_cost(value[cost], at.key(cost), scope)


POD = fields(
    field("spec", _in_pod, absent={}),
    field("spec", _image_is_trimmed),
    created(
        field(
            "spec",
            fields(
                field("ephemeralContainers", forbidden("cannot be set on create")),
                when(
                    lambda spec: bool(spec.get("schedulingGates")),
                    field("nodeName", forbidden("cannot be set until all schedulingGates have been cleared")),
                ),
            ),
        )
    ),
)


def _template_metadata(value: Object, at: Place, scope: Scope) -> Causes:
    metadata = value.get("metadata") or {}
    for name, rules in (("labels", (labels,)), ("annotations", (annotation_map, pod_annotations))):
        for rule in rules:
            yield from rule(metadata.get(name) or {}, at.child(name), scope)


TEMPLATE = fields(
    _template_metadata,
    field("spec", pod_spec, absent={}),
    field(
        "spec",
        fields(field("ephemeralContainers", forbidden("ephemeral containers not allowed in pod template"))),
    ),
)
