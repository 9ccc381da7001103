"""What Helm does with a release: install or upgrade, roll out, look at, remove. All of it over the Kubernetes API."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ekslab.helm import chart
from ekslab.helm.errors import HelmError
from ekslab.helm.storage import Revision, revisions, save
from ekslab.helm.values import Values, merge
from labkit.errors import StepError
from labkit.kube import Kube, Object, in_order

HISTORY_MAX = 10
"""Revisions that are kept, as with Helm's own default."""

_ROLLED_OUT = {"DaemonSet", "Deployment", "StatefulSet"}


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def upgrade_install(
    kube: Kube,
    name: str,
    namespace: str,
    user: Values,
    *,
    install: bool = True,
    keep: str = "",
    create_namespace: bool = False,
    wait: bool = False,
    timeout: float = 300.0,
    labels: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = _warn,
) -> Revision:
    """Installs or upgrades a release of the Falco chart; returns its new revision, or raises `HelmError`.

    `keep` is `reuse` (values of the last revision come first), `reset-then-reuse` (the same, over the chart's present
    defaults) or empty: only `user` counts. `timeout` is in seconds and counts only with `wait`.
    """
    earlier = revisions(kube, name, namespace)
    last = earlier[-1] if earlier else None
    if last is None and not install:
        raise HelmError(f'UPGRADE FAILED: "{name}" has no deployed releases')
    if last is not None and last.status.startswith("pending-"):
        raise HelmError("UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
    if last is not None and last.status in ("uninstalling", "uninstalled"):
        raise HelmError(f'UPGRADE FAILED: "{name}" has no deployed releases')
    prefix = "UPGRADE FAILED: " if last is not None else ""
    config = merge(last.config, user) if keep and last is not None else user
    try:
        objects = chart.render(name, namespace, config, warn=warn)
    except HelmError as error:
        raise HelmError(f"{prefix}{error}") from error
    if create_namespace:
        _create_namespace(kube, namespace)
    now = _now(kube)
    revision = Revision(
        name=name,
        namespace=namespace,
        version=last.version + 1 if last is not None else 1,
        status="pending-upgrade" if last is not None else "pending-install",
        description="Preparing upgrade" if last is not None else "Initial install underway",
        first_deployed=earlier[0].first_deployed if earlier else now,
        last_deployed=now,
        chart=chart.metadata(),
        config=config,
        manifest=chart.manifest(objects),
        notes=chart.NOTES,
        defaults=chart.defaults(),
        labels={**(last.labels if last is not None else {}), **(labels or {})},
    )
    _save(kube, revision)
    try:
        _apply(kube, objects)
        _remove_left_over(kube, last, objects)
        if wait:
            _wait(kube, objects, timeout)
    except (StepError, HelmError) as error:
        text = str(error) if isinstance(error, HelmError) else error.message
        done = "Upgrade" if last is not None else "Release"
        _save(kube, replace(revision, status="failed", description=f'{done} "{name}" failed: {text}'))
        raise HelmError(f"{prefix}{text}") from error
    _supersede(kube, earlier)
    for old in earlier[: max(0, len(earlier) + 1 - HISTORY_MAX)]:
        kube.request("DELETE", kube.path("v1", "Secret", namespace, old.secret_name))
    done = "Upgrade" if last is not None else "Install"
    revision = replace(revision, status="deployed", description=f"{done} complete")
    _save(kube, revision)
    return revision


def rollback(
    kube: Kube, name: str, namespace: str, to: int = 0, *, wait: bool = False, timeout: float = 300.0
) -> Revision:
    """Goes back to an earlier revision (default: the one before the last), which becomes a new one.

    The last revision may be in any state, also one that an interrupted operation left. Raises `HelmError`.
    """
    stored = revisions(kube, name, namespace)
    if not stored:
        raise HelmError("release: not found")
    last = stored[-1]
    to = to or last.version - 1
    target = next((revision for revision in stored if revision.version == to), None)
    if target is None:
        raise HelmError(f"release has no {to} version")
    revision = replace(
        target,
        version=last.version + 1,
        status="pending-rollback",
        description=f"Rollback to {to}",
        first_deployed=last.first_deployed,
        last_deployed=_now(kube),
    )
    _save(kube, revision)
    objects = chart.objects_of(target.manifest)
    try:
        _apply(kube, objects)
        _remove_left_over(kube, last, objects)
        if wait:
            _wait(kube, objects, timeout)
    except (StepError, HelmError) as error:
        text = str(error) if isinstance(error, HelmError) else error.message
        _save(kube, replace(last, status="superseded"))
        _save(kube, replace(revision, status="failed", description=f'Rollback "{name}" failed: {text}'))
        raise HelmError(text) from error
    _supersede(kube, stored)
    revision = replace(revision, status="deployed")
    _save(kube, revision)
    return revision


def uninstall(kube: Kube, name: str, namespace: str) -> bool:
    """Removes a release, its objects and its history, and waits until the objects are gone. False if there is none."""
    stored = revisions(kube, name, namespace)
    if not stored:
        return False
    last = stored[-1]
    description = "Deletion in progress (or silently failed)"
    _save(kube, replace(last, status="uninstalling", description=description))
    kube.delete(chart.objects_of(last.manifest))
    for revision in stored:
        kube.request("DELETE", kube.path("v1", "Secret", namespace, revision.secret_name))
    return True


def _supersede(kube: Kube, earlier: Iterable[Revision]) -> None:
    for old in earlier:
        if old.status == "deployed":
            _save(kube, replace(old, status="superseded"))


def _create_namespace(kube: Kube, namespace: str) -> None:
    if kube.get("Namespace", namespace) is None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"name": namespace}}}
        kube.request("POST", kube.path("v1", "Namespace"), body=body)


