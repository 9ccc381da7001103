"""Targets as labkit reaches them: the embedded lab started, found and lost, an account and its cluster on EKS."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from ekslab import client
from ekslab.client import Endpoints
from labkit import Lab, connect
from labkit.aws import Aws, NoClusterError
from labkit.cli import main
from labkit.connect import labkit_errors, labkit_words
from labkit.errors import LabError, NoLabError, NotRunningError, TargetError, UnreachableError
from labkit.ledger import Ledger, Record
from labkit.settings import Settings

NewLab = Callable[..., Endpoints]


def test_errors_of_the_lab_become_labkits_with_its_command_and_variables() -> None:
    with pytest.raises(NoLabError, match=r"^gone") as lost, labkit_errors():
        raise client.NoLabError("gone", ended=True, hint="Start it with `python -m ekslab up`.")
    assert (lost.value.ended, lost.value.hint) == (True, "Start it with `labkit up`.")
    with pytest.raises(NotRunningError, match=r"^full") as full, labkit_errors():
        raise client.NotRunningError("full", hint="Set EKSLAB_HOME.")
    assert (type(full.value), full.value.hint) == (NotRunningError, "Set LABKIT_HOME.")
    assert labkit_words("`python -m ekslab down` and `python -m ekslab up`") == "`labkit down` and `labkit up`"


@pytest.fixture
def stopped(new_lab: NewLab) -> Iterator[Endpoints]:
    """A lab that is stopped, as by Ctrl-Z or a computer that sleeps."""
    lab = new_lab()
    os.kill(lab.pid, signal.SIGSTOP)
    yield lab
    with contextlib.suppress(ProcessLookupError):
        os.kill(lab.pid, signal.SIGCONT)


def test_a_lab_that_is_stopped_is_told_from_one_that_has_ended(
    stopped: Endpoints, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(stopped.pid, signal.SIGCONT)
    lab = Lab.connect(home=stopped.home, root=workshop)
    os.kill(stopped.pid, signal.SIGSTOP)
    cont = f"It is stopped (pid {stopped.pid}): `kill -CONT {stopped.pid}` lets it go on"
    for use in (
        lambda: Lab.connect(home=stopped.home, root=workshop),
        lambda: Lab.connect(home=stopped.home, root=workshop, start=False),
        lab.alerts,
        lambda: lab.exec("deploy/nginx", "id"),
        lambda: lab.aws.client("iam").list_roles(),
        lab.status,
    ):
        with pytest.raises(LabError, match="What to do: ") as caught:
            use()
        assert cont in caught.value.hint
        assert "ended" not in str(caught.value)
    monkeypatch.setenv("LABKIT_HOME", str(stopped.home))
    told = CliRunner().invoke(main, ["status"])
    assert (told.exit_code, cont in told.output) == (1, True)
    told = CliRunner().invoke(main, ["status", "--json"])
    assert json.loads(told.output) == {
        **{"running": False, "home": str(stopped.home), "state": "stopped", "pid": stopped.pid}
    }
    assert cont in CliRunner().invoke(main, ["alerts"]).stderr
    os.kill(stopped.pid, signal.SIGCONT)
    assert len(lab.status().rows) > 10  # and goes on, with the same clients
    os.kill(stopped.pid, signal.SIGSTOP)
    assert CliRunner().invoke(main, ["down"]).output == "Stopped.\n"
    assert not client._alive(stopped.pid)


def test_after_a_crash_it_is_told_that_the_lab_is_new_and_what_is_gone(
    new_lab: NewLab, workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed = new_lab()
    monkeypatch.setenv("LABKIT_HOME", str(crashed.home))
    told = "has ended (killed, or the computer restarted), and what was in it is gone: "
    gone = "pods, logs, alarms and the steps log-group. A new one was started; apply again what you need."
    pid = crashed.pid
    for start in (
        lambda: Lab.connect(home=crashed.home, root=workshop),
        lambda: CliRunner().invoke(main, ["up"]),
        lambda: CliRunner().invoke(main, ["apply", "log-group"]),
    ):
        Lab.connect(home=crashed.home, root=workshop).apply("log-group")
        capsys.readouterr()
        os.kill(pid, signal.SIGKILL)
        assert client._wait_for_exit(pid, 10)
        status = json.loads(CliRunner().invoke(main, ["status", "--json"]).output)
        assert status["state"] == "ended"
        result = start()
        said = capsys.readouterr().err + getattr(result, "stderr", "")
        assert said.count(told) == 1
        assert gone in said
        assert "Starting a new one" not in said
        pid = client.running(crashed.home).pid
    Lab.connect(home=crashed.home, root=workshop)
    assert capsys.readouterr().err == ""


def test_up_status_env_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "lab"))
    labkit = CliRunner()
    assert labkit.invoke(main, ["status"]).exit_code == 1
    assert "labkit up" in labkit.invoke(main, ["env"]).output
    assert "labkit up" in labkit.invoke(main, ["status"]).output
    try:
        started = labkit.invoke(main, ["up"])
        assert started.exit_code == 0, started.output
        assert "Started in" in started.output
        assert "was running" in labkit.invoke(main, ["up"]).output
        report = json.loads(labkit.invoke(main, ["status", "--json"]).output)
        assert report["running"]
        assert f"export AWS_ENDPOINT_URL={report['aws_url']}\n" in labkit.invoke(main, ["env"]).output
        busy = labkit.invoke(main, ["up", "--aws-latency", "80ms", "--aws-quota", "FilterLogEvents=5"]).output
        line = "AWS load    answers after 80 ms; Insights queries take 1 s or more; quotas: FilterLogEvents 5/s, "
        assert line in busy
        assert line in labkit.invoke(main, ["status"]).output
        refused = labkit.invoke(main, ["up", "--aws-quota", "Filter=5"])
        assert (refused.exit_code, "There is no quota 'Filter'" in refused.stderr) == (1, True)
        assert labkit.invoke(main, ["up", "--aws-latency", "80"]).exit_code == 2
        assert "load" not in labkit.invoke(main, ["up", "--aws-latency", "0ms", "--no-aws-quotas"]).output
    finally:
        stopped = labkit.invoke(main, ["down"])
    assert stopped.output == "Stopped.\n"
    assert labkit.invoke(main, ["down"]).exit_code == 0
    assert not (tmp_path / "lab" / "lab.json").exists()


KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "none"}
CALLER = {"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:user/me"}
CLUSTER = {"name": "mine", "endpoint": "https://127.0.0.1:1", "certificateAuthority": {"data": "LS0t"}}


class Account:
    """An AWS account that answers what is told to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = Aws("us-west-2", hint="look there", keys=KEYS)
        self.sts, self.eks = Stubber(self.aws.client("sts")), Stubber(self.aws.client("eks"))
        self.sts.activate()
        self.eks.activate()
        self.regions: list[str] = []

        def made(region: str, **_: object) -> Aws:
            self.regions.append(region)
            return self.aws

        monkeypatch.setattr(connect, "Aws", made)

    def has_no_cluster(self) -> None:
        self.eks.add_client_error("describe_cluster", "ResourceNotFoundException")
        self.eks.add_response("list_clusters", {"clusters": []})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account(monkeypatch)
    account.sts.add_response("get_caller_identity", CALLER)
    return account


