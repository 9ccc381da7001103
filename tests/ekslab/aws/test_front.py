"""Whatever is sent to the door, the answer is an AWS error: never a server error, which SDKs would retry."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials
from botocore.exceptions import ClientError

from ekslab.aws import protocols
from ekslab.http import HttpRequest, HttpResponse


def signed(
    running: Any,
    service: str,
    headers: dict[str, str],
    body: bytes,
    *,
    method: str = "POST",
    url: str = "https://logs.us-east-1.amazonaws.com/",
    region: str = "us-east-1",
) -> HttpResponse:
    """The answer to a request signed as a pod would sign it, under AWS's own host name."""
    request = AWSRequest(method, url, data=body, headers=headers)
    key = SigningCredentials(running.credentials.access_key_id, running.credentials.secret_access_key)
    SigV4Auth(key, service, region).add_auth(request)
    sent = HttpRequest(method, url, dict(request.headers.items()), body)
    return asyncio.run(running.aws.handle(sent))


def code_of(response: HttpResponse) -> str:
    return str(json.loads(response.body)["__type"])


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1"}


def test_pods_reach_services_under_their_host_names(running: Any) -> None:
    response = signed(running, "logs", JSON, b"{}")
    assert (response.status, json.loads(response.body)) == (200, {"logGroups": []})
    response = signed(
        running,
        "sts",
        {"Content-Type": "application/x-www-form-urlencoded"},
        b"Action=GetCallerIdentity&Version=2011-06-15",
        url="https://sts.amazonaws.com/",
    )
    assert b"user/workshop" in response.body


def test_a_scope_for_another_region_than_the_host_is_refused(running: Any) -> None:
    response = signed(running, "logs", JSON, b"{}", region="eu-west-1")
    assert code_of(response) == "InvalidSignatureException"
    assert "scoped to a valid region" in json.loads(response.body)["message"]


def test_compressed_bodies_are_read(running: Any) -> None:
    body = gzip.compress(b'{"logGroupNamePrefix": "x"}')
    assert signed(running, "logs", {**JSON, "Content-Encoding": "gzip"}, body).status == 200
    assert signed(running, "logs", {**JSON, "Content-Encoding": "gzip"}, b"not gzip").status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "SerializationException"),
        (b"[]", "SerializationException"),
        (b'"x"', "SerializationException"),
        (b"\xff\xfe", "SerializationException"),
        (b'{"limit": "many"}', "SerializationException"),
        (b'{"limit": true}', "SerializationException"),
        (b'{"limit": 51}', "InvalidParameterException"),
        (b'{"logGroupIdentifiers": [5]}', "SerializationException"),
        (b'{"nextToken": "!!!"}', "InvalidParameterException"),
        (b'{"logGroupName": null}', ""),
        (b'{"unknownMember": [1, {"a": 2}]}', ""),
    ],
)
def test_garbled_requests_are_told_apart(running: Any, body: bytes, code: str) -> None:
    response = signed(running, "logs", JSON, body)
    assert response.status == (400 if code else 200)
    if code:
        assert code_of(response) == code


@pytest.mark.parametrize(
    "events",
    [
        "5",
        "[]",
        "[5]",
        "[null]",
        "[{}]",
        '[{"timestamp": 1}]',
        '[{"timestamp": "x", "message": "y"}]',
        '[{"timestamp": 1.5, "message": "y"}]',
        '[{"timestamp": -1, "message": "y"}]',
        '[{"timestamp": 1, "message": ""}]',
    ],
)
def test_garbled_events_are_refused(running: Any, events: str) -> None:
    logs = running.client("logs")
    logs.create_log_group(logGroupName="falco")
    logs.create_log_stream(logGroupName="falco", logStreamName="alerts")
    body = f'{{"logGroupName": "falco", "logStreamName": "alerts", "logEvents": {events}}}'
    response = signed(running, "logs", {**JSON, "X-Amz-Target": "Logs_20140328.PutLogEvents"}, body.encode())
    assert response.status == 400
    assert code_of(response) in ("SerializationException", "InvalidParameterException")
    assert logs.filter_log_events(logGroupName="falco")["events"] == []


