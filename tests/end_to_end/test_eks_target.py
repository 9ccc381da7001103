"""The eks target, with a running embedded lab standing in for an AWS endpoint and a cluster that nobody knows."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ekslab.state import Endpoints
from labkit import Lab
from labkit.aws import Aws
from labkit.cli import main
from labkit.errors import TargetError
from labkit.kube import KubernetesError


@pytest.fixture
def endpoint(
    embedded: Endpoints, as_on_eks: Callable[[Endpoints], None], tmp_path: Path, workshop: Path
) -> Callable[..., Lab]:
    as_on_eks(embedded)

    def connect(**settings: object) -> Lab:
        return Lab.connect(target="eks", home=tmp_path / "home", root=workshop, **settings)

    return connect


def test_the_workshop_runs_end_to_end_by_a_kubeconfig_context(
    endpoint: Callable[..., Lab], embedded: Endpoints
) -> None:
    lab = endpoint(context=f"{embedded.cluster}.{embedded.region}.embedded")
    assert lab.settings.region == embedded.region
    lab.ensure()
    lab.exec("deploy/nginx", "bash", tty=True, stdin="id\n")
    assert lab.wait_for_alert("Terminal shell in container", timeout=20)["proc.name"] == "bash"
    assert lab.apply("falco").action == "unchanged"
    assert lab.preflight().passed
    with pytest.raises(TargetError, match="hands out alerts, not events"), lab.record():
        raise AssertionError("the block has to be left out")
    lab.teardown()
    assert lab.audit().clean


def test_aws_credentials_alone_find_the_cluster_and_enter_it(
    endpoint: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG")
    lab = endpoint()
    lab.ensure("falco", "nginx")  # the steps speak to Kubernetes themselves, and through helm
    assert lab.exec("deploy/nginx", "whoami").stdout == "root\n"
    lab.undo("nginx")
    lab.undo("falco")
    assert lab.audit().clean


def test_teardown_of_an_account_shows_what_goes_and_asks(
    endpoint: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = endpoint()
    lab.apply("log-group")
    environment = {"LABKIT_TARGET": "eks", "LABKIT_HOME": str(tmp_path / "home"), "LABKIT_ROOT": str(lab.settings.root)}
    teardown = lambda *words, **kw: CliRunner().invoke(main, ["teardown", *words], env=environment, **kw)  # noqa: E731
    for answer, code, said in (("n\n", 130, "Stopped."), ("", 1, "`--yes` doesn't ask")):
        asked = teardown(input=answer)
        assert asked.exit_code == code
        assert said in asked.stderr
        assert asked.output.splitlines()[:2] == [
            "To take down in account 111122223333 and cluster falco-workshop",
            "  removed  log group  falco",
        ]
        assert "Go on? [y/N]" in asked.output
    assert lab.apply("log-group").action == "unchanged"
    assert "Go on?" not in (unasked := teardown("log-group", "--yes")).output
    assert unasked.exit_code == 0
    assert teardown().output == "Nothing to take down\n"  # and nothing is asked
    lab.apply("log-group")
    assert "Taken down\n  removed  log group  falco" in teardown("log-group", input="y\n").output


def test_the_ledger_belongs_to_one_account_region_and_cluster(endpoint: Callable[..., Lab]) -> None:
    assert endpoint().ledger.path.name == "ledger-111122223333-us-east-1-falco-workshop.json"


def test_the_kubeconfig_holds_no_token(endpoint: Callable[..., Lab], embedded: Endpoints) -> None:
    lab = endpoint()
    assert lab.kube.kubeconfig is not None
    text = lab.kube.kubeconfig.read_text()
    assert "labkit.eks_token" in text
    assert "k8s-aws-v1" not in text
    assert lab.kube.kubeconfig.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("environment", "settings", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, {}, "no usable AWS credentials"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, {}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, {}, "InvalidClientTokenId"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {}, "AWS does not answer"),
        ({"AWS_PROFILE": "nobody"}, {}, "There is no profile 'nobody'"),
        ({}, {"cluster": "mine"}, "no EKS cluster 'mine' in region us-east-1. Clusters there: falco-workshop"),
        ({}, {"region": "eu-west-1"}, "no EKS cluster 'falco-workshop' in region eu-west-1"),
        ({}, {"context": "no-such-context"}, "There is no context 'no-such-context'"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, {}, "No AWS region is set"),
    ],
)
def test_what_stands_in_the_way_is_said(
    endpoint: Callable[..., Lab],
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    settings: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(TargetError) as caught:
        endpoint(**settings)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_role_is_assumed_for_everything_and_again_before_its_session_ends(
    endpoint: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab = endpoint()
    me, iam = lab.aws.identity, lab.aws.client("iam")
    statement = {"Effect": "Allow", "Principal": {"AWS": me.arn}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="instructor", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    describe = {"Effect": "Allow", "Action": "eks:DescribeCluster", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [describe]})
    iam.put_role_policy(RoleName="instructor", PolicyName="own", PolicyDocument=document)
    try:
        aws = Aws("us-east-1", hint="", role=role)
        assert aws.identity.arn == f"arn:aws:sts::{me.account_id}:assumed-role/instructor/labkit"
        with pytest.raises(KubernetesError, match="Unauthorized") as unknown:
            endpoint(role=role)
        assert (
            f"aws eks create-access-entry --cluster-name falco-workshop --principal-arn {role}`" in unknown.value.hint
        )
        entry = {"clusterName": "falco-workshop", "principalArn": role}
        lab.aws.client("eks").create_access_entry(**entry)
        as_role = endpoint(role=role)  # kubectl and Helm get the role's token by the kubeconfig
        with pytest.raises(KubernetesError, match="forbidden") as forbidden:
            as_role.kube.list("Node")
        assert (forbidden.value.status, "ask for the permission" in forbidden.value.hint) == (403, True)
        lab.aws.client("eks").delete_access_entry(**entry)
        credentials = aws.session.get_credentials()
        assert credentials is not None
        key = credentials.access_key
        later = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=50)  # noqa: E731
        monkeypatch.setattr("botocore.credentials._local_now", later)
        monkeypatch.setattr(credentials, "_time_fetcher", later)
        assert aws.client("sts").get_caller_identity()["Arn"] == aws.identity.arn
        assert credentials.access_key != key
        iam.update_assume_role_policy(
            RoleName="instructor", PolicyDocument=trust.replace(json.dumps(me.arn), json.dumps(f"{me.arn}-2"))
        )
        for arn in (role, f"{role}s"):
            with pytest.raises(TargetError, match=r"role can't be assumed: User: .*instructors?\n") as caught:
                endpoint(role=arn)
            assert "trust policy has to name this identity" in caught.value.hint
            assert caplog.records == []
    finally:
        iam.delete_role_policy(RoleName="instructor", PolicyName="own")
        iam.delete_role(RoleName="instructor")


def test_a_role_acts_on_the_embedded_lab_too_in_aws_and_in_the_cluster(
    embedded: Endpoints, workshop: Path, tmp_path: Path
) -> None:
    admin = Lab.connect(home=embedded.home, root=workshop)
    iam, eks = admin.aws.client("iam"), admin.aws.client("eks")
    statement = {"Effect": "Allow", "Principal": {"AWS": admin.aws.identity.arn}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="visitor", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    try:
        with pytest.raises(KubernetesError, match="Unauthorized") as unknown:
            Lab.connect(home=embedded.home, root=workshop, role=role)
        assert f"has no access entry for {role}" in unknown.value.hint
        eks.create_access_entry(clusterName="falco-workshop", principalArn=role)
        lab = Lab.connect(home=embedded.home, root=workshop, role=role)
        assert lab.aws.identity.arn.endswith(":assumed-role/visitor/labkit")
        with pytest.raises(KubernetesError, match=r"User \"arn:aws:sts::.*visitor/labkit\" cannot list"):
            lab.kube.list("Node")
        assert lab.kube.kubeconfig != admin.kube.kubeconfig
        assert lab.kube.kubeconfig is not None
        assert lab.kube.kubeconfig.stat().st_mode & 0o077 == 0
    finally:
        eks.delete_access_entry(clusterName="falco-workshop", principalArn=role)
        iam.delete_role(RoleName="visitor")
