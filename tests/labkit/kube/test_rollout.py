"""Why a workload's pods aren't ready, of what an API server says: reasons, versions, events, logs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labkit.errors import LabError, StepError
from labkit.kube.rollout import Patience, Problem, pod_problems, pods_of, problems, unwell, wait_rollout

PODS, EVENTS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/events"
APPS = "/apis/apps/v1/namespaces/default"
DONE = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1}
EARLY, LATE = "2026-11-23T04:00:00Z", "2026-11-23T05:00:00Z"


def workload(kind: str = "DaemonSet", **status: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": "w", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "w"}}},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1, **status},
    }


def pod(
    name: str = "p", *containers: dict[str, Any], conditions: tuple[dict[str, Any], ...] = (), **labels: str
) -> dict[str, Any]:
    status = {"conditions": list(conditions), "containerStatuses": list(containers)}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels},
        "status": status,
    }


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason, "message": f"it is {reason}"}}, **more}


INSECURE = 'pods "w-x" is forbidden: violates PodSecurity "restricted:latest": privileged'
READY = {"type": "Ready", "status": "True"}
UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}


def event(name: str, reason: str, at: str | None = LATE, message: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "reason": reason,
        "lastTimestamp": at,
        "message": message,
    }


@pytest.fixture(autouse=True)
def _empty(api: Any) -> None:
    for path in (PODS, EVENTS, *(f"{APPS}/{kind}s" for kind in ("controllerrevision", "replicaset", "daemonset"))):
        api.put(path)


def version(name: str, owner: str, label: str, value: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "labels": {label: value}, "ownerReferences": [{"uid": owner}]}
    return {"metadata": {**meta, **more.pop("metadata", {})}, **more}


def test_the_pods_are_those_that_the_selector_selects(api: Any) -> None:
    api.put(PODS, pod("b"), pod("a"))
    assert [found["metadata"]["name"] for found in pods_of(api.kube(), workload())] == ["a", "b"]
    assert api.requests[-1].query["labelSelector"] == "app=w"


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ],
)
def test_a_container_that_is_stuck_is_a_problem(api: Any, reason: str) -> None:
    (found,) = pod_problems(api.kube(), pod("p", waiting(reason), waiting("ContainerCreating")))
    assert found == Problem("p", "c", reason, f"it is {reason}")
    assert found.final == (reason in ("InvalidImageName", "ErrImageNeverPull"))
    assert not [request for request in api.requests if request.path.endswith("/log")]  # it never ran


def test_a_container_that_ended_is_a_problem_if_it_failed(api: Any) -> None:
    failed = {"name": "c", "state": {"terminated": {"exitCode": 2}}}
    done = {"name": "d", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    running = {"name": "e", "state": {"running": {}}}
    api.answers[f"GET {PODS}/p/log"] = (200, b"last words\n")
    (found,) = pod_problems(api.kube(), pod("p", failed, done, running))
    assert found == Problem("p", "c", "Error", "exit code 2", log="last words\n")
    assert api.requests[-1].query == {"container": "c", "tailLines": "40"}


@pytest.mark.parametrize("ran", [{"restartCount": 1}, {"lastState": {"terminated": {}}}])
def test_the_log_before_the_restart_is_shown_if_there_is_none_since(api: Any, ran: dict[str, Any]) -> None:
    crashed = pod("p", waiting("CrashLoopBackOff", **ran))
    api.answers[f"GET {PODS}/p/log"] = [(200, b"\n"), (200, b"before\n")]
    assert pod_problems(api.kube(), crashed)[0].log == "before\n"
    assert [request.query.get("previous") for request in api.requests if request.path.endswith("/log")] == [
        None,
        "true",
    ]
    api.answers[f"GET {PODS}/p/log"] = [(400, {"message": "no log"}), (200, b"before\n")]
    assert pod_problems(api.kube(), crashed)[0].log == "before\n"
    api.answers[f"GET {PODS}/p/log"] = (400, {"message": "no log"})
    assert pod_problems(api.kube(), crashed)[0].log == ""


@pytest.mark.parametrize(
    ("events", "coming"),
    [
        ((), ""),
        (("FailedScheduling",), ""),
        (("TriggeredScaleUp",), "TriggeredScaleUp: it is so"),
        (("FailedScheduling", "Nominated"), "Nominated: it is so"),
    ],
)
def test_a_pod_that_no_node_takes_is_a_problem_for_which_a_wait_goes_on_if_a_node_is_coming(
    api: Any, events: tuple[str, ...], coming: str
) -> None:
    api.put(EVENTS, *(event(reason, reason, message="it is so") for reason in events))
    found = pod_problems(api.kube(), pod(conditions=(UNSCHEDULED, {**READY, "status": "False"})))
    assert found == [Problem("p", "", "Unschedulable", "no node", ended=coming)]
    assert found[0].cause is not None
    assert (found[0].cause.ends == "never") == bool(coming)
    assert Patience(0.0).ended(found, []) != bool(coming)
    assert api.requests[-1].query["fieldSelector"] == "involvedObject.uid=uid-p"
    assert pod_problems(api.kube(), pod(conditions=({**UNSCHEDULED, "status": "True"},))) == []


def test_of_a_daemon_set_pods_of_the_newest_revision_count(api: Any) -> None:
    label = "controller-revision-hash"
    api.put(
        f"{APPS}/controllerrevisions",
        version("a", "u", label, "old", revision=9),
        version("b", "u", label, "new", revision=10),
        version("c", "other", label, "other", revision=11),
    )
    stuck = waiting("ImagePullBackOff")
    api.put(PODS, pod("p", stuck, **{label: "old"}), pod("q", stuck, **{label: "new"}), pod("r", stuck))
    kube = api.kube()
    assert [problem.pod for problem in problems(kube, workload(), current=True)] == ["q"]
    assert [problem.pod for problem in problems(kube, workload())] == ["p", "q", "r"]


def test_of_a_deployment_pods_of_the_newest_replica_set_count(api: Any) -> None:
    label, mark = "pod-template-hash", "deployment.kubernetes.io/revision"
    api.put(
        f"{APPS}/replicasets",
        version("a", "u", label, "new", metadata={"annotations": {mark: "10"}}),
        version("b", "u", label, "old", metadata={"annotations": {mark: "9"}}),
        version("c", "u", label, "none"),
    )
    stuck = waiting("ImagePullBackOff")
    api.put(PODS, pod("p", stuck, **{label: "old"}), pod("q", stuck, **{label: "new"}))
    found = problems(api.kube(), workload("Deployment"), current=True)
    assert [problem.pod for problem in found] == ["q"]
    api.put(f"{APPS}/replicasets")
    assert problems(api.kube(), workload("Deployment"), current=True) == []
    stateful = problems(api.kube(), workload("StatefulSet"), current=True)
    assert [problem.pod for problem in stateful] == ["p", "q"]


def test_a_condition_says_why_pods_could_not_be_made(api: Any) -> None:
    condition = {
        **{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"},
        **{"message": INSECURE, "lastTransitionTime": EARLY},
    }
    item = workload("Deployment", conditions=[{**condition, "type": "Available"}, condition])
    (found,) = problems(api.kube(), item)
    assert found == Problem("", "", "FailedCreate", INSECURE)
    assert found.final
    at = dt.datetime.fromisoformat(EARLY)
    assert len(problems(api.kube(), item, since=at + dt.timedelta(milliseconds=900))) == 1
    assert problems(api.kube(), item, since=at + dt.timedelta(seconds=1)) == []
    assert problems(api.kube(), workload("Deployment", conditions=[{**condition, "status": "False"}])) == []


def test_of_a_daemon_set_an_event_says_why_pods_could_not_be_made(api: Any) -> None:
    item = workload(currentNumberScheduled=0)
    kube = api.kube()
    assert problems(kube, item) == []
    api.put(EVENTS, event("a", "FailedCreate", EARLY, "old"), event("b", "FailedCreate", LATE, "Error creating: no"))
    assert problems(kube, item) == [Problem("", "", "FailedCreate", "no")]
    assert api.requests[-1].query["fieldSelector"] == "involvedObject.uid=u"
    at = dt.datetime.fromisoformat(LATE)
    assert problems(kube, item, since=at) == []
    assert len(problems(kube, item, since=at - dt.timedelta(seconds=1))) == 1
    assert problems(kube, workload()) == []  # all are there by now
    assert problems(kube, workload("Deployment", currentNumberScheduled=0)) == []
    api.put(EVENTS, event("a", "FailedCreate", EARLY), event("b", "SuccessfulCreate"), event("c", "Other"))
    assert problems(kube, item) == []
    api.put(EVENTS, event("a", "SuccessfulCreate", None), event("b", "FailedCreate", None, "no"))
    assert problems(kube, item, since=at) == [Problem("", "", "FailedCreate", "no")]


def test_a_pod_is_well_when_ready_or_done(api: Any) -> None:
    kube = api.kube()
    assert unwell(kube, pod(conditions=(READY,))) == ""
    done = pod()
    done["status"]["phase"] = "Succeeded"
    assert unwell(kube, done) == ""
    assert unwell(kube, pod()) == "its phase is Pending"
    for condition in ({**READY, "status": "False"}, {**READY, "type": "Initialized"}):
        assert unwell(kube, pod(conditions=(condition,))) == "its phase is Pending"
    going = pod(conditions=(READY,))
    going["metadata"]["deletionTimestamp"] = LATE
    assert unwell(kube, going) == "its phase is Pending"
    stuck = pod("p", waiting("ErrImagePull"), waiting("ErrImagePull"))
    assert (
        unwell(kube, stuck)
        == "its phase is Pending; The image can't be pulled. pod p, container c: ErrImagePull: it is ErrImagePull"
    )


def test_a_workload_is_well_when_rolled_out_somewhere(api: Any) -> None:
    kube = api.kube()
    assert unwell(kube, workload(**DONE)) == ""
    assert unwell(kube, workload(**{**DONE, "numberReady": 0})) == "0 of 1 pods are ready"
    nowhere = dict.fromkeys(DONE, 0) | {"observedGeneration": 1}
    assert unwell(kube, workload(**nowhere)) == "no node takes its pods"
    api.put(PODS, pod("p", waiting("ErrImagePull")), pod("q", waiting("ErrImagePull")))
    assert unwell(kube, workload(**{**DONE, "numberReady": 0})) == (
        "0 of 1 pods are ready; The image can't be pulled. pod p, container c: ErrImagePull: it is ErrImagePull"
    )


def wait(api: Any, *items: Any, **options: Any) -> None:
    api.answers[f"GET {APPS}/daemonsets/w"] = list(items)
    wait_rollout(api.kube(), "DaemonSet", "w", "default", **{"timeout": 30.0, "patience": 30.0, **options})


def test_a_rollout_is_waited_for(api: Any) -> None:
    unseen, halfway = workload(observedGeneration=0), workload(updatedNumberScheduled=0)
    done = workload(**DONE)
    wait(api, unseen, halfway, done)
    assert api.answers[f"GET {APPS}/daemonsets/w"] == [done]
    with pytest.raises(StepError, match=r"^There is no DaemonSet default/w\.") as caught:
        wait(api, (404, {"message": "none"}))
    assert "Apply the step" in caught.value.hint


@pytest.fixture
def stuck(api: Any) -> dict[str, Any]:
    label = "controller-revision-hash"
    api.put(f"{APPS}/controllerrevisions", version("a", "u", label, "x", revision=1))
    api.put(PODS, pod("p", waiting("CrashLoopBackOff", restartCount=1), **{label: "x"}))
    api.answers[f"GET {PODS}/p/log"] = (200, b"one\ntwo\n")
    return workload(updatedNumberScheduled=1)


def test_a_rollout_that_is_stuck_is_given_up_with_reasons(api: Any, stuck: dict[str, Any]) -> None:
    said = (
        "DaemonSet default/w did not roll out: 0 of 1 pods are ready.\n"
        "  pod p, container c: CrashLoopBackOff: it is CrashLoopBackOff\n"
        "    its log ends with:\n      one\n      two\n"
        "  What is wrong: Container c starts and ends with an error."
    )
    for options in ({"patience": 0.0}, {"timeout": 0.0}, {"hopeless": lambda problem: "two" in problem.log}):
        with pytest.raises(StepError, match="did not roll out") as caught:
            wait(api, stuck, **options)
        assert caught.value.message == said
        assert caught.value.hint == "The end of its log says why. Correct it, and apply again."
    with pytest.raises(StepError, match="did not roll out: the controller hasn't seen the change yet"):
        wait(api, workload(observedGeneration=0), timeout=0.0, patience=0.0)


def test_an_old_refusal_counts_only_after_patience(api: Any) -> None:
    item = workload(currentNumberScheduled=0)
    api.put(EVENTS, event("a", "FailedCreate", "2020-01-01T00:00:00Z", INSECURE))
    done = workload(**DONE)
    wait(api, item, done)
    with pytest.raises(StepError, match=r"a pod could not be made: FailedCreate: pods .* violates PodSecurity"):
        wait(api, item, done, patience=0.0)
    api.put(EVENTS, event("a", "FailedCreate", "2999-01-01T00:00:00Z", INSECURE))
    with pytest.raises(StepError, match="violates PodSecurity"):
        wait(api, item, done)


@pytest.mark.parametrize("status", [200, 403])
def test_a_controller_tries_at_once_again_what_was_refused_before(api: Any, status: int) -> None:
    item = workload(currentNumberScheduled=0)
    api.put(EVENTS, event("a", "FailedCreate", "2020-01-01T00:00:00Z", INSECURE))
    api.answers[f"PATCH {APPS}/daemonsets/w"] = (status, {"message": "no"})
    wait(api, item, item, workload(**DONE))
    (sent,) = api.sent("PATCH")
    assert list(sent.body["metadata"]["annotations"]) == ["falco-workshop/tried-again"]
    api.requests.clear()
    api.put(EVENTS, event("a", "FailedCreate", "2999-01-01T00:00:00Z", INSECURE))  # refused now
    with pytest.raises(StepError, match="violates PodSecurity"):
        wait(api, item)
    assert api.sent("PATCH") == []


def test_an_old_pod_on_a_node_that_does_not_answer_is_told_at_once(api: Any) -> None:
    unknown = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting",
    }
    node = {"metadata": {"name": "n"}, "spec": {}, "status": {"conditions": [unknown]}}
    api.answers["GET /api/v1/nodes/n"] = node
    label = "controller-revision-hash"
    api.put(f"{APPS}/controllerrevisions", version("b", "u", label, "new", revision=2))
    old = {**pod("p", **{label: "old"}), "spec": {"nodeName": "n"}}
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
    old["metadata"]["deletionTimestamp"] = f"{soon:%Y-%m-%dT%H:%M:%SZ}"
    api.put(PODS, old)
    for found in (problems(api.kube(), workload(), current=True), problems(api.kube(), workload())):
        assert [(one.reason, one.cause and one.cause.name) for one in found] == [("NodeNotReady", "node-silent")]


def test_a_daemon_set_that_no_node_takes_is_an_error(api: Any) -> None:
    nowhere = workload(desiredNumberScheduled=0, updatedNumberScheduled=0)
    api.put("/api/v1/nodes")
    with pytest.raises(StepError, match="DaemonSet default/w runs nowhere: the cluster has no nodes") as caught:
        wait(api, nowhere)
    assert "nodeSelector" in caught.value.hint
    api.put("/api/v1/nodes", pod("n"), pod("m"))
    with pytest.raises(StepError, match="runs nowhere: none of the cluster's 2 nodes takes its pods"):
        wait(api, nowhere)


def test_a_pod_that_is_not_to_start_again_has_to_end_well(api: Any) -> None:
    def once(phase: str, *containers: dict[str, Any]) -> dict[str, Any]:
        item = pod("p", *containers, conditions=(READY,))
        return {**item, "spec": {"restartPolicy": "Never"}, "status": {**item["status"], "phase": phase}}

    def wait_pod(*items: Any) -> None:
        api.answers[f"GET {PODS}/p"] = list(items)
        wait_rollout(api.kube(), "Pod", "p", "default", timeout=30.0, patience=30.0)

    wait_pod(once("Pending"), once("Running"), once("Succeeded"))
    assert api.answers[f"GET {PODS}/p"] == [once("Succeeded")]
    assert unwell(api.kube(), once("Running")) == "its phase is Running"
    failed = once("Failed", {"name": "c", "state": {"terminated": {"exitCode": 2}}})
    api.answers[f"GET {PODS}/p/log"] = (200, b"no\n")
    with pytest.raises(
        StepError, match=r"^Pod default/p did not end: its phase is Failed\.\n  pod p, .* code 2\n"
    ) as seen:
        wait_pod(failed)
    assert "its log ends with:\n      no\n" in seen.value.message


def test_patience_is_for_each_problem_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("labkit.kube.rollout.time.monotonic", lambda: now)
    limit = Patience(10.0)
    first, second = Problem("p", "c", "CrashLoopBackOff", ""), Problem("q", "", "Unschedulable", "")
    assert not limit.ended([first, second], [])
    now = 6.0
    assert not limit.ended([first], [])  # a node has been found for q, which no status shows
    now = 9.9
    assert not limit.ended([first, second], [])
    now = 10.0
    assert limit.ended([first], [])
    assert not limit.ended([second], [pod("p", {"name": "c", "ready": True})])
    assert not limit.ended([first], [])  # ready in between: its time begins anew
    assert Patience(10.0).ended([Problem("p", "c", "InvalidImageName", "")], [])
    assert Patience(10.0, lambda problem: problem is first).ended([first], [])


def test_a_status_reports_a_container_between_two_crashes_and_a_wait_leaves_it_time(api: Any) -> None:
    crashed = {"terminated": {"reason": "Error", "exitCode": 1}}
    again = {"name": "c", "state": {"running": {}}, "restartCount": 1, "lastState": crashed}
    api.put(PODS, pod("p", again))
    kube, item = api.kube(), workload(**{**DONE, "numberReady": 0})
    said = "0 of 1 pods are ready; Container c starts and ends with an error. pod p, container c: Error: exit code 1"
    assert unwell(kube, item) == said
    assert problems(kube, item) == [Problem("p", "c", "NotReady", "")]
    assert not Patience(0.0).ended(problems(kube, item), [])
    api.put(PODS, pod("p", {**again, "ready": True}))
    assert unwell(kube, item) == "0 of 1 pods are ready"


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = (503, {"message": "the server is currently unable to handle the request"})
    halfway, done = workload(updatedNumberScheduled=0), workload(**DONE)
    wait(api, halfway, busy, (500, {"message": "etcdserver: leader changed"}), (0, None), halfway, done)
    monkeypatch.setattr("labkit.kube.client.HELD_SECONDS", 0.3)
    with pytest.raises(StepError, match="unable to handle the request"):
        wait(api, halfway, busy)
    with pytest.raises(LabError, match="does not answer"):
        wait(api, halfway, (0, None))


def test_credentials_that_expire_in_the_middle_end_the_wait_at_once(api: Any) -> None:
    with pytest.raises(StepError, match="Unauthorized") as caught:
        wait(api, workload(updatedNumberScheduled=0), (401, {"message": "Unauthorized", "reason": "Unauthorized"}))
    assert "get new ones" in caught.value.hint


def test_what_is_wrong_is_shown_while_waiting(api: Any, stuck: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    @contextmanager
    def waiting(label: str, timeout: float) -> Iterator[Any]:
        yield shown.append

    monkeypatch.setattr("labkit.kube.client.waiting", waiting)
    wait(api, stuck, stuck, workload(**DONE))
    assert shown[0] == "0 of 1 pods are ready; Container c starts and ends with an error."


def test_pods_with_the_same_problem_are_named_once(api: Any) -> None:
    label = "controller-revision-hash"
    api.put(f"{APPS}/controllerrevisions", version("a", "u", label, "x", revision=1))
    api.put(PODS, *(pod(f"p{number:02}", waiting("ErrImagePull"), **{label: "x"}) for number in range(30)))
    with pytest.raises(StepError, match="did not roll out") as caught:
        wait(api, workload(updatedNumberScheduled=1), patience=0.0)
    assert "pod p00, container c: ErrImagePull: it is ErrImagePull (and 29 pods more)" in caught.value.message
    assert caught.value.message.count("\n") == 2


def test_a_pod_on_a_node_that_is_gone_or_was_evicted(api: Any) -> None:
    kube = api.kube()
    on_node = {**pod(conditions=({**READY, "status": "False"},)), "spec": {"nodeName": "n"}}
    on_node["status"]["containerStatuses"] = [{"name": "c", "ready": False, "state": {"running": {}}}]
    api.answers["GET /api/v1/nodes/n"] = (404, {"message": "none"})
    (found,) = pod_problems(kube, on_node)
    assert (found.reason, found.cause and found.cause.name) == ("NodeGone", "node-gone")
    evicted = pod()
    evicted["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    (found,) = pod_problems(kube, evicted)
    assert found.cause is not None
    assert found.cause.name == "evicted"
    going = pod(conditions=({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"},))
    going["metadata"]["deletionTimestamp"] = LATE
    (found,) = pod_problems(kube, going)
    assert found.reason == "DeletionByTaintManager"


def test_an_image_that_an_older_kubelet_backs_off_from_has_its_reason_in_an_event(api: Any) -> None:
    said = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
    back_off = {"name": "c", "state": {"waiting": said}}
    why = 'Failed to pull image "x": no match for platform in manifest: not found'
    api.put(EVENTS, event("a", "Failed", message=why), event("b", "Failed", message="Error: ImagePullBackOff"))
    (found,) = pod_problems(api.kube(), pod("p", back_off))
    assert found.cause is not None
    assert found.cause.name == "image-platform"
