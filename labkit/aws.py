"""boto3 clients of one account and region, and who the caller is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from labkit.boto_errors import UNREACHABLE as UNREACHABLE
from labkit.boto_errors import code_of, use_profile
from labkit.boto_errors import refusal as refusal
from labkit.boto_errors import translated_errors as translated_errors
from labkit.calls import near, short_repr
from labkit.errors import Hint, TargetError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import LogGroupTypeDef
    from mypy_boto3_securityhub import SecurityHubClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

Answer = TypeVar("Answer")

SESSION_NAME = "labkit"
"""What CloudTrail shows behind the name of a role that a lab has assumed."""


class NoClusterError(TargetError):
    """AWS answers, but has no EKS cluster of that name in that region."""


@dataclass(frozen=True)
class Identity:
    """Who AWS says the caller is."""

    account_id: str
    arn: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn`, `aws-us-gov`..."""
        return self.arn.split(":")[1]

    @property
    def role(self) -> str:
        """Name of the role whose session the caller has; empty for others."""
        found = re.search(r":assumed-role/([^/]+)/", self.arn)
        return found[1] if found else ""

    @property
    def principal(self) -> str:
        """The ARN to give rights to: of a session, that of its role, whose path AWS doesn't tell."""
        return f"arn:{self.partition}:iam::{self.account_id}:role/{self.role}" if self.role else self.arn