def on_eks(tmp_path: Path, **settings: Any) -> Settings:
    return Settings.load(
        environ={}, target="eks", home=tmp_path, **{"region": "us-west-2", "cluster": "mine", **settings}
    )


def test_the_kubeconfig_of_a_cluster_asks_for_a_token_each_time(account: Account, tmp_path: Path) -> None:
    account.eks.add_response("describe_cluster", {"cluster": CLUSTER}, {"name": "mine"})
    home = tmp_path / "new" / "home"
    path = connect.write_eks_kubeconfig(account.aws, on_eks(home))
    assert path == home / "kubeconfig-mine.us-west-2.eks"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in home.iterdir()] == [path.name]
    document = json.loads(path.read_text())
    name = "mine.us-west-2.eks"
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": "LS0t"}
    assert document["clusters"] == [{"name": name, "cluster": cluster}]
    assert document["contexts"] == [{"name": name, "context": {"cluster": name, "user": name}}]
    (user,) = document["users"]
    assert user["name"] == document["current-context"] == name
    assert user["user"]["exec"]["args"] == [
        *("-m", "labkit.eks_token", "--cluster", "mine", "--region", "us-west-2"),
    ]


def test_the_kubeconfig_of_an_attendee_begins_in_their_namespace(account: Account, tmp_path: Path) -> None:
    account.eks.add_response("describe_cluster", {"cluster": CLUSTER}, {"name": "mine"})
    path = connect.write_eks_kubeconfig(account.aws, on_eks(tmp_path, attendee="07"))
    (context,) = json.loads(path.read_text())["contexts"]
    assert context["context"]["namespace"] == "attendee-07"


def test_an_attendee_whose_lab_has_ended_asks_the_instructor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "aws_endpoint_url": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(UnreachableError) as caught:
        connect.connect(on_eks(tmp_path, attendee="07"))
    assert "`labkit class env 07`" in caught.value.hint


