"""The forwarding function: what the step makes, mends, leaves alone and takes away; the template does the same."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ekslab.aws.filter_patterns import compile_pattern
from ekslab.state import Endpoints
from labkit import Lab
from labkit.aws import Aws, Identity
from labkit.errors import StepError
from labkit.provision.findings_forwarder import dead_letter_queue_url, package
from labkit.provision.steps import STEPS
from labkit.settings import Settings

STEP = "findings-forwarder"
NAME = "falco-workshop-forwarder"
QUEUE = "falco-workshop-dead-letters"
GROUP = f"/aws/lambda/{NAME}"


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab with the step applied. A test that takes something away puts it back."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.apply("log-group")
    lab.apply(STEP)
    return lab


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.apply("log-group")
    return lab


def actions(result: Any) -> dict[str, str]:
    return {change.kind: change.action for change in result.changes}


def test_the_package_is_the_file_that_is_shipped_always_in_the_same_bytes(workshop: Path) -> None:
    assert package() == package()
    archive = zipfile.ZipFile(io.BytesIO(package()))
    (member,) = archive.infolist()
    assert member.filename == "forwarder.py"
    assert member.external_attr >> 16 == 0o644
    assert archive.read(member) == (workshop / "labkit/respond/forwarder.py").read_bytes()


def test_the_role_may_do_three_things(lab: Lab) -> None:
    iam = lab.aws.client("iam")
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == ["forward-falco-alerts"]
    document = iam.get_role_policy(RoleName=NAME, PolicyName="forward-falco-alerts")["PolicyDocument"]
    assert {(s["Resource"], *sorted([s["Action"]] if isinstance(s["Action"], str) else s["Action"]))
            for s in document["Statement"]} == {
        ("arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default", "securityhub:BatchImportFindings"),
        (f"arn:aws:sqs:us-east-1:111122223333:{QUEUE}", "sqs:SendMessage"),
        (f"arn:aws:logs:us-east-1:111122223333:log-group:{GROUP}:*", "logs:CreateLogStream", "logs:PutLogEvents"),
    }  # fmt: skip


def test_applying_again_changes_nothing(lab: Lab) -> None:
    assert set(actions(lab.apply(STEP)).values()) == {"unchanged"}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("SQS queue", lambda aws: aws("sqs").set_queue_attributes(
            QueueUrl=f"/111122223333/{QUEUE}", Attributes={"MessageRetentionPeriod": "60"})),
        ("log group", lambda aws: aws("logs").delete_retention_policy(logGroupName=GROUP)),
        ("inline policy", lambda aws: aws("iam").put_role_policy(
            RoleName=NAME, PolicyName="forward-falco-alerts", PolicyDocument=json.dumps({
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}]}))),
        ("Lambda function", lambda aws: aws("lambda").update_function_configuration(FunctionName=NAME, Timeout=3)),
        ("event invoke config", lambda aws: aws("lambda").put_function_event_invoke_config(
            FunctionName=NAME, MaximumRetryAttempts=0)),
        ("subscription filter", lambda aws: aws("logs").put_subscription_filter(
            logGroupName="falco", filterName=NAME, filterPattern="",
            destinationArn=f"arn:aws:lambda:us-east-1:111122223333:function:{NAME}")),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_put_back(lab: Lab, kind: str, change: Callable[[Any], Any]) -> None:
    change(lab.aws.client)
    done = actions(lab.apply(STEP))
    assert done.pop(kind) == "updated"
    assert set(done.values()) == {"unchanged"}
    assert set(actions(lab.apply(STEP)).values()) == {"unchanged"}


def test_a_permission_for_another_log_group_is_replaced(lab: Lab) -> None:
    client = lab.aws.client("lambda")
    client.remove_permission(FunctionName=NAME, StatementId="log-group-of-alerts")
    client.add_permission(
        FunctionName=NAME,
        StatementId="log-group-of-alerts",
        Action="lambda:InvokeFunction",
        Principal="logs.amazonaws.com",
    )
    assert actions(lab.apply(STEP))["permission"] == "updated"
    (statement,) = json.loads(client.get_policy(FunctionName=NAME)["Policy"])["Statement"]
    assert statement["Condition"]["ArnLike"] == {
        "AWS:SourceArn": "arn:aws:logs:us-east-1:111122223333:log-group:falco:*"
    }


def test_a_role_that_lambda_has_not_heard_of_yet_is_waited_for(fresh: Lab) -> None:
    """The step finds everything right, but Lambda sees another trust policy, until some time after it has refused."""
    fresh.apply(STEP)
    iam, client = fresh.aws.client("iam"), fresh.aws.client("lambda")
    client.delete_function(FunctionName=NAME)
    right = json.dumps(iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"])
    wrong = right.replace("lambda.amazonaws.com", "ec2.amazonaws.com")
    refused = threading.Event()

    def before(**_: Any) -> None:
        if not refused.is_set():
            iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=wrong)

    def after(parsed: dict[str, Any], **_: Any) -> None:
        if "cannot be assumed by Lambda" in parsed.get("Error", {}).get("Message", ""):
            refused.set()
            iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=right)

    client.meta.events.register("before-call.lambda.CreateFunction", before)
    client.meta.events.register("after-call.lambda.CreateFunction", after)
    assert actions(fresh.apply(STEP))["Lambda function"] == "created"
    assert refused.is_set()


def test_a_log_group_with_two_subscriptions_already_is_said(fresh: Lab) -> None:
    fresh.apply(STEP)
    logs = fresh.aws.client("logs")
    function = fresh.aws.client("lambda").get_function(FunctionName=NAME)["Configuration"]["FunctionArn"]
    logs.delete_subscription_filter(logGroupName="falco", filterName=NAME)
    for name in ("theirs", "others"):
        logs.put_subscription_filter(logGroupName="falco", filterName=name, filterPattern="x", destinationArn=function)
    with pytest.raises(StepError, match="as many subscription filters as it may have: others, theirs"):
        fresh.apply(STEP)


def test_what_others_made_is_not_overwritten(fresh: Lab) -> None:
    iam, client = fresh.aws.client("iam"), fresh.aws.client("lambda")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="theirs", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    client.create_function(
        FunctionName=NAME,
        Role=role,
        Runtime="python3.12",
        Handler="forwarder.handler",
        Code={"ZipFile": package()},
    )
    with pytest.raises(StepError, match=f"Lambda function {NAME} was there before the lab"):
        fresh.apply(STEP)
    fresh.undo(STEP)
    assert client.get_function(FunctionName=NAME)["Configuration"]["Role"] == role


def test_undoing_takes_all_of_it_away(fresh: Lab) -> None:
    assert set(actions(fresh.apply(STEP)).values()) == {"created"}
    kinds = {item.kind for item in fresh.audit().left}
    assert {"SQS queue", "IAM role", "Lambda function", "subscription filter"} <= kinds
    undone = fresh.undo(STEP)
    assert set(actions(undone).values()) == {"removed"}
    assert undone.changes[0].kind == "subscription filter"
    fresh.undo("security-hub")
    fresh.undo("log-group")
    assert fresh.audit().clean
    assert set(actions(fresh.undo(STEP)).values()) == {"absent"}


def test_names_are_those_of_the_partition_and_the_prefix(workshop: Path) -> None:
    identity = Identity("444455556666", "arn:aws-cn:iam::444455556666:user/me")
    settings = Settings.load(environ={}, root=workshop, region="cn-north-1", prefix="mine", cluster="c", log_group="g")
    aws = Aws(settings.region, hint="")
    aws.__dict__["identity"] = identity
    lab: Any = SimpleNamespace(settings=settings, aws=aws)
    assert dead_letter_queue_url(lab) == "https://sqs.cn-north-1.amazonaws.com.cn/444455556666/mine-dead-letters"
    parts = {part.kind: part for part in STEPS[STEP].parts(lab)}
    request: dict[str, Any] = parts["Lambda function"].request  # type: ignore[attr-defined]
    assert request["Role"] == "arn:aws-cn:iam::444455556666:role/mine-forwarder"
    assert request["DeadLetterConfig"]["TargetArn"] == "arn:aws-cn:sqs:cn-north-1:444455556666:mine-dead-letters"
    assert request["Environment"]["Variables"]["LABKIT_CLUSTER"] == "c"
    permission: dict[str, Any] = parts["permission"].request  # type: ignore[attr-defined]
    assert permission["SourceArn"] == "arn:aws-cn:logs:cn-north-1:444455556666:log-group:g:*"
    shown = STEPS[STEP].cli(lab) + STEPS[STEP].undo_cli(lab)
    assert "arn:aws:" not in shown
    assert "falco-workshop" not in shown


# -- the template


class _Template(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref x` becomes ("Ref", "x")."""


