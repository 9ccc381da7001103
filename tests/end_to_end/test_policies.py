"""The policies for a person who runs the workshop: enough for all of it, and no more."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.exceptions import ClientError

from ekslab.state import Endpoints
from labkit import Lab, alerts
from labkit.exercises import fluent_bit_role, pipeline_faults
from labkit.provision import findings_forwarder, forwarder_diagnosis, metric_filters
from labkit.provision.templates import template
from labkit.respond import findings, metrics
from tests.policies import allowed

ROOT = Path(__file__).parents[2]
POLICIES = sorted(path.stem for path in (ROOT / "manifests/iam").glob("workshop-*.json"))
PREFIXES = {"monitoring": "cloudwatch"}
ACTIONS = {"Invoke": "InvokeFunction"}

# Allowed, but only needed when something went wrong: an interruption, a name with a typo, what somebody else changed.
FOR_MENDING = {
    "eks:ListClusters",
    "eks:UpdatePodIdentityAssociation",
    "iam:AddClientIDToOpenIDConnectProvider",
    "iam:DetachRolePolicy",
    "lambda:UpdateFunctionCode",
    "lambda:UpdateFunctionConfiguration",
    "logs:StopQuery",
    "sns:SetTopicAttributes",
    "sqs:SetQueueAttributes",
}
# Asked for by AWS when something is made with tags or with a role.
WITH_OTHER_CALLS = {
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "cloudwatch:TagResource",
    "eks:TagResource",
    "iam:TagOpenIDConnectProvider",
    "iam:TagRole",
    "lambda:TagResource",
    "logs:TagResource",
    "securityhub:TagResource",
    "sns:TagResource",
    "sqs:TagQueue",
}


class Person:
    """Somebody with a role that has the shipped policies and nothing else; `calls` are the actions of their calls."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.calls: set[str] = set()
        lab.aws.session.events.register("before-call", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        prefix = model.service_model.signing_name
        self.calls.add(f"{PREFIXES.get(prefix, prefix)}:{ACTIONS.get(model.name, model.name)}")

    def client(self, service: str) -> Any:
        return self.lab.aws.client(service)


@pytest.fixture
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture
def person(
    endpoints: Endpoints,
    as_on_eks: Callable[[Endpoints], None],
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Person:
    admin = Lab.connect(home=endpoints.home, root=workshop)
    iam, account = admin.aws.client("iam"), admin.aws.identity.account_id
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    iam.create_role(RoleName="attendee", AssumeRolePolicyDocument=json.dumps(trust))
    for name in POLICIES:
        document = json.dumps(template(admin, f"iam/{name}"), separators=(",", ":"))
        made = iam.create_policy(PolicyName=f"falco-workshop-{name}", PolicyDocument=document)
        iam.attach_role_policy(RoleName="attendee", PolicyArn=made["Policy"]["Arn"])
    keys = admin.aws.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/attendee", RoleSessionName="somebody"
    )["Credentials"]
    as_on_eks(endpoints)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    context = f"{endpoints.cluster}.{endpoints.region}.embedded"
    return Person(Lab.connect(target="eks", context=context, home=tmp_path / "home", root=workshop))


def of_notebooks() -> dict[str, set[str]]:
    """The calls that notebooks make themselves: each method of a client by name, with the actions that it may be."""
    actions: dict[str, set[str]] = {}
    for service in sorted({action.partition(":")[0] for action in allowed(*POLICIES)}):
        client = boto3.client({"servicequotas": "service-quotas"}.get(service, service), region_name="us-east-1")
        for method, operation in client.meta.method_to_api_mapping.items():
            actions.setdefault(method, set()).add(f"{service}:{ACTIONS.get(operation, operation)}")
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] != "code" or source.startswith("%%"):  # a rule, in YAML
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in actions:
                    found[f"{path.stem}: {node.func.attr}"] = actions[node.func.attr]
    return found


