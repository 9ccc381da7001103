"""Exercise of chapter 00: which facts about the nodes decide what the next chapters do."""

from __future__ import annotations

from typing import Any

from labkit.calls import near, short_repr
from labkit.errors import StepError
from labkit.exercises.exercise import Wrong, exercise
from labkit.target import Target

COLUMNS = {
    "OS": "osImage",
    "architecture": "architecture",
    "kernel": "kernelVersion",
    "kubelet": "kubeletVersion",
    "runtime": "containerRuntimeVersion",
}
"""The columns of the chapter's table, and the keys of a node's `nodeInfo`."""

_NOT_THE_FORMAT = {
    "OS": "the same distribution can run Docker or containerd",
    "architecture": "a line of text is the same on each",
    "kernel": "it starts processes and knows nothing of their logs",
    "kubelet": "it asks another program to start containers and to write their logs. Which?",
}
_NOT_THE_DRIVER = {
    "OS": "a distribution can have several versions of what matters",
    "architecture": "the driver is there for each that EKS has",
    "kubelet": "it starts Falco's pod, and has no part in what that can watch",
    "runtime": "it starts Falco's container, and has no part in what that can watch",
}


@exercise(
    "00-two-facts",
    "Find the two facts about the nodes that matter",
    hints=(
        "Who writes a container's output into a file on the node? And which part of a computer gets a system call?",
        "Since Kubernetes 1.24, EKS nodes have no Docker. One column names the program that has taken its place. The "
        "other has a version that you can compare with 5.8.",
    ),
)
def two_facts(target: Target, log_format: Any, driver: Any) -> str:
    """`log_format`, `driver`: a column of the chapter's table, or a value that a node has in it."""
    nodes = [node["status"]["nodeInfo"] for node in target.kube.list("Node")]
    if not nodes:
        raise StepError("The cluster has no nodes.", hint="Add a node group (manifests/eks/cluster.yaml).")
    asked = (("log_format", log_format, "runtime", _NOT_THE_FORMAT), ("driver", driver, "kernel", _NOT_THE_DRIVER))
    wrong = []
    for name, answer, right, why in asked:
        column = _column(name, answer, nodes)
        if column != right:
            wrong.append(f"`{name}` isn't the {column}: {why[column]}.")
    if wrong:
        raise Wrong("\n".join(wrong))
    runtime, kernel = (nodes[0][COLUMNS[column]] for column in ("runtime", "kernel"))
    return (
        f"The runtime is `{runtime}`. It writes logs in the CRI format, so Fluent Bit takes the parser `cri`.\n"
        f"The kernel is `{kernel}`: the driver can run, with nothing to compile and nothing to install on the node."
    )


def _column(name: str, answer: Any, nodes: list[dict[str, Any]]) -> str:
    """The column that an answer names or has a value of. Raises `Wrong` if there is none."""
    given = " ".join(answer.lower().split()) if isinstance(answer, str) else ""
    for column, key in COLUMNS.items():
        if given and given in (column.lower(), *(str(node[key]).lower() for node in nodes)):
            return column
    also = near(given, COLUMNS) if given else ""
    raise Wrong(f"`{name}` is `{short_repr(answer)}`, which is no column. {also}There are: {', '.join(COLUMNS)}.")
