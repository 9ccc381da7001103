"""Connects to the target that the settings name and checks that it answers.

No other module depends on which target it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.aws import Aws, NoClusterError, describe_cluster, translated_errors
from labkit.boto_errors import LAB_UP, env_again
from labkit.environment import refuse_embedded
from labkit.errors import Hint, LabError, NoLabError, NotRunningError, TargetError, UnreachableError
from labkit.files import make_private
from labkit.helm import Helm
from labkit.kube import Kube
from labkit.ledger import Ledger, discard
from labkit.settings import Settings
from labkit.target import Target
from labkit.waiting import waiting

if TYPE_CHECKING:
    from ekslab.client import Endpoints


def connect(settings: Settings, *, start: bool = True, partly: bool = False) -> Target:
    """The target of `settings`, once its AWS has identified the caller and its cluster has answered.

    Raises `TargetError` (credentials, region, cluster, kubeconfig) or `NotRunningError` (the embedded lab, which is
    started if need be and if `start`). With `partly`, one of the two may give no answer, and the cluster may be gone.
    """
    target = _embedded(settings, start) if settings.target == "embedded" else _eks(settings, partly)
    checks = (lambda: target.aws.identity, lambda: target.kube.request("GET", "/version", timeout=10))
    for check in checks:
        try:
            with translated_errors(target.aws.hint):
                check()
        except (UnreachableError, NoClusterError):
            if not partly:
                raise
    return target


def start_embedded(settings: Settings) -> Endpoints:
    """The running embedded lab of `settings.home`, started if it isn't. Raises `NotRunningError` if it can't start."""
    from ekslab import client

    with labkit_errors(), waiting("the embedded lab to start", client.STARTUP_SECONDS):
        return client.ensure_running(
            settings.home,
            region=settings.region,
            cluster=settings.cluster,
            nodes=settings.nodes,
            idle_minutes=settings.idle_minutes,
            aws_port=settings.aws_port,
            kubernetes_port=settings.kubernetes_port,
            functions=[Path(__file__).parent / "respond" / "forwarder.py"],
            diagnosis=[
                *("env", f"LABKIT_HOME={settings.home}", "LABKIT_TARGET=embedded"),
                *(sys.executable, "-m", "labkit.cli", "diagnose", "--json"),
            ],
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


def console_address(settings: Settings, *, frames: Sequence[int] = ()) -> str:
    """An address that opens the running embedded lab's console once. Pages of these ports of loopback may frame it.

    Raises `NoLabError`, or `NotRunningError` if it doesn't answer or has no console.
    """
    from ekslab import client

    with labkit_errors():
        return client.console(client.running(settings.home), frames=frames)


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


def end_noise(target: Target) -> None:
    """Ends the background noise of the embedded lab, if there is any; its pods go with it. On EKS there is none."""
    from ekslab import client

    if target.settings.target == "embedded":
        with labkit_errors():
            lab = client.running(target.settings.home)
            report = client.health(lab) or {}
            if report.get("noise", {}).get("rate"):
                client.set_noise(lab, 0)


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

    keys = {"aws_access_key_id": lab.access_key_id, "aws_secret_access_key": lab.secret_access_key}
    aws = Aws(settings.region, endpoint=lab.aws_url, keys=keys, hint=hint, before=before)
    kubeconfig: Path = lab.kubeconfig
    who: Hint = ""
    if settings.role:  # for the cluster, too: its token is that of an EKS cluster then
        kubeconfig = write_eks_kubeconfig(aws, settings, lab.environment())
        aws = Aws(settings.region, endpoint=lab.aws_url, keys=keys, role=settings.role, hint=hint, before=before)
        who = partial(_why_unauthorized, aws, settings)
    return Target(
        settings,
        aws,
        Kube(kubeconfig=kubeconfig, hint=hint, before=before, unauthorized=who),
        Helm(
            program=lab.helm,
            kubeconfig=kubeconfig,
            notes=settings.home / "helm.lock",
            shared=False,
            hint=hint,
            before=before,
        ),
        Ledger(settings.state / "ledger.json", lab=f"embedded lab {lab.id}"),
        record,
    )


def _eks(settings: Settings, partly: bool) -> Target:
    refuse_embedded()
    region = settings.region or _found_region(settings.profile)
    settings = replace(settings, region=region)
    aws = Aws(
        region,
        profile=settings.profile,
        role=settings.role,
        hint=_class_ended(settings)
        or "Check the network, any proxy and AWS_ENDPOINT_URL; `aws sts get-caller-identity` should work.",
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

    def before() -> None:
        if gone is not None:
            raise gone

    hint: Hint = (
        f"`kubectl config get-contexts` lists the contexts; `kubectl --context {context} cluster-info` should work."
        if context
        else partial(_why_silent, aws, settings)
    )
    name = re.sub(r"[^\w.-]", "_", f"ledger-{identity.account_id}-{region}-{context or settings.cluster}.json")
    return Target(
        settings,
        aws,
        Kube(
            kubeconfig=kubeconfig,
            context=context,
            hint=hint,
            before=before,
            unauthorized="" if context else partial(_why_unauthorized, aws, settings),
        ),
        Helm(
            kubeconfig=kubeconfig,
            context=context,
            notes=(settings.state / name).with_suffix(".helm.lock"),
            hint=hint,
            before=before,
        ),
        Ledger(settings.state / name),
        _cannot_record,
    )


def _class_ended(settings: Settings) -> str:
    """What an attendee's lab may have come to that is behind an endpoint: the instructor's embedded lab."""
    if not (settings.attendee and os.environ.get("AWS_ENDPOINT_URL")):
        return ""
    return f"Has the class's lab ended? Once it is up again, {env_again(settings.attendee)}"


def _why_silent(aws: Aws, settings: Settings) -> str:
    """What to do about an EKS cluster that gives no answer, by how its endpoint is set up."""
    name = settings.cluster
    if ended := _class_ended(settings):
        return ended
    asked = f"Is the cluster's endpoint open to this network? `aws eks describe-cluster --name {name}`."
    try:
        network = describe_cluster(aws, name).get("resourcesVpcConfig", {})
    except LabError:
        return asked
    if not network.get("endpointPublicAccess", True):
        return (
            "Its endpoint is private: work from inside its VPC (VPN, bastion host), or open it: `aws eks "
            f"update-cluster-config --name {name} --resources-vpc-config endpointPublicAccess=true`."
        )
    open_to = [cidr for cidr in network.get("publicAccessCidrs", []) if cidr != "0.0.0.0/0"]
    if open_to:
        return (
            f"Its endpoint is open to {', '.join(open_to)} only: work from there, or have this network's address added."
        )
    return asked


def _why_unauthorized(aws: Aws, settings: Settings) -> str:
    """What lets the caller into an EKS cluster that doesn't know it."""
    if settings.attendee:
        return (
            f"Ask the instructor: `labkit class up` lets attendee {settings.attendee} into cluster {settings.cluster}. "
            f"If that was done, {env_again(settings.attendee)}"
        )
    principal = aws.identity.principal
    return (
        f"Cluster {settings.cluster} has no access entry for {principal}. Who administers it: `aws eks "
        f"create-access-entry --cluster-name {settings.cluster} --principal-arn {principal}`, then `aws eks "
        "associate-access-policy` with a policy such as AmazonEKSClusterAdminPolicy."
    )