_Template.add_multi_constructor("!", lambda loader, name, node: (name, node.value))  # type: ignore[no-untyped-call]


class Stack:
    """A template with its intrinsics resolved, as CloudFormation would for a stack of one account and region."""

    ACCOUNT, REGION = "111122223333", "us-east-1"

    def __init__(self, text: str, **parameters: Any) -> None:
        self.template = yaml.load(text, _Template)
        defaults = {name: parameter.get("Default") for name, parameter in self.template["Parameters"].items()}
        assert set(parameters) <= set(defaults)
        self._values = {
            **defaults,
            **parameters,
            "AWS::Partition": "aws",
            "AWS::Region": self.REGION,
            "AWS::AccountId": self.ACCOUNT,
        }

    def properties(self, name: str) -> dict[str, Any]:
        return dict(self._resolved(self.template["Resources"][name]["Properties"]))

    def _resolved(self, value: Any) -> Any:
        match value:
            case ("Ref", str(name)):
                return self._ref(name)
            case ("Sub", str(text)):
                return re.sub(r"\$\{([\w:]+)\}", lambda found: str(self._ref(found[1])), text)
            case ("GetAtt", str(path)):
                name, _, attribute = path.partition(".")
                assert attribute == "Arn"
                return self._arn(name)
            case tuple():
                raise AssertionError(f"an intrinsic without a resolution: {value}")
            case dict():
                return {key: self._resolved(item) for key, item in value.items()}
            case list():
                return [self._resolved(item) for item in value]
        return value

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        properties = self.properties(name)
        match self.template["Resources"][name]["Type"]:
            case "AWS::SQS::Queue":
                return f"https://sqs.{self.REGION}.amazonaws.com/{self.ACCOUNT}/{properties['QueueName']}"
            case "AWS::Lambda::Function":
                return properties["FunctionName"]
        raise AssertionError(f"a reference without a resolution: {name}")

    def _arn(self, name: str) -> str:
        properties, place = self.properties(name), f"{self.REGION}:{self.ACCOUNT}"
        match self.template["Resources"][name]["Type"]:
            case "AWS::SQS::Queue":
                return f"arn:aws:sqs:{place}:{properties['QueueName']}"
            case "AWS::Logs::LogGroup":
                return f"arn:aws:logs:{place}:log-group:{properties['LogGroupName']}:*"
            case "AWS::IAM::Role":
                return f"arn:aws:iam::{self.ACCOUNT}:role/{properties['RoleName']}"
            case "AWS::Lambda::Function":
                return f"arn:aws:lambda:{place}:function:{properties['FunctionName']}"
        raise AssertionError(f"an ARN that isn't known: {name}")


