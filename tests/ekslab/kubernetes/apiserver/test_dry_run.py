"""A dry run answers as the request would, and changes nothing, wherever a client says that it is one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from ekslab.kubernetes.apiserver.protobuf import MAGIC

Send = Callable[..., requests.Response]
ALL = {"dryRun": ["All"]}
QUERY = {"dryRun": "All"}


@pytest.fixture(scope="module")
def send(running: Any) -> Iterator[Send]:
    """Sends a request as the administrator: method, path, body, query, media type."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {running.credentials.kubernetes_token}"

    def call(method: str, path: str, body: Any = None, query: Any = None, kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        headers, ca = {"Content-Type": kind}, str(running.ca)
        return session.request(
            method, running.url + path, data=data, params=query, headers=headers, timeout=10, verify=ca
        )

    with session:
        yield call


@pytest.fixture(scope="module")
def world(send: Send, workload: Any, pod_manifest: Any) -> Iterator[str]:
    """A namespace with an object of many kinds; nothing in it moves."""
    name = "t-dry-run"
    send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    core, apps = f"/api/v1/namespaces/{name}", f"/apis/apps/v1/namespaces/{name}"
    nowhere = {"nodeSelector": {"nowhere": "yes"}}
    for path, obj in (
        (f"{core}/configmaps", {"metadata": {"name": "a", "labels": {"t": "1"}}, "data": {"k": "v"}}),
        (f"{core}/secrets", {"metadata": {"name": "a", "labels": {"t": "1"}}}),
        (f"{core}/serviceaccounts", {"metadata": {"name": "a", "labels": {"t": "1"}}}),
        (f"{core}/services", {"metadata": {"name": "a", "labels": {"t": "1"}}, "spec": {"ports": [{"port": 80}]}}),
        (f"{core}/pods", pod_manifest("a", **nowhere) | {"metadata": {"name": "a", "labels": {"t": "1"}}}),
        (f"{apps}/deployments", workload("Deployment", "a", replicas=0)),
        (f"{apps}/daemonsets", workload("DaemonSet", "a", pod=nowhere)),
    ):
        assert send("POST", path, obj).status_code == 201, path
    yield name
    send("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def unchanged(send: Send, world: str) -> Iterator[None]:
    def state() -> dict[str, str]:
        found = {}
        kinds = ("configmaps", "secrets", "serviceaccounts", "services", "pods")
        paths = [f"/api/v1/namespaces/{world}/{kind}" for kind in kinds]
        paths += [f"/apis/apps/v1/namespaces/{world}/{kind}" for kind in ("deployments", "daemonsets")]
        for path in paths:
            for item in send("GET", path).json()["items"]:
                found[f"{path}/{item['metadata']['name']}"] = json.dumps(
                    {k: v for k, v in item["metadata"].items() if k != "resourceVersion"} | {"spec": item.get("spec")}
                )
        found["namespace"] = send("GET", f"/api/v1/namespaces/{world}").json()["status"]["phase"]
        return found

    before = state()
    yield
    assert state() == before


def protobuf_options() -> bytes:
    """DeleteOptions with dryRun, as client-go's typed clients send them."""
    return MAGIC + b"\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions" + b"\x12\x05\x2a\x03All"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["body", "query", "protobuf"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/t-dry-run",
        *(
            f"/api/v1/namespaces/t-dry-run/{kind}{name}"
            for kind in ("configmaps", "secrets", "serviceaccounts", "services", "pods")
            for name in ("", "/a")
        ),
        *(
            f"/apis/apps/v1/namespaces/t-dry-run/{kind}{name}"
            for kind in ("deployments", "daemonsets")
            for name in ("", "/a")
        ),
    ],
)
def test_a_delete(send: Send, path: str, how: str) -> None:
    match how:
        case "body":
            answer = send("DELETE", path, ALL)
        case "query":
            answer = send("DELETE", path, None, QUERY)
        case _:
            answer = send("DELETE", path, protobuf_options(), kind="application/vnd.kubernetes.protobuf")
    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] in ("Status", "Namespace", "Pod", "Service", "ServiceAccount")