def _cannot_record(namespace: str) -> AbstractContextManager[list[str]]:
    raise TargetError(
        f"System calls in namespace {namespace} can't be recorded: Falco on a cluster hands out alerts, not events.",
        hint="Record on the embedded lab (target='embedded'), or use custom-rules/recorded/visit.jsonl.gz.",
    )


def _found_region(profile: str) -> str:
    """The region that the AWS CLI would use: boto3 alone doesn't read AWS_REGION."""
    import boto3

    with translated_errors(""):
        region = os.environ.get("AWS_REGION") or boto3.Session(profile_name=profile or None).region_name
    if not region:
        raise TargetError(
            "No AWS region is set.", hint="Set LABKIT_REGION or AWS_REGION, or `region` in ~/.aws/config."
        )
    return region


def write_eks_kubeconfig(aws: Aws, settings: Settings, environment: Mapping[str, str] | None = None) -> Path:
    """A kubeconfig for the cluster in the state folder. It holds no token: clients ask `labkit` for one each time.

    `environment` are variables for that. There is a file for each profile and role.
    """
    cluster = describe_cluster(aws, settings.cluster)
    name = f"{settings.cluster}.{settings.region}.eks"
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": sys.executable,
        "args": [
            *("-m", "labkit.eks_token", "--cluster", settings.cluster, "--region", settings.region),
            *(("--profile", settings.profile) if settings.profile else ()),
            *(("--role", settings.role) if settings.role else ()),
        ],
        "interactiveMode": "Never",
        **({"env": [{"name": name, "value": value} for name, value in environment.items()]} if environment else {}),
    }
    if not cluster.get("endpoint"):
        raise TargetError(
            f"Cluster {settings.cluster} is {cluster.get('status', 'not ready')} and has no endpoint.",
            hint=f"Run this again once it is ACTIVE: `aws eks wait cluster-active --name {settings.cluster}`.",
        )
    certificate = cluster.get("certificateAuthority", {}).get("data", "")
    context = {"cluster": name, "user": name}
    if settings.attendee:  # whom kubectl's default namespace refuses
        context["namespace"] = settings.app_namespace
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
        "contexts": [{"name": name, "context": context}],
    }
    who = f"{settings.profile} {settings.role}".strip()
    path = settings.home / f"kubeconfig-{name}{f'-{hashlib.sha256(who.encode()).hexdigest()[:8]}' if who else ''}"
    make_private(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(temporary, path)
    return path
