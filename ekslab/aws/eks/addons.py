"""EKS add-ons of the lab's cluster. There is one: the agent of EKS Pod Identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Protocol

import yaml

from ekslab import names
from ekslab.aws.protocols import AwsError, Call, unsupported

AGENT = "eks-pod-identity-agent"
VERSION = "v1.3.10-eksbuild.2"


class Objects(Protocol):
    """Where an add-on's objects are put: the cluster."""

    def install(self, item: Mapping[str, Any]) -> None:
        """Makes an object, or replaces it."""

    def uninstall(self, item: Mapping[str, Any]) -> None:
        """Deletes an object, if it is there."""

    def unready(self, item: Mapping[str, Any]) -> str:
        """Why a workload isn't ready; empty if it is."""


@dataclass
class _Addon:
    arn: str
    created: float
    tags: dict[str, str] = field(default_factory=dict)


class Addons:
    """The add-ons. `objects` is set when there is a cluster to put them in."""

    def __init__(
        self, *, account_id: str, region: str, cluster: str, clock: Callable[[], float], tags: dict[str, dict[str, str]]
    ) -> None:
        self.objects: Objects | None = None
        self._prefix = f"arn:aws:eks:{region}:{account_id}:addon/{cluster}"
        self._region = region
        self._cluster = cluster
        self._clock = clock
        self._tags = tags
        self._addons: dict[str, _Addon] = {}

    def list(self, call: Call) -> dict[str, Any]:
        return {"addons": sorted(self._addons), "nextToken": None}

    def describe(self, call: Call) -> dict[str, Any]:
        name = self._named(call)
        return {"addon": self._described(name)}

    def create(self, call: Call) -> dict[str, Any]:
        p = call.parameters
        name = str(p.get("addonName", ""))
        if name != AGENT:
            raise unsupported(call, f"only the add-on {AGENT}")
        if p.get("addonVersion", VERSION) != VERSION:
            message = f"Addon version specified is not supported: {p['addonVersion']}. The embedded lab has {VERSION}."
            raise AwsError("InvalidParameterException", message)
        if name in self._addons:
            raise AwsError("ResourceInUseException", "Addon already exists.", 409)
        arn = f"{self._prefix}/{name}/{names.uid(self._prefix, name, self._clock())}"
        tags = self._tags[arn] = dict(p.get("tags") or {})
        self._addons[name] = _Addon(arn, self._clock(), tags)
        if self.objects is not None:
            self.objects.install(agent(self._cluster, self._region))
        return {"addon": {**self._described(name), "status": "CREATING"}}

    def delete(self, call: Call) -> dict[str, Any]:
        name = self._named(call)
        described = {**self._described(name), "status": "DELETING"}
        if self.objects is not None and call.parameters.get("preserve") != "true":
            self.objects.uninstall(agent(self._cluster, self._region))
        self._tags.pop(self._addons.pop(name).arn, None)
        return {"addon": described}

    def _named(self, call: Call) -> str:
        name = call.path_parameters.get("addonName", "")
        if name not in self._addons:
            message = f"No addon: {name} found in cluster: {self._cluster}"
            members = {"clusterName": self._cluster, "addonName": name}
            raise AwsError("ResourceNotFoundException", message, 404, members=members)
        return name

    def _described(self, name: str) -> dict[str, Any]:
        addon = self._addons[name]
        why = self.objects.unready(agent(self._cluster, self._region)) if self.objects is not None else ""
        young = self._clock() - addon.created < 60
        issues = [{"code": "InsufficientNumberOfReplicas", "message": why, "resourceIds": []}] if why else []
        return {
            "addonName": name,
            "clusterName": self._cluster,
            "status": "ACTIVE" if not why else "CREATING" if young else "DEGRADED",
            "addonVersion": VERSION,
            "health": {"issues": [] if why and young else issues},
            "addonArn": addon.arn,
            "createdAt": addon.created,
            "modifiedAt": addon.created,
            "tags": addon.tags,
            "podIdentityAssociations": [],
        }


@cache
def _agent() -> str:
    return resources.files("ekslab.aws.eks").joinpath("agent.yaml").read_text(encoding="utf-8")


def agent(cluster: str, region: str) -> dict[str, Any]:
    """The DaemonSet of the agent."""
    found: dict[str, Any] = yaml.safe_load(_agent().replace("${cluster}", cluster).replace("${region}", region))
    return found
