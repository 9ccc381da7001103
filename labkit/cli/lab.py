"""`labkit up`, `down`, `status`, `env`: start, stop and describe the embedded lab."""

from __future__ import annotations

import json
import sys
import time

import click

from labkit import connect, environment
from labkit.errors import SettingsError
from labkit.settings import Settings


@click.command()
@click.option("--aws-port", type=click.IntRange(0, 65535), help="Port of AWS (default: any free one).")
@click.option(
    "--kubernetes-port", type=click.IntRange(0, 65535), help="Port of the Kubernetes API (default: any free one)."
)
@click.option("--nodes", type=click.IntRange(1, 5), help="Nodes of the cluster (default: 2).")
def up(aws_port: int | None, kubernetes_port: int | None, nodes: int | None) -> None:
    """Start the embedded lab, unless it is running."""
    from ekslab import client

    settings = Settings.load(aws_port=aws_port, kubernetes_port=kubernetes_port, nodes=nodes)
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
    click.echo(endpoints.summary)
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
    """Print whether the embedded lab is running, and its pods. Exits 1 if it isn't running."""
    from ekslab import client

    found = client.status(Settings.load().home)
    click.echo(json.dumps(found.details, indent=1) if as_json else connect.labkit_words(found.text))
    sys.exit(not found.running)


@click.command()
def env() -> None:
    """Print shell commands that make kubectl, Helm, the AWS CLI and boto3 use the embedded lab."""
    click.echo(environment.embedded(connect.running_embedded(Settings.load().home)).as_shell())
