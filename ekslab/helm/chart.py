"""Renders the chart falcosecurity/falco 9.1.0: the Kubernetes objects for given values.

Falco runs as a DaemonSet. Parts of the chart for which the lab has no image (sidekick, Talon, the metadata collector)
are refused, because a release without them would look as if they worked.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ekslab import versions
from ekslab.helm.errors import HelmError
from ekslab.helm.values import Values, coalesce

Object = dict[str, Any]

REPOSITORY = versions.FALCO_CHART_NAME.partition("/")[0]

NOTES = """\
Falco agents are spinning up on each node in your cluster. After a few
seconds, they are going to start monitoring your containers looking for
security issues.


No further action should be required.
"""


@cache
def metadata() -> dict[str, Any]:
    """Chart.yaml."""
    return {
        "name": "falco",
        "version": versions.FALCO_CHART,
        "appVersion": versions.FALCO,
        "apiVersion": "v2",
        "type": "application",
        "description": "Falco",
        "home": "https://falco.org",
    }


@cache
def _defaults_text() -> str:
    return resources.files(__package__).joinpath("falco-values.yaml").read_text(encoding="utf-8")


def defaults() -> Values:
    """values.yaml."""
    values: Values = yaml.load(_defaults_text(), Loader=_Loader)
    return values


def locate(chart: str, version: str, repository: str = "") -> None:
    """Finds the chart as Helm would in its repositories. Raises `HelmError` for any but falco 9.1.0."""
    repo, _, name = chart.rpartition("/")
    if repository:
        if repository.rstrip("/") != versions.FALCO_CHART_REPOSITORY:
            raise HelmError(
                f'looks like "{repository}" is not a valid chart repository or cannot be reached: '
                "the embedded lab knows " + versions.FALCO_CHART_REPOSITORY
            )
    elif not repo:
        raise HelmError(f'path "{chart}" not found')
    elif repo != REPOSITORY:
        raise HelmError(f"repo {repo} not found")
    where = repository or REPOSITORY
    if name != "falco":
        raise HelmError(f'chart "{name}" not found in {where} repository (the embedded lab has the chart falco)')
    if version and not _satisfies(versions.FALCO_CHART, version):
        raise HelmError(
            f"chart \"falco\" matching {version} not found in {where} index. (try 'helm repo update'): "
            f"no chart version found for falco-{version}"
        )


def _satisfies(version: str, constraint: str) -> bool:
    """Whether a version meets a constraint: exact, `9.x`, `^9.0.0`, `~9.1`, `>=9`."""
    has = [int(part) for part in version.split(".")]
    match = re.fullmatch(r"(\^|~|>=|=)?\s*v?(\d+)(?:\.(\d+|x|\*))?(?:\.(\d+|x|\*))?", constraint.strip())
    if match is None:
        return False
    wanted = [int(part) for part in match.groups()[1:] if part is not None and part.isdigit()]
    if match[1] == ">=":
        return has >= wanted
    if match[1] == "^":
        return has >= wanted and has[0] == wanted[0]
    if match[1] == "~":
        return has >= wanted and has[:2] == (wanted + has[1:2])[:2]
    return has[: len(wanted)] == wanted


@dataclass(frozen=True)
class _Context:
    release: str
    namespace: str
    values: Values

    def __getitem__(self, dotted: str) -> Any:
        value: Any = self.values
        for part in dotted.split("."):
            if not isinstance(value, dict):
                raise HelmError(f"nil pointer evaluating interface {{}}.{part}")
            value = value.get(part)
        return value

    @property
    def name(self) -> str:
        return str(self["nameOverride"] or "falco")[:63].rstrip("-")

    @property
    def fullname(self) -> str:
        if self["fullnameOverride"]:
            return str(self["fullnameOverride"])[:63].rstrip("-")
        base = self.release if self.name in self.release else f"{self.release}-{self.name}"
        return base[:63].rstrip("-")

    @property
    def selector(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/instance": self.release}

    @property
    def labels(self) -> dict[str, str]:
        chart = metadata()
        return {
            "helm.sh/chart": f"falco-{chart['version']}",
            **self.selector,
            "app.kubernetes.io/version": chart["appVersion"],
            "app.kubernetes.io/managed-by": "Helm",
        }

    @property
    def account(self) -> str:
        fallback = self.fullname if self["serviceAccount.create"] else "default"
        return str(self["serviceAccount.name"] or fallback)

    def meta(self, suffix: str = "", **more: Any) -> dict[str, Any]:
        namespace = self["namespaceOverride"] or self.namespace
        return {"name": self.fullname + suffix, "namespace": namespace, "labels": self.labels} | more


def render(release: str, namespace: str, user: Values, *, warn: Callable[[str], None]) -> list[Object]:
    """The release's objects, in the order in which they are installed. Raises `HelmError` in Helm's words."""
    values = coalesce(user, defaults(), warn=warn, path="falco")
    context = _Context(release, namespace, values)
    _refuse_what_is_missing(context)
    _refuse_what_was_removed(context)
    _engine(context)
    _container_plugin(context)
    settings = _config_map(context, "", {"falco.yaml": _yaml(context["falco"])})
    rules = _rules(context)
    objects = []
    if context["serviceAccount.create"]:
        account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": context.meta()}
        account["metadata"]["name"] = context.account
        if context["serviceAccount.imagePullSecrets"]:
            account["imagePullSecrets"] = context["serviceAccount.imagePullSecrets"]
        if context["serviceAccount.annotations"]:
            account["metadata"]["annotations"] = context["serviceAccount.annotations"]
        objects.append(account)
    objects.append(settings)
    if _falcoctl_runs(context):
        objects.append(_config_map(context, "-falcoctl", {"falcoctl.yaml": _yaml(context["falcoctl.config"])}))
    objects += rules
    if context["rbac.create"] and context["driver.kind"] == "auto":  # the driver loader writes what it has chosen
        objects += _rbac(context)
    objects.append(_daemonset(context, settings, rules))
    return objects


def manifest(objects: list[Object]) -> str:
    """The text that Helm stores for a release."""
    files = {"ConfigMap": "configmap", "ServiceAccount": "serviceaccount", "DaemonSet": "daemonset"}
    return "".join(
        f"---\n# Source: falco/templates/{files.get(item['kind'], item['kind'].lower())}.yaml\n{_yaml(item)}\n"
        for item in objects
    )


def objects_of(text: str) -> list[Object]:
    """The objects in a stored manifest."""
    return [item for item in yaml.load_all(text, Loader=_Loader) if item]


def _refuse_what_is_missing(context: _Context) -> None:
    for switch, what in (
        ("falcosidekick.enabled", "falcosidekick"),
        ("responseActions.enabled", "Falco Talon"),
        ("collectors.kubernetes.enabled", "the k8s-metacollector"),
        ("metrics.enabled", "Falco's metrics"),
        ("serviceMonitor.create", "Prometheus' service monitors"),
        ("grafana.dashboards.enabled", "Grafana's dashboards"),
        ("certs.existingSecret", "Falco's certificates"),
        ("certs.existingClientSecret", "Falco's certificates"),
        ("certs.server.key", "Falco's certificates"),
        ("certs.client.key", "Falco's certificates"),
    ):
        if context[switch]:
            raise HelmError(f"the embedded lab does not emulate {what}: leave {switch} off, or use a real cluster")
    if str(context["controller.kind"]).lower() != "daemonset":
        raise HelmError("the embedded lab runs Falco as a DaemonSet only: leave controller.kind at daemonset")
    if context["services"]:
        raise HelmError("the embedded lab does not emulate services of Falco's plugins: leave services empty")


def _failed(text: str) -> HelmError:
    return HelmError(f"execution error at (falco/templates/daemonset.yaml:21:8): {text}")


def _refuse_what_was_removed(context: _Context) -> None:
    found = [f"driver.kind={kind}" for kind in ("ebpf", "gvisor") if context["driver.kind"] == kind]
    found += [f"driver.{key}" for key in ("ebpf", "gvisor") if key in context["driver"]]
    found += [f"falco.{key}" for key in ("grpc", "grpc_output") if key in context["falco"]]
    if found:
        raise _failed(
            f"The following chart configuration is no longer supported: {', '.join(found)}. "
            "See BREAKING-CHANGES.md for migration guidance."
        )


def _engine(context: _Context) -> None:
    if not context["driver.enabled"]:
        return
    kind = {"module": "kmod", "modern-bpf": "modern_ebpf"}.get(context["driver.kind"], context["driver.kind"])
    if kind not in ("kmod", "modern_ebpf", "auto"):
        raise _failed(
            f'unsupported driver kind: "{kind}". Supported drivers [kmod modern_ebpf auto], alias [module modern-bpf]'
        )
    kmod, probe = context["driver.kmod"], context["driver.modernEbpf"]
    engines = {
        "kmod": {"buf_size_preset": kmod["bufSizePreset"], "drop_failed_exit": kmod["dropFailedExit"]},
        "modern_ebpf": {
            "buf_size_preset": probe["bufSizePreset"],
            "drop_failed_exit": probe["dropFailedExit"],
            "cpus_for_each_buffer": probe["cpusForEachBuffer"],
            "disable_iterators": probe["disableIterators"],
        },
    }
    if kind == "auto":
        context["falco"]["engine"] = {"kind": "modern_ebpf", **engines}
    else:
        context["falco"]["engine"] = {"kind": kind, kind: engines[kind]}


def _has_container_plugin(context: _Context) -> bool:
    return bool(
        context["driver.enabled"] and context["collectors.enabled"] and context["collectors.containerEngine.enabled"]
    )


def _container_plugin(context: _Context) -> None:
    if not _has_container_plugin(context):
        return
    engine = context["collectors.containerEngine"]
    falco = context["falco"]
    if not any(plugin.get("name") == "container" for plugin in falco.get("plugins") or []):
        plugin = {
            "name": "container",
            "library_path": "libcontainer.so",
            "init_config": {
                "label_max_len": engine["labelMaxLen"],
                "with_size": engine["withSize"],
                "hooks": engine["hooks"],
                "engines": engine["engines"],
            },
        }
        falco["plugins"] = [*(falco.get("plugins") or []), plugin]
        falco["load_plugins"] = list(dict.fromkeys([*(falco.get("load_plugins") or []), "container"]))
    artifact = context["falcoctl.config.artifact"]
    artifact["install"]["refs"] = list(dict.fromkeys([*artifact["install"]["refs"], engine["pluginRef"]]))
    artifact["allowedTypes"] = list(dict.fromkeys([*artifact["allowedTypes"], "plugin"]))


def _rules(context: _Context) -> list[Object]:
    custom = context["customRules"]
    if not custom:
        return []
    where = "template: falco/templates/rules-configmap.yaml"
    executing = 'executing "falco/templates/rules-configmap.yaml" at'
    if not isinstance(custom, dict | list):
        raise HelmError(f"{where}:10:37: {executing} <.Values.customRules>: range can't iterate over {custom}")
    files = custom if isinstance(custom, dict) else dict(enumerate(custom))
    for file, content in files.items():
        if not isinstance(content, str):
            kind = {list: "[]interface {}", dict: "map[string]interface {}", bool: "bool", int: "int64"}.get(
                type(content), "float64"
            )
            raise HelmError(
                f"{where}:12:21: {executing} <4>: wrong type for value; expected string; got {kind} "
                f"(customRules.{file})"
            )
    return [_config_map(context, "-rules", {str(file): files[file].rstrip("\n") for file in sorted(files)})]


def _config_map(context: _Context, suffix: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": context.meta(suffix), "data": data}


def _rbac(context: _Context) -> list[Object]:
    group, meta = "rbac.authorization.k8s.io", context.meta()
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "update"]}],
    }
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "subjects": [{"kind": "ServiceAccount", "name": context.account, "namespace": meta["namespace"]}],
        "roleRef": {"kind": "Role", "name": context.fullname, "apiGroup": group},
    }
    return [role, binding]


def _daemonset(context: _Context, settings: Object, rules: list[Object]) -> Object:
    annotations = {
        "checksum/config": hashlib.sha256(_yaml(settings).encode()).hexdigest(),
        "checksum/rules": hashlib.sha256("".join(map(_yaml, rules)).encode()).hexdigest(),
        "checksum/certs": hashlib.sha256(b"").hexdigest(),
    }
    if _modern(context) and context["driver.modernEbpf.leastPrivileged"]:
        annotations["container.apparmor.security.beta.kubernetes.io/falco"] = "unconfined"
    meta = context.meta()
    meta["labels"] = meta["labels"] | context["controller.labels"]
    if context["controller.annotations"]:
        meta["annotations"] = context["controller.annotations"]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": meta,
        "spec": {
            "selector": {"matchLabels": context.selector},
            "updateStrategy": context["controller.daemonset.updateStrategy"],
            "template": {
                "metadata": {
                    "name": context.fullname,
                    "labels": context.selector | context["podLabels"],
                    "annotations": annotations | context["podAnnotations"],
                },
                "spec": _pod(context),
            },
        },
    }


def _pod(context: _Context) -> Object:
    pod: Object = {"serviceAccountName": context.account, "containers": [_falco(context)]}
    for key, value in (
        ("hostname", context["falco"].get("podHostname")),
        ("securityContext", context["podSecurityContext"]),
        ("priorityClassName", context["podPriorityClassName"]),
        ("nodeSelector", context["nodeSelector"]),
        ("affinity", context["affinity"]),
        ("tolerations", context["tolerations"]),
        ("imagePullSecrets", context["imagePullSecrets"]),
    ):
        if value:
            pod[key] = value
    if context["falcoctl.artifact.follow.enabled"]:
        pod["containers"].append(_falcoctl(context, "follow"))
    before = list(context["extra.initContainers"])
    if _loads_driver(context):
        before.append(_driver_loader(context))
    if context["falcoctl.artifact.install.enabled"]:
        before.append(_falcoctl(context, "install"))
    if before:
        pod["initContainers"] = before
    pod["volumes"] = _volumes(context)
    return pod


def _falco(context: _Context) -> Object:
    image = context["image"]
    registry = f"{image['registry']}/" if image["registry"] else ""
    tag = image["tag"] or metadata()["appVersion"]
    node = {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    container: Object = {
        "name": "falco",
        "image": f"{registry}{image['repository']}:{tag}",
        "imagePullPolicy": image["pullPolicy"],
        "resources": context["resources"],
        "securityContext": _security(context),
        "args": ["/usr/bin/falco", *_sources(context), *context["extra.args"]],
        "env": [
            {"name": "HOST_ROOT", "value": "/host"},
            *([{"name": "FALCO_HOSTNAME", **node}] if _names_host(context) else []),
            {"name": "FALCO_K8S_NODE_NAME", **copy.deepcopy(node)},
            *context["extra.env"],
        ],
        "tty": bool(context["tty"]),
        "volumeMounts": _mounts(context),
    }
    if context["falco.webserver.enabled"]:
        port = context["falco.webserver.listen_port"]
        container["ports"] = [{"containerPort": port, "name": "web", "protocol": "TCP"}]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            check = {"httpGet": {"path": context["falco.webserver.k8s_healthz_endpoint"], "port": port}}
            container[probe] = {**context[f"healthChecks.{probe}"], **check}
    return container


def _names_host(context: _Context) -> bool:
    own = any(variable.get("name") == "FALCO_HOSTNAME" for variable in context["extra.env"])
    return bool(context["falcoHostnameEnv"]) and not own


def _sources(context: _Context) -> list[str]:
    userspace = {"-u", "--userspace"} & set(context["extra.args"])
    return [] if context["driver.enabled"] or userspace else ["--disable-source", "syscall"]


def _modern(context: _Context) -> bool:
    return bool(context["driver.enabled"]) and context["driver.kind"] in ("modern_ebpf", "modern-bpf")


def _security(context: _Context) -> Object:
    if context["containerSecurityContext"]:
        return dict(context["containerSecurityContext"])
    if not context["driver.enabled"]:
        return {}
    if _modern(context) and context["driver.modernEbpf.leastPrivileged"]:
        return {"capabilities": {"add": ["BPF", "SYS_RESOURCE", "PERFMON", "SYS_PTRACE"]}}
    return {"privileged": True}


def _loads_driver(context: _Context) -> bool:
    return bool(context["driver.enabled"] and context["driver.loader.enabled"] and not _modern(context))


def _sockets(context: _Context) -> list[str]:
    """The runtime sockets that the container plugin looks at, each once."""
    if not _has_container_plugin(context):
        return []
    engines = context["collectors.containerEngine.engines"]
    order = ("docker", "podman", "containerd", "cri", "lxc", "libvirt_lxc", "bpm")
    enabled = [engines[name] for name in order if (engines.get(name) or {}).get("enabled")]
    return list(dict.fromkeys(socket for engine in enabled for socket in engine.get("sockets") or []))


def _mounts(context: _Context) -> list[Object]:
    driver, loads = context["driver.enabled"], _loads_driver(context)
    mounts: list[Object] = [
        {"mountPath": f"/host{socket}", "name": f"container-engine-socket-{number}"}
        for number, socket in enumerate(_sockets(context))
    ]
    if _falcoctl_runs(context):
        kinds = context["falcoctl.config.artifact.allowedTypes"]
        if "rulesfile" in kinds:
            mounts.append({"mountPath": "/etc/falco", "name": "rulesfiles-install-dir"})
        if "plugin" in kinds:
            mounts.append({"mountPath": "/usr/share/falco/plugins", "name": "plugins-install-dir"})
    if loads:
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
        if context["driver.kind"] in ("kmod", "module", "auto"):
            mounts.append({"mountPath": "/host/dev", "name": "dev-fs", "readOnly": True})
            mounts.append({"mountPath": "/sys/module", "name": "sys-module-fs"})
        if _mounts_sysfs(context):
            mounts.append({"mountPath": context["driver.sysfsMountPath"], "name": "sys-fs", "readOnly": True})
    mounts.append({"mountPath": "/etc/falco/falco.yaml", "name": "falco-yaml", "subPath": "falco.yaml"})
    if context["customRules"]:
        mounts.append({"mountPath": "/etc/falco/rules.d", "name": "rules-volume"})
    return [*mounts, *context["mounts.volumeMounts"]]


def _mounts_proc(context: _Context) -> bool:
    return bool(context["driver.enabled"] or context["falco"].get("plugins_hostinfo"))


def _mounts_sysfs(context: _Context) -> bool:
    kind = context["driver.kind"]
    return kind in ("modern_ebpf", "modern-bpf", "auto") and bool(context["driver.modernEbpf.sysfsMount"])


def _falcoctl_runs(context: _Context) -> bool:
    return bool(context["falcoctl.artifact.install.enabled"] or context["falcoctl.artifact.follow.enabled"])


def _volumes(context: _Context) -> list[Object]:
    volumes: list[Object] = [
        {"name": f"container-engine-socket-{number}", "hostPath": {"path": socket}}
        for number, socket in enumerate(_sockets(context))
    ]
    empty = ["specialized-falco-configs"] if _loads_driver(context) else []
    if _falcoctl_runs(context):
        empty += ["plugins-install-dir", "rulesfiles-install-dir", "artifact-state-dir"]
    empty.append("root-falco-fs")
    volumes += [{"name": name, "emptyDir": {}} for name in empty]
    host = {}
    if context["driver.enabled"]:
        host = {"boot-fs": "/boot", "lib-modules": "/lib/modules", "usr-fs": "/usr", "etc-fs": "/etc"}
        if context["driver.kind"] in ("kmod", "module", "auto"):
            host |= {"dev-fs": "/dev", "sys-module-fs": "/sys/module"}
        if _mounts_sysfs(context):
            host["sys-fs"] = context["driver.sysfsMountPath"]
    if _mounts_proc(context):
        host["proc-fs"] = "/proc"
    volumes += [{"name": name, "hostPath": {"path": path}} for name, path in host.items()]
    files = [("falcoctl-config-volume", "-falcoctl", "falcoctl.yaml"), ("falco-yaml", "", "falco.yaml")]
    for name, suffix, file in files:
        source = {"name": context.fullname + suffix, "items": [{"key": file, "path": file}]}
        volumes.append({"name": name, "configMap": source})
    if context["customRules"]:
        volumes.append({"name": "rules-volume", "configMap": {"name": f"{context.fullname}-rules"}})
    return [*volumes, *context["mounts.volumes"]]


def _falcoctl(context: _Context, verb: str) -> Object:
    image, part = context["falcoctl.image"], context[f"falcoctl.artifact.{verb}"]
    folders = context[f"falcoctl.config.artifact.{verb}"]
    container: Object = {
        "name": f"falcoctl-artifact-{verb}",
        "image": f"{image['registry']}/{image['repository']}:{image['tag']}",
        "imagePullPolicy": image["pullPolicy"],
        "args": ["artifact", verb, *part["args"]],
        "volumeMounts": [
            {"mountPath": folders["pluginsDir"], "name": "plugins-install-dir"},
            {"mountPath": folders["rulesfilesDir"], "name": "rulesfiles-install-dir"},
            {"mountPath": "/etc/falcoctl", "name": "falcoctl-config-volume"},
            {"mountPath": folders["stateDir"], "name": "artifact-state-dir"},
            *part["mounts"]["volumeMounts"],
        ],
    }
    for key in ("resources", "securityContext", "env", "envFrom"):
        if part[key]:
            container[key] = part[key]
    return container


def _driver_loader(context: _Context) -> Object:
    part = context["driver.loader.initContainer"]
    image = part["image"]
    kind = {"module": "kmod"}.get(context["driver.kind"], context["driver.kind"])
    mounts: list[Object] = [
        {"mountPath": "/root/.falco", "name": "root-falco-fs"},
        {"mountPath": "/host/proc", "name": "proc-fs", "readOnly": True},
        {"mountPath": "/host/boot", "name": "boot-fs", "readOnly": True},
        {"mountPath": "/host/lib/modules", "name": "lib-modules"},
        {"mountPath": "/host/usr", "name": "usr-fs", "readOnly": True},
        {"mountPath": "/host/etc", "name": "etc-fs", "readOnly": True},
        {"mountPath": "/etc/falco/config.d", "name": "specialized-falco-configs"},
    ]
    env: list[Object] = [{"name": "HOST_ROOT", "value": "/host"}, *part["env"]]
    if kind == "auto":
        field = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_NAMESPACE", **field})
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_CONFIGMAP", "value": context.fullname})
    else:
        env.append({"name": "FALCOCTL_DRIVER_CONFIG_UPDATE_FALCO", "value": "false"})
    return {
        "name": "falco-driver-loader",
        "image": f"{image['registry']}/{image['repository']}:{image['tag'] or metadata()['appVersion']}",
        "imagePullPolicy": image["pullPolicy"],
        "args": [*part["args"], kind],
        "securityContext": part["securityContext"] or {"privileged": True},
        "volumeMounts": mounts,
        "env": env,
    }


# libyaml's are some ten times as fast as the ones in Python.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Writes shared parts twice instead of with anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    """As Go templates' `toYaml`: keys sorted, no line end at the end."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=10_000, allow_unicode=True)).rstrip("\n")
