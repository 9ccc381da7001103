"""`python -m ekslab up|down|status|console|env`: starts, stops, describes and shows an embedded lab."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import click

from ekslab import client


def _home(command: click.Command) -> click.Command:
    option = click.Option(
        ["--home"],
        type=click.Path(path_type=Path, resolve_path=True),
        default=".ekslab",
        envvar="EKSLAB_HOME",
        show_envvar=True,
        show_default=True,
        help="State folder of the lab.",
    )
    command.params.insert(0, option)
    return command


@click.group()
def main() -> None:
    """An embedded lab: AWS, Kubernetes and nodes with Falco and Fluent Bit, in one process on loopback."""


@_home
@main.command()
@click.option("--region", default="us-east-1", show_default=True, help="AWS region of the cluster.")
@click.option("--cluster", default="falco-workshop", show_default=True, help="Name of the EKS cluster.")
@click.option("--nodes", type=click.IntRange(1, 5), default=2, show_default=True, help="Nodes of the cluster.")
@click.option("--aws-port", type=click.IntRange(0, 65535), default=0, help="Port of AWS (default: any free one).")
@click.option(
    "--kubernetes-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the Kubernetes API (default: any free one).",
)
@click.option(
    "--idle-minutes", type=float, default=240.0, show_default=True, help="Minutes without a request until it ends."
)
@click.option(
    "--function",
    "functions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    multiple=True,
    help="A Python file that Lambda functions may consist of; may be repeated.",
)
def up(
    home: Path,
    region: str,
    cluster: str,
    nodes: int,
    aws_port: int,
    kubernetes_port: int,
    idle_minutes: float,
    functions: tuple[Path, ...],
) -> None:
    """Start the lab, unless it is running."""
    running = client.find(home) is not None
    started = time.monotonic()
    endpoints = client.ensure_running(
        home,
        region=region,
        cluster=cluster,
        nodes=nodes,
        aws_port=aws_port,
        kubernetes_port=kubernetes_port,
        idle_minutes=idle_minutes,
        functions=functions,
    )
    click.echo("The embedded lab was running." if running else f"Started in {time.monotonic() - started:.1f} s.")
    click.echo(endpoints.summary)
    found_without = Path(os.environ.get("EKSLAB_HOME") or ".ekslab").resolve()
    option = "" if home == found_without else f" --home {shlex.quote(str(home))}"
    click.echo(f'For kubectl and the AWS CLI in this shell:  eval "$(python -m ekslab env{option})"')


@_home
@main.command()
def down(home: Path) -> None:
    """Stop the lab. Its contents are lost; the next lab of this folder has the same ports and credentials."""
    click.echo("Stopped." if client.stop(home) else f"No embedded lab is running in {home}.")


@_home
@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(home: Path, as_json: bool) -> None:
    """Print whether the lab is running, and its pods. Exits 1 if it isn't running."""
    found = client.status(home)
    click.echo(json.dumps(found.details, indent=1) if as_json else found.text)
    sys.exit(not found.running)


@_home
@main.command()
def console(home: Path) -> None:
    """Print an address that opens the lab's console in a browser of this computer. It works once, within the hour."""
    click.echo(client.console(client.running(home)))


@_home
@main.command()
def env(home: Path) -> None:
    """Print shell commands that make kubectl, Helm, the AWS CLI and boto3 use the lab."""
    endpoints = client.running(home)
    others = "$(env | sed -nE 's/^((AWS_|KUBE|HELM_KUBE)[A-Za-z0-9_]*)=.*/\\1/p')"
    click.echo(f"unset AWS_PROFILE HELM_NAMESPACE HELM_DRIVER BASH_ENV {others}")
    click.echo("export EKSLAB_COMMAND='python -m ekslab'")
    click.echo(f'export PATH={shlex.quote(str(endpoints.programs))}:"$PATH"')
    for name in ("NO_PROXY", "no_proxy"):
        click.echo(f'export {name}="${{{name}:+${name},}}127.0.0.1,localhost"')
    for name, value in endpoints.environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")
