"""What Helm does with a release: install, upgrade, roll back, uninstall."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ekslab.helm import chart, storage
from ekslab.helm.cluster import MERGE, Cluster, Object, path_of
from ekslab.helm.errors import HelmError
from ekslab.helm.storage import Revision, revisions
from ekslab.helm.values import Values, merge

HISTORY_MAX = 10
"""Revisions that are kept: Helm's default."""


def upgrade_install(
    cluster: Cluster,
    name: str,
    namespace: str,
    user: Values,
    *,
    warn: Callable[[str], None],
    install: bool = True,
    reuse_values: bool = False,
    create_namespace: bool = False,
    wait: bool = False,
    timeout: float = 300.0,
    labels: Mapping[str, str] | None = None,
) -> Revision:
    """Installs or upgrades a release of the Falco chart; returns its new revision, or raises `HelmError`.

    With `reuse_values`, `user` is merged into the values of the last revision. `timeout` is in seconds and counts only
    with `wait`.
    """
    history = revisions(cluster, name, namespace)
    last = history[-1] if history else None
    if (last is None and not install) or (last is not None and last.status in ("uninstalling", "uninstalled")):
        raise HelmError(f'UPGRADE FAILED: "{name}" has no deployed releases')
    if last is not None and last.status.startswith("pending-"):
        raise HelmError("UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
    config = merge(last.config, user) if reuse_values and last is not None else user
    try:
        objects, notes = chart.rendered(name, namespace, config, warn=warn)
        _refuse_unknown_kinds(objects)
        if create_namespace:
            _create_namespace(cluster, namespace)
        now = _now()
        revision = Revision(
            name=name,
            namespace=namespace,
            version=last.version + 1 if last is not None else 1,
            status="pending-upgrade" if last is not None else "pending-install",
            description="Preparing upgrade" if last is not None else "Initial install underway",
            first_deployed=last.first_deployed if last is not None else now,
            last_deployed=now,
            chart=chart.metadata(),
            config=config,
            manifest=chart.manifest(objects),
            notes=notes,
            defaults=chart.defaults(),
            labels={**(last.labels if last is not None else {}), **(labels or {})},
        )
        return _deploy(
            cluster,
            revision,
            history,
            objects,
            timeout=timeout if wait else None,
            failed=f'{"Upgrade" if last is not None else "Release"} "{name}" failed',
            complete=f"{'Upgrade' if last is not None else 'Install'} complete",
        )
    except HelmError as error:
        raise HelmError(f"{'UPGRADE FAILED: ' if last is not None else ''}{error}") from error


def rollback(
    cluster: Cluster, name: str, namespace: str, to: int = 0, *, wait: bool = False, timeout: float = 300.0
) -> Revision:
    """Makes an earlier revision (default: the one before the last) the newest one. Raises `HelmError`.

    The last revision may have any status, also one that an interrupted operation left.
    """
    history = revisions(cluster, name, namespace)
    if not history:
        raise HelmError("release: not found")
    last = history[-1]
    to = to or last.version - 1
    target = next((revision for revision in history if revision.version == to), None)
    if target is None:
        raise HelmError(f"release has no {to} version")
    revision = replace(
        target,
        version=last.version + 1,
        status="pending-rollback",
        description=f"Rollback to {to}",
        first_deployed=last.first_deployed,
        last_deployed=_now(),
    )
    try:
        return _deploy(
            cluster,
            revision,
            history,
            chart.objects_of(target.manifest),
            timeout=timeout if wait else None,
            failed=f'Rollback "{name}" failed',
            complete=revision.description,
        )
    except HelmError:
        storage.update(cluster, replace(last, status="superseded"))
        raise


def uninstall(cluster: Cluster, name: str, namespace: str, *, timeout: float = 300.0) -> bool:
    """Removes a release, its objects and its history, and waits until the objects are gone. False if there is none."""
    history = revisions(cluster, name, namespace)
    if not history:
        return False
    last = history[-1]
    description = "Deletion in progress (or silently failed)"
    storage.update(cluster, replace(last, status="uninstalling", description=description))
    deadline = time.monotonic() + timeout
    for item in reversed(chart.objects_of(last.manifest)):
        cluster.delete(item, deadline=deadline)
    for revision in history:
        cluster.delete(revision.secret)
    return True


def _deploy(
    cluster: Cluster,
    revision: Revision,
    history: Sequence[Revision],
    objects: Sequence[Object],
    *,
    timeout: float | None,
    failed: str,
    complete: str,
) -> Revision:
    """Stores a revision as pending, brings the cluster's objects to it, and stores the revision with the outcome.

    With `timeout`, in seconds, it waits for the rollout. `failed` and `complete` begin the description of the outcome.
    An interrupt makes the operation fail.
    """
    storage.create(cluster, revision)
    try:
        for item in objects:
            _apply(cluster, item)
        for item in chart.objects_of(history[-1].manifest) if history else []:
            if path_of(item) not in map(path_of, objects):
                cluster.delete(item)
        deadline = time.monotonic() + (timeout or 0)
        for item in objects if timeout is not None else []:
            cluster.wait_ready(item, deadline)
    except (HelmError, KeyboardInterrupt) as error:
        # An interrupt may have a text: a codec that it arrived in adds its own.
        text = str(error) if isinstance(error, HelmError) else "context canceled"
        storage.update(cluster, replace(revision, status="failed", description=f"{failed}: {text}"))
        raise HelmError(text) from error
    for old in history:
        if old.status == "deployed":
            storage.update(cluster, replace(old, status="superseded"))
    for old in history[: max(0, len(history) + 1 - HISTORY_MAX)]:
        cluster.delete(old.secret)
    revision = replace(revision, status="deployed", description=complete)
    storage.update(cluster, revision)
    return revision


def _refuse_unknown_kinds(objects: Sequence[Object]) -> None:
    for item in objects:
        group, _, version = item["apiVersion"].rpartition("/")
        if group == "monitoring.coreos.com":
            meta = item["metadata"]
            raise HelmError(
                "unable to build kubernetes objects from release manifest: resource mapping not found for name: "
                f'"{meta["name"]}" namespace: "{meta["namespace"]}" from "": no matches for kind "{item["kind"]}" in '
                f'version "{group}/{version}"\nensure CRDs are installed first'
            )


def _create_namespace(cluster: Cluster, namespace: str) -> None:
    meta = {"name": namespace, "labels": {"name": namespace}}
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    if cluster.find(item) is None:
        cluster.create(item)


def _apply(cluster: Cluster, item: Object) -> None:
    """Server-side apply, as Helm 4: removes fields that the last revision had set, keeps those of other managers."""
    _take_over(cluster, item)
    meta = item["metadata"]
    annotations = {
        **meta.get("annotations", {}),
        "meta.helm.sh/release-name": meta["labels"]["app.kubernetes.io/instance"],
        "meta.helm.sh/release-namespace": meta["namespace"],
    }
    cluster.apply(_without_nulls({**item, "metadata": {**meta, "annotations": annotations}}))


def _without_nulls(value: Any) -> Any:
    """A key without a value is one that isn't set."""
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _take_over(cluster: Cluster, item: Object) -> None:
    """Turns fields that Helm 3 has set by updates into fields of Helm's apply, which could not remove them else."""
    entries = ((cluster.find(item) or {}).get("metadata") or {}).get("managedFields") or []
    updated, applied = (
        [e for e in entries if (e["manager"], e["operation"], "subresource" in e) == ("helm", operation, False)]
        for operation in ("Update", "Apply")
    )
    if not updated:
        return
    fields: dict[str, Any] = {}
    for entry in updated + applied:
        fields = merge(fields, entry["fieldsV1"])
    others = [entry for entry in entries if entry not in updated + applied]
    entries = [*others, {**updated[-1], "operation": "Apply", "fieldsV1": fields}]
    cluster.request("PATCH", path_of(item), body={"metadata": {"managedFields": entries}}, content_type=MERGE)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
