"""A class is set up, added to and taken down; what isn't the class's stays."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from classroom import attendees, background, cli
from classroom import down as down_module
from classroom import up as module
from classroom.down import audit, down, remove
from classroom.roll import roll
from classroom.up import ClassError, costs_an_hour, plan, up
from ekslab.state import Endpoints
from labkit import Lab
from labkit.cli import main
from labkit.errors import LabError, SettingsError, StepError
from labkit.provision.steps import Change, TeardownError
from labkit.target import Target

pytestmark = pytest.mark.in_order  # there is no class, then one that stays


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    return Lab.connect(home=new_lab().home, root=workshop)


@pytest.fixture
def labkit(lab: Lab, workshop: Path) -> Callable[..., Result]:
    environment = {"LABKIT_HOME": str(lab.settings.home), "LABKIT_ROOT": str(workshop)}
    return lambda *arguments: CliRunner().invoke(main, arguments, env=environment)


def namespaces(lab: Lab) -> set[str]:
    return {item["metadata"]["name"] for item in lab.kube.list("Namespace")}


def actions(table: object) -> dict[str, str]:
    return {name: action for action, _, name, *_ in table.rows}  # type: ignore[attr-defined]


def test_names_of_attendees() -> None:
    assert attendees.names(3) == ["01", "02", "03"]
    assert attendees.names(None, ["anna", "ben", "anna"]) == ["anna", "ben"]
    for count, given in (
        (None, ()),
        (3, ("a",)),
        (0, ()),
        (100, ()),
        (None, ("Anna",)),
        (None, ("a-b",)),
        (None, ("x" * 13,)),
    ):
        with pytest.raises(LabError):
            attendees.names(count, given)


@pytest.mark.parametrize("name", ["alarms", "critical", "alert", "forwarder", "dead"])
def test_no_attendee_is_called_as_what_the_class_has(name: str) -> None:
    with pytest.raises(LabError, match="names of the class begin so"):
        attendees.names(None, [name])


def test_costs_grow_with_the_class() -> None:
    assert 0 < sum(costs_an_hour(1).values()) < sum(costs_an_hour(30).values()) < 1


def test_a_class_is_planned_set_up_added_to_and_taken_down(
    lab: Lab, labkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = lab.target
    gate = labkit("class", "gate")
    assert (gate.exit_code, "There is no class." in gate.stderr) == (1, True)
    assert labkit("class", "down", "--plan").output.startswith("There is no class")
    planned = labkit("class", "up", "--attendees", "2", "--plan")
    assert planned.exit_code == 0, planned.output
    assert "US dollars an hour" in planned.output
    assert lab.audit().clean  # nothing was made
    lab.apply("nginx")  # the instructor's own, which the class has no part in
    lab.apply("log-group")
    there = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "falco"}}
    lab.kube.apply([there])
    made = labkit("class", "up", "--attendees", "2")
    assert made.exit_code == 0, made.output
    assert background.running(target), background.log(target).read_text()
    assert background.start(target) == background.running(target)
    assert set(actions(up(target, ["01", "02"])).values()) == {"unchanged"}
    assert actions(up(target, ["02", "zoe"])) == {"02": "unchanged", "zoe": "created"}
    assert attendees.known(target) == ["01", "02", "zoe"]
    rows = {name: (action, kind) for action, kind, name, _ in plan(target, ["zoe", "yan"]).rows}
    assert rows["yan"] == ("new", "1 attendee")
    assert rows["01, 02, zoe"] == ("stays", "3 attendees")
    lab.ledger.path.unlink()  # names, labels and tags tell who is in it
    assert attendees.known(target) == ["01", "02", "zoe"]
    up(target, ["01"])

    leaving = labkit("class", "remove", "02", "--plan")
    assert "removed  attendee  02  namespace attendee-02" in leaving.output
    assert "removed  attendee  zoe" in labkit("class", "down", "--plan").output
    assert attendees.known(target) == ["01", "02", "zoe"]
    with monkeypatch.context() as patch:
        patch.setattr(cli, "_asks", lambda target, yes: not yes)  # as at a terminal
        for command in (["remove", "02"], ["down"], ["up", "--attendees", "3"]):
            refused = labkit("class", *command)  # nothing answers
            assert refused.exit_code == 1
            assert "Go on?" in refused.output
            assert "`--yes` doesn't ask" in refused.output
        assert attendees.known(target) == ["01", "02", "zoe"]
        gone = labkit("class", "remove", "02", "--yes")
    assert gone.exit_code == 0, gone.output
    assert "removed  Namespace     attendee-02" in gone.output
    assert attendees.known(target) == ["01", "zoe"]
    assert labkit("class", "remove", "02").exit_code == 1

    taken = labkit("class", "down")
    assert taken.exit_code == 0, taken.output
    assert not background.running(target)
    assert audit(target) == []
    assert "removed  ConfigMap" in taken.output  # its namespace stays, which was there before
    left = {one["metadata"]["name"] for one in lab.kube.list("ConfigMap", "falco")}
    assert "kube-root-ca.crt" in left
    assert left.isdisjoint({"falco-loaded", "falco-attendees", "falco-gate"})
    assert lab.kube.get("Deployment", "nginx", "default") is not None
    assert lab.aws.client("logs").describe_log_groups(logGroupNamePrefix="falco")["logGroups"]
    lab.teardown()
    lab.kube.delete_one(there)
    assert labkit("class", "down").output.startswith("There was no class")


@pytest.fixture(scope="module")
def standing(lab: Lab) -> Lab:
    """A class that stays up, to which attendees are added."""
    up(lab.target, ["zero"])
    return lab


def test_an_interrupted_class_goes_on_where_it_was(standing: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    target, original, begun = standing.target, module._set_up, []

    def interrupted(target: Target, name: str, principals: Sequence[str], *, findings: bool) -> Change:
        begun.append(name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return original(target, name, principals, findings=findings)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_set_up", interrupted)
        with pytest.raises(LabError, match="Stopped; what was done stays"):
            up(target, ["01", "02", "03", "04"])
    planned = {name: what for _, _, name, what in plan(target, ["01", "02", "03", "04"]).rows}
    unmade = [name for name in ("01", "02", "03", "04") if f"attendee-{name}" not in namespaces(standing)]
    assert unmade
    assert any("what is missing is made" in what and unmade[0] in name for name, what in planned.items())
    assert any("zero" in name and what == "in the class already" for name, what in planned.items())
    assert "created" in actions(up(target, ["01", "02", "03", "04"])).values()
    standing.aws.client("iam").delete_role_policy(RoleName="falco-workshop-attendee-03", PolicyName="falco-workshop")
    assert actions(up(target, ["03"])) == {"03": "created"}
    remove(target, ["01", "02", "03", "04"])
    assert audit(target, ["01", "02", "03", "04"]) == []


def test_what_is_there_and_not_the_class_s_is_refused_and_stays(standing: Lab) -> None:
    target, kube = standing.target, standing.kube
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "attendee-01"}}
    kube.apply([namespace])
    with pytest.raises(ClassError, match="isn't the class's") as caught:
        up(target, ["01", "02"])
    assert actions(caught.value.done) == {"01": "left", "02": "created"}
    assert actions(remove(target, ["01", "02"]))["attendee-01"] == "kept"
    assert attendees.known(target) == ["zero"]
    assert "deletionTimestamp" not in (kube.get("Namespace", "attendee-01") or {})["metadata"]
    kube.delete([namespace])


def test_what_attendees_leave_goes_with_them_and_what_does_not_go_is_named(
    standing: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, cloudwatch, kube = standing.target, standing.aws.client("cloudwatch"), standing.kube
    up(target, ["0", "01"])
    alarm = {"Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}
    for prefix in ("falco-workshop-0", "falco-workshop-01"):
        cloudwatch.put_metric_alarm(
            **alarm,
            AlarmName=f"{prefix}-mine",
            Namespace="x",
            MetricName="y",
            ComparisonOperator="GreaterThanThreshold",
        )
        cloudwatch.put_dashboard(DashboardName=prefix, DashboardBody='{"widgets": []}')
        standing.aws.client("sns").create_topic(Name=f"{prefix}-alarms")
        standing.aws.client("sqs").create_queue(QueueName=f"{prefix}-notifications")
    meta = {"name": "held", "namespace": "attendee-01", "finalizers": ["example.com/held"]}
    kube.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}])
    gone = remove(target, ["0"])
    kinds = {"alarm", "dashboard", "SNS topic", "SQS queue", "Namespace", "IAM role", "access entry"}
    assert {kind for _, kind, *_ in gone.rows} == kinds
    assert [found["AlarmName"] for found in cloudwatch.describe_alarms()["MetricAlarms"]] == ["falco-workshop-01-mine"]
    monkeypatch.setattr(down_module, "HELD_SECONDS", 0.2)
    with pytest.raises(TeardownError, match=r"attendee-01: it is being deleted.*example.com/held"):
        remove(target, ["01"])
    assert attendees.known(target) == ["01", "zero"]
    kube.request(
        "PATCH",
        "/api/v1/namespaces/attendee-01/configmaps/held",
        body={"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )
    remove(target, ["01"])
    assert attendees.known(target) == ["zero"]


def test_a_class_is_its_instructor_s(lab: Lab) -> None:
    for act in (lambda t: up(t, ["01"]), lambda t: plan(t, ["01"]), down, lambda t: remove(t, ["01"])):
        with pytest.raises(SettingsError, match="LABKIT_ATTENDEE is 07"):
            act(attendees.target_of(lab.target, "07"))  # type: ignore[operator]


def test_the_gate_in_the_background_is_known_to_have_ended_however_it_ended(lab: Lab) -> None:
    pid = background.start(lab.target)
    assert background.running(lab.target) == pid
    os.kill(pid, signal.SIGKILL)
    lab.wait_until(lambda: background.running(lab.target) is None or None, "the gate to end", timeout=60)
    assert not background.stop(lab.target)


def test_those_who_ask_at_once_about_a_gate_that_has_ended_all_see_that(lab: Lab) -> None:
    lock = attendees.folder(lab.target) / "gate.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("1")  # left by one that has ended
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as one who asks
        assert background.running(lab.target) is None
    assert lock.read_text() == "1"


def test_with_the_lab_the_gate_ends(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    up(lab.target, ["01"])
    background.start(lab.target)
    log = background.log(lab.target)
    lab.wait_until(lambda: "The gate is open" in log.read_text() or None, "the gate to open", timeout=60)
    environment = {"LABKIT_HOME": str(lab.settings.home), "LABKIT_ROOT": str(workshop)}
    assert CliRunner().invoke(main, ["down"], env=environment).output == "Stopped.\n"
    lab.wait_until(lambda: background.running(lab.target) is None or None, "the gate to end", timeout=60)
    assert "The class has ended, and so does the gate." in log.read_text()


def test_what_a_class_works_with_is_not_torn_down_under_it(labkit: Callable[..., Result], standing: Lab) -> None:
    with pytest.raises(StepError, match="A class is up"):
        standing.teardown()
    assert "labkit class down" in labkit("teardown").stderr
    standing.apply("nginx")
    assert labkit("teardown", "nginx").exit_code == 0
    assert {status for _, status, _ in standing.status().rows[:5]} == {"applied"}


def test_the_roll_says_what_is_there_of_each(labkit: Callable[..., Result], standing: Lab) -> None:
    up(standing.target, ["01", "02"])
    eks = standing.aws.client("eks")
    eks.delete_access_entry(clusterName="falco-workshop", principalArn=attendees.role_arn(standing.target, "02"))
    seats = {seat.attendee: seat for seat in roll(standing.target)}
    assert (seats["01"].state, seats["02"].state) == ("ready", "lacks access entry")
    printed = labkit("class", "status").output
    assert re.search(r"02\s+.*0/0\s+lacks access entry", printed), printed
    remove(standing.target, ["01", "02"])


def test_trust_is_given_to_all_or_to_one(labkit: Callable[..., Result], standing: Lab) -> None:
    user, role = "arn:aws:iam::111122223333:user/anna", "arn:aws:iam::111122223333:role/people/all"
    made = labkit("class", "up", "--attendees", "2", "--trust", role, "--trust", f"01={user}", "--yes")
    assert made.exit_code == 0, made.output
    iam = standing.aws.client("iam")

    def trusted(name: str) -> list[str]:
        document: Any = iam.get_role(RoleName=f"falco-workshop-attendee-{name}")["Role"]["AssumeRolePolicyDocument"]
        named = document["Statement"][0]["Principal"]["AWS"]
        return sorted([named] if isinstance(named, str) else named)

    assert (trusted("01"), trusted("02")) == ([role, user], [role])
    again = labkit("class", "up", "--attendees", "2", "--yes")  # what was said before stays
    assert re.search(r"unchanged\s+attendee\s+01", again.output)
    assert trusted("02") == [role]
    (variables,) = (standing.settings.home / "class" / "attendee-01").glob("env.sh")
    assert stat.S_IMODE(variables.stat().st_mode) == 0o600
    assert "LABKIT_ROLE=arn:aws:iam::111122223333:role/falco-workshop-attendee-01" in variables.read_text()
    assert labkit("class", "up", "--attendees", "2", "--trust", "anna").exit_code == 2
    strange = labkit("class", "up", "--attendees", "2", "--trust", f"07={user}", "--yes")
    assert strange.exit_code == 1
    assert "`--trust` names 07, and the attendees of this call are 01, 02." in strange.stderr
    (found,) = [one for one in json.loads(standing.ledger.path.read_text())["records"] if one["step"] == "class"]
    assert found["details"]["attendees"]["01"] == [role, user]
    assert labkit("class", "down", "--yes").exit_code == 0
    assert standing.audit().clean