def _apply(kube: Kube, objects: Iterable[Object]) -> None:
    """Server-side apply, as Helm 4: fields of the last revision that are gone go, what others set stays."""
    for item in in_order(objects):
        meta = item["metadata"]
        _take_over(kube, item)
        annotations = {
            "meta.helm.sh/release-name": meta["labels"]["app.kubernetes.io/instance"],
            "meta.helm.sh/release-namespace": meta["namespace"],
        }
        owned = {**item, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), **annotations}}}
        kube.request(
            "PATCH",
            kube.path(item["apiVersion"], item["kind"], meta["namespace"], meta["name"]),
            query={"fieldManager": "helm", "force": "true"},
            body=owned,
            content_type="application/apply-patch+yaml",
        )


def _take_over(kube: Kube, item: Object) -> None:
    """Makes fields that Helm 3 has set by updates Helm's by server-side apply, or it could not take them away again."""
    entries = ((kube.find(item) or {}).get("metadata") or {}).get("managedFields") or []
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
    meta = item["metadata"]
    kube.request(
        "PATCH",
        kube.path(item["apiVersion"], item["kind"], meta["namespace"], meta["name"]),
        body={"metadata": {"managedFields": [*others, {**updated[-1], "operation": "Apply", "fieldsV1": fields}]}},
        content_type="application/merge-patch+json",
    )


def _remove_left_over(kube: Kube, last: Revision | None, objects: Iterable[Object]) -> None:
    kept = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in objects}
    for item in chart.objects_of(last.manifest) if last is not None else []:
        if (item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) not in kept:
            kube.delete_one(item)


def _wait(kube: Kube, objects: Iterable[Object], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for item in objects:
        if item["kind"] in _ROLLED_OUT:
            meta = item["metadata"]
            left = deadline - time.monotonic()
            # Helm has no patience of its own: it waits for the whole time, whatever the pods say.
            try:
                kube.wait_rollout(
                    item["kind"], meta["name"], meta["namespace"], timeout=left, patience=timeout, placed=False
                )
            except StepError as error:
                raise HelmError(
                    f"resource {item['kind']}/{meta['namespace']}/{meta['name']} not ready. {error.message}: "
                    "context deadline exceeded"
                ) from error


def _save(kube: Kube, revision: Revision) -> None:
    save(kube, revision, int(kube.now().timestamp()))


def _now(kube: Kube) -> str:
    now: dt.datetime = kube.now()
    return now.isoformat(timespec="microseconds").replace("+00:00", "Z")
