"""Lambda: functions are what was configured, run in a process of their own with their role, and fail as they do."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws import lambda_invocations
from ekslab.aws.lambda_functions import digest

pytestmark = pytest.mark.start_up  # what functions are limited to, and how long they take to start
PROBE = (Path(__file__).parent / "functions" / "probe.py").read_bytes()
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ARN = "arn:aws:lambda:us-east-1:111122223333:function:probe"
QUEUE_ARN = "arn:aws:sqs:us-east-1:111122223333:dead"
LOGS_ARN = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/probe:*"
PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE_ARN},
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": LOGS_ARN,
        },
    ],
}


@pytest.fixture
def running(make_aws: Callable[..., Any]) -> Any:
    """A lab that trusts the function of these tests."""
    return make_aws(trusted_code={digest(PROBE)})


@pytest.fixture
def functions(running: Any) -> Any:
    return running.client("lambda")


@pytest.fixture
def role(running: Any) -> str:
    iam = running.client("iam")
    arn = iam.create_role(RoleName="probe", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName="probe", PolicyName="work", PolicyDocument=json.dumps(PERMISSIONS))
    return str(arn)


@pytest.fixture
def dead(running: Any) -> Any:
    """The dead-letter queue: a function that receives what is in it, waiting for the first message."""
    sqs = running.client("sqs")
    url = sqs.create_queue(QueueName="dead")["QueueUrl"]

    def receive(wait: int = 20) -> list[dict[str, Any]]:
        answer = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=wait, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(answer.get("Messages", []))

    receive.url = url  # type: ignore[attr-defined]
    return receive


def package(code: bytes = PROBE, name: str = "probe.py") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), code)
    return data.getvalue()


def create(functions: Any, role: str, **settings: Any) -> dict[str, Any]:
    given = {"FunctionName": "probe", "Runtime": "python3.13", "Role": role, "Handler": "probe.handler", "Timeout": 20}
    return dict(functions.create_function(**{**given, "Code": {"ZipFile": package()}, **settings}))


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_invocations, "RETRY_DELAYS", (0.01, 0.01))


@pytest.fixture
def probe(functions: Any, role: str) -> Callable[..., Any]:
    """Invokes the function: what it returned, or its error."""
    create(functions, role)

    def invoke(do: str, **event: Any) -> Any:
        answer = functions.invoke(FunctionName="probe", Payload=json.dumps({"do": do, **event}))
        return json.loads(answer["Payload"].read())

    return invoke


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# -- functions


def test_a_function_is_pending_until_one_looks_again(functions: Any, role: str) -> None:
    created = create(functions, role, Description="looks", Tags={"workshop": "falco-eks"}, MemorySize=256)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    functions.get_waiter("function_active_v2").wait(FunctionName="probe")
    found = functions.get_function(FunctionName=ARN)
    shown = found["Configuration"]
    assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Successful")
    expected = {
        "FunctionArn": ARN,
        "Runtime": "python3.13",
        "Handler": "probe.handler",
        "Description": "looks",
        "Timeout": 20,
        "MemorySize": 256,
        "Version": "$LATEST",
        "Architectures": ["x86_64"],
        "PackageType": "Zip",
        "CodeSize": len(package()),
        "CodeSha256": created["CodeSha256"],
    }
    assert {key: shown[key] for key in expected} == expected
    assert found["Tags"] == {"workshop": "falco-eks"}
    again = functions.get_function_configuration(FunctionName="111122223333:function:probe:$LATEST")
    assert {key: again[key] for key in shown} == shown


def test_changes_are_in_progress_until_one_looks_again(functions: Any, role: str) -> None:
    first = create(functions, role, DeadLetterConfig={"TargetArn": QUEUE_ARN})["RevisionId"]
    changed = functions.update_function_configuration(
        FunctionName="probe", Timeout=5, Environment={"Variables": {"LEVEL": "high"}}
    )
    assert (changed["LastUpdateStatus"], changed["Timeout"]) == ("InProgress", 5)
    functions.get_waiter("function_updated_v2").wait(FunctionName="probe")
    shown = functions.get_function_configuration(FunctionName="probe")
    assert shown["Environment"] == {"Variables": {"LEVEL": "high"}}
    assert shown["DeadLetterConfig"] == {"TargetArn": QUEUE_ARN}
    assert (shown["LastUpdateStatus"], shown["Role"]) == ("Successful", role)
    code, _ = refused(functions.update_function_code, FunctionName="probe", ZipFile=package(), RevisionId=first)
    assert code == "PreconditionFailedException"
    cleared = functions.update_function_configuration(
        FunctionName="probe", Environment={"Variables": {}}, DeadLetterConfig={"TargetArn": ""}
    )
    assert {"Environment", "DeadLetterConfig"} & set(cleared) == set()
    assert functions.update_function_code(FunctionName="probe", ZipFile=package())["LastUpdateStatus"] == "InProgress"


def test_functions_are_listed_and_deleted(functions: Any, role: str) -> None:
    for name in ("b", "a", "c"):
        create(functions, role, FunctionName=name)
    pages = functions.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    assert [[f["FunctionName"] for f in page["Functions"]] for page in pages] == [["a", "b"], ["c"]]
    assert refused(create, functions=functions, role=role, FunctionName="a")[0] == "ResourceConflictException"
    assert functions.delete_function(FunctionName="a")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(functions.get_function, FunctionName="a") == (
        "ResourceNotFoundException",
        f"Function not found: {ARN.removesuffix('probe')}a",
    )
    assert refused(functions.get_function, FunctionName="b", Qualifier="7")[0] == "ResourceNotFoundException"


def test_settings_that_are_the_default_are_accepted(functions: Any, role: str) -> None:
    made = create(
        functions,
        role,
        PackageType="Zip",
        TracingConfig={"Mode": "PassThrough"},
        EphemeralStorage={"Size": 512},
        Publish=False,
        Layers=[],
        KMSKeyArn="",
        SnapStart={"ApplyOn": "None"},
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
    )
    assert made["FunctionName"] == "probe"


@pytest.mark.parametrize(
    ("principal", "named"),
    [
        ("*", "*"),
        ("logs.amazonaws.com", {"Service": "logs.amazonaws.com"}),
        ("111122223333", {"AWS": "arn:aws:iam::111122223333:root"}),
        ("arn:aws:iam::111122223333:role/r", {"AWS": "arn:aws:iam::111122223333:role/r"}),
    ],
)
def test_principals_of_permissions(functions: Any, role: str, principal: str, named: Any) -> None:
    create(functions, role)
    permission = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": principal}
    functions.add_permission(FunctionName="probe", **permission)
    (statement,) = json.loads(functions.get_policy(FunctionName="probe")["Policy"])["Statement"]
    assert statement["Principal"] == named


def test_tags_come_and_go(functions: Any, role: str) -> None:
    create(functions, role)
    functions.tag_resource(Resource=ARN, Tags={"a": "1", "b": "2", "c": "3"})
    functions.untag_resource(Resource=ARN, TagKeys=["a", "b"])
    assert functions.list_tags(Resource=ARN)["Tags"] == {"c": "3"}


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"Runtime": "nodejs22.x"}, "InvalidParameterValueException", "nodejs22.x is not supported"),
        ({"Handler": "subprocess.run"}, "InvalidParameterValueException", "subprocess.run is not supported"),
        ({"Handler": "probe.os.system"}, "InvalidParameterValueException", "is not supported"),
        ({"Role": "arn:aws:iam::111122223333:role/none"}, "InvalidParameterValueException", "cannot be assumed by"),
        ({"Timeout": 901}, "InvalidParameterValueException", "less than or equal to 900"),
        ({"Layers": [f"{ARN}:layer"]}, "UnknownOperationException", "parameter Layers"),
        ({"Publish": True}, "UnknownOperationException", "parameter Publish"),
        ({"Code": {"S3Bucket": "b-b-b", "S3Key": "k"}}, "UnknownOperationException", "S3Bucket"),
        ({"Code": {"ZipFile": b"", "S3Bucket": "bbb"}}, "InvalidParameterValueException", "do not provide other"),
        ({"Code": {"ZipFile": b"no zip"}}, "InvalidParameterValueException", "Could not unzip"),
        ({"Environment": {"Variables": {"AWS_PROFILE": "x"}}}, "InvalidParameterValueException", "AWS_PROFILE"),
        ({"Environment": {"Variables": {"AA": "x" * 2048, "BB": "x" * 2048}}}, "InvalidParameterValueException", "4KB"),
        ({"DeadLetterConfig": {"TargetArn": QUEUE_ARN + "2"}}, "InvalidParameterValueException", "SendMessage"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:sns:us-east-1:1:t"}}, "InvalidParameterValueException", "SQS"),
    ],
)
def test_what_can_not_be_is_refused(functions: Any, role: str, settings: Any, code: str, said: str) -> None:
    found, message = refused(create, functions=functions, role=role, **settings)
    assert found == code
    assert said in message
    assert functions.list_functions()["Functions"] == []


def test_what_the_lab_does_not_have_is_named(functions: Any, role: str) -> None:
    create(functions, role)
    assert refused(functions.publish_version, FunctionName="probe") == (
        "UnknownOperationException",
        "lambda:PublishVersion is not supported by the embedded lab.",
    )


# -- which code may run


@pytest.mark.parametrize(
    "zipped",
    [
        package(PROBE + b"\nimport os\n"),
        package(PROBE, "deeper/probe.py"),
        package(PROBE, "../probe.py"),
        package(b"x" * 2**21),
    ],
)
def test_only_trusted_code_gets_in(functions: Any, role: str, zipped: bytes) -> None:
    code, said = refused(create, functions=functions, role=role, Code={"ZipFile": zipped})
    assert code == "InvalidParameterValueException"
    assert "runs only the function files that it was started with" in said
    create(functions, role)
    before = functions.get_function_configuration(FunctionName="probe")["CodeSha256"]
    assert refused(functions.update_function_code, FunctionName="probe", ZipFile=zipped)[0] == code
    assert functions.get_function_configuration(FunctionName="probe")["CodeSha256"] == before


def test_code_beside_the_trusted_code_does_not_get_in(functions: Any, role: str) -> None:
    data = io.BytesIO(package())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("boto3.py", "import os")
    assert "boto3.py" in refused(create, functions=functions, role=role, Code={"ZipFile": data.getvalue()})[1]


def test_a_lab_trusts_no_code_that_it_was_not_started_with(make_aws: Callable[..., Any]) -> None:
    running = make_aws()
    role = running.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    assert "was started with" in refused(create, functions=running.client("lambda"), role=role)[1]


# -- invoking


def test_a_function_sees_what_was_configured_and_nothing_of_this_computer(
    functions: Any, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "x")
    create(functions, role, Environment={"Variables": {"LABKIT_CLUSTER": "mine", "LD_PRELOAD": "/tmp/evil.so"}})
    seen = json.loads(functions.invoke(FunctionName="probe", Payload='{"do": "environ"}')["Payload"].read())
    assert "SECRET_OF_MINE" not in seen
    assert (seen["LABKIT_CLUSTER"], seen["AWS_REGION"]) == ("mine", "us-east-1")
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "probe"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert seen["HOME"] != os.environ["HOME"]
    assert not Path(seen["AWS_CONFIG_FILE"]).is_file()


def test_the_context_tells_who_is_running_and_how_long_it_may(probe: Any, functions: Any) -> None:
    seen = probe("context")
    assert seen["invoked_function_arn"] == ARN
    assert (seen["function_name"], seen["memory_limit_in_mb"]) == ("probe", "128")
    assert seen["log_group_name"] == "/aws/lambda/probe"
    assert 0 < seen["left"] <= 20_000
    answer = functions.invoke(FunctionName="probe", Payload='{"do": "context"}')
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert json.loads(answer["Payload"].read())["aws_request_id"] == request_id
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer


def test_an_environment_is_used_again_until_something_changes(probe: Any, functions: Any) -> None:
    first, second = probe("context"), probe("context")
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["pid"] == second["pid"]
    functions.update_function_configuration(FunctionName="probe", Description="changed")
    third = probe("context")
    assert third["calls"] == 1
    assert third["pid"] != first["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    functions.delete_function(FunctionName="probe")
    with pytest.raises(ProcessLookupError):
        os.kill(third["pid"], 0)


def test_nothing_runs_before_the_first_invocation(running: Any, functions: Any, role: str) -> None:
    create(functions, role)
    assert functions.invoke(FunctionName="probe", InvocationType="DryRun")["StatusCode"] == 204
    assert running.aws.functions._invocations._warm == set()


def test_a_function_acts_in_its_role_and_may_do_what_that_may(probe: Any, dead: Any) -> None:
    assert probe("whoami") == "arn:aws:sts::111122223333:assumed-role/probe/probe"
    assert probe("send", queue=dead.url, body="hello")["do"] == "send"
    assert [message["Body"] for message in dead()] == ["hello"]
    error = probe("send", queue=dead.url.replace("dead", "other"), body="hello")
    assert error["errorType"] == "ClientError"
    assert "not authorized to perform: sqs:SendMessage" in error["errorMessage"]


def test_an_error_says_what_was_raised_and_where(probe: Any, functions: Any) -> None:
    answer = functions.invoke(FunctionName="probe", Payload='{"do": "raise", "text": "héllo"}', LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "héllo")
    assert 'raise ValueError(event.get("text", "no"))' in error["stackTrace"][-1]
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "[ERROR] ValueError: héllo\nTraceback (most recent call last):\n" in log


def test_the_log_tells_of_start_output_end_and_report(running: Any, probe: Any, functions: Any) -> None:
    answer = functions.invoke(FunctionName="probe", Payload='{"do": "print", "text": "one\\ntwo"}', LogType="Tail")
    request = answer["ResponseMetadata"]["RequestId"]
    logs = running.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName="/aws/lambda/probe")["logStreams"]
    assert "/[$LATEST]" in stream["logStreamName"]
    events = logs.get_log_events(
        logGroupName="/aws/lambda/probe", logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    lines = [event["message"] for event in events]
    assert lines[0] == f"START RequestId: {request} Version: $LATEST\n"
    assert lines[1:5] == ["module loaded\n", "one\n", "two\n", "to stderr\n"]
    assert lines[5].startswith("[WARNING]\t")
    assert lines[5].endswith(f"Z\t{request}\tlogged\n")
    assert lines[6] == f"END RequestId: {request}\n"
    assert lines[7].startswith(f"REPORT RequestId: {request}\tDuration: ")
    assert "Init Duration" in lines[7]
    assert base64.b64decode(answer["LogResult"]).decode() == "".join(lines)


def test_a_log_group_that_was_deleted_is_made_again(running: Any, probe: Any) -> None:
    probe("context")
    logs = running.client("logs")
    logs.delete_log_group(logGroupName="/aws/lambda/probe")
    assert (probe("context")["calls"], probe("context")["calls"]) == (2, 3)  # the same environment goes on
    events = logs.filter_log_events(logGroupName="/aws/lambda/probe", filterPattern="REPORT")["events"]
    assert len(events) == 1


def test_a_role_that_may_not_write_logs_has_none(running: Any, probe: Any) -> None:
    running.client("iam").delete_role_policy(RoleName="probe", PolicyName="work")
    assert probe("print", text="x")["text"] == "x"
    assert running.client("logs").describe_log_groups()["logGroups"] == []


def test_a_function_that_takes_too_long_is_ended(functions: Any, role: str) -> None:
    create(functions, role, Timeout=1)
    pid = json.loads(functions.invoke(FunctionName="probe", Payload='{"do": "context"}')["Payload"].read())["pid"]
    answer = functions.invoke(FunctionName="probe", Payload='{"do": "sleep", "seconds": 60}', LogType="Tail")
    error = json.loads(answer["Payload"].read())
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "going to sleep\n" in log
    assert f"{answer['ResponseMetadata']['RequestId']} Task timed out after 1.00 seconds\n" in log
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    again = functions.invoke(FunctionName="probe", Payload='{"do": "context"}')
    assert json.loads(again["Payload"].read())["calls"] == 1


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"do": "exit", "code": 3}, "Runtime exited with error: exit status 3"),
        ({"do": "exit", "code": 0}, "Runtime exited without providing a reason"),
        ({"do": "kill"}, "Runtime exited with error: signal: killed"),
        pytest.param(
            {"do": "memory", "mebibytes": 200},
            "Runtime exited with error: signal: killed",
            marks=pytest.mark.skipif(not Path("/proc").is_dir(), reason="no limit on memory here"),
        ),
    ],
)
def test_a_process_that_ends_is_an_error(running: Any, probe: Any, event: dict[str, Any], said: str) -> None:
    error = probe(**event)
    log = running.client("logs").filter_log_events(logGroupName="/aws/lambda/probe")["events"]
    assert log[-1]["message"].endswith("\tStatus: error\tError Type: Runtime.ExitError\t\n")
    assert error["errorMessage"] in log[-3]["message"]
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(said)
    assert probe("context")["calls"] == 1


def test_what_is_no_json_is_an_error(probe: Any, functions: Any) -> None:
    assert probe("unserializable")["errorType"] == "Runtime.MarshalError"
    assert refused(functions.invoke, FunctionName="probe", Payload=b"{")[0] == "InvalidRequestContentException"
    too_large = json.dumps("x" * 1_048_576)
    assert (
        refused(functions.invoke, FunctionName="probe", Payload=too_large, InvocationType="Event")[0]
        == "RequestTooLargeException"
    )


def test_a_handler_that_is_not_there_is_an_error(functions: Any, role: str) -> None:
    for handler in ("probe.nothing", "probe.boto3"):
        create(functions, role, FunctionName=handler.partition(".")[2], Handler=handler)
        answer = functions.invoke(FunctionName=handler.partition(".")[2])
        assert json.loads(answer["Payload"].read())["errorType"] == "Runtime.HandlerNotFound"


# -- nobody waits


def test_an_event_that_fails_is_tried_three_times_and_becomes_a_dead_letter(
    functions: Any, role: str, dead: Any, quick_retries: None, running: Any
) -> None:
    create(functions, role, DeadLetterConfig={"TargetArn": QUEUE_ARN})
    event = '{"do": "raise", "text": "never"}'
    answer = functions.invoke(FunctionName="probe", Payload=event, InvocationType="Event")
    assert answer["StatusCode"] == 202
    (letter,) = dead()
    assert letter["Body"] == event
    attributes = letter["MessageAttributes"]
    assert attributes["RequestID"]["StringValue"] == answer["ResponseMetadata"]["RequestId"]
    assert (attributes["ErrorCode"]["StringValue"], attributes["ErrorCode"]["DataType"]) == ("200", "Number")
    assert attributes["ErrorMessage"]["StringValue"] == "never"
    starts = running.client("logs").filter_log_events(logGroupName="/aws/lambda/probe", filterPattern="START")
    assert len(starts["events"]) == 3
    now = time.time()
    points = running.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": "probe"}],
        StartTime=now - 3600,
        EndTime=now + 60,
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(point["Sum"] for point in points) == 3


def test_an_event_that_works_at_last_is_no_dead_letter(
    functions: Any, role: str, dead: Any, quick_retries: None
) -> None:
    create(functions, role, DeadLetterConfig={"TargetArn": QUEUE_ARN})
    event = json.dumps({"do": "fail until", "attempts": 3, "queue": dead.url})
    functions.invoke(FunctionName="probe", Payload=event, InvocationType="Event")
    (message,) = dead()
    assert message["Body"] == "attempt 3"
    assert dead(wait=0) == []


def test_settings_of_asynchronous_invocation(functions: Any, role: str, dead: Any) -> None:
    create(functions, role, DeadLetterConfig={"TargetArn": QUEUE_ARN})
    assert refused(functions.get_function_event_invoke_config, FunctionName="probe")[0] == "ResourceNotFoundException"
    put = functions.put_function_event_invoke_config
    put(FunctionName="probe", MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60)
    shown = functions.get_function_event_invoke_config(FunctionName="probe")
    assert (shown["MaximumRetryAttempts"], shown["MaximumEventAgeInSeconds"]) == (0, 60)
    assert shown["FunctionArn"] == f"{ARN}:$LATEST"
    destination = {"OnFailure": {"Destination": QUEUE_ARN}}
    code, message = refused(put, FunctionName="probe", DestinationConfig=destination)
    assert (code, "supported by the embedded lab: destinations" in message) == ("UnknownOperationException", True)
    functions.invoke(FunctionName="probe", Payload='{"do": "raise"}', InvocationType="Event")
    (letter,) = dead()  # after one attempt: the second would come a second later
    assert letter["Body"] == '{"do": "raise"}'
    functions.delete_function_event_invoke_config(FunctionName="probe")
    assert refused(functions.get_function_event_invoke_config, FunctionName="probe")[0] == "ResourceNotFoundException"


def test_an_event_that_is_too_old_is_a_dead_letter_without_an_attempt(
    running: Any, functions: Any, role: str, dead: Any
) -> None:
    create(functions, role, DeadLetterConfig={"TargetArn": QUEUE_ARN})
    functions.put_function_event_invoke_config(FunctionName="probe", MaximumEventAgeInSeconds=60)
    running.loop.call_soon_threadsafe(_submit_and_wait, running)
    (letter,) = dead()
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "429"


def _submit_and_wait(running: Any) -> None:
    """Sends the function an event, and lets 61 seconds pass before its worker comes to it."""
    running.aws.functions.submit(ARN, "{}")
    running.clock.offset += 61


def test_an_event_waits_for_a_role_that_can_be_taken_on(
    running: Any, functions: Any, role: str, dead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_invocations, "_BACKOFF", 0.01)
    create(functions, role)
    iam = running.client("iam")
    iam.update_assume_role_policy(RoleName="probe", PolicyDocument=json.dumps(TRUST).replace("lambda.", "ec2."))
    assert refused(functions.invoke, FunctionName="probe")[0] == "AccessDeniedException"
    event = json.dumps({"do": "send", "queue": dead.url, "body": "late"})
    functions.invoke(FunctionName="probe", Payload=event, InvocationType="Event")
    until(lambda: bool(running.aws.functions._invocations._timers))  # it has been refused, and will be tried again
    iam.update_assume_role_policy(RoleName="probe", PolicyDocument=json.dumps(TRUST))
    assert [message["Body"] for message in dead()] == ["late"]


# -- permissions


def test_a_policy_is_built_a_statement_at_a_time(functions: Any, role: str, running: Any) -> None:
    create(functions, role)
    assert refused(functions.get_policy, FunctionName="probe")[0] == "ResourceNotFoundException"
    source = "arn:aws:logs:us-east-1:111122223333:log-group:falco:*"
    given = {
        "FunctionName": "probe",
        "StatementId": "logs",
        "Action": "lambda:InvokeFunction",
        "Principal": "logs.amazonaws.com",
    }
    functions.add_permission(**given, SourceArn=source, SourceAccount="111122223333")
    assert refused(functions.add_permission, **given)[0] == "ResourceConflictException"
    (statement,) = json.loads(functions.get_policy(FunctionName="probe")["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "logs.amazonaws.com"}
    assert statement["Condition"] == {
        "StringEquals": {"AWS:SourceAccount": "111122223333"},
        "ArnLike": {"AWS:SourceArn": source},
    }
    permits = running.aws.functions.permits
    assert permits("logs.amazonaws.com", source, ARN)
    assert not permits("logs.amazonaws.com", source.replace("falco", "other"), ARN)
    assert not permits("sns.amazonaws.com", source, ARN)
    functions.remove_permission(FunctionName="probe", StatementId="logs")
    assert not permits("logs.amazonaws.com", source, ARN)
    assert refused(functions.remove_permission, FunctionName="probe", StatementId="logs")[0] == (
        "ResourceNotFoundException"
    )


def test_a_caller_needs_permission_to_make_invoke_and_pass(running: Any, role: str, functions: Any) -> None:
    statements = [{"Effect": "Allow", "Action": "lambda:CreateFunction", "Resource": ARN}]
    keys = running.session({"Version": "2012-10-17", "Statement": statements})
    mine = running.as_session("lambda", keys)
    code, said = refused(create, functions=mine, role=role)
    assert code == "AccessDeniedException"
    assert f"iam:PassRole on resource: {role}" in said
    statements.append(
        {
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": role,
            "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
        }
    )
    running.client("iam").put_role_policy(
        RoleName="fluent-bit",
        PolicyName="permissions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )
    create(mine, role)
    code, said = refused(mine.invoke, FunctionName="probe")
    assert code == "AccessDeniedException"
    assert "lambda:InvokeFunction" in said


# -- the end


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has taken note of it yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # it ended in between; or this system has no /proc
        return Path("/proc/self").exists()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_runs_ends_with_the_account(make_aws: Callable[..., Any], running: Any, probe: Any) -> None:
    pid = probe("context")["pid"]
    folder = Path(probe("environ")["HOME"])
    assert folder.is_dir()
    asyncio.run_coroutine_threadsafe(running.aws.functions.stop(), running.loop).result(60)
    assert gone(pid)
    assert not folder.exists()


def test_what_has_nothing_to_do_ends(probe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_invocations, "_IDLE_SECONDS", 0.05)
    pid = probe("context")["pid"]
    until(lambda: gone(pid))
    assert probe("context")["calls"] == 1


def test_an_environment_ends_before_its_credentials_do(probe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_invocations, "_CREDENTIALS_SECONDS", 0)
    first = probe("context")["pid"]
    assert probe("context")["pid"] != first
    assert gone(first)


@pytest.mark.parametrize(
    "event",
    [{"do": "sleep", "seconds": 600}, {"do": "print on"}, {"do": "exit on EPIPE"}],
    ids=lambda event: event["do"],
)
def test_what_runs_ends_when_the_lab_is_killed(event: dict[str, Any]) -> None:
    """In the middle of an invocation, whatever the function does: nobody is left who could end it."""
    lab = subprocess.Popen(
        [sys.executable, "-c", _LAB, str(Path(__file__).parent / "functions" / "probe.py"), json.dumps(event)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert lab.stdout is not None
    seen = json.loads(lab.stdout.readline())
    assert not gone(seen["pid"])
    lab.kill()
    lab.wait()
    until(lambda: gone(seen["pid"]))
    until(lambda: not Path(seen["folder"]).exists())


_LAB = """
import asyncio, json, pathlib, sys, time
from ekslab.aws.lambda_environment import Environment

async def main():
    variables = {f"AWS_LAMBDA_{name}": "x" for name in (
        "FUNCTION_NAME", "FUNCTION_VERSION", "FUNCTION_MEMORY_SIZE", "LOG_GROUP_NAME", "LOG_STREAM_NAME")}
    files = {"probe.py": pathlib.Path(sys.argv[1]).read_bytes()}
    environment = Environment(files, "probe.handler", variables, memory=128, clock=time.time)
    outcome = await environment.invoke("1", json.dumps({"do": "environ"}), function_arn="a", timeout=20)
    folder = json.loads(outcome.payload)["HOME"]
    print(json.dumps({"pid": environment.pid, "folder": folder}), flush=True)
    await environment.invoke("2", sys.argv[2], function_arn="a", timeout=900)

asyncio.run(main())
"""
