"""Reaches the target that the settings name: AWS clients, Kubernetes, Helm and a ledger come out.

This is the only place that knows the targets apart, and the only one outside `ekslab` that imports from it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.calls import near, shortened, shown
from labkit.environment import refuse_embedded
from labkit.errors import Hint, LabError, NoLabError, NotRunningError, TargetError, UnreachableError
from labkit.helm import Helm
from labkit.kube import Kube
from labkit.ledger import Ledger, discard
from labkit.settings import Settings

if TYPE_CHECKING:
    import boto3

    from ekslab.client import Endpoints

LAB_UP = (
    "The embedded lab has ended: start it again with `labkit up` (clients keep working, what was in it is gone), "
    "then run this again."
)


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


class Aws:
    """boto3 clients of one account and region; each service's client is made once."""

    def __init__(
        self,
        region: str,
        *,
        hint: Hint,
        endpoint: str = "",
        keys: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Without `endpoint` and `keys`, boto3 finds them as it always does. `hint`: what to do if AWS doesn't answer.

        `before` is called before each request, and may refuse it with a `LabError`. `keys` are boto3's:
        `aws_access_key_id`, `aws_secret_access_key`, perhaps `aws_session_token`.
        """
        self.region = region
        self.hint = hint
        self._endpoint = endpoint
        self._keys = dict(keys or {})
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
        import boto3
        from botocore.session import Session

        # With an endpoint of its own, a person's AWS_PROFILE is for something else, and may not even be there.
        own = Session(session_vars={"profile": (None, None, None, None)}) if self._endpoint else None
        return boto3.Session(region_name=self.region, botocore_session=own, **self._keys)

    def client(self, service: str) -> Any:
        """The boto3 client of a service, e.g. `logs`."""
        if not isinstance(service, str):
            raise TargetError(f"{shown(service)} is no service of AWS.", hint="Use its name in boto3, such as logs.")
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
            with explained(self.hint):
                self._clients[service] = self.session.client(
                    service,  # type: ignore[call-overload]
                    config=config,
                    endpoint_url=self._endpoint or None,
                )
            if (before := self._before) is not None:
                self._clients[service].meta.events.register("before-send", lambda **_: before())
        return self._clients[service]

    @cached_property
    def identity(self) -> Identity:
        """Account and ARN of the caller. Raises `TargetError` if AWS knows no such caller."""
        with explained(self.hint):
            answer = self.client("sts").get_caller_identity()
        return Identity(answer["Account"], answer["Arn"])


@dataclass(frozen=True)
class Target:
    """What a lab works with. Everything after `reach` is the same on every target."""

    settings: Settings
    aws: Aws
    kube: Kube
    helm: Helm
    ledger: Ledger
    # Records the system calls of a namespace's containers as lines of JSON. Raises `TargetError` where that can't be.
    record: Callable[[str], AbstractContextManager[list[str]]]


def reach(settings: Settings, *, start: bool = True, partly: bool = False) -> Target:
    """The target of `settings`, reached and checked: its AWS knows the caller and its cluster answers.

    Raises `TargetError` (credentials, region, cluster, kubeconfig) or `NotRunningError` (the embedded lab, which is
    started if need be and if `start`). With `partly`, one of the two may give no answer, and the cluster may be gone.
    """
    target = _embedded(settings, start) if settings.target == "embedded" else _eks(settings, partly)
    checks = (lambda: target.aws.identity, lambda: target.kube.request("GET", "/version", timeout=10))
    for check in checks:
        try:
            with explained(target.aws.hint):
                check()
        except (UnreachableError, NoClusterError):
            if not partly:
                raise
    return target


def start_embedded(settings: Settings) -> Endpoints:
    """The running embedded lab of `settings.home`, started if it isn't. Raises `NotRunningError` if it can't start."""
    from ekslab import client

    with labkit_errors():
        return client.ensure_running(
            settings.home,
            region=settings.region,
            cluster=settings.cluster,
            nodes=settings.nodes,
            idle_minutes=settings.idle_minutes,
            aws_port=settings.aws_port,
            kubernetes_port=settings.kubernetes_port,
            functions=[Path(__file__).parent / "respond" / "forwarder.py"],
            on_loss=_report_loss,
        )


def _report_loss(home: Path) -> None:
    steps = discard(home / "ledger.json")
    applied = f" and the steps {', '.join(steps)}" if steps else ""
    print(
        f"The embedded lab in {home} has ended (killed, or the computer restarted), and what was in it is gone: pods, "
        f"logs, alarms{applied}. A new one was started; apply again what you need.",
        file=sys.stderr,
    )


def running_embedded(home: Path) -> Endpoints:
    """The running embedded lab of `home`. Raises `NoLabError`, or `NotRunningError` if it doesn't answer."""
    from ekslab import client

    with labkit_errors():
        return client.running(home)


def stop_embedded(home: Path) -> bool:
    """Stops the embedded lab of `home` and discards its ledger. False if none was running."""
    from ekslab import client

    with labkit_errors():
        stopped = client.stop(home)
    discard(home / "ledger.json")
    return stopped


@contextmanager
def labkit_errors() -> Iterator[None]:
    """Turns errors of the embedded lab's client into `NoLabError` and `NotRunningError` of labkit."""
    from ekslab import client

    try:
        yield
    except client.NoLabError as error:
        raise NoLabError(error.message, ended=error.ended, hint=labkit_words(error.hint)) from error
    except client.EksLabError as error:
        raise NotRunningError(error.message, hint=labkit_words(error.hint)) from error


def labkit_words(text: str) -> str:
    """A text of the embedded lab with labkit's command and variables in place of the lab's own."""
    return text.replace("python -m ekslab", "labkit").replace("EKSLAB_", "LABKIT_")


def _embedded(settings: Settings, start: bool) -> Target:
    from ekslab.client import is_stopped, recording, silence
    from ekslab.helm import Helm as HelmStandIn

    lab = start_embedded(settings) if start else running_embedded(settings.home)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy can't lead to this computer, and every client asks these
        if "127.0.0.1" not in os.environ.get(name, ""):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))

    def hint() -> str:
        return labkit_words(silence(settings.home)) or LAB_UP

    def before() -> None:  # or each client would wait for its own time-out, several times
        if is_stopped(lab.pid):
            raise TargetError("The embedded lab does not answer.", hint=hint)

    @contextmanager
    def record(namespace: str) -> Iterator[list[str]]:
        with labkit_errors(), recording(lab, namespace) as lines:
            yield lines

    aws = Aws(
        settings.region,
        endpoint=lab.aws_url,
        keys={"aws_access_key_id": lab.access_key_id, "aws_secret_access_key": lab.secret_access_key},
        hint=hint,
        before=before,
    )
    return Target(
        settings,
        aws,
        Kube(kubeconfig=lab.kubeconfig, hint=hint, before=before),
        HelmStandIn(kubeconfig=lab.kubeconfig, notes=settings.home / "helm.lock"),
        Ledger(settings.home / "ledger.json", lab=f"embedded lab {lab.id}"),
        record,
    )


