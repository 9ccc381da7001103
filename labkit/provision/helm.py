"""Helm by its own command line: charts and values files go in, a `Release` comes back.

The embedded lab's Helm stand-in has the same interface, so a provisioning step doesn't know which one it calls.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import StepError, TargetError
from labkit.versions import pinned


@dataclass(frozen=True)
class Release:
    """One revision of a Helm release. `status` is Helm's own word: `deployed`, `failed`, `pending-upgrade`..."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str
    """Name of the chart without its version, e.g. `falco`."""
    version: str
    """Version of the chart, e.g. `9.1.0`."""
    app_version: str


class Helm:
    """The `helm` on the PATH, pointed at one cluster.

    Every method raises `StepError` with Helm's own message when Helm refuses, and `TargetError` when there is no
    `helm`.
    """

    def __init__(self, *, kubeconfig: Path | None = None, context: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.context = context

    def upgrade_install(
        self,
        release: str,
        chart: str,
        *,
        version: str,
        namespace: str,
        values: Sequence[Path] = (),
        reuse_values: bool = False,
        create_namespace: bool = True,
        wait: bool = True,
        timeout: float = 300.0,
    ) -> Release:
        """Installs `chart` as `release`, or upgrades it; the values files are merged in order, the last one wins.

        Values of an earlier revision are kept only with `reuse_values`. A `falcosecurity/` chart is found without
        `helm repo add`. `timeout` is in seconds and counts only with `wait`.
        """
        self._run(
            *upgrade_install_arguments(
                release,
                chart,
                version=version,
                namespace=namespace,
                values=values,
                reuse_values=reuse_values,
                create_namespace=create_namespace,
                wait=wait,
                timeout=timeout,
            ),
            deadline=timeout + 60,
        )
        installed = self.status(release, namespace)
        if installed is None:
            raise StepError(
                f"Helm reported success, but namespace {namespace} has no release {release}.",
                hint=f"Look at `helm list --all-namespaces` and `helm history {release} -n {namespace}`.",
            )
        return installed

    def status(self, release: str, namespace: str) -> Release | None:
        """The release's latest revision, or None if there is no such release."""
        listed = self._json(
            "list", "--namespace", namespace, "--filter", f"^{release}$", "--deployed", "--failed", "--pending"
        )
        for item in listed:
            if item["name"] == release:
                return _release(item, release, namespace)
        return None

    def history(self, release: str, namespace: str) -> list[Release]:
        """The release's revisions, oldest first; empty if there is no such release."""
        if self.status(release, namespace) is None:
            return []
        return [_release(item, release, namespace) for item in self._json("history", release, "--namespace", namespace)]

    def get_values(self, release: str, namespace: str) -> dict[str, Any]:
        """The values a user gave to the latest revision (not the chart's defaults)."""
        return self._json("get", "values", release, "--namespace", namespace) or {}

    def uninstall(self, release: str, namespace: str) -> bool:
        """Removes the release and waits until its objects are gone. False if there was none."""
        if self.status(release, namespace) is None:
            return False
        self._run("uninstall", release, "--namespace", namespace, "--wait")
        return True

    def version(self) -> str:
        """Helm's own version, e.g. `v4.2.4`."""
        return self._run("version", "--template", "{{.Version}}", cluster=False).strip()

    def _json(self, *arguments: str) -> Any:
        return json.loads(self._run(*arguments, "--output", "json"))

    def _run(self, *arguments: str, deadline: float = 120.0, cluster: bool = True) -> str:
        program = shutil.which("helm")
        if program is None:
            raise TargetError("There is no `helm` on the PATH.", hint="Install it: https://helm.sh/docs/intro/install/")
        where = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig and cluster else []
        where += ["--kube-context", self.context] if self.context and cluster else []
        try:
            done = subprocess.run(
                [program, *arguments, *where], capture_output=True, text=True, timeout=deadline, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"`helm {arguments[0]}` did not come back within {deadline:.0f} s.",
                hint="See what it waits for: `kubectl get pods,events --all-namespaces`; then run this again.",
            ) from error
        if done.returncode != 0:
            raise StepError(
                f"`helm {shlex.join(arguments[:2])}` failed: {_complaint(done.stderr or done.stdout)}",
                hint=_hint(done.stderr),
            )
        return done.stdout


def upgrade_install_arguments(
    release: str,
    chart: str,
    *,
    version: str,
    namespace: str,
    values: Sequence[Path | str] = (),
    reuse_values: bool = False,
    create_namespace: bool = True,
    wait: bool = True,
    timeout: float = 300.0,
) -> list[str]:
    """What comes after `helm` on the command line; also what a step shows as its equivalent command."""
    known = pinned()["falco"]["chart"]
    # Naming the repository's address leaves nothing behind in the user's Helm configuration.
    source = [known["name"].rpartition("/")[2], "--repo", known["repository"]] if chart == known["name"] else [chart]
    arguments = ["upgrade", "--install", release, *source]
    arguments += ["--version", version, "--namespace", namespace]
    arguments += ["--create-namespace"] if create_namespace else []
    for file in values:
        arguments += ["--values", str(file)]
    arguments += ["--reuse-values"] if reuse_values else []
    arguments += ["--wait", "--timeout", f"{timeout:.0f}s"] if wait else []
    return arguments


def _release(item: dict[str, Any], name: str, namespace: str) -> Release:
    chart, _, version = str(item["chart"]).rpartition("-")
    # A version with a pre-release part holds hyphens of its own; the chart's name ends before the first digit group.
    while chart and not version[:1].isdigit():
        chart, _, more = chart.rpartition("-")
        version = f"{more}-{version}"
    return Release(
        name=item.get("name", name),
        namespace=item.get("namespace", namespace),
        revision=int(item["revision"]),
        status=item["status"],
        chart=chart,
        version=version,
        app_version=str(item.get("app_version", "")),
    )


def _complaint(output: str) -> str:
    """Helm's own error, without its warnings (permissions of a kubeconfig, deprecations)."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("WARNING:", "level=WARN"))]
    return " ".join(said or lines).removeprefix("Error: ") or "it said nothing."


def _hint(output: str) -> str:
    known = {
        "cannot re-use a name": "A release of that name exists; `helm list --all-namespaces` shows where.",
        "another operation": "An earlier Helm call was interrupted: `helm rollback` or `helm uninstall` the release.",
        "looks like": "The chart repository can't be reached: check the network and any proxy.",
        "no such host": "A host name can't be resolved: check the network and any proxy.",
        "nreachable": "The cluster doesn't answer: check the kubeconfig's context, or start the lab with `labkit up`.",
        "deadline exceeded": "Pods did not become ready in time: `kubectl get pods,events` in the namespace says why.",
        "timed out": "Pods did not become ready in time: `kubectl get pods,events` in the namespace says why.",
        "YAML": "A values file can't be read: check its indentation; it must be a map at its top.",
    }
    return next((hint for text, hint in known.items() if text in output), "Correct that and run this again.")