def run_the_workshop(person: Person) -> None:
    """What the chapters do, from the first check to the last."""
    lab = person.lab
    assert lab.preflight().passed, lab.preflight().failures
    start = datetime.now(UTC)
    lab.ensure()
    assert {state for _, state, _ in lab.status().rows} == {"applied"}
    lab.ensure()
    for _ in pipeline_faults.FAULTS:
        pipeline_faults.break_a_link(lab.target)
    lab.ensure("fluent-bit")
    assert lab.check("01-what-it-may-do", {name: call.needed for name, call in fluent_bit_role.CALLS.items()}).right
    group, prefix = lab.settings.log_group, lab.settings.prefix
    outcomes = lab.attack("read-shadow", "terminal-shell", "drop-and-execute")
    assert all(outcome.passed for outcome in outcomes.values())
    df = lab.alerts(start)
    logs, cloudwatch = person.client("logs"), person.client("cloudwatch")
    query = "filter ispresent(rule) | stats count(*) as alerts by rule"
    assert alerts.insights(logs, query, log_group=group, start=start)["alerts"].sum() == len(df)
    with lab.follow() as stream:
        lab.exec("deploy/nginx", "cat /etc/shadow")
        next(stream)
    account = lab.aws.identity.account_id
    list(alerts.live_tail(logs, f"arn:aws:logs:{lab.settings.region}:{account}:log-group:{group}", timeout=0.5))
    messages = [event["message"] for event in alerts.events(logs, group, start)]
    logs.test_metric_filter(filterPattern='{ $.priority = "Critical" }', logEventMessages=messages[:50])
    seen = metrics.counted(lab.alerts(pd.Timestamp(start).floor("min")), metric_filters.described(lab))
    counts = metrics.count(seen, "rule")
    assert metrics.compare(counts, lab.wait_for_counts(counts, timeout=20))["metric"].sum() == len(seen)
    metrics.put(cloudwatch, prefix, metrics.metric_data("DeliveryLag", seen.falco.delays()["total"], seen["timestamp"]))
    cloudwatch.get_metric_statistics(
        Namespace=prefix,
        MetricName="DeliveryLag",
        StartTime=start - timedelta(minutes=1),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=60,
        ExtendedStatistics=["p50"],
    )
    alarm = f"{prefix}-critical-alert"
    lab.wait_for_alarm(alarm, timeout=30)
    assert alarm in set(lab.notifications(timeout=20)["alarm"])
    assert cloudwatch.describe_alarm_history(AlarmName=alarm)["AlarmHistoryItems"]
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="A drill begins.")
    assert {w.kind for w in lab.dashboard().widgets} == {"text", "metric", "alarm", "log"}
    forward_findings(person, df)
    lab.ledger.path.unlink()  # without it, tags and names tell what is the workshop's
    assert not lab.audit().clean
    lab.teardown()
    assert lab.audit().clean
    use_pod_identity(lab)


def use_pod_identity(lab: Lab) -> None:
    """What the setting `identity` makes otherwise."""
    lab = Lab(replace(lab.target, settings=replace(lab.settings, identity="pod-identity")))
    assert lab.apply("fluent-bit-role").action == "created"
    assert (
        ":assumed-role/falco-workshop-fluent-bit/eks-" in lab.as_service_account("logging", "fluent-bit").identity.arn
    )
    lab.teardown()
    assert lab.audit().clean


def forward_findings(person: Person, df: pd.DataFrame) -> None:
    """What chapter 07 does with alerts."""
    lab, hub, sqs = person.lab, person.client("securityhub"), person.client("sqs")
    batch = findings.to_findings(df, **findings.origin(lab.target))
    assert len(findings.wait_for(hub, [finding["Id"] for finding in batch], timeout=20)) == len(df)
    assert not findings.import_findings(hub, batch).failed
    place = {"account_id": lab.aws.identity.account_id, "log_group": lab.settings.log_group}
    poison = {"eventId": "1", "timestamp": 1, "message": "no alert"}
    payload = json.dumps(findings.delivery([poison], **place))
    name = findings_forwarder.function_name(lab.target)
    answer = person.client("lambda").invoke(FunctionName=name, Payload=payload)
    assert json.loads(answer["Payload"].read())["dead_letters"] == 1
    assert "the message is no JSON object" in forwarder_diagnosis.broken_link(lab.target).finding
    assert len(findings.dead_letters(sqs, findings_forwarder.dead_letter_queue_url(lab.target), timeout=20)) == 1
    assert next(iter(alerts.events(person.client("logs"), f"/aws/lambda/{name}")))
    assert findings.resolve(hub, [batch[0]["Id"]], note="a drill", by="attendee").updated


def test_the_policies_are_enough_for_the_whole_workshop_and_nothing_in_them_is_spare(person: Person) -> None:
    run_the_workshop(person)
    assert person.lab.aws.identity.arn.endswith("assumed-role/attendee/somebody")
    in_notebooks = set().union(*of_notebooks().values())
    spare = allowed(*POLICIES) - person.calls - in_notebooks - FOR_MENDING - WITH_OTHER_CALLS
    assert not spare, f"allowed, but never needed: {sorted(spare)}"