def _eks(settings: Settings, partly: bool) -> Target:
    refuse_embedded()
    region = settings.region or _found_region()
    settings = replace(settings, region=region)
    aws = Aws(
        region,
        hint="Check the network, any proxy and AWS_ENDPOINT_URL; `aws sts get-caller-identity` should work.",
    )
    identity = aws.identity
    gone: NoClusterError | None = None
    kubeconfig, context = None, settings.context
    if not settings.context:
        try:
            kubeconfig = write_eks_kubeconfig(aws, settings)
        except NoClusterError as error:
            if not partly:
                raise
            gone = error
    hint = (
        f"`kubectl config get-contexts` lists the contexts; `kubectl --context {context} cluster-info` should work."
        if context
        else f"Is the cluster's endpoint open to this network? `aws eks describe-cluster --name {settings.cluster}`."
    )
    name = re.sub(r"[^\w.-]", "_", f"ledger-{identity.account_id}-{region}-{context or settings.cluster}.json")
    return Target(
        settings,
        aws,
        Kube(kubeconfig=kubeconfig, context=context, hint=hint) if gone is None else _NoKube(gone),
        Helm(kubeconfig=kubeconfig, context=context, notes=(settings.home / name).with_suffix(".helm.lock"))
        if gone is None
        else _NoHelm(gone),
        Ledger(settings.home / name),
        _cannot_record,
    )


class _NoKube(Kube):
    """The Kubernetes of a cluster that isn't there any more."""

    def __init__(self, gone: NoClusterError) -> None:
        super().__init__()
        self._gone = gone

    def _open(self, *_: Any, **__: Any) -> Any:
        raise self._gone


class _NoHelm(Helm):
    """Helm on a cluster that isn't there any more."""

    def __init__(self, gone: NoClusterError) -> None:
        super().__init__()
        self._gone = gone

    def _run(self, *_: Any, **__: Any) -> Any:
        raise self._gone


def _cannot_record(namespace: str) -> AbstractContextManager[list[str]]:
    raise TargetError(
        f"System calls in namespace {namespace} can't be recorded: Falco on a cluster hands out alerts, not events.",
        hint="Record on the embedded lab (target='embedded'), or use custom-rules/recorded/visit.jsonl.gz.",
    )


def _found_region() -> str:
    """The region that the AWS CLI would use: boto3 alone doesn't read AWS_REGION."""
    import boto3

    with explained(""):
        region = os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        raise TargetError(
            "No AWS region is set.", hint="Set LABKIT_REGION or AWS_REGION, or `region` in ~/.aws/config."
        )
    return region