def test_a_cluster_that_does_not_answer_is_an_error_unless_a_part_is_enough(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)  # for the program that makes tokens
    for _ in range(4):  # and once more each for what to do
        account.eks.add_response("describe_cluster", {"cluster": {**CLUSTER, "certificateAuthority": {}}})
    account.sts.add_response("get_caller_identity", CALLER)
    with pytest.raises(UnreachableError, match=r"API at https://127\.0\.0\.1:1 does not answer") as caught:
        connect.connect(on_eks(tmp_path))
    assert caught.value.hint.endswith("`aws eks describe-cluster --name mine`.")
    target = connect.connect(on_eks(tmp_path), partly=True)
    assert target.ledger.path == tmp_path / "ledger-111122223333-us-west-2-mine.json"
    assert account.regions == ["us-west-2", "us-west-2"]
    with pytest.raises(TargetError, match="System calls in namespace x can't be recorded") as refused:
        target.record("x")
    assert "target='embedded'" in refused.value.hint


@pytest.mark.parametrize(
    ("network", "todo"),
    [
        ({"endpointPublicAccess": False, "endpointPrivateAccess": True}, "Its endpoint is private: work from inside"),
        ({"endpointPublicAccess": True, "publicAccessCidrs": ["192.0.2.0/24"]}, "open to 192.0.2.0/24 only"),
        ({"endpointPublicAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]}, "endpoint open to this network?"),
    ],
)
def test_what_to_do_about_a_silent_cluster_depends_on_its_endpoint(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: dict[str, Any], todo: str
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    for _ in range(2):
        cluster = {**CLUSTER, "certificateAuthority": {}, "resourcesVpcConfig": network}
        account.eks.add_response("describe_cluster", {"cluster": cluster})
    with pytest.raises(UnreachableError) as caught:
        connect.connect(on_eks(tmp_path))
    assert todo in caught.value.hint


def test_a_cluster_that_is_being_made_has_no_endpoint(account: Account, tmp_path: Path) -> None:
    account.eks.add_response("describe_cluster", {"cluster": {"name": "mine", "status": "CREATING"}})
    with pytest.raises(TargetError, match="Cluster mine is CREATING and has no endpoint") as caught:
        connect.connect(on_eks(tmp_path))
    assert "`aws eks wait cluster-active --name mine`" in caught.value.hint


def test_a_cluster_that_is_gone_is_an_error_unless_a_part_is_enough(account: Account, tmp_path: Path) -> None:
    account.has_no_cluster()
    with pytest.raises(NoClusterError, match="no EKS cluster 'mine'"):
        connect.connect(on_eks(tmp_path))
    account.has_no_cluster()
    target = connect.connect(on_eks(tmp_path), partly=True)
    assert target.aws.identity.account_id == "111122223333"
    for use in (lambda: target.kube.request("GET", "/version"), lambda: target.helm.status("falco", "falco")):
        with pytest.raises(NoClusterError, match="no EKS cluster 'mine'"):
            use()


def test_a_context_takes_the_place_of_the_clusters_own_endpoint(account: Account, tmp_path: Path) -> None:
    settings = on_eks(tmp_path, context="arn:aws:eks:us-west-2:1:cluster/x")
    with pytest.raises(TargetError, match="There is no kubeconfig") as caught:
        connect.connect(settings)
    assert "`aws eks update-kubeconfig --name x --region us-west-2`" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_region_is_the_one_that_the_aws_cli_would_use(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetError, match="No AWS region is set") as caught:
        connect.connect(on_eks(tmp_path, region=""))
    assert "AWS_REGION" in caught.value.hint
    account.has_no_cluster()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    connect.connect(on_eks(tmp_path, region=""), partly=True)
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    account.has_no_cluster()
    target = connect.connect(on_eks(tmp_path, region=""), partly=True)
    assert account.regions == ["eu-west-1", "eu-west-2"]
    assert (target.settings.region, target.ledger.path.name) == (
        "eu-west-2",
        "ledger-111122223333-eu-west-2-mine.json",
    )


def test_nothing_is_running_in_a_new_folder(tmp_path: Path) -> None:
    with pytest.raises(NoLabError, match="o embedded lab is running") as caught:
        connect.running_embedded(tmp_path)
    assert not caught.value.ended
    assert "labkit up" in caught.value.hint
    (tmp_path / "ledger.json").write_text("{}")
    assert not connect.stop_embedded(tmp_path)
    assert not (tmp_path / "ledger.json").exists()


def test_a_loss_is_told_with_the_steps_that_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    for step, name in (("falco", "a"), ("nginx", "b"), ("falco", "c")):
        ledger.write(Record(step, "thing", name, made=True))
    connect._report_loss(tmp_path)
    told = capsys.readouterr().err
    assert "pods, logs, alarms and the steps falco, nginx. A new one was started" in told
    connect._report_loss(tmp_path)
    assert "pods, logs, alarms. A new one" in capsys.readouterr().err
