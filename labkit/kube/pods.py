"""The pods of a namespace as a table: where each runs, whether it is ready, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.calls import near
from labkit.kube.client import Client, KubernetesError
from labkit.kube.objects import Object, Objects, is_ready
from labkit.kube.rollout import Problem, pod_problems
from labkit.show import AsTable, Table, counted


@dataclass(frozen=True, repr=False)
class Pods(AsTable):
    """Pods by name, and what keeps some of them from being ready."""

    namespace: str
    items: Objects
    problems: Sequence[Problem]
    note: str = ""
    """Why there are none."""

    @property
    def ready(self) -> bool:
        """Whether there are pods and all are ready."""
        return bool(self.items) and all(map(is_ready, self.items))

    def __len__(self) -> int:
        return len(self.items)

    def _table(self) -> Table:
        rows = tuple(self._row(pod) for pod in self.items)
        width = 6 if any(row[5] for row in rows) else 5
        columns = ("pod", "node", "ready", "phase", "restarts", "why")[:width]
        return Table(
            f"{counted(len(rows), 'pod')} in {self.namespace}{self.note}", columns, tuple(row[:width] for row in rows)
        )

    def _row(self, pod: Object) -> tuple[str, ...]:
        meta, status = pod["metadata"], pod.get("status", {})
        containers = status.get("containerStatuses", [])
        problem = next((problem for problem in self.problems if problem.pod == meta["name"]), None)
        phase = "Terminating" if "deletionTimestamp" in meta else str(status.get("phase", "Pending"))
        return (
            meta["name"],
            pod["spec"].get("nodeName", "none yet"),
            f"{sum(bool(one.get('ready')) for one in containers)} of {len(pod['spec']['containers'])}",
            problem.reason if problem else phase,
            str(sum(one.get("restartCount", 0) for one in containers)),
            problem.message if problem else "",
        )


def pods(client: Client, namespace: str, labels: str = "") -> Pods:
    """The pods of a namespace that a label selector selects (default: all)."""
    found = sorted(client.list("Pod", namespace, labels=labels), key=lambda pod: str(pod["metadata"]["name"]))
    problems = [problem for pod in found for problem in pod_problems(client, pod, crashed=True)]
    return Pods(namespace, found, problems, "" if found else _note(client, namespace))


def _note(client: Client, namespace: str) -> str:
    """Empty if the namespace exists, or can't be asked for."""
    try:
        there = [str(one["metadata"]["name"]) for one in client.list("Namespace")]
    except KubernetesError:  # an attendee of a class may not list them
        return ""
    return "" if namespace in there else f": there is no such namespace. {near(namespace, there)}".rstrip()