def describe_cluster(aws: Aws, cluster: str) -> dict[str, Any]:
    """EKS's description of the cluster. Raises `NoClusterError` with those there are."""
    from botocore.exceptions import ClientError

    eks = aws.client("eks")
    with explained(aws.hint):
        try:
            found: dict[str, Any] = eks.describe_cluster(name=cluster)["cluster"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            names = [name for page in eks.get_paginator("list_clusters").paginate() for name in page["clusters"]]
            there = f"Clusters there: {', '.join(sorted(names))}." if names else "There are no clusters there."
            raise NoClusterError(
                f"There is no EKS cluster {cluster!r} in region {aws.region}. {there}",
                hint="Set LABKIT_CLUSTER and LABKIT_REGION to a cluster of yours (notebooks: `cluster`, `region`). "
                "If it was deleted, `labkit teardown` takes away what the lab left in AWS.",
            ) from error
    return found


def write_eks_kubeconfig(aws: Aws, settings: Settings) -> Path:
    """A kubeconfig for the cluster in the state folder. It holds no token: clients ask `labkit` for one each time."""
    cluster = describe_cluster(aws, settings.cluster)
    name = f"{settings.cluster}.{settings.region}.eks"
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": sys.executable,
        "args": ["-m", "labkit.eks_token", "--cluster", settings.cluster, "--region", settings.region],
        "interactiveMode": "Never",
    }
    certificate = cluster.get("certificateAuthority", {}).get("data", "")
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {"server": cluster["endpoint"], "certificate-authority-data": certificate},
            }
        ],
        "users": [{"name": name, "user": {"exec": command}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    path = settings.home / f"kubeconfig-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(temporary, path)
    return path


def eks_token(session: boto3.Session, cluster: str, region: str) -> str:
    """A bearer token for an EKS cluster, good for 15 minutes: a presigned call of STS GetCallerIdentity.

    What `aws eks get-token` prints; EKS makes the call to learn who is asking.
    """
    sts = session.client("sts", region_name=region)
    header = "x-k8s-aws-id"

    def name_cluster(request: Any, **_: Any) -> None:
        request.headers.add_header(header, cluster)

    sts.meta.events.register("before-sign.sts.GetCallerIdentity", name_cluster)
    url = sts.generate_presigned_url("get_caller_identity", Params={}, ExpiresIn=60, HttpMethod="GET")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


_CREDENTIALS = "Set AWS_PROFILE, or run `aws configure` or `aws sso login`; `aws sts get-caller-identity` should work."

_REFUSED: Mapping[str, str] = {
    "InvalidClientTokenId": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "SignatureDoesNotMatch": "The secret key is not the one of this access key. " + _CREDENTIALS,
    "InvalidSignatureException": "The secret key is not the one of this access key. " + _CREDENTIALS,
    "ExpiredToken": "The session has ended: get new credentials, then `Lab.connect()` again.",
    "ExpiredTokenException": "The session has ended: get new credentials, then `Lab.connect()` again.",
    "RequestExpired": "Is this computer's clock right? Then get new credentials.",
    "AccessDenied": "This identity may not do that: ask for the permission that the message names.",
    "AccessDeniedException": "This identity may not do that: ask for the permission that the message names.",
    "Throttling": "AWS asks to slow down: wait a minute and run this again.",
    "ThrottlingException": "AWS asks to slow down: wait a minute and run this again.",
}


@contextmanager
def explained(hint: Hint) -> Iterator[None]:
    """Turns boto3's errors into a `TargetError` that says what to do. `hint` is for a service that doesn't answer."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        if "botocore" not in sys.modules:
            raise
        from botocore import exceptions as aws

        if isinstance(error, aws.ClientError):
            problem = error.response["Error"]
            raise TargetError(
                f"AWS refused {error.operation_name} ({problem['Code']}): {problem.get('Message', '')}",
                hint=_REFUSED.get(problem["Code"], "Correct that and run this again."),
            ) from error
        if isinstance(
            error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.ProfileNotFound | aws.TokenRetrievalError
        ):
            raise TargetError(f"There are no usable AWS credentials: {error}.", hint=_CREDENTIALS) from error
        if isinstance(error, aws.NoRegionError | aws.InvalidRegionError):
            raise TargetError(str(error), hint="Set LABKIT_REGION or AWS_REGION, e.g. us-east-1.") from error
        if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
            raise UnreachableError(f"AWS does not answer: {error}.", service="AWS", hint=hint) from error
        if isinstance(error, aws.BotoCoreError):
            if isinstance(error, aws.UnknownServiceError):
                name, known = error.kwargs["service_name"], str(error.kwargs["known_service_names"])
                similar = near(name, known.split(", "))
                hint = f"{similar}Use a service's name in boto3, such as logs or securityhub."
                raise TargetError(f"AWS has no service {shown(name)}.", hint=hint) from error
            raise TargetError(
                f"boto3 can't do that: {shortened(' '.join(str(error).split()), 400)}.",
                hint="Check the settings and the AWS configuration.",
            ) from error
        raise
