"""Which pod a target means, its logs, and commands that can't be run in it."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.errors import ExecError, UnreachableError
from labkit.kube import ExecResult
from labkit.kube.pods import pods

SPACE = "/api/v1/namespaces"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def item(kind: str, name: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "generation": 1}, **more}


def workload(kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
    return item(kind, name, namespace, spec={"replicas": 1, "selector": {"matchLabels": {"app": name}}}, status={})


@pytest.fixture(autouse=True)
def _cluster(api: Any) -> None:
    containers = {"containers": [{"name": "first"}, {"name": "second"}]}
    for namespace in ("default", "other", "empty"):
        for kind in ("deployment", "daemonset", "statefulset", "replicaset"):
            api.put(f"/apis/apps/v1/namespaces/{namespace}/{kind}s")
        api.put(f"{SPACE}/{namespace}/pods")
    api.put(SPACE, *(item("Namespace", name) for name in ("default", "other", "empty")))
    api.put(f"{SPACE}/default/pods", item("Pod", "a", spec=containers), item("Pod", "b", status=READY, spec=containers))
    api.put(f"{SPACE}/other/pods", item("Pod", "c", "other", status=READY))
    api.put("/apis/apps/v1/namespaces/default/deployments", workload("Deployment", "web"))
    api.put("/apis/apps/v1/namespaces/default/daemonsets", workload("DaemonSet", "agent"))


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("a", ("default", "a")),
        ("pod/a", ("default", "a")),
        ("Pods/a", ("default", "a")),
        ("other/c", ("other", "c")),
        ("other/pod/c", ("other", "c")),
        ("web", ("default", "b")),
        ("deploy/web", ("default", "b")),
        ("default/deploy/web", ("default", "b")),
        ("ds/agent", ("default", "b")),
        ("agent", ("default", "b")),
    ],
)
def test_a_target_means_a_pod_or_the_first_ready_one_of_a_workload(
    api: Any, target: str, found: tuple[str, str]
) -> None:
    meta = api.kube().resolve(target)["metadata"]
    assert (meta["namespace"], meta["name"]) == found


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("a/b/c/d", "'a/b/c/d' names no pod.", "Write deploy/NAME, ds/NAME, POD or NAMESPACE/POD."),
        ("-a", "'-a' names no pod.", "Write deploy/NAME"),
        ("o ther/c", "'o ther/c' names no pod.", "Write deploy/NAME"),
        ("other/job/c", "'job' is no kind of workload.", "Use deploy, ds, sts, rs or pod."),
        ("wep", "Namespace default has no wep. Pods there: a, b.", "Did you mean 'web'? Check the name"),
        ("ds/web", "Namespace default has no web. Pods there: a, b.", "Did you mean 'b'? Check the name"),
        ("empty/a", "Namespace empty has no a. There are no pods there.", "Check the name"),
        ("emty/a", "There is no namespace emty, and no kind of workload of that name.", "Did you mean 'empty'? Write"),
    ],
)
def test_a_target_that_means_no_pod_is_told_with_what_is_there(api: Any, target: str, said: str, hint: str) -> None:
    api.put(f"{SPACE}/emty/pods")
    with pytest.raises(ExecError, match=r"[.]") as caught:
        api.kube().resolve(target)
    assert caught.value.message == said
    assert caught.value.hint.startswith(hint)


def test_at_most_ten_pods_are_listed(api: Any) -> None:
    api.put(f"{SPACE}/default/pods", *(item("Pod", f"p{number:02d}") for number in range(11)))
    with pytest.raises(ExecError, match=r"Pods there: p00, .*, p09\.\n"):
        api.kube().resolve("x")


def test_a_workload_without_a_ready_pod_is_told_with_the_reason(api: Any) -> None:
    stuck = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}}]}
    api.put(f"{SPACE}/default/pods", item("Pod", "a", status=stuck))
    said = r"^No pod of Deployment default/web is ready: pod a, container c: ErrImagePull\.\n"
    with pytest.raises(ExecError, match=said) as caught:
        api.kube().resolve("web")
    assert "`kubectl get pods -n default`" in caught.value.hint
    api.put(f"{SPACE}/default/pods")
    with pytest.raises(ExecError, match=r"^No pod of Deployment default/web is ready\.\n"):
        api.kube().resolve("web")


def test_logs_of_a_pod_or_of_a_workloads(api: Any) -> None:
    api.answers |= {f"GET {SPACE}/default/pods/{name}/log": (200, name.encode()) for name in "ab"}
    api.answers[f"GET {SPACE}/other/pods/c/log"] = (200, b"c")
    kube = api.kube()
    assert kube.logs("a") == "a"
    assert kube.logs("deploy/web", container="first", tail=2, previous=True) == "b"
    assert api.requests[-1].query == {"container": "first", "tailLines": "2", "previous": "true"}
    assert kube.logs("other/c") == "c"
    assert kube.logs("c", "other") == "c"


def test_a_command_for_a_container_that_is_not_there_is_refused(api: Any) -> None:
    with pytest.raises(ExecError, match="Pod a has no container 'secnd'") as caught:
        api.kube().exec("a", ["id"], container="secnd")
    assert caught.value.hint == "Did you mean 'second'? There are: first, second."


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, {"stderr": "true", "container": "first"}),
        ({"container": "second"}, {"stderr": "true", "container": "second"}),
        ({"stdin": ""}, {"stderr": "true", "stdin": "true", "container": "first"}),
        ({"tty": True}, {"stderr": "false", "tty": "true", "stdin": "true", "container": "first"}),
    ],
)
def test_a_command_is_asked_for_as_kubectl_does(api: Any, options: dict[str, Any], query: dict[str, str]) -> None:
    refused = (400, {"message": "container is not running"})
    api.answers[f"GET {SPACE}/default/pods/b/exec"] = refused
    with pytest.raises(ExecError, match=r"^`id -u` could not be run: container is not running\n") as caught:
        api.kube().exec("deploy/web", ["id", "-u"], **options)
    assert caught.value.hint
    assert api.requests[-1].query == {"command": "-u", "stdout": "true", **query}  # of several, the last is kept here
    assert api.requests[-1].headers["authorization"] == "Bearer secret"


def test_a_command_whose_connection_is_cut_is_told(api: Any) -> None:
    api.answers[f"GET {SPACE}/default/pods/a/exec"] = (0, b"")
    with pytest.raises(UnreachableError, match="does not answer"):
        api.kube().exec("a", ["id"])


def test_a_result_is_shown_as_a_terminal_would() -> None:
    assert repr(ExecResult("a\r\nb\n", "c\n", 0)) == "a\nb\nc"
    assert repr(ExecResult("", "", 0)) == "(no output)"
    assert repr(ExecResult("", "no\n", 2)) == "no\n(exit code 2)"


def test_pods_are_shown_with_what_keeps_them_from_being_ready(api: Any) -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}
    waiting = {"name": "first", "restartCount": 3, "state": state}
    spec = {"containers": [{"name": "first"}], "nodeName": "node-1"}
    good = {"phase": "Running", **READY, "containerStatuses": [{"name": "first", "ready": True, "state": {}}]}
    api.put(
        f"{SPACE}/other/pods",
        item("Pod", "good", "other", spec=spec, status=good),
        item("Pod", "bad", "other", spec=spec, status={"phase": "Pending", "containerStatuses": [waiting]}),
        item("Pod", "away", "other", spec={"containers": [{}]}, status={}),
    )
    api.answers[f"GET {SPACE}/other/pods/bad/log"] = (200, b"")
    shown = pods(api.kube(), "other")
    assert (len(shown), shown.ready) == (3, False)
    assert [" ".join(line.split()) for line in repr(shown).splitlines()] == [
        "3 pods in other",
        "away none yet 0 of 1 Pending 0",
        "bad node-1 0 of 1 ImagePullBackOff 3 no",
        "good node-1 1 of 1 Running 0",
    ]
    assert not pods(api.kube(), "empty").ready
    assert repr(pods(api.kube(), "empty")) == "0 pods in empty"
