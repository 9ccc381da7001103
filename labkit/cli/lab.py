"""`labkit up`, `down`, `status`, `env`: start, stop and describe the embedded lab."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from labkit import connect, environment
from labkit.errors import SettingsError
from labkit.settings import Settings
from labkit.show import Table


class _Time(click.ParamType[float]):
    """A short time with its unit, as seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s)", str(value))
        if match is None:
            self.fail(f"{value!r} is no time: write it as 80ms or 1.5s.", param, ctx)
        return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _quota(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for value in values:
        match = re.fullmatch(r"([A-Za-z]+)=(\d{1,6}(?:\.\d{1,6})?)", value)
        if match is None:
            raise click.BadParameter(f"{value!r}: write it as FilterLogEvents=5.", ctx, param)
        found[match[1]] = float(match[2])
    return found


def _refuse_on_eks(settings: Settings) -> None:
    """Raises `SettingsError` where the settings name a cluster: the embedded lab has no part in it."""
    if settings.target == "embedded" and not settings.attendee:
        return
    whose = f"attendee {settings.attendee}'s on the class's" if settings.attendee else "for the"
    raise SettingsError(
        f"This shell is {whose} cluster {settings.cluster}: no embedded lab is needed.",
        hint="`labkit status` shows the cluster. For an embedded lab, open a new shell without LABKIT_TARGET"
        f"{' and LABKIT_ATTENDEE' if settings.attendee else ''}.",
    )


@click.command()
@click.option("--aws-port", type=click.IntRange(0, 65535), help="Port of AWS (default: any free one).")
@click.option(
    "--kubernetes-port", type=click.IntRange(0, 65535), help="Port of the Kubernetes API (default: any free one)."
)
@click.option("--nodes", type=click.IntRange(1, 5), help="Nodes of the cluster (default: 2).")
@click.option("--aws-latency", type=_Time(), help="Hold each answer of AWS back, e.g. by 80ms; 0ms ends that.")
@click.option("--query-time", type=_Time(), help="The least time of an Insights query (default: 1s with a latency).")
@click.option("--aws-quotas/--no-aws-quotas", default=None, help="Throttle CloudWatch Logs by AWS's published quotas.")
@click.option(
    "--aws-quota",
    "quotas",
    multiple=True,
    metavar="NAME=NUMBER",
    callback=_quota,
    help="The quotas, with another number, e.g. FilterLogEvents=5; may be repeated.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 120),
    is_flag=False,
    flag_value=4,
    metavar="[RATE]",
    help="Ordinary noise in pods of the cluster: alerts a minute (4 if no number is given); 0 ends it.",
)
@click.option("--noise-seed", type=int, help="What the noise is drawn from (default: 1).")
def up(
    aws_port: int | None,
    kubernetes_port: int | None,
    nodes: int | None,
    aws_latency: float | None,
    query_time: float | None,
    aws_quotas: bool | None,
    quotas: dict[str, float],
    noise: float | None,
    noise_seed: int | None,
) -> None:
    """Start the embedded lab, unless it is running. AWS's load and the noise change in a running lab, too."""
    from ekslab import client

    if noise is not None and math.isnan(noise):
        raise click.BadParameter("nan is no number of alerts.", param_hint="--noise")
    if noise is None and noise_seed is not None:
        raise click.UsageError("--noise-seed is for --noise, which is not given.")
    settings = Settings.load(aws_port=aws_port, kubernetes_port=kubernetes_port, nodes=nodes)
    _refuse_on_eks(settings)
    found = client.status(settings.home)
    running = found.running
    if running and nodes not in (None, len(found.details["nodes"])):
        raise SettingsError(
            f"The embedded lab in {settings.home} is already running, with {len(found.details['nodes'])} nodes, "
            f"not {nodes}.",
            hint="Run `labkit down` first, or leave the number out.",
        )
    started = time.monotonic()
    endpoints = connect.start_embedded(settings)
    click.echo("The embedded lab was running." if running else f"Started in {time.monotonic() - started:.1f} s.")
    wanted = quotas if quotas and aws_quotas is not False else aws_quotas
    with connect.labkit_errors():
        if (aws_latency, query_time, wanted) != (None, None, None):
            client.set_load(endpoints, latency=aws_latency, query_seconds=query_time, quotas=wanted)
        if noise is not None:
            client.set_noise(endpoints, noise, seed=noise_seed)
    click.echo("\n".join([endpoints.summary, *client.condition_lines(client.health(endpoints) or {})]))
    click.echo('For kubectl and the AWS CLI in this shell:  eval "$(labkit env)"')


@click.command()
def down() -> None:
    """Stop the embedded lab. Its contents are lost; the next one has the same addresses and keys."""
    from ekslab import client

    home = Settings.load().home
    ended = client.status(home).details.get("state") == "ended"
    stopped = connect.stop_embedded(home)
    none = f"The embedded lab in {home} had ended already." if ended else f"No embedded lab is running in {home}."
    click.echo("Stopped." if stopped else none)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(as_json: bool) -> None:
    """Print whether the embedded lab is running, and its pods. Exits 1 if it isn't running.

    With LABKIT_TARGET=eks, or as an attendee of a class: whether the cluster answers, and the workshop's pods in it.
    """
    from ekslab import client

    settings = Settings.load()
    if settings.target == "eks":
        details = _cluster(settings)
        click.echo(json.dumps(details, indent=1) if as_json else _cluster_text(details))
        return
    found = client.status(settings.home)
    click.echo(json.dumps(found.details, indent=1) if as_json else connect.labkit_words(found.text))
    sys.exit(not found.running)


def _cluster(settings: Settings) -> dict[str, Any]:
    """The cluster, the caller and the workshop's pods. Raises `TargetError` if the cluster doesn't answer."""
    target = connect.connect(settings, start=False)
    namespaces = (settings.app_namespace, settings.falco_namespace, settings.logging_namespace)
    pods = [pod for namespace in dict.fromkeys(namespaces) for pod in target.kube.list("Pod", namespace)]
    return {
        "cluster": settings.context or settings.cluster,
        "region": target.settings.region,
        "attendee": settings.attendee,
        "identity": target.aws.identity.arn,
        "kubernetes": target.kube.request("GET", "/version")["gitVersion"],
        "pods": {
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod.get("status", {}).get("phase", "Pending")
            for pod in pods
        },
    }


def _cluster_text(found: Mapping[str, Any]) -> str:
    whose = f", the class's; this shell is attendee {found['attendee']}'s" if found["attendee"] else ""
    rows = [("identity", found["identity"]), ("Kubernetes", found["kubernetes"]), *found["pods"].items()]
    return repr(
        Table(f"Cluster {found['cluster']} in {found['region']} answers{whose}", ("what", "found"), tuple(rows))
    )


@click.command()
def env() -> None:
    """Print shell commands that make kubectl, Helm, the AWS CLI and boto3 use the embedded lab."""
    settings = Settings.load()
    _refuse_on_eks(settings)
    click.echo(environment.embedded(connect.running_embedded(settings.home)).as_shell())
