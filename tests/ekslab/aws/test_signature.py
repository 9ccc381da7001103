"""Requests are believed only when their signature holds, and are refused as the called service refuses them."""

from __future__ import annotations

import base64
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner

WRONG_SECRET = {"InvalidSignatureException", "SignatureDoesNotMatch"}
CALLS = [
    ("logs", "describe_log_groups", "UnrecognizedClientException", "InvalidSignatureException"),
    ("eks", "list_clusters", "UnrecognizedClientException", "InvalidSignatureException"),
    ("iam", "list_roles", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    ("cloudwatch", "list_metrics", "UnrecognizedClientException", "InvalidSignatureException"),
]


def error_of(call: Any, **kwargs: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(("service", "operation", "unknown", "mismatch"), CALLS)
def test_unknown_keys_and_wrong_secrets_are_named_as_each_service_names_them(
    running: Any, service: str, operation: str, unknown: str, mismatch: str
) -> None:
    key = running.credentials.access_key_id
    stranger = running.client(service, aws_access_key_id="AKIASTRANGER", aws_secret_access_key="x")
    forger = running.client(service, aws_access_key_id=key, aws_secret_access_key="wrong")
    assert error_of(getattr(stranger, operation))[0] == unknown
    code, message, status = error_of(getattr(forger, operation))
    assert code == mismatch
    assert "Check your AWS Secret Access Key" in message
    assert 400 <= status < 500


def test_the_labs_own_key_is_believed_for_every_protocol(running: Any) -> None:
    assert running.client("logs").describe_log_groups()["logGroups"] == []
    assert running.client("eks").list_clusters()["clusters"] == ["falco-workshop"]
    assert running.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:user/workshop"
    assert running.client("iam").get_user(UserName="workshop")["User"]["UserName"] == "workshop"
    assert running.client("cloudwatch").list_metrics()["Metrics"] == []


def test_a_session_token_belongs_to_the_signature(running: Any) -> None:
    session = running.session(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )
    without = running.client(
        "logs", aws_access_key_id=session["AccessKeyId"], aws_secret_access_key=session["SecretAccessKey"]
    )
    assert error_of(without.describe_log_groups)[0] == "UnrecognizedClientException"
    assert running.as_session("logs", session).describe_log_groups()["logGroups"] == []


def test_session_credentials_expire(running: Any) -> None:
    session = running.session(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )
    running.clock.offset = 3601
    # The SDK signs with the true time, which is an hour behind the lab's now.
    code, message, _ = error_of(running.as_session("logs", session).describe_log_groups)
    assert code == "InvalidSignatureException"
    assert message.startswith("Signature expired")


@pytest.mark.parametrize(
    ("minutes", "error"),
    [(14, ""), (-14, ""), (16, "Signature expired: "), (-16, "Signature not yet current: ")],
)
def test_a_clock_may_be_a_quarter_of_an_hour_off(running: Any, minutes: int, error: str) -> None:
    logs = running.client("logs")
    running.clock.offset = minutes * 60  # the lab's clock; the SDK signs with the true time
    if not error:
        assert logs.describe_log_groups()["logGroups"] == []
        return
    code, message, _ = error_of(logs.describe_log_groups)
    assert (code, message.startswith(error)) == ("InvalidSignatureException", True)


def test_a_session_that_ended_a_minute_ago_says_so(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = running.session(None)
    sessions = running.aws.sts._sessions
    (issued,) = sessions.values()
    sessions[issued.access_key_id] = type(issued)(**{**issued.__dict__, "expires": running.clock() - 60})
    assert error_of(running.as_session("logs", session).describe_log_groups)[0] == "ExpiredTokenException"
    assert error_of(running.as_session("sts", session).get_caller_identity)[0] == "ExpiredToken"


def test_an_unsigned_request_is_refused(running: Any) -> None:
    request = urllib.request.Request(
        running.url, data=b"{}", headers={"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert b"MissingAuthenticationTokenException" in caught.value.read()


def presigned_identity(
    running: Any, *, secret: str | None = None, host: str = "", cluster: str = "falco-workshop"
) -> str:
    """What `aws eks get-token` makes."""
    credentials = SigningCredentials(running.credentials.access_key_id, secret or running.credentials.secret_access_key)
    host = host or "sts.us-east-1.amazonaws.com"
    request = AWSRequest(
        "GET",
        f"https://{host}/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": cluster},
    )
    SigV4QueryAuth(credentials, "sts", "us-east-1", expires=60).add_auth(request)
    return str(request.url)


def token(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_a_presigned_url_is_followed(running: Any) -> None:
    url = running.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    body = urllib.request.urlopen(url).read().decode()
    assert "<Arn>arn:aws:iam::111122223333:user/workshop</Arn>" in body
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("GetCallerIdentity", "GetSessionToken"))
    assert b"SignatureDoesNotMatch" in caught.value.read()


def test_an_eks_token_names_its_bearer(running: Any) -> None:
    assert running.aws.authenticate_eks_token(token(presigned_identity(running))) == (
        "arn:aws:iam::111122223333:user/workshop"
    )


def test_an_eks_token_by_the_cluster_authenticators_own_recipe(running: Any) -> None:
    session = boto3.session.Session(
        aws_access_key_id=running.credentials.access_key_id,
        aws_secret_access_key=running.credentials.secret_access_key,
        region_name="us-east-1",
    )
    client = session.client("sts")
    signer = RequestSigner(
        client.meta.service_model.service_id, "us-east-1", "sts", "v4", session.get_credentials(), session.events
    )
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": "falco-workshop"},
            "context": {},
        },
        region_name="us-east-1",
        expires_in=60,
        operation_name="",
    )
    assert running.aws.authenticate_eks_token(token(url)) == "arn:aws:iam::111122223333:user/workshop"


def test_eks_tokens_of_a_role_session_name_the_assumed_role(running: Any) -> None:
    session = running.session(None)
    credentials = SigningCredentials(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    request = AWSRequest(
        "GET",
        "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": "falco-workshop"},
    )
    SigV4QueryAuth(credentials, "sts", "us-east-1", expires=60).add_auth(request)
    assert running.aws.authenticate_eks_token(token(request.url)) == (
        "arn:aws:sts::111122223333:assumed-role/fluent-bit/pod"
    )


def test_eks_tokens_that_do_not_hold_are_nobody(running: Any) -> None:
    authenticate = running.aws.authenticate_eks_token
    assert authenticate("not-a-token") is None
    assert authenticate("k8s-aws-v1.%%%") is None
    assert authenticate(token("https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity")) is None
    assert authenticate(token(presigned_identity(running, secret="wrong"))) is None
    assert authenticate(token(presigned_identity(running, host="evil.example.com"))) is None
    assert authenticate(token(presigned_identity(running, cluster="another-cluster"))) is None
    held = token(presigned_identity(running))
    running.clock.offset = 14 * 60  # longer than the URL says of itself, as on EKS
    assert authenticate(held) is not None
    running.clock.offset = 16 * 60
    assert authenticate(held) is None
