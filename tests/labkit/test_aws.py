"""boto3's clients, its errors as errors with a hint, resources that may be absent, and ARNs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args, get_overloads

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from labkit.aws import (
    Aws,
    Identity,
    NoClusterError,
    answer_or_none,
    describe_cluster,
    describe_log_group,
    translated_errors,
)
from labkit.aws import refusal as aws_refusal
from labkit.errors import LabError, TargetError, UnreachableError


def refusal(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetRole")


def raising(error: Exception) -> Callable[..., object]:
    def call(**request: object) -> object:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            refusal("AccessDenied", "not you"),
            r"AWS refused GetRole \(AccessDenied\): not you",
            "ask for the permission",
        ),
        (refusal("ExpiredToken"), "AWS refused GetRole", "The session has ended"),
        (refusal("Strange"), r"AWS refused GetRole \(Strange\): no", "Correct that"),
        (boto.NoCredentialsError(), "There are no usable AWS credentials", "aws configure"),
        (boto.ProfileNotFound(profile="x"), "There is no profile 'x'", "AWS_PROFILE"),
        (boto.NoRegionError(), "must specify a region", "LABKIT_REGION"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), "AWS does not answer", "look there"),
        (boto.UnknownServiceError(service_name="log", known_service_names="logs, iam"), "no service 'log'", "'logs'"),
        (boto.ParamValidationError(report="Invalid type"), "boto3 can't do that: .*Invalid type", "Check the settings"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_boto3_says_what_to_do(error: Exception, message: str, hint: str) -> None:
    with pytest.raises(TargetError, match=message) as caught, translated_errors("look there"):
        raise error
    assert hint in caught.value.hint
    assert caught.value.__cause__ is error


def test_only_a_service_that_gives_no_answer_counts_as_unreachable() -> None:
    with pytest.raises(UnreachableError, match="AWS does not answer") as caught, translated_errors(""):
        raise boto.ConnectTimeoutError(endpoint_url="http://x")
    assert caught.value.service == "AWS"
    with pytest.raises(TargetError, match="AWS refused") as refused, translated_errors(""):
        raise refusal("Throttling")
    assert not isinstance(refused.value, UnreachableError)


@pytest.mark.parametrize("error", [LabError("known already"), ZeroDivisionError("a fault of labkit")])
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)) as caught, translated_errors("look there"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("code", ["NoSuchEntity", "NotFound", "ResourceNotFoundException", "QueueDoesNotExist"])
def test_what_is_absent_is_no_error(code: str) -> None:
    assert answer_or_none(raising(refusal(code))) is None


def test_another_refusal_is_an_error_and_an_answer_is_returned() -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        answer_or_none(raising(refusal("AccessDenied")))
    assert answer_or_none(lambda **request: request, RoleName="r") == {"RoleName": "r"}


def test_arns_are_those_of_the_partition_and_iam_has_no_region() -> None:
    aws = Aws("cn-north-1", hint="")
    aws.__dict__["identity"] = Identity("444455556666", "arn:aws-cn:iam::444455556666:user/me")
    assert aws.arn("sqs", "q") == "arn:aws-cn:sqs:cn-north-1:444455556666:q"
    assert aws.arn("iam", "role/r") == "arn:aws-cn:iam::444455556666:role/r"


KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "none"}


@pytest.fixture
def aws() -> Aws:
    return Aws("us-east-1", hint="look there", keys=KEYS)


def test_the_caller_is_asked_for_once(aws: Aws) -> None:
    with Stubber(aws.client("sts")) as sts:
        sts.add_response(
            "get_caller_identity", {"Account": "111122223333", "Arn": "arn:aws-cn:iam::111122223333:user/me"}
        )
        assert aws.identity == Identity("111122223333", "arn:aws-cn:iam::111122223333:user/me")
        assert repr(aws) == "AWS in us-east-1, as arn:aws-cn:iam::111122223333:user/me"
    assert aws.identity.partition == "aws-cn"
    assert aws.client("sts") is aws.client("sts")


def test_a_caller_that_aws_does_not_know_is_told(aws: Aws) -> None:
    with Stubber(aws.client("sts")) as sts:
        sts.add_client_error("get_caller_identity", "InvalidClientTokenId", "who?")
        with pytest.raises(TargetError, match=r"AWS refused GetCallerIdentity \(InvalidClientTokenId\): who\?"):
            _ = aws.identity


def test_a_client_takes_the_region_keys_and_endpoint_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    here = Aws("us-west-2", hint="", keys=KEYS, endpoint="http://127.0.0.1:1")
    client = here.client("logs")
    assert client.meta.region_name == "us-west-2"
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.inject_host_prefix) == (5, 30, False)
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 6}
    assert "labkit/" in config.user_agent
    with pytest.raises(TargetError, match="There is no profile 'nobody'"):
        Aws("us-west-2", hint="", keys=KEYS).client("logs")
    monkeypatch.delenv("AWS_PROFILE")
    there = Aws("us-west-2", hint="", keys=KEYS).client("logs")
    assert there.meta.endpoint_url == "https://logs.us-west-2.amazonaws.com"
    assert there.meta.config.inject_host_prefix
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert not Aws("us-west-2", hint="", keys=KEYS).client("logs").meta.config.inject_host_prefix


def test_other_keys_have_the_same_region_and_endpoint() -> None:
    def before() -> None:
        raise LabError("not now")

    aws = Aws("us-west-2", hint="look there", keys=KEYS, endpoint="http://127.0.0.1:1", before=before)
    other = aws.with_keys({"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"})
    assert (other.region, other.hint) == ("us-west-2", "look there")
    found = other.session.get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key, found.token) == ("a", "b", "c")
    client = other.client("sts")
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    with pytest.raises(LabError, match="not now"):
        client.get_caller_identity()


def test_a_service_that_is_none_is_refused(aws: Aws) -> None:
    with pytest.raises(TargetError, match="5 is no service of AWS"):
        aws.client(5)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="AWS has no service 'securtyhub'") as caught:
        aws.client("securtyhub")
    assert "'securityhub'" in caught.value.hint


def test_a_cluster_is_described_or_those_there_are_are_named(aws: Aws) -> None:
    with Stubber(aws.client("eks")) as eks:
        eks.add_response("describe_cluster", {"cluster": {"name": "mine"}}, {"name": "mine"})
        assert describe_cluster(aws, "mine") == {"name": "mine"}
        for names, said in ((["b", "a"], "Clusters there: a, b."), ([], "There are no clusters there.")):
            eks.add_client_error("describe_cluster", "ResourceNotFoundException")
            eks.add_response("list_clusters", {"clusters": names})
            with pytest.raises(NoClusterError, match="There is no EKS cluster 'mine' in region us-east-1") as caught:
                describe_cluster(aws, "mine")
            assert caught.value.message.endswith(said)
            assert "LABKIT_CLUSTER" in caught.value.hint
        eks.add_client_error("describe_cluster", "AccessDeniedException")
        with pytest.raises(TargetError, match=r"AWS refused DescribeCluster \(AccessDeniedException\)") as refused:
            describe_cluster(aws, "mine")
        assert not isinstance(refused.value, NoClusterError)


def test_a_log_group_is_found_by_its_whole_name(aws: Aws) -> None:
    with Stubber(aws.client("logs")) as logs:
        first = {"logGroups": [{"logGroupName": "falco-2"}], "nextToken": "x"}
        logs.add_response("describe_log_groups", first, {"logGroupNamePrefix": "falco"})
        found = {"logGroups": [{"logGroupName": "falco", "retentionInDays": 7}]}
        logs.add_response("describe_log_groups", found, {"logGroupNamePrefix": "falco", "nextToken": "x"})
        assert describe_log_group(aws, "falco") == {"logGroupName": "falco", "retentionInDays": 7}
        logs.add_response("describe_log_groups", {"logGroups": [{"logGroupName": "falco-2"}]})
        assert describe_log_group(aws, "falco") is None


def test_a_refusal_is_found_in_an_error_or_its_cause() -> None:
    error = refusal("AccessDenied", "no")
    assert aws_refusal(error) == ("AccessDenied", "no")
    with pytest.raises(TargetError, match="AWS refused") as caught, translated_errors(""):
        raise error
    assert aws_refusal(caught.value) == ("AccessDenied", "no")
    assert aws_refusal(LabError("x")) == ("", "")


def test_each_service_that_the_workshop_uses_has_a_typed_client() -> None:
    root = Path(__file__).parents[2]
    typed = {}
    for overload in get_overloads(Aws.client):
        kind, returned = overload.__annotations__["service"], overload.__annotations__["return"]
        typed |= dict.fromkeys(get_args(eval(kind, {"Literal": Literal, "str": str})), returned)
    used = {
        service
        for file in [*root.glob("labkit/**/*.py"), *root.glob("classroom/*.py"), *root.glob("notebooks/*.ipynb")]
        for service in re.findall(r'aws\.client\(\\?"(\w+)\\?"\)', file.read_text(encoding="utf-8"))
    }
    assert {"logs", "iam", "securityhub"} <= used
    assert used <= set(typed)
    assert "Any" not in typed.values()
    lint = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["lint"]
    assert {f"mypy-boto3-{service}" for service in typed} <= {re.split("[<>=]", line)[0] for line in lint}