def test_every_call_that_a_notebook_makes_itself_is_allowed() -> None:
    calls = of_notebooks()
    assert any("test_metric_filter" in call for call in calls)
    denied = {call for call, actions in calls.items() if not actions & allowed(*POLICIES)}
    assert not denied, f"made by a notebook, but not allowed: {sorted(denied)}"


REFUSED: dict[str, Callable[[Person], Any]] = {
    "delete another log group": lambda p: p.client("logs").delete_log_group(logGroupName="falco-of-others"),
    "read another log group": lambda p: p.client("logs").filter_log_events(logGroupName="payroll"),
    "write alerts": lambda p: p.client("logs").put_log_events(
        logGroupName="falco", logStreamName="alerts", logEvents=[{"timestamp": 1, "message": "x"}]
    ),
    "filter another log group": lambda p: p.client("logs").put_metric_filter(
        **{**metric_filters.requests(p.lab)[0], "logGroupName": "payroll"}
    ),
    "make another role": lambda p: p.client("iam").create_role(RoleName="another", AssumeRolePolicyDocument="{}"),
    "give another role a policy": lambda p: p.client("iam").put_role_policy(
        RoleName="attendee", PolicyName="more", PolicyDocument="{}"
    ),
    "give a role a managed policy": lambda p: p.client("iam").attach_role_policy(
        RoleName=p.lab.settings.role_name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
    ),
    "make a user": lambda p: p.client("iam").create_user(UserName="another"),
    "trust another provider": lambda p: p.client("iam").create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"]
    ),
    "look at another cluster": lambda p: p.client("eks").describe_cluster(name="production"),
    "put to another namespace": lambda p: p.client("cloudwatch").put_metric_data(
        Namespace="Payroll", MetricData=[{"MetricName": "Paid", "Value": 1.0}]
    ),
    "delete another alarm": lambda p: p.client("cloudwatch").delete_alarms(AlarmNames=["payroll-failed"]),
    "replace another dashboard": lambda p: p.client("cloudwatch").put_dashboard(
        DashboardName="payroll", DashboardBody='{"widgets": []}'
    ),
    "delete another topic": lambda p: p.client("sns").delete_topic(
        TopicArn=f"arn:aws:sns:us-east-1:{p.lab.aws.identity.account_id}:payroll"
    ),
    "publish in the alarms' name": lambda p: p.client("sns").publish(
        TopicArn=f"arn:aws:sns:us-east-1:{p.lab.aws.identity.account_id}:falco-workshop-alarms", Message="x"
    ),
    "import findings for another product": lambda p: p.client("securityhub").batch_import_findings(
        Findings=[
            {**finding, "ProductArn": finding["ProductArn"].replace("/default", "/payroll")}
            for finding in findings.to_findings(
                [{"rule": "r", "time": "2026-01-01T00:00:00Z"}], **findings.origin(p.lab.target)
            )
        ]
    ),
    "call another function": lambda p: p.client("lambda").invoke(FunctionName="payroll"),
    "read another queue": lambda p: p.client("sqs").receive_message(
        QueueUrl=p.client("sqs").meta.endpoint_url + f"/{p.lab.aws.identity.account_id}/payroll"
    ),
}


def test_what_the_workshop_does_not_need_is_denied(person: Person) -> None:
    got_through = []
    for what, act in REFUSED.items():
        with pytest.raises(ClientError) as caught:
            act(person)
        if caught.value.response["Error"]["Code"] not in ("AccessDenied", "AccessDeniedException"):
            got_through.append((what, caught.value.response["Error"]))
    assert got_through == []


@pytest.mark.parametrize("name", POLICIES)
def test_each_fits_into_a_managed_policy(name: str) -> None:
    text = (ROOT / f"manifests/iam/{name}.json").read_text()
    for placeholder, value in {"region": "ap-southeast-2", "partition": "aws-us-gov", "account_id": "1" * 12}.items():
        text = text.replace(f"${{{placeholder}}}", value)
    text = text.replace("${", "x" * 30)  # names of one's own
    assert len("".join(text.split())) <= 6144


def test_the_instructor_guide_says_what_each_is_for() -> None:
    guide = (ROOT / "docs/instructor-guide.md").read_text()
    assert set(re.findall(r"\(\.\./manifests/iam/(workshop-[\w-]+)\.json\)", guide)) == set(POLICIES)
    (loop,) = re.findall(r"^for name in (.*); do$", guide, re.M)
    assert {f"workshop-{name}" for name in loop.split()} == set(POLICIES)
