"""Renders the chart falcosecurity/falco 9.1.0: the Kubernetes objects for given values.

What each of the chart's templates makes is in `templates.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ekslab import versions
from ekslab.helm.errors import HelmError
from ekslab.helm.templates import TEMPLATES, Context, check_head, notes, to_yaml
from ekslab.helm.values import Values, coalesce

Object = dict[str, Any]

REPOSITORY = versions.FALCO_CHART_NAME.partition("/")[0]


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


def render(release: str, namespace: str, user: Values, *, warn: Callable[[str], None]) -> list[Object]:
    """The release's objects, in the order in which they are installed. Raises `HelmError` in Helm's words."""
    return rendered(release, namespace, user, warn=warn)[0]


def rendered(release: str, namespace: str, user: Values, *, warn: Callable[[str], None]) -> tuple[list[Object], str]:
    """The same with the notes that Helm prints after an installation."""
    values = coalesce(user, defaults(), warn=warn, path="falco")
    context = Context(release, namespace, values, metadata())
    found = {name: make(context) for name, make in TEMPLATES}
    told = notes(context)
    for name in sorted(found):
        for item in found[name]:
            check_head(item, name)
    objects = [item for name in sorted(found) for item in found[name]]
    return sorted(objects, key=lambda item: _ORDER.index(item["kind"])), told


# The order in which Helm installs kinds.
_ORDER = (
    "ServiceAccount", "Secret", "ConfigMap", "Role", "RoleBinding", "Service", "DaemonSet", "Deployment",
    "ServiceMonitor",
)  # fmt: skip


def manifest(objects: list[Object]) -> str:
    """The text that Helm stores for a release."""
    return "".join(f"---\n# Source: falco/templates/{_source(item)}.yaml\n{to_yaml(item)}\n" for item in objects)


def _source(item: Object) -> str:
    """The name of the template that makes an object."""
    kind, name = str(item["kind"]), str(item["metadata"]["name"])
    for ending, file in _SOURCES.get(kind, ()):
        if name.endswith(ending):
            return file
    return kind[0].lower() + kind[1:] if kind in ("RoleBinding", "ServiceMonitor") else kind.lower()


_SOURCES = {
    "ConfigMap": (("-falcoctl", "falcoctl-configmap"), ("-rules", "rules-configmap")),
    "Secret": (("-client-certs", "client-certs-secret"), ("-certs", "certs-secret")),
    "Service": (("-metrics", "service"), ("", "services")),
}


def objects_of(text: str) -> list[Object]:
    """The objects in a stored manifest, also one that Helm has stored."""
    return [item for item in yaml.load_all(text, Loader=_Loader) if item]


# libyaml is some ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
