"""Requests to an API server that answers as the test says: what is sent, and what is made of the answers."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from typing import Any

import pytest

from labkit.errors import StepError, UnreachableError
from labkit.kube import KubernetesError, client
from labkit.kube.client import FIELD_MANAGER

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
SETS = "/apis/apps/v1/namespaces/default/daemonsets"


def named(name: str, kind: str = "ConfigMap", **metadata: Any) -> dict[str, Any]:
    api_version = "v1" if kind in ("ConfigMap", "Pod", "Namespace") else "apps/v1"
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default", **metadata}}


def test_a_request_has_its_query_body_and_credentials(api: Any) -> None:
    api.answers["PATCH /x"] = {"done": True}
    answer = api.kube().request("PATCH", "/x", query={"a": ["1"]}, body={"b": 2}, content_type="application/y")
    assert answer == {"done": True}
    (sent,) = api.requests
    assert (sent.query, sent.body) == ({"a": "1"}, {"b": 2})
    assert {name: sent.headers[name] for name in ("accept", "user-agent", "content-type", "authorization")} == {
        "accept": "application/json",
        "user-agent": "labkit",
        "content-type": "application/y",
        "authorization": "Bearer secret",
    }


def test_a_request_without_a_body_says_nothing_of_one_and_text_is_text(api: Any) -> None:
    api.answers["GET /healthz"] = (200, b"ok\xff")
    assert api.kube().request("GET", "/healthz") == "ok\ufffd"
    assert api.requests[0].body is None
    assert "content-type" not in api.requests[0].headers


def test_without_a_token_nothing_is_sent_for_one(api: Any) -> None:
    text = api.kubeconfig.read_text()
    api.kubeconfig.write_text(text.replace('"token": "secret"', ""))
    assert api.kube().authorization() == {}


@pytest.mark.parametrize(
    ("status", "answer", "said", "reason", "hint"),
    [
        (401, {"reason": "Unauthorized", "message": "who?"}, "who?", "Unauthorized", "get new ones"),
        (403, {"reason": "Forbidden", "message": "no"}, "no", "Forbidden", "ask for the permission"),
        (404, {}, "{}", "", "Apply the step"),
        (500, b" it broke ", "it broke", "", ""),
        (503, b"", "HTTP 503", "", ""),
        (400, b"x" * 400, "x" * 300, "", ""),
    ],
)
def test_a_refusal_has_kubernetes_words(api: Any, status: int, answer: Any, said: str, reason: str, hint: str) -> None:
    api.answers["GET /x"] = (status, answer)
    with pytest.raises(KubernetesError, match=r"^Kubernetes refused GET /x: ") as caught:
        api.kube().request("GET", "/x")
    assert caught.value.message == f"Kubernetes refused GET /x: {said}"
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert hint in caught.value.hint
    assert bool(hint) == bool(caught.value.hint)


def test_what_comes_before_a_request_can_refuse_it(api: Any) -> None:
    def before() -> None:
        raise StepError("not now")

    with pytest.raises(StepError, match="not now"):
        api.kube(before=before).request("GET", "/x")
    assert api.requests == []


def test_a_request_that_the_server_got_is_not_sent_again(api: Any) -> None:
    api.answers["PATCH /x"] = (0, b"")
    with pytest.raises(UnreachableError, match="does not answer") as caught:
        api.kube(hint="Wait.").request("PATCH", "/x")
    assert (caught.value.service, caught.value.hint) == ("Kubernetes", "Wait.")
    assert len(api.requests) == 1


def test_a_server_that_is_not_there_is_named_with_the_cause(api: Any) -> None:
    api.kubeconfig.write_text(api.kubeconfig.read_text().replace(f":{api.port}", ":1"))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 does not answer") as caught:
        api.kube().request("GET", "/x")
    assert caught.value.message.endswith("does not answer ([Errno 111] Connection refused).")
    assert "kubectl cluster-info" in caught.value.hint


def test_the_clusters_clock_counts(api: Any) -> None:
    api.date = "Mon, 23 Nov 2026 04:00:00 GMT"
    api.answers["GET /x"] = {}
    kube = api.kube()
    kube.request("GET", "/x")
    assert abs(kube.now() - dt.datetime(2026, 11, 23, 4, tzinfo=dt.UTC)) < dt.timedelta(seconds=5)


def test_paths_are_as_kubernetes_has_them(api: Any) -> None:
    kube = api.kube()
    assert kube.path("v1", "Pod") == "/api/v1/pods"
    assert kube.path("v1", "Pod", "a") == "/api/v1/namespaces/a/pods"
    assert kube.path("v1", "Pod", name="x") == f"{PODS}/x"
    assert kube.path("apps/v1", "DaemonSet", "a/b", "c/d:e") == "/apis/apps/v1/namespaces/a%2Fb/daemonsets/c%2Fd:e"
    assert kube.path("v1", "Namespace", "ignored", "a") == "/api/v1/namespaces/a"
    assert [request.path for request in api.requests] == ["/api/v1", "/apis/apps/v1"]  # asked once
    with pytest.raises(KubernetesError, match="The cluster knows no Secret in v1") as caught:
        kube.path("v1", "Secret")
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


def test_only_what_is_not_there_is_none(api: Any) -> None:
    api.put(PODS, named("a", "Pod"))
    kube = api.kube()
    assert kube.get("Pod", "a") == named("a", "Pod")
    assert kube.get("Pod", "b") is None
    assert kube.get("Secret", "b") is None
    api.answers[f"GET {PODS}/c"] = (403, {"message": "no"})
    with pytest.raises(KubernetesError, match=r": no\n"):
        kube.get("Pod", "c")


def test_lists_are_read_to_the_end_and_sorted(api: Any) -> None:
    api.answers["GET /api/v1/pods"] = [
        {"metadata": {"continue": "more"}, "items": [named("b", "Pod"), named("z", "Pod", namespace="a")]},
        {"metadata": {}, "items": [named("a", "Pod")]},
    ]
    found = api.kube().list("Pod", labels="app=x", fields="spec.y=z")
    assert [item["metadata"]["name"] for item in found] == ["z", "a", "b"]
    first, second = api.requests[1:]
    assert first.query == {"labelSelector": "app=x", "fieldSelector": "spec.y=z", "limit": "500"}
    assert second.query == {**first.query, "continue": "more"}
    api.put(SETS)
    assert api.kube().list("DaemonSet", "default") == []
    assert api.requests[-1].query == {"limit": "500"}


def test_applying_tells_what_it_did(api: Any) -> None:
    item = {**named("a"), "data": {"k": "v"}}
    api.answers[f"PATCH {MAPS}/a"] = {**item, "metadata": {**item["metadata"], "resourceVersion": "2"}}
    assert api.kube().apply([item]) == [(item, "created")]
    (sent,) = api.sent("PATCH")
    assert sent.query == {"fieldManager": FIELD_MANAGER, "force": "true"}
    assert (sent.body, sent.headers["content-type"]) == (item, "application/apply-patch+yaml")
    api.put(MAPS, {**item, "metadata": {**item["metadata"], "resourceVersion": "1"}})
    assert api.kube().apply_one(item) == "unchanged"
    api.put(MAPS, {**item, "data": {}})
    assert api.kube().apply_one(item) == "updated"


def test_what_applying_would_change_is_the_api_servers_word(api: Any) -> None:
    item = {**named("a"), "data": {"k": "v"}}
    answer = api.answers[f"PATCH {MAPS}/a"] = {**item, "metadata": {**item["metadata"], "labels": {"x": "y"}}}
    kube = api.kube()
    assert kube.would_change(item)
    api.put(MAPS, item)
    assert not kube.would_change(item)
    assert all(request.query["dryRun"] == "All" for request in api.sent("PATCH"))
    assert len(api.sent("PATCH")) == 2
    answer["metadata"]["annotations"] = {"a": "b"}
    assert kube.would_change(item)
    api.answers[f"PATCH {MAPS}/a"] = (422, {"message": "immutable"})
    assert kube.would_change(item)
    api.answers[f"PATCH {MAPS}/a"] = (403, {"message": "no"})
    with pytest.raises(KubernetesError, match=r": no\n"):
        kube.would_change(item)


def test_deleting_waits_until_object_and_pods_are_gone(api: Any) -> None:
    item = {**named("a", "DaemonSet", uid="1"), "spec": {"selector": {"matchLabels": {"app": "x", "a": "b"}}}}
    kube = api.kube()
    assert kube.delete_one(item) is False
    gone = (404, {"message": "gone"})
    api.answers |= {
        f"GET {SETS}/a": [item, item, gone],
        f"DELETE {SETS}/a": {},
        f"GET {PODS}": [
            {"metadata": {"resourceVersion": "1"}},
            {"metadata": {"resourceVersion": "2"}},
            {"metadata": {}, "items": [named("p", "Pod")]},
            {"metadata": {"resourceVersion": "3"}},
            {"metadata": {}, "items": []},
        ],
    }
    api.requests.clear()
    assert kube.delete_one(item) is True
    assert [request.query for request in api.sent("DELETE")] == [{"propagationPolicy": "Background"}]
    asked = [request.query for request in api.requests if request.path == PODS]
    assert asked[-1] == {"labelSelector": "a=b,app=x", "limit": "500"}
    watched = [query["resourceVersion"] for query in asked if "watch" in query]
    assert watched == ["1", "2"]
    assert {query["watch"] for query in asked if "watch" in query} == {"true"}


def test_a_refused_watch_is_no_change(api: Any) -> None:
    api.answers[f"WATCH {PODS}"] = (403, {"message": 'cannot watch resource "pods"'})
    assert not api.kube().until_change(PODS, "1", 0.01)


def test_what_others_deleted_or_made_anew_meanwhile_is_gone(api: Any) -> None:
    item = named("a", uid="1")
    api.answers |= {
        f"GET {MAPS}": {"metadata": {"resourceVersion": "1"}},
        f"GET {MAPS}/a": [item, named("a", uid="2")],
        f"DELETE {MAPS}/a": (404, {"message": "not found"}),
    }
    assert api.kube().delete_one(item)
    api.answers |= {f"GET {MAPS}/a": item, f"DELETE {MAPS}/a": (403, {"message": "no"})}
    with pytest.raises(KubernetesError, match=r": no\n"):
        api.kube().delete_one(item)


def test_an_object_that_stays_is_an_error_in_the_end(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    item = named("a", uid="1")
    api.put(MAPS, item)
    kube = api.kube()
    with pytest.raises(StepError, match=r"^Waited 0\.1 s for ConfigMap a to be gone: ConfigMap a is still being dele"):
        kube.wait_gone(item, timeout=0.1)
    held = named("a", uid="1", finalizers=["mine"])
    api.put(MAPS, held)
    with pytest.raises(StepError, match=r"is still being deleted \(finalizer mine\)\."):
        kube.wait_gone(held, timeout=0.1)
    monkeypatch.setattr(client, "HELD_SECONDS", 0.0)
    with pytest.raises(StepError, match=r"^ConfigMap a is being deleted, but does not go: finalizer mine\.") as caught:
        kube.wait_gone(held, timeout=60)
    assert "`kubectl get configmap a -n default -o yaml`" in caught.value.hint
    space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "finalizers": ["x"]}}
    api.put("/api/v1/namespaces", space)
    with pytest.raises(StepError, match=r"^Namespace n is being deleted") as caught:
        kube.wait_gone(space, timeout=60)
    assert "`kubectl get namespace n -o yaml`" in caught.value.hint


def test_pods_that_do_not_end_are_counted(api: Any) -> None:
    item = {**named("a", "DaemonSet"), "spec": {"selector": {"matchLabels": {"app": "x"}}}}
    api.put(PODS, named("p", "Pod"))
    with pytest.raises(StepError, match="1 of its pods still end"):
        api.kube().wait_gone(item, timeout=0.1)


def test_several_are_deleted_in_reverse_order(api: Any) -> None:
    first, second = named("a"), named("b", "Pod")
    api.answers |= {
        f"GET {MAPS}": {"metadata": {"resourceVersion": "1"}},
        f"GET {MAPS}/a": [first, (404, {})],
        f"DELETE {MAPS}/a": {},
    }
    assert api.kube().delete([second, first]) == [first]
    asked = [request.path for request in api.requests if request.path in (f"{MAPS}/a", f"{PODS}/b")]
    assert asked[0] == f"{PODS}/b"


def test_a_restart_is_kubectls(api: Any) -> None:
    api.answers[f"PATCH {SETS}/a"] = {}
    api.kube().restart("DaemonSet", "a", "default")
    (sent,) = api.sent("PATCH")
    at = sent.body["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
    assert abs(dt.datetime.fromisoformat(at) - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    assert sent.headers["content-type"] == "application/strategic-merge-patch+json"
    assert sent.query == {"fieldManager": "labkit-restart"}


def test_waiting_looks_again_after_a_change_and_ends_with_what_was_said_last(api: Any) -> None:
    api.put(PODS)
    reasons = ["one", "two", ""]
    api.kube().wait(lambda: reasons.pop(0), PODS, timeout=60, what="it")
    assert reasons == []
    reasons = ["one", "two"]
    with pytest.raises(StepError, match=r"^Waited 0 s for it: one\.") as caught:
        api.kube().wait(lambda: reasons.pop(0), PODS, timeout=0, what="it")
    assert caught.value.hint


def test_waiting_looks_again_soon_where_no_change_is_reported_and_then_more_seldom(api: Any) -> None:
    api.put(PODS)
    api.quiet = True
    looks = []

    def unmet() -> str:
        looks.append(time.monotonic())
        return "not yet" if len(looks) < 4 else ""

    api.kube().wait(unmet, PODS, timeout=60, what="it")
    pauses = [after - before for before, after in itertools.pairwise(looks)]
    assert sum(pauses) < 5  # 1 s; three times `LONGEST_LOOK` are 6
    assert all(pause >= least for pause, least in zip(pauses, (0.19, 0.3, 0.5), strict=True))


def test_of_a_log_the_part_asked_for_is_read(api: Any) -> None:
    api.answers[f"GET {PODS}/p/log"] = [(200, b"one\n"), {"a": "line of JSON"}]
    kube = api.kube()
    assert kube.pod_log("p", "default") == "one\n"
    assert api.requests[-1].query == {}
    since = dt.datetime(2026, 11, 23, 5, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert kube.pod_log("p", "default", container="c", tail=3, since=since, previous=True) == '{"a": "line of JSON"}'
    assert api.requests[-1].query == {
        "container": "c",
        "tailLines": "3",
        "sinceTime": "2026-11-23T04:00:00Z",
        "previous": "true",
    }
