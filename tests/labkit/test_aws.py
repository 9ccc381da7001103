"""boto3's errors as errors with a hint, resources that may be absent, and ARNs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError

from labkit.aws import Aws, Identity, answer_or_none, translated_errors
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
        (boto.ProfileNotFound(profile="x"), "There are no usable AWS credentials", "AWS_PROFILE"),
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
