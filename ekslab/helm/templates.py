"""The templates of chart falcosecurity/falco 9.1.0: what each makes of the values, and how it fails.

Parts of the chart for which the lab has no image (sidekick, Talon, the metadata collector) are refused, because a
release without them would look as if they worked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ekslab.helm.errors import HelmError
from ekslab.helm.strvals import KINDS, Integer
from ekslab.helm.values import Values, go

Object = dict[str, Any]

_ALIASES = {"module": "kmod", "modern-bpf": "modern_ebpf"}
_ENGINES = ("docker", "podman", "containerd", "cri", "lxc", "libvirt_lxc", "bpm")
_HELPERS = "_helpers.tpl"
_POD = 'daemonset.yaml:21:8 <include "falco.podTemplate" .>'
_IN_DEPLOYMENT = _POD.replace("daemonset.yaml:21:8", "deployment.yaml:25:8")
_NO_COLON = "could not find expected ':'"
_PLUGIN = 'falcoctl-configmap.yaml:12:8 <include "falco.containerPlugin" .>'


@dataclass(frozen=True)
class Context:
    """What templates read. `context["a.b"]` is a value; it fails as Helm does where `a` is no map."""

    release: str
    namespace: str
    values: Values
    chart: Object

    def __getitem__(self, dotted: str) -> Any:
        value: Any = self.values
        path = ""
        for part in dotted.split("."):
            if not isinstance(value, dict):
                raise _no_map(self, path, part, value)
            value = value.get(part)
            path = f"{path}.{part}" if path else part
        return value

    def items(self, dotted: str) -> list[Any]:
        """A list; what is empty counts as an empty one. Around anything else the template's text is no YAML."""
        value = self[dotted]
        if value and not isinstance(value, list):
            raise self.no_yaml("did not find expected '-' indicator" if isinstance(value, dict) else _NO_COLON)
        return value or []

    def merged(self, under: Object, dotted: str) -> Object:
        """A map with what values add to it; the same holds for what is no map."""
        value = self[dotted]
        if value and not isinstance(value, dict):
            raise self.no_yaml("did not find expected key" if isinstance(value, list) else _NO_COLON)
        return under | (value or {})

    def no_yaml(self, reason: str) -> HelmError:
        file = f"falco/templates/{self.workload}.yaml"
        return HelmError(f"YAML parse error on {file}: error converting YAML to JSON: yaml: {reason}")

    @property
    def pod(self) -> str:
        """The place at which the workload includes the pod's template."""
        return _IN_DEPLOYMENT if self.workload == "deployment" else _POD

    @property
    def workload(self) -> str:
        """The kind of workload, in lower case."""
        controller = self.values.get("controller")
        return str(controller.get("kind")) if isinstance(controller, dict) else ""

    @property
    def name(self) -> str:
        return self._named("nameOverride")[:63].removesuffix("-")

    def _named(self, key: str) -> str:
        value = self[key] or self.chart["name"]
        if isinstance(value, str):
            return value
        places = {"fullnameOverride": "15:37 falco.fullname <63>", "nameOverride": "18:16 falco.fullname <$name>"}
        raise failed(
            [
                'serviceaccount.yaml:10:11 <include "falco.serviceAccountName" .>',
                f'{_HELPERS}:78:13 falco.serviceAccountName <include "falco.fullname" .>',
                f"{_HELPERS}:{places[key]}",
            ],
            f"wrong type for value; expected string; got {KINDS[type(value)]}",
        )

    @property
    def fullname(self) -> str:
        if self["fullnameOverride"]:
            return self._named("fullnameOverride")[:63].removesuffix("-")
        name = self._named("nameOverride")
        base = self.release if name in self.release else f"{self.release}-{name}"
        return base[:63].removesuffix("-")

    @property
    def own_namespace(self) -> Any:
        return printed(self["namespaceOverride"] or self.namespace)

    @property
    def selector(self) -> Object:
        return {"app.kubernetes.io/name": printed(self.name), "app.kubernetes.io/instance": printed(self.release)}

    @property
    def labels(self) -> Object:
        return {
            "helm.sh/chart": f"{self.chart['name']}-{self.chart['version']}",
            **self.selector,
            "app.kubernetes.io/version": self.chart["appVersion"],
            "app.kubernetes.io/managed-by": "Helm",
        }

    @property
    def account(self) -> Any:
        fallback = self.fullname if self["serviceAccount.create"] else "default"
        return printed(self["serviceAccount.name"] or fallback)

    def meta(self, suffix: str = "", **more: Any) -> Object:
        name = printed(self.fullname + suffix)
        return {"name": name, "namespace": self.own_namespace, "labels": self.labels} | more


# -- failing as Helm does