@pytest.mark.parametrize(
    ("service", "method", "path", "headers", "body"),
    [
        ("logs", "POST", "/", {"X-Amz-Target": "Logs_20140328."}, b"{}"),
        ("logs", "POST", "/", {"X-Amz-Target": "nonsense"}, b"{}"),
        ("logs", "GET", "/", {}, b""),
        ("logs", "POST", "/service/Logs/operation/PutLogEvents", {}, b"\xbf\xff"),
        ("iam", "POST", "/", FORM, b""),
        ("iam", "POST", "/", FORM, b"Action=\xff"),
        ("sts", "POST", "/", FORM, b"Action=AssumeRole"),
        (
            "sts",
            "POST",
            "/",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Action=AssumeRoleWithWebIdentity",
        ),
        ("eks", "GET", "/clusters/a/b/c/d", {}, b""),
        ("eks", "PATCH", "/", {}, b"{"),
        ("s3", "GET", "/bucket/key%20with%2Fthings", {}, b""),
        ("no-such-service", "GET", "/", {}, b""),
    ],
)
def test_nonsense_is_answered_with_a_client_error(
    running: Any, service: str, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    host = f"https://{service}.us-east-1.amazonaws.com"
    response = signed(running, service, headers, body, method=method, url=host + path)
    assert 400 <= response.status < 500, response.body
    assert b"InternalFailure" not in response.body


def test_cbor_is_refused_by_name(running: Any) -> None:
    path = "https://monitoring.us-east-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/ListMetrics"
    response = signed(running, "monitoring", {"smithy-protocol": "rpc-v2-cbor"}, b"\xbf\xff", url=path)
    assert response.status == 415
    assert b"speaks JSON, as boto3 and the AWS CLI do, and not CBOR" in response.body
    assert running.client("cloudwatch").meta.service_model.resolved_protocol == "json"


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic abc",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c",
        "AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/logs/aws4_request",
        "AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=00",
    ],
)
def test_garbled_signatures_are_refused(running: Any, authorization: str) -> None:
    headers = {**JSON, "Authorization": authorization.format(key=running.credentials.access_key_id)}
    response = asyncio.run(
        running.aws.handle(HttpRequest("POST", "https://logs.us-east-1.amazonaws.com/", headers, b"{}"))
    )
    assert response.status == 400
    assert code_of(response) in ("IncompleteSignatureException", "InvalidSignatureException")


def test_a_body_changed_on_its_way_is_noticed(running: Any) -> None:
    request = AWSRequest("POST", "https://logs.us-east-1.amazonaws.com/", data=b"{}", headers=JSON)
    key = SigningCredentials(running.credentials.access_key_id, running.credentials.secret_access_key)
    SigV4Auth(key, "logs", "us-east-1").add_auth(request)
    sent = HttpRequest("POST", request.url, dict(request.headers.items()), b'{"limit": 1}')
    assert code_of(asyncio.run(running.aws.handle(sent))) == "InvalidSignatureException"


def test_the_aws_cli_is_served(running: Any, aws_cli: Any) -> None:
    running.client("logs").create_log_group(logGroupName="falco")
    assert aws_cli("logs", "describe-log-groups")["logGroups"][0]["logGroupName"] == "falco"
    token = aws_cli("eks", "get-token", "--cluster-name", "falco-workshop")["status"]["token"]
    assert running.aws.authenticate_eks_token(token) == "arn:aws:iam::111122223333:user/workshop"
    refused = aws_cli("ec2", "describe-instances", refused=True)
    assert "ec2:DescribeInstances is not supported by the embedded lab." in refused


def test_a_full_lab_stores_no_more(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ekslab.memory.is_full", lambda: True)
    logs = running.client("logs")
    with pytest.raises(ClientError, match=r"memory is full .* stop the lab and start it again") as error:
        logs.create_log_group(logGroupName="g")
    assert error.value.response["Error"]["Code"] == "LimitExceededException"
    assert logs.describe_log_groups()["logGroups"] == []


def test_a_failure_of_memory_is_not_remembered(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = running.client("sqs")
    protocols.service_model.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("botocore.loaders.Loader.load_service_model", _no_memory)
        with pytest.raises(ClientError, match="short of memory") as error:
            sqs.list_queues()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "QueueUrls" not in sqs.list_queues()


def _no_memory(*_: Any) -> None:
    raise MemoryError