@pytest.fixture(scope="module")
def stack(workshop: Path, lab: Lab) -> Stack:
    s = lab.settings
    return Stack(
        (workshop / "manifests/security-hub/forwarder.yaml").read_text(),
        Prefix=s.prefix,
        ClusterName=s.cluster,
        LogGroupName=s.log_group,
        RetentionDays=s.retention_days,
    )


def tags(found: Any) -> list[dict[str, str]]:
    items = found.items() if isinstance(found, dict) else ((tag["Key"], tag["Value"]) for tag in found)
    return [{"Key": key, "Value": value} for key, value in items]


def made_queue(lab: Lab) -> dict[str, Any]:
    sqs = lab.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {
        "QueueName": QUEUE,
        "MessageRetentionPeriod": int(attributes["MessageRetentionPeriod"]),
        "Tags": tags(sqs.list_queue_tags(QueueUrl=url)["Tags"]),
    }


def made_log(lab: Lab) -> dict[str, Any]:
    logs = lab.aws.client("logs")
    (group,) = logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    return {
        "LogGroupName": group["logGroupName"],
        "RetentionInDays": group["retentionInDays"],
        "Tags": tags(logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"]),
    }


def made_role(lab: Lab) -> dict[str, Any]:
    iam = lab.aws.client("iam")
    role = iam.get_role(RoleName=NAME)["Role"]
    (policy,) = iam.list_role_policies(RoleName=NAME)["PolicyNames"]
    document = iam.get_role_policy(RoleName=NAME, PolicyName=policy)["PolicyDocument"]
    assert iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"] == []
    return {
        "RoleName": role["RoleName"],
        "Description": role["Description"],
        "AssumeRolePolicyDocument": role["AssumeRolePolicyDocument"],
        "Policies": [{"PolicyName": policy, "PolicyDocument": document}],
        "Tags": tags(role["Tags"]),
    }


def made_function(lab: Lab) -> dict[str, Any]:
    found = lab.aws.client("lambda").get_function(FunctionName=NAME)
    shown = (
        *("FunctionName", "Description", "Runtime", "Architectures", "Handler", "Role", "MemorySize", "Timeout"),
        *("Environment", "DeadLetterConfig"),
    )
    code = {"Code": "forwarder.zip"}  # a package of the same file
    return {name: found["Configuration"][name] for name in shown} | code | {"Tags": tags(found["Tags"])}


def made_retries(lab: Lab) -> dict[str, Any]:
    found = lab.aws.client("lambda").get_function_event_invoke_config(FunctionName=NAME)
    assert found["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    name, _, qualifier = found["FunctionArn"].rpartition(":function:")[2].partition(":")
    limits = {key: found[key] for key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds")}
    return {"FunctionName": name, "Qualifier": qualifier, **limits}


def made_permission(lab: Lab) -> dict[str, Any]:
    policy = json.loads(lab.aws.client("lambda").get_policy(FunctionName=NAME)["Policy"])
    (statement,) = policy["Statement"]
    conditions = statement["Condition"]
    assert set(conditions) == {"ArnLike", "StringEquals"}
    return {
        "FunctionName": statement["Resource"].rpartition(":")[2],
        "Action": statement["Action"],
        "Principal": statement["Principal"]["Service"],
        "SourceAccount": conditions["StringEquals"]["AWS:SourceAccount"],
        "SourceArn": conditions["ArnLike"]["AWS:SourceArn"],
    }


def made_subscription(lab: Lab) -> dict[str, Any]:
    found = lab.aws.client("logs").describe_subscription_filters(logGroupName="falco")["subscriptionFilters"]
    (shown,) = found
    names = ("logGroupName", "filterName", "filterPattern", "destinationArn")
    return {name[0].upper() + name[1:]: shown[name] for name in names}


MADE: dict[str, Callable[[Lab], dict[str, Any]]] = {
    "DeadLetters": made_queue,
    "Log": made_log,
    "Role": made_role,
    "Function": made_function,
    "Retries": made_retries,
    "Permission": made_permission,
    "Subscription": made_subscription,
}


@pytest.mark.parametrize("resource", MADE)
def test_the_template_makes_what_the_step_makes(lab: Lab, stack: Stack, resource: str) -> None:
    assert stack.properties(resource) == MADE[resource](lab)


def test_the_template_makes_nothing_else(lab: Lab, stack: Stack, workshop: Path) -> None:
    assert set(stack.template["Resources"]) == set(MADE)
    assert len(MADE) == len(lab.apply(STEP).changes) - 1  # the role's policy is a part of its own there


def test_the_package_of_the_template_is_made_as_its_comment_says(stack: Stack, workshop: Path, tmp_path: Path) -> None:
    text = (workshop / "manifests/security-hub/forwarder.yaml").read_text()
    command = re.search(r"^#   zip -j (\S+) (\S+)$", text, re.M)
    assert command is not None
    made = workshop / "manifests/security-hub" / stack.properties("Function")["Code"]
    assert workshop / command[1] == made
    assert made.name in (workshop / ".gitignore").read_text()
    assert (workshop / command[2]).read_bytes() == zipfile.ZipFile(io.BytesIO(package())).read("forwarder.py")


def test_the_template_makes_things_in_an_order_that_works(stack: Stack) -> None:
    """A subscription needs the permission, which no reference says; the function's log group must not be made by it."""
    resources = stack.template["Resources"]
    assert resources["Subscription"]["DependsOn"] == "Permission"
    assert resources["Function"]["DependsOn"] == "Log"


def test_the_pattern_that_the_template_shows_lets_through_errors_and_worse(stack: Stack) -> None:
    parameter = stack.template["Parameters"]["FilterPattern"]
    every = compile_pattern(parameter["Default"])
    some = compile_pattern(parameter["Description"].partition("from Error up: ")[2])
    priorities = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
    alerts = [json.dumps({"rule": "r", "priority": priority, "output": "o"}) for priority in priorities]
    assert [every.matches(alert) for alert in alerts] == [True] * 8
    assert [some.matches(alert) for alert in alerts] == [True] * 4 + [False] * 4