@cache
def _places() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("falco-places.yaml").read_text(encoding="utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    places: dict[str, Any] = yaml.load(text, loader)
    return places


def failed(trace: list[str], reason: str) -> HelmError:
    """Helm's error for places `file:line:column name <expression>`, each of which includes the next."""
    parts = []
    for place in trace:
        where, _, rest = place.partition(" ")
        name, _, expression = rest.rpartition(" <") if " <" in rest else ("", "", rest.removeprefix("<"))
        name = name or f"falco/templates/{where.partition(':')[0]}"
        parts.append(f'template: falco/templates/{where}: executing "{name}" at <{expression}')
    return HelmError(": error calling include: ".join(parts) + f": {reason}")


def _no_map(context: Context, path: str, part: str, value: Any) -> HelmError:
    words = ["other"] if value else []
    kind = _at(context.values, "driver", "kind")
    words += [str(_ALIASES.get(kind, kind))] if isinstance(kind, str) else []
    words += ["follow"] if _at(context.values, "falcoctl", "artifact", "follow", "enabled") else []
    known = [key for key in (*(f"{path} {word}" for word in words), path) if key in _places()]
    place: Object = _places()[known[0]] if known else {"at": [f"NOTES.txt:1:1 <.Values.{path}.{part}>"]}
    trace = [context.pod if where == _POD else where for where in place["at"]]
    # The expression names the first key that is looked for, which may be another one than here.
    looked_for = re.search(rf"\.{re.escape(path.rpartition('.')[2])}\.(\w+)", trace[-1])
    key = looked_for[1] if looked_for else part
    if value is not None:
        return failed(trace, f"can't evaluate field {key} in type interface {{}}")
    return failed(trace, place.get("because") or f"nil pointer evaluating interface {{}}.{key}")


def _at(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _refused(context: Context, line: int, text: str) -> HelmError:
    """An error that the chart raises in a line of its configmap.yaml, which is included by the workload."""
    places = {"daemonset": "daemonset.yaml:21:8", "deployment": "deployment.yaml:25:8"}
    place = places.get(context.workload, f"configmap.yaml:{line}:8")
    return HelmError(f"execution error at (falco/templates/{place}): {text}")


# -- printing as templates do


def _text(value: Any) -> str:
    return "" if value is None else go(value)


def printed(value: Any) -> Any:
    """A value that a template prints bare, as YAML reads it again."""
    try:
        return yaml.load(_text(value), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        expected = "',' or ']'" if _text(value).endswith("]") else "key"
        raise HelmError(
            "YAML parse error on falco/templates/daemonset.yaml: error converting YAML to JSON: yaml: "
            f"did not find expected {expected}"
        ) from error


def _formatted(value: Any) -> str:
    """A value as `%s` formats it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{' '.join(map(_formatted, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_formatted(value[key])}' for key in sorted(value))}]"
    return "%!s(<nil>)" if value is None else f"%!s({KINDS.get(type(value), 'string')}={go(value)})"


def _template(context: Context, value: Any) -> Any:
    """Values in which templates may be: `{{ .Release.Name }}`, `{{ .Values.a.b }}` and the like."""

    def replaced(match: re.Match[str]) -> str:
        known = {"Release.Name": context.release, "Release.Namespace": context.namespace, "Release.Service": "Helm"}
        known |= {"Chart.Name": context.chart["name"], "Chart.AppVersion": context.chart["appVersion"]}
        name = match[1]
        if name.startswith("Values."):
            return _text(context[name.removeprefix("Values.")])
        if name not in known:
            raise HelmError(f"the embedded lab's stand-in for Helm doesn't evaluate {match[0]}: use a real Helm")
        return str(known[name])

    text = value if isinstance(value, str) else to_yaml(value)
    if "{{" not in text:
        return printed(value) if isinstance(value, str) else value
    text = re.sub(r"\{\{-?\s*\.([\w.]+)\s*-?\}\}", replaced, text)
    if "{{" in text:
        raise HelmError("the embedded lab's stand-in for Helm doesn't evaluate templates in values: use a real Helm")
    return yaml.safe_load(text)


# -- what templates share


def _driver(context: Context) -> Any:
    kind = context["driver.kind"]
    if kind is not None and not isinstance(kind, str):
        reason = f"error calling eq: incompatible types for comparison: {KINDS[type(kind)]} and string"
        raise failed(['roleBinding.yaml:1:32 <eq .Values.driver.kind "auto">'], reason)
    return kind


def _modern(context: Context) -> bool:
    return _driver(context) in ("modern_ebpf", "modern-bpf")


def _old_or_auto(context: Context) -> bool:
    return _driver(context) in ("kmod", "module", "auto")


def _has_container_plugin(context: Context) -> bool:
    return bool(
        context["driver.enabled"] and context["collectors.enabled"] and context["collectors.containerEngine.enabled"]
    )


def _loads_driver(context: Context) -> bool:
    return not (_modern(context) or not context["driver.enabled"] or not context["driver.loader.enabled"])


def _mounts_sysfs(context: Context) -> bool:
    if not context["driver.enabled"]:
        return False
    return bool((_modern(context) or _driver(context) == "auto") and context["driver.modernEbpf.sysfsMount"])


def _mounts_proc(context: Context) -> bool:
    return bool(context["driver.enabled"] or context["falco.plugins_hostinfo"])


def _falcoctl_runs(context: Context) -> bool:
    return bool(context["falcoctl.artifact.install.enabled"] or context["falcoctl.artifact.follow.enabled"])


def _guard_removed(context: Context) -> None:
    found = [f"driver.kind={kind}" for kind in ("ebpf", "gvisor") if _driver(context) == kind]
    found += [f"driver.{key}" for key in ("ebpf", "gvisor") if key in context["driver"]]
    found += [f"falco.{key}" for key in ("grpc", "grpc_output") if key in context["falco"]]
    if found:
        raise _refused(
            context,
            10,
            f"The following chart configuration is no longer supported: {', '.join(found)}. "
            "See BREAKING-CHANGES.md for migration guidance.",
        )


def _collector(context: Context) -> None:
    if context["collectors.kubernetes.enabled"] and context["driver.enabled"]:
        raise _missing("collectors.kubernetes.enabled", "the k8s-metacollector")


def _missing(switch: str, what: str) -> HelmError:
    return HelmError(f"the embedded lab does not emulate {what}: leave {switch} off, or use a real cluster")


def _engine(context: Context) -> None:
    if not context["driver.enabled"]:
        return
    kind = _ALIASES.get(_driver(context), _driver(context))
    if kind not in ("kmod", "modern_ebpf", "auto"):
        raise _refused(
            context,
            13,
            f'unsupported driver kind: "{_formatted(kind)}". Supported drivers [kmod modern_ebpf auto], '
            "alias [module modern-bpf]",
        )
    engines: Object = {}
    if kind != "modern_ebpf":
        keys = {"buf_size_preset": "bufSizePreset", "drop_failed_exit": "dropFailedExit"}
        engines["kmod"] = {key: context[f"driver.kmod.{value}"] for key, value in keys.items()}
    if kind != "kmod":
        keys = {
            "buf_size_preset": "bufSizePreset",
            "drop_failed_exit": "dropFailedExit",
            "cpus_for_each_buffer": "cpusForEachBuffer",
            "disable_iterators": "disableIterators",
        }
        engines["modern_ebpf"] = {key: context[f"driver.modernEbpf.{value}"] for key, value in keys.items()}
    context["falco"]["engine"] = {"kind": "modern_ebpf" if kind == "auto" else kind, **engines}


def _metrics(context: Context) -> None:
    if not context["metrics.enabled"]:
        return
    falco = context["falco"]
    falco["webserver"] |= {"prometheus_metrics_enabled": True, "enabled": True}
    settings = dict(falco.get("metrics") or {})
    for key in ("enabled", "interval", "output_rule", "rules_counters_enabled", "resource_utilization_enabled",
                "state_counters_enabled", "kernel_event_counters_enabled", "kernel_event_counters_per_cpu_enabled",
                "libbpf_stats_enabled", "plugins_metrics_enabled", "kernel_iter_event_counters_enabled",
                "jemalloc_stats_enabled", "convert_memory_to_mb", "include_empty_values"):  # fmt: skip
        words = key.split("_")
        camel = words[0] + "".join({"cpu": "CPU", "mb": "MB"}.get(word, word.capitalize()) for word in words[1:])
        settings[key] = context[f"metrics.{camel}"]
    falco["metrics"] = settings


def _container_plugin(context: Context) -> None:
    if not _has_container_plugin(context):
        return
    plugins = context["falco.plugins"]
    if plugins is not None and not isinstance(plugins, dict | list):
        raise failed([_PLUGIN, f"{_HELPERS}:425:16 falco.containerPlugin <.Values.falco.plugins>"],
                     f"range can't iterate over {go(plugins)}")  # fmt: skip
    for plugin in plugins if isinstance(plugins, list) else ():
        if not isinstance(plugin, dict):
            kind = "interface {}" if plugin is None else KINDS[type(plugin)]
            raise failed([_PLUGIN, f"{_HELPERS}:426:14 falco.containerPlugin <.>"],
                         f"wrong type for value; expected map[string]interface {{}}; got {kind}")  # fmt: skip
    listed = plugins if isinstance(plugins, list) else []
    named = [plugin.get("name") for plugin in listed]
    if "container" not in named:
        keys = {"label_max_len": "labelMaxLen", "with_size": "withSize", "hooks": "hooks", "engines": "engines"}
        config = {key: context[f"collectors.containerEngine.{value}"] for key, value in keys.items()}
        plugin = {"name": "container", "library_path": "libcontainer.so", "init_config": config}
        context["falco"]["plugins"] = _appended(context, "falco.plugins", plugin)
        context["falco"]["load_plugins"] = _appended(context, "falco.load_plugins", "container")
    reference = context["collectors.containerEngine.pluginRef"]
    install = context["falcoctl.config.artifact.install"]
    if not isinstance(install, dict):
        place = _places()["falcoctl.config.artifact.install"]
        got = "interface {}" if install is None else KINDS[type(install)]
        raise failed(place["at"], f"wrong type for value; expected map[string]interface {{}}; got {got}")
    install["refs"] = _appended(context, "falcoctl.config.artifact.install.refs", reference)
    artifact = context["falcoctl.config.artifact"]
    artifact["allowedTypes"] = _appended(context, "falcoctl.config.artifact.allowedTypes", "plugin")


def _appended(context: Context, path: str, value: Any) -> list[Any]:
    items = context[path]
    if not isinstance(items, list):
        place = _places()[path]
        reason = (
            f"error calling append: Cannot push on type {'map' if isinstance(items, dict) else KINDS[type(items)]}"
            if items is not None
            else place["because"]
        )
        raise failed(place["at"], reason)
    return [item for at, item in enumerate([*items, value]) if item not in [*items, value][:at]]


def _config_map(context: Context, suffix: str, data: dict[Any, Any]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": context.meta(suffix), "data": data}


# -- templates, in the order in which Helm executes them


def _services(context: Context) -> list[Object]:
    found = []
    services = context["services"]
    file = "services.yaml"
    if services is not None and not isinstance(services, dict | list):
        raise failed([f"{file}:2:26 <$dot.Values.services>"], f"range can't iterate over {go(services)}")
    for service in (services.values() if isinstance(services, dict) else services) or ():
        if not isinstance(service, dict):
            raise failed([f"{file}:7:55 <$service.name>"], "can't evaluate field name in type interface {}")
        spec = {key: value for key, value in service.items() if key not in ("name", "selector")}
        meta = context.meta(f"-{_text(service.get('name'))}")
        found.append(_service(meta, spec | {"selector": context.selector}))
    return found


def _service(meta: Object, spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def _service_account(context: Context) -> list[Object]:
    if not context["serviceAccount.create"]:
        return []
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": context.meta()}
    account["metadata"]["name"] = context.account
    if context["serviceAccount.imagePullSecrets"]:
        account["imagePullSecrets"] = context["serviceAccount.imagePullSecrets"]
    if context["serviceAccount.annotations"]:
        account["metadata"]["annotations"] = context["serviceAccount.annotations"]
    return [account]


def _service_monitor(context: Context) -> list[Object]:
    if not context["serviceMonitor.create"]:
        return []
    values = context["serviceMonitor"]
    meta = context.meta()
    if values.get("namespace"):
        meta["namespace"] = _template(context, values["namespace"])
    meta["labels"] = meta["labels"] | (values.get("labels") or {})
    endpoint: Object = {
        "port": _text(values.get("endpointPort")),
        "honorLabels": True,
        "path": printed(values.get("path")),
        "scheme": printed(values.get("scheme")),
    }
    endpoint |= {key: printed(values[key]) for key in ("interval", "scrapeTimeout") if values.get(key)}
    endpoint |= {key: values[key] for key in ("tlsConfig", "relabelings") if values.get(key)}
    selector = context.selector | {"type": "falco-metrics"} | (values.get("selector") or {})
    spec: Object = {
        "endpoints": [endpoint],
        "jobLabel": context.release,
        "selector": {"matchLabels": selector},
        "namespaceSelector": {"matchNames": [context.own_namespace]},
    }
    if values.get("targetLabels"):
        spec["targetLabels"] = values["targetLabels"]
    return [{"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": meta, "spec": spec}]


def _metrics_service(context: Context) -> list[Object]:
    if not (context["metrics.enabled"] and context["metrics.service.create"]):
        return []
    values = context["metrics.service"]
    meta = context.meta("-metrics")
    meta["labels"] = meta["labels"] | (values.get("labels") or {}) | {"type": "falco-metrics"}
    if values.get("annotations"):
        meta["annotations"] = values["annotations"]
    port = {key: printed(context[f"metrics.service.ports.metrics.{key}"]) for key in ("port", "targetPort", "protocol")}
    spec = {key: values[key] for key in ("ipFamilyPolicy", "ipFamilies") if values.get(key)}
    spec |= {"type": printed(values.get("type")), "ports": [port | {"name": "metrics"}], "selector": context.selector}
    return [_service(meta, spec)]


def _security_constraints(context: Context) -> list[Object]:
    _ = context["scc.create"]  # is read, but OpenShift's: an EKS cluster has no such kind
    return []


def _rules(context: Context) -> list[Object]:
    custom = context["customRules"]
    if not custom:
        return []
    file = "rules-configmap.yaml"
    if not isinstance(custom, dict | list):
        reason = f"range can't iterate over {go(custom)}"
        if isinstance(custom, Integer):
            reason = f"can't use {custom} to iterate over more than one variable"
        raise failed([f"{file}:10:37 <.Values.customRules>"], reason)
    files = custom if isinstance(custom, dict) else dict(enumerate(custom))
    for content in (files[name] for name in sorted(files, key=str)):
        if not isinstance(content, str):
            reason = f"wrong type for value; expected string; got {KINDS.get(type(content), 'interface {}')}"
            raise failed([f"{file}:12:21 <4>"], "invalid value; expected string" if content is None else reason)
    data = {printed(name): _block(files[name]) for name in sorted(files, key=str)}
    return [_config_map(context, "-rules", data)]


def _block(text: str) -> str:
    """A text that a template indents under `|-`."""
    return text.rstrip("\n")


def _role(context: Context) -> list[Object]:
    if not (context["rbac.create"] and _driver(context) == "auto"):
        return []
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "update"]}]
    return [{"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": context.meta(), "rules": rules}]


def _role_binding(context: Context) -> list[Object]:
    if not (context["rbac.create"] and _driver(context) == "auto"):
        return []
    meta = context.meta()
    subject = {"kind": "ServiceAccount", "name": context.account, "namespace": meta["namespace"]}
    role = {"kind": "Role", "name": meta["name"], "apiGroup": _RBAC}
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "subjects": [subject], "roleRef": role}
    ]


_RBAC = "rbac.authorization.k8s.io"


def _falcoctl_settings(context: Context) -> list[Object]:
    if not _falcoctl_runs(context):
        return []
    _collector(context)
    _container_plugin(context)
    return [_config_map(context, "-falcoctl", {"falcoctl.yaml": to_yaml(context["falcoctl.config"])})]


def _dashboard(context: Context) -> list[Object]:
    if context["grafana.dashboards.enabled"]:
        raise _missing("grafana.dashboards.enabled", "Grafana's dashboards")
    return []


def _deployment(context: Context) -> list[Object]:
    kind = context["controller.kind"]
    if kind is not None and not isinstance(kind, str):
        reason = f"error calling eq: incompatible types for comparison: {KINDS[type(kind)]} and string"
        raise failed(['deployment.yaml:1:7 <eq .Values.controller.kind "deployment">'], reason)
    if context["controller.kind"] != "deployment":
        return []
    own = context["controller.deployment"]
    spec: Object = {"replicas": printed(own.get("replicas"))}
    if own.get("revisionHistoryLimit"):
        spec["revisionHistoryLimit"] = printed(own["revisionHistoryLimit"])
    return [_workload(context, "Deployment", spec)]


def _daemon_set(context: Context) -> list[Object]:
    if context["controller.kind"] != "daemonset":
        return []
    workload = _workload(context, "DaemonSet", {})
    if context["controller.daemonset.updateStrategy"]:
        workload["spec"]["updateStrategy"] = context["controller.daemonset.updateStrategy"]
    return [workload]


def _workload(context: Context, kind: str, spec: Object) -> Object:
    meta = context.meta()
    meta["labels"] = context.merged(meta["labels"], "controller.labels")
    if context["controller.annotations"]:
        meta["annotations"] = context["controller.annotations"]
    spec |= {"selector": {"matchLabels": context.selector}, "template": _pod_template(context)}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}


def _settings(context: Context) -> list[Object]:
    _guard_removed(context)
    if context["falcosidekick.enabled"]:
        raise _missing("falcosidekick.enabled", "falcosidekick")
    _collector(context)
    _engine(context)
    _metrics(context)
    _container_plugin(context)
    return [_config_map(context, "", {"falco.yaml": to_yaml(context["falco"])})]


def _client_certificates(context: Context) -> list[Object]:
    if not _has_certificate(context, "client"):
        return []
    secret = _secret(context, "client", "falcoclient.pem")
    secret["data"]["ca.pem"] = secret["data"]["ca.crt"]
    secret["metadata"]["namespace"] = context.namespace
    del secret["type"]
    return [{**secret, "type": "Opaque"}]


def _certificates(context: Context) -> list[Object]:
    return [_secret(context, "server", "falco.pem")] if context["certs"] and _has_certificate(context, "server") else []


def _has_certificate(context: Context, whose: str) -> bool:
    return bool(context[f"certs.{whose}.key"] and context[f"certs.{whose}.crt"] and context["certs.ca.crt"])


def _secret(context: Context, whose: str, both: str) -> Object:
    key, crt = context[f"certs.{whose}.key"], context[f"certs.{whose}.crt"]
    for value in (key, crt, context["certs.ca.crt"]):
        if not isinstance(value, str):
            place = (
                "certs-secret.yaml:13:24 <b64enc>" if whose == "server" else "client-certs-secret.yaml:12:24 <b64enc>"
            )
            raise failed([place], f"wrong type for value; expected string; got {KINDS[type(value)]}")
    texts = {f"{whose}.key": key, f"{whose}.crt": crt, both: f"{key}{crt}", "ca.crt": context["certs.ca.crt"]}
    data = {name: base64.b64encode(_text(text).encode()).decode() for name, text in texts.items()}
    meta = context.meta("-certs" if whose == "server" else "-client-certs")
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}


def _talon(context: Context) -> list[Object]:
    if context["responseActions.enabled"]:
        raise _missing("responseActions.enabled", "Falco Talon")
    return []


def check_head(item: Object, name: str) -> None:
    """Helm reads names and annotations of what it has rendered. Raises `HelmError` where these are lists or maps."""
    fault = ""
    meta = item["metadata"]
    if isinstance(meta["name"], dict | list):
        fault = f"{_JSON[type(meta['name'])]} into Go struct field .metadata.name of type string"
    annotations = meta.get("annotations") or {}
    if not isinstance(annotations, dict):
        kind = _JSON.get(type(annotations), "number")
        fault = f"{kind} into Go struct field .metadata.annotations of type map[string]string"
    elif wrong := [value for value in annotations.values() if isinstance(value, dict | list)]:
        fault = f"{_JSON[type(wrong[0])]} into Go struct field .metadata.annotations of type string"
    if fault:
        raise HelmError(
            f"YAML parse error on falco/templates/{name}: error unmarshaling JSON: while decoding JSON: json: cannot "
            f"unmarshal {fault}"
        )


_JSON: dict[type, str] = {str: "string", bool: "bool", list: "array", dict: "object"}

TEMPLATES: tuple[tuple[str, Callable[[Context], list[Object]]], ...] = (
    ("falco-talon", _talon),
    ("services.yaml", _services),
    ("serviceaccount.yaml", _service_account),
    ("serviceMonitor.yaml", _service_monitor),
    ("service.yaml", _metrics_service),
    ("securitycontextconstraints.yaml", _security_constraints),
    ("rules-configmap.yaml", _rules),
    ("roleBinding.yaml", _role_binding),
    ("role.yaml", _role),
    ("falcoctl-configmap.yaml", _falcoctl_settings),
    ("falco-dashboard-grafana.yaml", _dashboard),
    ("deployment.yaml", _deployment),
    ("daemonset.yaml", _daemon_set),
    ("configmap.yaml", _settings),
    ("client-certs-secret.yaml", _client_certificates),
    ("certs-secret.yaml", _certificates),
)
"""Templates in the order in which Helm executes them. Some change the values, so that the order matters."""


def _pod_template(context: Context) -> Object:
    annotations: Object = {
        "checksum/config": _checksum(_settings(context)),
        "checksum/rules": _checksum(_rules(context)),
    }
    if context["certs"] and not context["certs.existingSecret"]:
        annotations["checksum/certs"] = _checksum(_certificates(context))
    if context["driver.enabled"] and _modern(context) and context["driver.modernEbpf.leastPrivileged"]:
        annotations[f"container.apparmor.security.beta.kubernetes.io/{context.chart['name']}"] = "unconfined"
    annotations = context.merged(annotations, "podAnnotations")
    meta = {"name": printed(context.fullname), "labels": context.merged(context.selector, "podLabels")}
    return {"metadata": meta | {"annotations": annotations}, "spec": _pod(context)}


def _checksum(objects: list[Object]) -> str:
    return hashlib.sha256("".join(map(to_yaml, objects)).encode()).hexdigest()


def _pod(context: Context) -> Object:
    pod: Object = {"serviceAccountName": context.account}
    if context["falco.podHostname"]:
        pod["hostname"] = printed(context["falco.podHostname"])
    if context["podPriorityClassName"]:
        pod["priorityClassName"] = printed(context["podPriorityClassName"])
    keys = {"securityContext": "podSecurityContext"}
    keys |= dict.fromkeys(("nodeSelector", "affinity", "tolerations", "imagePullSecrets"), "")
    pod |= {key: context[path or key] for key, path in keys.items() if context[path or key]}
    pod["containers"] = [_falco(context)]
    if context["falcoctl.artifact.follow.enabled"]:
        pod["containers"].append(_falcoctl(context, "follow"))
    before = context.items("extra.initContainers")
    if _loads_driver(context):
        before = [*before, _driver_loader(context)]
    if context["falcoctl.artifact.install.enabled"]:
        before = [*before, _falcoctl(context, "install")]
    pod["initContainers"] = before or None
    pod["volumes"] = _volumes(context)
    return pod


def _image(context: Context, path: str) -> Any:
    registry = context[f"{path}.registry"]
    tag = context[f"{path}.tag"] or context.chart["appVersion"]
    return printed(f"{_text(registry) + '/' if registry else ''}{_text(context[f'{path}.repository'])}:{_text(tag)}")


def _falco(context: Context) -> Object:
    image = _image(context, "image")
    pull = printed(context["image.pullPolicy"])
    own = context["containerSecurityContext"]
    security: Object = {}
    if context["driver.enabled"] and (_old_or_auto(context) or _modern(context)):
        security = {"privileged": True}
        if _modern(context) and context["driver.modernEbpf.leastPrivileged"]:
            security = {"capabilities": {"add": ["BPF", "SYS_RESOURCE", "PERFMON", "SYS_PTRACE"]}}
    if (arguments := context["extra.args"]) is not None and not isinstance(arguments, list):
        kind = "map" if isinstance(arguments, dict) else KINDS[type(arguments)]
        source = 'pod-template.tpl:63:12 falco.podTemplate <include "falco.configSyscallSource" .>'
        place = f'{_HELPERS}:163:11 falco.configSyscallSource <has "-u" .Values.extra.args>'
        raise failed([context.pod, source, place], f"error calling has: Cannot find has on type {kind}")
    arguments = arguments or []
    userspace = {"-u", "--userspace"} & {argument for argument in arguments if isinstance(argument, str)}
    sources = [] if context["driver.enabled"] or userspace else ["--disable-source", "syscall"]
    node = {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    extra = [] if context["extra.env"] is None else context["extra.env"]
    if not isinstance(extra, dict | list):
        place = "pod-template.tpl:77:25 falco.podTemplate <.Values.extra.env>"
        raise failed([context.pod, place], f"range can't iterate over {go(extra)}")
    if not all(isinstance(variable, dict) for variable in (extra.values() if isinstance(extra, dict) else extra)):
        place = "pod-template.tpl:78:20 falco.podTemplate <.name>"
        raise failed([context.pod, place], "can't evaluate field name in type interface {}")
    if isinstance(extra, dict):
        raise context.no_yaml("did not find expected '-' indicator")
    env: list[Object] = [{"name": "HOST_ROOT", "value": "/host"}]
    named = any(variable.get("name") == "FALCO_HOSTNAME" for variable in extra)
    if context["falcoHostnameEnv"] and not named:
        env.append({"name": "FALCO_HOSTNAME", **node})
    env.append({"name": "FALCO_K8S_NODE_NAME", **node})
    container: Object = {
        "name": context.chart["name"],
        "image": image,
        "imagePullPolicy": pull,
        "resources": context["resources"],
        "securityContext": own or security,
        "args": ["/usr/bin/falco", *sources, *arguments],
        "env": [*env, *(_template(context, extra) if extra else [])],
        "tty": printed(context["tty"]),
    }
    if context["falco.webserver.enabled"]:
        port = printed(context["falco.webserver.listen_port"])
        container["ports"] = [{"containerPort": port, "name": "web", "protocol": "TCP"}]
        get: Object = {"path": printed(context["falco.webserver.k8s_healthz_endpoint"]), "port": port}
        if context["falco.webserver.ssl_enabled"]:
            get["scheme"] = "HTTPS"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            keys = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold")
            container[probe] = {key: printed(context[f"healthChecks.{probe}.{key}"]) for key in keys}
            container[probe]["httpGet"] = get
    container["volumeMounts"] = _mounts(context)
    return container


def _sockets(context: Context) -> list[Any]:
    """The runtime sockets that the container plugin looks at, each once."""
    if not _has_container_plugin(context):
        return []
    engines = context["collectors.containerEngine.engines"]
    place = _places()["collectors.containerEngine.engines"]
    around = [context.pod, *place["at"][1:-1]]
    if not isinstance(engines, dict):
        reason = "error calling index: cannot index slice/array with type string"
        if isinstance(engines, int | float):
            reason = f"error calling index: can't index item of type {KINDS[type(engines)]}"
        raise failed([*around, place["at"][-1]], place["because"] if engines is None else reason)
    found: list[Any] = []
    for engine in (engines[name] for name in _ENGINES if engines.get(name)):
        if not isinstance(engine, dict):
            reason = f"can't evaluate field enabled in type {KINDS[type(engine)]}"
            raise failed([*around, f"{_HELPERS}:489:20 falco.containerPluginVolumeMounts <$val.enabled>"], reason)
        sockets = engine.get("sockets")
        sockets = [] if sockets is None else sockets
        if engine.get("enabled") and not isinstance(sockets, dict | list):
            reason = f"range can't iterate over {go(sockets)}"
            raise failed([*around, f"{_HELPERS}:490:33 falco.containerPluginVolumeMounts <$val.sockets>"], reason)
        if engine.get("enabled"):
            found += sockets.values() if isinstance(sockets, dict) else sockets
    texts = [_text(socket) for socket in found]
    return [socket for place, socket in enumerate(found) if texts.index(texts[place]) == place]


def _mounts(context: Context) -> list[Object]:
    driver = context["driver.enabled"]
    mounts: list[Object] = [
        {"mountPath": f"/host{_text(socket)}", "name": f"container-engine-socket-{number}"}
        for number, socket in enumerate(_sockets(context))
    ]
    if _falcoctl_runs(context):
        kinds = context["falcoctl.config.artifact.allowedTypes"] or ()
        if "rulesfile" in kinds:
            mounts.append({"mountPath": "/etc/falco", "name": "rulesfiles-install-dir"})
        if "plugin" in kinds:
            mounts.append({"mountPath": "/usr/share/falco/plugins", "name": "plugins-install-dir"})
    if _loads_driver(context):
        mounts.append({"mountPath": "/etc/falco/config.d", "name": "specialized-falco-configs"})
    mounts.append({"mountPath": "/root/.falco", "name": "root-falco-fs"})
    bare = driver and not context["driver.loader.enabled"]
    if _mounts_proc(context):
        mounts.append({"mountPath": "/host/proc", "name": "proc-fs"} | ({"readOnly": True} if bare else {}))
    if bare:
        mounts += [
            {"mountPath": "/host/boot", "name": "boot-fs", "readOnly": True},
            {"mountPath": "/host/lib/modules", "name": "lib-modules"},
            {"mountPath": "/host/usr", "name": "usr-fs", "readOnly": True},
        ]
    if driver:
        mounts.append({"mountPath": "/host/etc", "name": "etc-fs", "readOnly": True})
        if _old_or_auto(context):
            mounts.append({"mountPath": "/host/dev", "name": "dev-fs", "readOnly": True})
            mounts.append({"name": "sys-module-fs", "mountPath": "/sys/module"})
    if _mounts_sysfs(context):
        mounts.append({"mountPath": printed(context["driver.sysfsMountPath"]), "name": "sys-fs", "readOnly": True})
    mounts.append({"mountPath": "/etc/falco/falco.yaml", "name": "falco-yaml", "subPath": "falco.yaml"})
    if context["customRules"]:
        mounts.append({"mountPath": "/etc/falco/rules.d", "name": "rules-volume"})
    for name, _, folder in _certificate_volumes(context):
        mounts.append({"mountPath": folder, "name": name, "readOnly": True})
    return [*mounts, *context.items("mounts.volumeMounts")]


def _certificate_volumes(context: Context) -> list[tuple[str, Any, str]]:
    """Volume, Secret and mount path of the certificates that there are."""
    found = []
    for whose, existing, volume, suffix, folder in (
        ("server", "existingSecret", "certs-volume", "-certs", "/etc/falco/certs"),
        ("client", "existingClientSecret", "client-certs-volume", "-client-certs", "/etc/falco/certs/client"),
    ):
        given = context[f"certs.{existing}"]
        if given or _has_certificate(context, whose):
            found.append((volume, printed(given or context.fullname + suffix), folder))
    return found


def _volumes(context: Context) -> list[Object]:
    volumes: list[Object] = [
        {"name": f"container-engine-socket-{number}", "hostPath": {"path": socket}}
        for number, socket in enumerate(_sockets(context))
    ]
    empty = ["specialized-falco-configs"] if _loads_driver(context) else []
    if _falcoctl_runs(context):
        empty += ["plugins-install-dir", "rulesfiles-install-dir", "artifact-state-dir"]
    volumes += [{"name": name, "emptyDir": {}} for name in [*empty, "root-falco-fs"]]
    host = {}
    if context["driver.enabled"]:
        host = {"boot-fs": "/boot", "lib-modules": "/lib/modules", "usr-fs": "/usr", "etc-fs": "/etc"}
        if _old_or_auto(context):
            host |= {"dev-fs": "/dev", "sys-module-fs": "/sys/module"}
    if _mounts_sysfs(context):
        host["sys-fs"] = printed(context["driver.sysfsMountPath"])
    if _mounts_proc(context):
        host["proc-fs"] = "/proc"
    volumes += [{"name": name, "hostPath": {"path": path}} for name, path in host.items()]
    files = [("falcoctl-config-volume", "-falcoctl", "falcoctl.yaml"), ("falco-yaml", "", "falco.yaml")]
    for name, suffix, file in files:
        source = {"name": printed(context.fullname + suffix), "items": [{"key": file, "path": file}]}
        volumes.append({"name": name, "configMap": source})
    if context["customRules"]:
        volumes.append({"name": "rules-volume", "configMap": {"name": f"{context.fullname}-rules"}})
    for name, secret, _ in _certificate_volumes(context):
        volumes.append({"name": name, "secret": {"secretName": secret}})
    return [*volumes, *context.items("mounts.volumes")]


def _falcoctl(context: Context, verb: str) -> Object:
    part, folders = f"falcoctl.artifact.{verb}", f"falcoctl.config.artifact.{verb}"
    image = "{}/{}:{}".format(
        *(_formatted(context[f"falcoctl.image.{key}"]) for key in ("registry", "repository", "tag"))
    )
    if image.startswith("%"):
        raise HelmError(
            "YAML parse error on falco/templates/daemonset.yaml: error converting YAML to JSON: yaml: "
            "found character that cannot start any token"
        )
    container: Object = {
        "name": f"falcoctl-artifact-{verb}",
        "image": printed(image),
        "imagePullPolicy": printed(context["falcoctl.image.pullPolicy"]),
        "args": ["artifact", verb, *context.items(f"{part}.args")],
        "securityContext": context[f"{part}.securityContext"] or None,
        "volumeMounts": [
            {"mountPath": printed(context[f"{folders}.pluginsDir"]), "name": "plugins-install-dir"},
            {"mountPath": printed(context[f"{folders}.rulesfilesDir"]), "name": "rulesfiles-install-dir"},
            {"mountPath": "/etc/falcoctl", "name": "falcoctl-config-volume"},
            {"mountPath": printed(context[f"{folders}.stateDir"]), "name": "artifact-state-dir"},
            *context.items(f"{part}.mounts.volumeMounts"),
        ],
    }
    if context[f"{part}.resources"]:
        container["resources"] = context[f"{part}.resources"]
    for key in ("env", "envFrom"):
        if context[f"{part}.{key}"]:
            container[key] = _template(context, context[f"{part}.{key}"])
    return container


def _driver_loader(context: Context) -> Object:
    part = "driver.loader.initContainer"
    kind = _ALIASES.get(_driver(context), _driver(context))
    image = _image(context, f"{part}.image")
    mounts: list[Object] = [
        {"mountPath": "/root/.falco", "name": "root-falco-fs"},
        {"mountPath": "/host/proc", "name": "proc-fs", "readOnly": True},
        {"mountPath": "/host/boot", "name": "boot-fs", "readOnly": True},
        {"mountPath": "/host/lib/modules", "name": "lib-modules"},
        {"mountPath": "/host/usr", "name": "usr-fs", "readOnly": True},
        {"mountPath": "/host/etc", "name": "etc-fs", "readOnly": True},
        {"mountPath": "/etc/falco/config.d", "name": "specialized-falco-configs"},
    ]
    env: list[Object] = [{"name": "HOST_ROOT", "value": "/host"}]
    if context[f"{part}.env"]:
        env += context.items(f"{part}.env") and _template(context, context[f"{part}.env"])
    if kind == "auto":
        field = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_NAMESPACE", **field})
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_CONFIGMAP", "value": printed(context.fullname)})
    else:
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_UPDATE_FALCO", "value": "false"})
    container: Object = {
        "name": f"{context.chart['name']}-driver-loader",
        "image": image,
        "imagePullPolicy": printed(context[f"{part}.image.pullPolicy"]),
        "args": [*context.items(f"{part}.args"), printed(kind)],
        "securityContext": context[f"{part}.securityContext"] or {"privileged": True},
        "volumeMounts": mounts,
        "env": env,
    }
    if context[f"{part}.resources"]:
        container["resources"] = context[f"{part}.resources"]
    return container


# -- notes


def notes(context: Context) -> str:
    """What Helm prints after an installation. Raises `HelmError` where a plugin's reference is no text."""
    parts = []
    if context["controller.kind"] == "daemonset":
        parts.append(
            "Falco agents are spinning up on each node in your cluster. After a few\nseconds, they are going to start "
            "monitoring your containers looking for\nsecurity issues.\n"
        )
    kind = _driver(context)
    if kind in _ALIASES:
        parts.append(
            f'WARNING(driver):\nThe driver kind: "{kind}" is an alias and might be removed in the future.\n'
            f'Please use "{_ALIASES[kind]}" instead.'
        )
    ignored = [f" - collectors.{name}" for name in ("containerd", "cri", "docker") if name in context["collectors"]]
    if ignored:
        parts.append(
            "WARNING(collectors):\nDeprecated container metadata collectors have been removed from this chart and the "
            "following values will be ignored:\n"
            + "".join(ignored)
            + "\nPlease use the `collectors.containerEngine` instead."
        )
    references = context.items("falcoctl.config.artifact.install.refs")
    plugins = context.items("falco.load_plugins")
    for plugin in plugins:
        for reference in references:
            for place, value in (("40:20", plugin), ("40:23", reference)):
                if not isinstance(value, str):
                    name = "$p" if value is plugin else "$r"
                    got = "interface {}" if value is None else KINDS[type(value)]
                    raise failed([f"NOTES.txt:{place} <{name}>"], f"wrong type for value; expected string; got {got}")
    missing = [plugin for plugin in plugins if not any(plugin in reference for reference in references)]
    if missing and _falcoctl_runs(context):
        parts.append(
            "NOTICE:\nIt seems you are loading the following plugins without corresponding "
            f"falcoctl.config.artifact.install.refs: {go(missing)}\n"
            "Please add references under falcoctl.config.artifact.install.refs. Ignore this notice if the refs already "
            "include these plugins."
        )
    return "\n".join(parts)


# -- YAML

_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Writes shared parts twice instead of with anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represented(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represented)
_Dumper.add_representer(Integer, lambda dumper, value: dumper.represent_int(int(value)))


def to_yaml(value: Any) -> str:
    """As Go templates' `toYaml`: keys sorted, no line end at the end."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=10_000, allow_unicode=True)).rstrip("\n")
