"""Requests are believed only when their signature holds, and are refused as the called service refuses them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner

from ekslab.sigv4 import canonical_path, canonical_query

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


TARGET = "Logs_20140328.DescribeLogGroups"


def sent(
    running: Any,
    headers: list[tuple[str, str]],
    signed: Iterable[str],
    *,
    canonical: dict[str, str] | None = None,
    payload_hash: str = "",
    body: bytes = b"{}",
    order: str = "",
    secret: str = "",
) -> tuple[int, dict[str, str]]:
    """A request signed by hand, without an SDK: its status and answer.

    `canonical` has the values as they are signed, where they differ from those in `headers`; an empty text leaves a
    header out of what is signed.
    """
    host = urlsplit(running.url).netloc
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(running.clock()))
    scope = f"{now[:8]}/us-east-1/logs/aws4_request"
    given = [("Host", host), ("X-Amz-Date", now), *headers]
    values = {name.lower(): value for name, value in given} | {"content-length": str(len(body))} | (canonical or {})
    names = sorted(signed)
    lines = [f"{name}:{values[name]}\n" for name in names if values.get(name)]
    payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
    request = f"POST\n/\n\n{''.join(lines)}\n{';'.join(names)}\n{payload_hash}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret or running.credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    fields = {
        "Credential": f"{running.credentials.access_key_id}/{scope}",
        "SignedHeaders": order or ";".join(names),
        "Signature": signature,
    }
    given.append(("Authorization", "AWS4-HMAC-SHA256 " + ", ".join(f"{n}={v}" for n, v in fields.items())))
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
    for name, value in [*given, ("Content-Length", str(len(body)))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    answer: dict[str, str] = json.loads(response.read())
    connection.close()
    return response.status, answer


PLAIN = [("X-Amz-Target", TARGET), ("Content-Type", "application/x-amz-json-1.1")]


@pytest.mark.parametrize(
    ("more", "signed"),
    [
        pytest.param([], ["host"], id="host alone"),
        pytest.param([], ["host", "x-amz-date"], id="the least that SDKs sign"),
        pytest.param(
            [("User-Agent", "aws-fluent-bit-plugin-")],
            ["content-length", "content-type", "host", "user-agent", "x-amz-date", "x-amz-target"],
            id="Fluent Bit's",
        ),
        pytest.param([("Accept", "*/*"), ("Expect", "")], ["accept", "host", "x-amz-date"], id="accept"),
        pytest.param([("X-Amzn-Trace-Id", "Root=1")], ["host", "x-amzn-trace-id"], id="a trace id"),
        pytest.param([("Connection", "keep-alive")], ["connection", "host"], id="hop by hop"),
        pytest.param([("ZZ-Own", "a=b, c;d"), ("aa-own", "\u00e9")], ["aa-own", "host", "zz-own"], id="own headers"),
    ],
)
def test_a_signature_holds_over_exactly_the_headers_that_it_names(
    running: Any, more: list[tuple[str, str]], signed: list[str]
) -> None:
    headers = [(name, value.encode().decode("latin-1")) for name, value in PLAIN + more]
    canonical = {name.lower(): value for name, value in more}
    status, answer = sent(running, headers, signed, canonical=canonical)
    assert (status, answer) == (200, {"logGroups": []})
    status, answer = sent(running, headers, signed, canonical=canonical, secret="another")
    assert (status, answer["__type"].rpartition("#")[2]) == (400, "InvalidSignatureException")


def test_a_header_that_changes_on_the_way_breaks_the_signature_if_it_is_signed(running: Any) -> None:
    headers = [*PLAIN, ("User-Agent", "changed")]
    assert sent(running, headers, ["host"], canonical={"user-agent": "sent"})[0] == 200
    status, answer = sent(running, headers, ["host", "user-agent"], canonical={"user-agent": "sent"})
    assert status == 400
    assert "does not match the signature you provided" in answer["message"]


def test_repeated_headers_are_signed_as_one_in_the_order_sent(running: Any) -> None:
    headers = [*PLAIN, ("X-Own", "b"), ("x-own", "a"), ("X-OWN", "b")]
    assert sent(running, headers, ["host", "x-own"], canonical={"x-own": "b,a,b"})[0] == 200
    assert sent(running, headers, ["host", "x-own"], canonical={"x-own": "a,b,b"})[0] == 400


def test_blanks_in_a_signed_header_count_once(running: Any) -> None:
    headers = [*PLAIN, ("X-Own", '   "a   b"    c  ')]
    assert sent(running, headers, ["host", "x-own"], canonical={"x-own": '"a b" c'})[0] == 200


def test_the_order_in_which_headers_are_named_does_not_matter(running: Any) -> None:
    assert sent(running, PLAIN, ["host", "x-amz-date"], order="x-amz-date;host")[0] == 200


def test_without_host_a_signature_is_refused(running: Any) -> None:
    status, answer = sent(running, PLAIN, ["x-amz-date", "x-amz-target"])
    assert status == 400
    assert answer["__type"].endswith("InvalidSignatureException")
    assert answer["message"] == "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize("value", ["", "sent once"])
def test_a_signed_header_that_is_not_there_is_refused(running: Any, value: str) -> None:
    status, answer = sent(running, PLAIN, ["host", "x-lost"], canonical={"x-lost": value})
    assert (status, answer["__type"].rpartition("#")[2]) == (400, "InvalidSignatureException")


def test_a_payload_is_signed_by_its_hash_or_not_at_all(running: Any) -> None:
    def with_hash(value: str) -> int:
        headers = [*PLAIN, ("X-Amz-Content-Sha256", value)]
        return sent(running, headers, ["host", "x-amz-content-sha256"], payload_hash=value)[0]

    assert with_hash(hashlib.sha256(b"{}").hexdigest()) == 200
    assert with_hash("UNSIGNED-PAYLOAD") == 200
    assert with_hash(hashlib.sha256(b"other").hexdigest()) == 400
    assert sent(running, PLAIN, ["host"], payload_hash=hashlib.sha256(b"other").hexdigest())[0] == 400


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer x", "Authorization header requires 'Credential' parameter."),
        ("AWS4-HMAC-SHA256 Credential={c}, SignedHeaders=host", "Authorization header requires 'Signature' parameter."),
        ("AWS4-HMAC-SHA256 Credential={c}, Signature=0", "Authorization header requires 'SignedHeaders' parameter."),
        ("AWS4-HMAC-SHA256 Credential={c}, host, Signature=0", "'host' not a valid key=value pair"),
        ("AWS5-HMAC Credential={c}, SignedHeaders=host, Signature=0", "Unsupported AWS 'algorithm': 'AWS5-HMAC'."),
    ],
)
def test_an_incomplete_signature_is_refused_with_what_it_lacks(running: Any, authorization: str, message: str) -> None:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{running.credentials.access_key_id}/{now[:8]}/us-east-1/logs/aws4_request"
    headers = {"X-Amz-Target": TARGET, "X-Amz-Date": now, "Authorization": authorization.format(c=scope)}
    request = urllib.request.Request(running.url, data=b"{}", headers=headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    answer = json.loads(caught.value.read())
    assert answer["__type"].endswith("IncompleteSignatureException")
    assert answer["message"].startswith(message)


def test_a_query_may_be_encoded_in_any_way(running: Any) -> None:
    url = running.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    head, _, query = url.partition("?")
    turned = "&".join(reversed(query.replace("%2F", "%2f").split("&")))
    body = urllib.request.urlopen(f"{head}?{turned}").read().decode()
    assert "<Arn>arn:aws:iam::111122223333:user/workshop</Arn>" in body


def test_paths_and_queries_are_signed_in_one_form() -> None:
    paths = {
        "/": "/",
        "": "/",
        "/example/..": "/",
        "/example1/example2/../..": "/",
        "/./": "/",
        "/./example": "/example",
        "//": "/",
        "//example//": "/example/",
        "/clusters/a%3Ab": "/clusters/a%253Ab",
    }
    assert {path: canonical_path(path, "eks") for path in paths} == paths
    assert canonical_query("Param2=value2&Param1=value1") == "Param1=value1&Param2=value2"
    assert canonical_query("Param1=b&Param1=a") == "Param1=a&Param1=b"
    assert canonical_query("Param1") == "Param1="
    assert canonical_query("a+b=c%7e~") == "a%20b=c~~"


def test_the_aws_clis_signatures_hold_for_every_protocol(running: Any, aws_cli: Any) -> None:
    assert aws_cli("sts", "get-caller-identity")["Account"] == "111122223333"
    assert aws_cli("iam", "list-roles")["Roles"]
    assert aws_cli("eks", "list-clusters")["clusters"] == ["falco-workshop"]
    assert aws_cli("eks", "describe-nodegroup", "--cluster-name", "a b", "--nodegroup-name", "ü/ö", refused=True)
    assert aws_cli("cloudwatch", "list-metrics")["Metrics"] == []
    aws_cli("logs", "create-log-group", "--log-group-name", "/own/e", "--tags", "a=b c+d")
    assert aws_cli("logs", "describe-log-groups")["logGroups"][0]["logGroupName"] == "/own/e"
    refused = aws_cli("eks", "describe-cluster", "--name", "no such cluster", refused=True)
    assert "SignatureDoesNotMatch" not in refused
    assert "InvalidSignature" not in refused
