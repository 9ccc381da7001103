"""Helm for the embedded lab: the same calls as `labkit.helm.Helm`, for the one chart the workshop installs.

It makes what Helm makes: the chart's objects, and a release in Secrets that a real `helm list` reads. On a cluster of
your own the real Helm does this; `python -m ekslab.helm` takes Helm's arguments, and is the `helm` of the
lab's terminals where a person has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ekslab import versions
from ekslab.helm import chart as charts
from ekslab.helm import release as releases
from ekslab.helm.errors import HelmError
from ekslab.helm.storage import Revision, revisions
from ekslab.helm.values import read
from labkit.connect import LAB_UP
from labkit.errors import StepError
from labkit.helm import Helm as RealHelm
from labkit.helm import Release
from labkit.kube import Kube

VERSION = f"v{versions.HELM}"
"""The Helm whose behaviour is followed."""

_HINTS = {
    "failed to parse": "A values file is a map at its top: `customRules:`, below it file names and blocks of text.",
    "wrong type for value": "Under `customRules`, each file name needs a block of text: put `|-` behind its colon.",
    "no such file": "Check the file's name.",
    "not found": "The embedded lab has the chart falcosecurity/falco in the version that versions.toml pins.",
    "does not emulate": "Switch it off in the values, or use a real cluster (target=eks).",
    "in progress": "An earlier call was interrupted: `helm rollback` or `helm uninstall` the release.",
    "deadline exceeded": "Pods did not become ready in time: `kubectl get pods,events` in the namespace says why.",
}


class Helm(RealHelm):
    """The stand-in. Every method raises `StepError` with Helm's words when Helm would refuse."""

    elsewhere = False

    def upgrade_install(
        self,
        release: str,
        chart: str,
        *,
        version: str,
        namespace: str,
        values: Sequence[Path] = (),
        repository: str = "",
        reuse_values: bool = False,
        create_namespace: bool = True,
        wait: bool = True,
        timeout: float = 300.0,
        labels: Mapping[str, str] | None = None,
    ) -> Release:
        with self._alone(release, namespace), _explained("upgrade --install"):
            charts.locate(chart, version, repository)
            made = releases.upgrade_install(
                self._kube,
                release,
                namespace,
                read(values),
                keep="reuse" if reuse_values else "",
                create_namespace=create_namespace,
                wait=wait,
                timeout=timeout,
                labels=labels,
            )
        return _summary(made)

    def status(self, release: str, namespace: str) -> Release | None:
        stored = revisions(self._kube, release, namespace)
        return _summary(stored[-1]) if stored else None

    def history(self, release: str, namespace: str) -> list[Release]:
        return [_summary(revision) for revision in revisions(self._kube, release, namespace)]

    def get_values(self, release: str, namespace: str) -> dict[str, Any]:
        stored = revisions(self._kube, release, namespace)
        if not stored:
            with _explained("get values"):
                raise HelmError("release: not found")
        return stored[-1].config

    def _uninstall(self, release: str, namespace: str) -> None:
        releases.uninstall(self._kube, release, namespace)

    def _rollback(self, release: str, namespace: str, revision: int) -> None:
        with _explained("rollback"):
            releases.rollback(self._kube, release, namespace, revision)

    def version(self) -> str:
        return VERSION

    @property
    def _kube(self) -> Kube:
        if not hasattr(self, "_connection"):
            self._connection = Kube(kubeconfig=self.kubeconfig, context=self.context, hint=LAB_UP)
        return self._connection


def _summary(revision: Revision) -> Release:
    return Release(
        name=revision.name,
        namespace=revision.namespace,
        revision=revision.version,
        status=revision.status,
        chart=revision.chart["name"],
        version=revision.chart["version"],
        app_version=str(revision.chart.get("appVersion", "")),
        updated=revision.last_deployed,
    )


@contextmanager
def _explained(command: str) -> Iterator[None]:
    """Turns what Helm says when it refuses into a `StepError` with what to do."""
    try:
        yield
    except HelmError as error:
        text = str(error)
        hint = next((hint for part, hint in _HINTS.items() if part in text), "Correct that and run this again.")
        raise StepError(f"`helm {command}` failed: {text}", hint=hint) from error
