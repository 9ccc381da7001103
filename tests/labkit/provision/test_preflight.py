"""Checks before provisioning, of accounts and clusters that the embedded lab never is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from botocore.stub import Stubber

from labkit.aws import Aws, Identity
from labkit.errors import TargetError
from labkit.kube import KubernetesError
from labkit.provision import preflight as module
from labkit.provision.preflight import Check, Preflight, preflight
from labkit.settings import Settings

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "none"}


def node(name: str, *, kernel: str = "6.1.0", ready: str = "True", **info: str) -> dict[str, Any]:
    labels = {"eks.amazonaws.com/compute-type": info.pop("compute", "ec2")}
    system = {"operatingSystem": "linux", "osImage": "AL2023", "containerRuntimeVersion": "containerd://2", **info}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "nodeInfo": {**system, "kernelVersion": kernel},
            "conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": ready}],
        },
    }


class Place:
    """An account and a cluster, as far as the checks ask for them."""

    def __init__(self) -> None:
        self.settings = Settings.load(environ={})
        self.aws = Aws("us-east-1", hint="look there", keys=KEYS)
        self.aws.__dict__["identity"] = Identity("111122223333", "arn:aws:iam::111122223333:user/me")
        self.cluster: Any = {
            **{"name": "mine", "status": "ACTIVE", "version": "1.35"},
            **{"identity": {"oidc": {"issuer": "https://x"}}},
        }
        self.kube = self.helm = self
        self.helm_version = "v3.19.0"
        self.nodes: Sequence[Any] = [node("a"), node("b")]
        self.falcos: Sequence[str] = ()
        self.release: Any = None
        self.denied: set[str] = set()
        self.reviews: Any = []
        self.refused: Exception | None = None

    def version(self) -> str:
        return self.helm_version

    def status(self, release: str, namespace: str) -> Any:
        return self.release

    def list(self, kind: str, **_: str) -> Any:
        return self.nodes if kind == "Node" else [{"metadata": {"namespace": each}} for each in self.falcos]

    def request(self, method: str, path: str, *, body: Any) -> Any:
        if self.refused:
            raise self.refused
        self.reviews.append(body)
        asked = body["spec"]["resourceAttributes"]
        return {"status": {} if asked["resource"] in self.denied else {"allowed": True}}


@pytest.fixture
def place() -> Any:
    return Place()


def checks(function: Any, place: Any) -> list[Check]:
    return list(function(place))


def test_one_failed_check_is_enough_and_says_what_to_do() -> None:
    good, doubtful, bad = Check("a", "ok", "x"), Check("b", "warning", "y", "See."), Check("c", "failed", "z", "Do it.")
    assert Preflight((good, doubtful)).passed
    assert (Preflight((good, doubtful)).failures, Preflight((good, doubtful))._table().title) == ("", "Ready")
    found = Preflight((good, bad, doubtful))
    assert not found.passed
    assert found.failures == "c: z\n  What to do: Do it."
    assert repr(found).splitlines()[0] == "Not ready"


def test_a_check_that_can_not_be_made_has_failed(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken(target: Any) -> Any:
        raise TargetError("It does not answer.", hint="Wait.")

    monkeypatch.setattr(module, "CHECKS", (_broken, module._helm))
    assert preflight(place).checks == (
        Check("broken", "failed", "It does not answer.", "Wait."),
        Check("helm", "ok", "v3.19.0"),
    )


@pytest.mark.parametrize(
    ("version", "result"),
    [("v3.0.0", "ok"), ("v4.1.0", "ok"), ("v10.0.0", "ok"), ("v2.17.0", "failed"), ("", "failed")],
)
def test_helm_has_to_be_3_or_later(place: Any, version: str, result: str) -> None:
    place.helm_version = version
    (check,) = checks(module._helm, place)
    assert (check.result, check.found, bool(check.hint)) == (result, version, result == "failed")


def test_the_root_user_is_warned_of(place: Any) -> None:
    assert [check.result for check in checks(module._identity, place)] == ["ok"]
    place.aws.__dict__["identity"] = Identity("1", "arn:aws:iam::1:root")
    (check,) = checks(module._identity, place)
    assert (check.result, check.found) == ("warning", "arn:aws:iam::1:root")
    assert "root user" in check.hint


@pytest.mark.parametrize(
    ("versions", "result", "found"),
    [
        ([{"versionStatus": "STANDARD_SUPPORT"}], "ok", "1.35, in standard support"),
        ([{"versionStatus": "EXTENDED_SUPPORT"}], "warning", "1.35, extended support"),
        ([{"status": "standard-support"}], "ok", "1.35, in standard support"),
        ([], "warning", "1.35, unknown"),
        (None, "ok", "1.35 (EKS did not say how long it is supported)"),
    ],
)
def test_support_of_the_clusters_version_is_eks_word(place: Any, versions: Any, result: str, found: str) -> None:
    with Stubber(place.aws.client("eks")) as eks:
        if versions is None:
            eks.add_client_error("describe_cluster_versions", "AccessDeniedException")
        else:
            eks.add_response("describe_cluster_versions", {"clusterVersions": versions}, {"clusterVersions": ["1.35"]})
        cluster, version, issuer = checks(module._cluster, place)
    assert cluster == Check("cluster", "ok", "mine in us-east-1 is ACTIVE")
    assert (version.result, version.found) == (result, found)
    assert issuer == Check("OIDC issuer", "ok", "https://x")


def test_a_cluster_that_is_not_active_or_has_no_issuer_has_failed(place: Any) -> None:
    place.cluster = {"name": "mine", "status": "CREATING", "version": "1.35"}
    with Stubber(place.aws.client("eks")) as eks:
        eks.add_client_error("describe_cluster_versions", "AccessDeniedException")
        cluster, _, issuer = checks(module._cluster, place)
    assert (cluster.result, cluster.hint) == ("failed", "Wait until the cluster is ACTIVE.")
    assert (issuer.result, issuer.found, issuer.hint) == ("failed", "none", "EKS clusters have one.")


def test_nodes_are_counted_with_their_kernels_and_runtimes(place: Any) -> None:
    assert checks(module._nodes, place) == [
        Check("nodes", "ok", "2 ready, AL2023"),
        Check("kernel", "ok", "6.1.0"),
        Check("container runtime", "ok", "containerd://2"),
    ]


@pytest.mark.parametrize(
    ("nodes", "results"),
    [
        ([], [("nodes", "failed", "none")]),
        (
            [node("a", compute="fargate"), node("b", operatingSystem="windows")],
            [("nodes", "failed", "2, none of them Linux on EC2")],
        ),
        (
            [node("a", ready="False"), node("b")],
            [
                ("nodes", "failed", "not ready: a"),
                ("kernel", "ok", "6.1.0"),
                ("container runtime", "ok", "containerd://2"),
            ],
        ),
        (
            [
                node("a"),
                node("b", compute="fargate", kernel="4.14"),
                node("c", operatingSystem="windows", ready="False"),
            ],
            [
                ("nodes", "warning", "1 usable"),
                ("kernel", "ok", "6.1.0"),
                ("container runtime", "ok", "containerd://2"),
            ],
        ),
        (
            [node("a", kernel="5.8.0"), node("b", kernel="5.7.9"), node("c", kernel="odd")],
            [
                ("nodes", "ok", "3 ready, AL2023"),
                ("kernel", "failed", "5.7.9, odd"),
                ("container runtime", "ok", "containerd://2"),
            ],
        ),
        (
            [node("a", kernel="5.8.0", containerRuntimeVersion="docker://20")],
            [
                ("nodes", "ok", "1 ready, AL2023"),
                ("kernel", "ok", "5.8.0"),
                ("container runtime", "warning", "docker://20"),
            ],
        ),
    ],
)
def test_nodes_that_falco_can_not_run_on_are_told(
    place: Any, nodes: list[Any], results: list[tuple[str, str, str]]
) -> None:
    place.nodes = nodes
    found = checks(module._nodes, place)
    assert [(check.what, check.result, check.found) for check in found] == results
    assert [bool(check.hint) for check in found] == [check.result != "ok" for check in found]


def test_permissions_are_asked_of_the_cluster_and_the_account(place: Any) -> None:
    with Stubber(place.aws.client("iam")) as iam, Stubber(place.aws.client("logs")) as logs:
        for _ in range(3):
            iam.add_response("list_open_id_connect_providers", {"OpenIDConnectProviderList": []})
            logs.add_response("describe_log_groups", {"logGroups": []}, {"logGroupNamePrefix": "falco", "limit": 1})
        allowed = checks(module._permissions, place)
        place.denied = {"pods", "daemonsets"}
        denied = checks(module._permissions, place)
        place.refused = KubernetesError("no such API", status=404)
        unknown = checks(module._permissions, place)
    account = Check("in the account", "ok", "IAM and CloudWatch Logs can be read")
    assert allowed == [Check("in the cluster", "ok", "8 permissions"), account]
    assert [(check.result, check.found) for check in denied[:-1]] == [
        ("failed", "may not: create daemonsets, create pods/exec, get pods/log")
    ]
    assert denied[0].hint
    assert unknown == [Check("in the cluster", "warning", "can't be checked: no such API"), account]
    review = place.reviews[5]["spec"]["resourceAttributes"]
    assert review == {"verb": "create", "group": "", "resource": "pods", "subresource": "exec", "namespace": "falco"}


@pytest.mark.parametrize(
    ("falcos", "release", "workshops", "result", "found"),
    [
        ((), None, False, "ok", "none"),
        (("falco",), None, True, "ok", "none"),
        (("b", "a", "falco"), None, True, "warning", "in a, b"),
        (("falco",), None, False, "failed", "A Falco release that the workshop did not install is in namespace falco."),
        ((), object(), False, "failed", "A Falco release that the workshop did not install is in namespace falco."),
        (("a",), None, False, "warning", "in a"),
    ],
)
def test_another_falco_is_told(
    place: Any,
    monkeypatch: pytest.MonkeyPatch,
    falcos: tuple[str, ...],
    release: Any,
    workshops: bool,
    result: str,
    found: str,
) -> None:
    monkeypatch.setattr(module, "is_workshops", lambda target, namespace: workshops)
    place.falcos, place.release = falcos, release
    (check,) = checks(module._other_falco, place)
    assert (check.result, check.found, bool(check.hint)) == (result, found, result != "ok")