_CORE, _APPS = "/api/v1/namespaces/t-dry-run", "/apis/apps/v1/namespaces/t-dry-run"
_MERGE, _STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
_APPLY, _JSON = "application/apply-patch+yaml", "application/json-patch+json"
_REMOVE = [{"op": "remove", "path": "/data"}]
_THREE = {"spec": {"replicas": 3}}
_STATUS = {"status": {"replicas": 9}}
_APPLIED = b"apiVersion: v1\nkind: ConfigMap\ndata: {n: '1'}"
_REPLACED = {"metadata": {"name": "a"}, "data": {"n": "1"}}
_NODE = {"target": {"name": "ip-10-0-1-10.ec2.internal"}}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("method", "path", "body", "query", "kind", "shown"),
    [
        ("POST", f"{_CORE}/configmaps", {"metadata": {"name": "b"}}, QUERY, "", ("metadata", "name", "b")),
        ("POST", f"{_CORE}/pods", {"metadata": {"name": "b"}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
         QUERY, "", ("spec", "restartPolicy", "Always")),
        ("POST", "/api/v1/namespaces", {"metadata": {"name": "b"}}, QUERY, "", ("metadata", "name", "b")),
        ("PUT", f"{_CORE}/configmaps/a", _REPLACED, QUERY, "", ("data", "n", "1")),
        ("PATCH", f"{_CORE}/configmaps/a", {"data": {"n": "1"}}, QUERY, _MERGE, ("data", "n", "1")),
        ("PATCH", f"{_CORE}/configmaps/a", {"data": {"n": "1"}}, QUERY, _STRATEGIC, ("data", "n", "1")),
        ("PATCH", f"{_CORE}/configmaps/a", _REMOVE, QUERY, _JSON, ("metadata", "name", "a")),
        ("PATCH", f"{_CORE}/configmaps/a", _APPLIED, QUERY | {"fieldManager": "t"}, _APPLY, ("data", "n", "1")),
        ("PATCH", f"{_CORE}/configmaps/new", _APPLIED, QUERY | {"fieldManager": "t"}, _APPLY, ("data", "n", "1")),
        ("PUT", f"{_APPS}/deployments/a/scale", _THREE, QUERY, "", ("spec", "replicas", 3)),
        ("PATCH", f"{_APPS}/deployments/a/scale", _THREE, QUERY, _MERGE, ("spec", "replicas", 3)),
        ("PATCH", f"{_APPS}/deployments/a/status", _STATUS, QUERY, _MERGE, ("status", "replicas", 9)),
        ("POST", f"{_CORE}/pods/a/eviction", {"metadata": {"name": "a"}}, QUERY, "", ()),
        ("POST", f"{_CORE}/pods/a/eviction", {"metadata": {"name": "a"}, "deleteOptions": ALL}, None, "", ()),
        ("POST", f"{_CORE}/pods/a/binding", _NODE, QUERY, "", ()),
        ("PUT", "/api/v1/namespaces/t-dry-run/finalize", {"spec": {"finalizers": ["x"]}}, QUERY, "",
         ("spec", "finalizers", ["x"])),
    ],
)  # fmt: skip
def test_a_write(
    send: Send, method: str, path: str, body: Any, query: Any, kind: str, shown: tuple[str, str, Any] | tuple[()]
) -> None:
    answer = send(method, path, body, query, kind or "application/json")
    assert answer.status_code in (200, 201), answer.text
    if shown:
        assert answer.json()[shown[0]][shown[1]] == shown[2]
    if path.endswith("/new"):
        assert send("GET", path).status_code == 404


@pytest.mark.usefixtures("unchanged")
def test_what_delete_options_forbid(send: Send, world: str) -> None:
    path = f"/api/v1/namespaces/{world}/configmaps/a"
    have = send("GET", path).json()["metadata"]
    for options, code, said in (
        ({"preconditions": {"uid": "another"}}, 409, "Precondition failed: UID in precondition: another"),
        ({"preconditions": {"resourceVersion": "1"}}, 409, "the object has been modified"),
        ({"dryRun": ["Some"]}, 400, 'invalid dryRun value "Some"'),
        ({"dryRun": "All"}, 400, "cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string"),
        ({"gracePeriodSeconds": "0"}, 400, "of type int64"),
        ({"preconditions": []}, 400, "of type v1.Preconditions"),
        ({"propagationPolicy": "Sideways"}, 422, 'Unsupported value: "Sideways"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "cannot be both set"),
    ):
        answer = send("DELETE", path, options)
        assert (answer.status_code, said in answer.json()["message"]) == (code, True), answer.text
    assert send("DELETE", path, None, {"dryRun": "Some"}).status_code == 400
    fitting = {"preconditions": {"uid": have["uid"], "resourceVersion": have["resourceVersion"]}, **ALL}
    assert send("DELETE", path, fitting).status_code == 200


def test_bodies_of_the_wrong_form_are_bad_requests(send: Send, world: str) -> None:
    core, review = f"/api/v1/namespaces/{world}", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for method, path, body in (
        ("POST", f"{core}/pods/a/binding", {"target": "x"}),
        ("POST", f"{core}/pods/a/eviction", []),
        ("POST", f"{core}/serviceaccounts/a/token", {"spec": {"expirationSeconds": "long"}}),
        ("POST", review, {"spec": "x"}),
        ("PUT", f"/apis/apps/v1/namespaces/{world}/deployments/a/scale", {"spec": 3}),
        ("PUT", f"{core}/configmaps/a", None),
        ("PATCH", f"/apis/apps/v1/namespaces/{world}/deployments/a/scale", "x"),
        ("DELETE", f"{core}/configmaps/a", [1]),
    ):
        kind = _MERGE if method == "PATCH" else "application/json"
        assert send(method, path, body, kind=kind).status_code == 400, (method, path)


@pytest.mark.parametrize(
    "command",
    [
        "create configmap b --from-literal=k=v",
        "create namespace b",
        "run b --image=toolbox:1",
        "expose deployment a --port=80 --name=b",
        "label configmap a t=2 --overwrite",
        "annotate configmap a t=2",
        'patch configmap a -p \'{"data":{"n":"1"}}\'',
        "scale deployment a --replicas=2",
        "set image deployment/a main=toolbox:2",
        "set env deployment/a A=B",
        "taint node ip-10-0-1-10.ec2.internal k=v:NoSchedule",
        "cordon ip-10-0-1-10.ec2.internal",
        "drain ip-10-0-2-20.ec2.internal --force --ignore-daemonsets",
        "delete configmap a",
        "delete deploy,ds,svc,cm,sa,secret,pod -l t=1",
        "delete pod a --force --grace-period=0",
        "delete pod a --now",
        "delete deployment a --cascade=foreground",
        "delete ns t-dry-run",
    ],
)
def test_kubectl(kubectl: Any, unchanged: None, send: Send, command: str) -> None:
    found = kubectl.run("-n", "t-dry-run", *shlex.split(command), "--dry-run=server", check=False)
    assert found.returncode == 0, found.stderr
    nodes = send("GET", "/api/v1/nodes").json()["items"]
    assert len(nodes) == 2
    for node in nodes:
        assert not node["spec"].get("unschedulable")
        assert "k" not in [taint["key"] for taint in node["spec"].get("taints") or ()]