class Aws:
    """boto3 clients of one account and region; each service's client is made once."""

    def __init__(
        self,
        region: str,
        *,
        hint: Hint,
        endpoint: str = "",
        keys: Mapping[str, str] | None = None,
        profile: str = "",
        role: str = "",
        before: Callable[[], None] | None = None,
    ) -> None:
        """Without `endpoint` and `keys`, boto3 finds them as it always does. `hint`: what to do if AWS doesn't answer.

        `before` is called before each request, and may refuse it with a `LabError`. `keys` are boto3's:
        `aws_access_key_id`, `aws_secret_access_key`, perhaps `aws_session_token`. `profile` is one of the AWS
        configuration. With `role` (an ARN), all of that only serves to assume the role, again before its session ends.
        """
        self.region = region
        self.hint = hint
        self._endpoint = endpoint
        self._keys = dict(keys or {})
        self._profile = profile
        if profile:
            use_profile(profile)
        self._role = role
        self._before = before
        self._clients: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"AWS in {self.region}, as {self.identity.arn}"

    def with_keys(self, credentials: Mapping[str, Any]) -> Aws:
        """The same region and endpoint with other credentials, as STS returns them."""
        keys = {
            "aws_access_key_id": credentials["AccessKeyId"],
            "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"],
        }
        return Aws(self.region, hint=self.hint, endpoint=self._endpoint, keys=keys, before=self._before)

    @cached_property
    def session(self) -> boto3.Session:
        """The boto3 session that clients are made from."""
        import logging

        import boto3
        from botocore.session import Session

        # It logs with a traceback that credentials can't be renewed, and then raises the same.
        for logger in ("botocore.credentials", "botocore.tokens"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        # With an endpoint of its own, a person's AWS_PROFILE is for something else, and may not even be there.
        own = Session(session_vars={"profile": (None, None, None, None)}) if self._endpoint else None
        if own is not None:
            own.register_component("data_loader", _models())
        session = boto3.Session(
            region_name=self.region, profile_name=self._profile or None, botocore_session=own, **self._keys
        )
        return in_role(session, self._role, endpoint=self._endpoint) if self._role else session

    @overload
    def client(self, service: Literal["cloudwatch"]) -> CloudWatchClient: ...
    @overload
    def client(self, service: Literal["eks"]) -> EKSClient: ...
    @overload
    def client(self, service: Literal["iam"]) -> IAMClient: ...
    @overload
    def client(self, service: Literal["lambda"]) -> LambdaClient: ...
    @overload
    def client(self, service: Literal["logs"]) -> CloudWatchLogsClient: ...
    @overload
    def client(self, service: Literal["securityhub"]) -> SecurityHubClient: ...
    @overload
    def client(self, service: Literal["sns"]) -> SNSClient: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """The boto3 client of a service, e.g. `logs`."""
        if not isinstance(service, str):
            raise TargetError(
                f"{short_repr(service)} is no service of AWS.", hint="Use its name in boto3, such as logs."
            )
        if service not in self._clients:
            from importlib.metadata import version

            from botocore.config import Config

            elsewhere = bool(self._endpoint or os.environ.get("AWS_ENDPOINT_URL"))
            config = Config(
                retries={"mode": "adaptive", "total_max_attempts": 6},
                connect_timeout=5,
                read_timeout=30,
                user_agent_extra=f"labkit/{version('labkit')}",
                # A few operations put a prefix before the host name, which a lab on an IP address has no use for.
                inject_host_prefix=not elsewhere,
            )
            with translated_errors(self.hint):
                self._clients[service] = self.session.client(
                    service,  # type: ignore[call-overload]
                    config=config,
                    endpoint_url=self._endpoint or None,
                )
            if (before := self._before) is not None:
                self._clients[service].meta.events.register("before-send", lambda **_: before())
        return self._clients[service]

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account and region, whether or not it is there."""
        region = "" if service == "iam" else self.region
        return f"arn:{self.identity.partition}:{service}:{region}:{self.identity.account_id}:{resource}"

    @cached_property
    def identity(self) -> Identity:
        """Account and ARN of the caller. Raises `TargetError` if AWS knows no such caller."""
        with translated_errors(self.hint):
            answer = self.client("sts").get_caller_identity()
        return Identity(answer["Account"], answer["Arn"])


def in_role(session: boto3.Session, role: str, *, endpoint: str = "") -> boto3.Session:
    """A session with a role's credentials: `session` assumes the role when they are needed, and before they end.

    STS may refuse that in any call, with the `ClientError` of its AssumeRole.
    """
    import boto3
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.session import Session

    source = session.get_credentials()
    if source is None:
        return session  # whose first call says that there are none
    fetcher = AssumeRoleCredentialFetcher(
        partial(session.client, endpoint_url=endpoint or None),
        source,
        role,
        extra_args={"RoleSessionName": SESSION_NAME},
    )
    assumed = Session(session_vars={"profile": (None, None, None, None)})
    assumed._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")  # type: ignore[attr-defined]
    if endpoint:
        assumed.register_component("data_loader", _models())
    return boto3.Session(region_name=session.region_name, botocore_session=assumed)


@cache
def _models() -> Any:
    """botocore's descriptions of services: megabytes of JSON, which each session would read for itself."""
    from botocore.loaders import Loader

    return Loader()


def describe_cluster(aws: Aws, cluster: str) -> dict[str, Any]:
    """EKS's description of the cluster. Raises `NoClusterError` with those there are."""
    from botocore.exceptions import ClientError

    eks = aws.client("eks")
    with translated_errors(aws.hint):
        try:
            found = dict(eks.describe_cluster(name=cluster)["cluster"])
        except ClientError as error:
            if code_of(error) != "ResourceNotFound":
                raise
            try:
                names = [name for page in eks.get_paginator("list_clusters").paginate() for name in page["clusters"]]
                there = f" Clusters there: {', '.join(sorted(names))}." if names else " There are no clusters there."
            except ClientError:  # which ones there are is more than it may see
                names, there = [], ""
            raise NoClusterError(
                f"There is no EKS cluster {cluster!r} in region {aws.region}.{there}",
                hint=f"{near(cluster, names)}Set LABKIT_CLUSTER and LABKIT_REGION to a cluster of yours (notebooks: "
                "`cluster`, `region`). If it was deleted, `labkit teardown` takes away what the lab left in AWS.",
            ) from error
    return found


def describe_log_group(aws: Aws, name: str) -> LogGroupTypeDef | None:
    """CloudWatch Logs' description of the group of exactly this name, or None."""
    pages = aws.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    return next((group for group in pages.search("logGroups[]") if group["logGroupName"] == name), None)


# Codes without `Exception` at their end, which some services append. InvalidAccess: Security Hub is off.
_ABSENT = {
    *("InvalidAccess", "NoSuchEntity", "NotFound", "ResourceNotFound"),
    *("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
}


def answer_or_none(call: Callable[..., Answer], **request: Any) -> Answer | None:
    """The answer of a boto3 call, or None if AWS says that there is no such resource."""
    from botocore.exceptions import ClientError

    try:
        return call(**request)
    except ClientError as error:
        if code_of(error) in _ABSENT:
            return None
        raise
