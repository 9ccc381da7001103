"""`labkit up`, `down`, `status`, `env`: the embedded lab as a person starts, sees and stops it."""

from __future__ import annotations

import json
import time

import click

from ekslab import client, state
from labkit import environment
from labkit.settings import Settings
from labkit.show import Table, counted


@click.command()
@click.option("--aws-port", type=click.IntRange(0, 65535), help="Port of AWS (default: any free one).")
@click.option(
    "--kubernetes-port", type=click.IntRange(0, 65535), help="Port of the Kubernetes API (default: any free one)."
)
@click.option("--nodes", type=click.IntRange(1, 5), help="Nodes of the cluster (default: 2).")
def up(aws_port: int | None, kubernetes_port: int | None, nodes: int | None) -> None:
    """Start the embedded lab; harmless if it is running."""
    settings = Settings.load(aws_port=aws_port, kubernetes_port=kubernetes_port, nodes=nodes)
    running = client.find(settings.home) is not None
    started = time.monotonic()
    endpoints = client.ensure_running(settings)
    click.echo("The embedded lab was running." if running else f"Started in {time.monotonic() - started:.1f} s.")
    click.echo(f"  AWS         {endpoints.aws_url}  (region {endpoints.region}, account {endpoints.account_id})")
    click.echo(f"  Kubernetes  {endpoints.kubernetes_url}  (cluster {endpoints.cluster})")
    click.echo(f"  state       {endpoints.home}")
    click.echo('For kubectl and the AWS CLI in this shell:  eval "$(labkit env)"')


@click.command()
def down() -> None:
    """Stop the embedded lab; what is in it is gone. The next one has the same addresses and keys."""
    settings = Settings.load()
    ended = state.read(settings.home) is not None
    stopped = client.stop(settings.home)
    (settings.home / "ledger.json").unlink(missing_ok=True)  # what it tells of went with the lab
    none = (
        f"The embedded lab in {settings.home} had ended already."
        if ended
        else f"No embedded lab is running in {settings.home}."
    )
    click.echo("Stopped." if stopped else none)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(as_json: bool) -> None:
    """Tell whether the embedded lab is running, and how it is. Exits 1 if it is not."""
    home = Settings.load().home
    endpoints = client.find(home)
    report = client.health(endpoints) if endpoints else None
    if endpoints is None or report is None:
        silent, pid = client.silence(home), state.holder(home)
        condition = "ended" if state.read(home) else "none"
        if pid is not None:
            condition = "stopped" if client.is_stopped(pid) else "busy"
        if as_json:
            click.echo(json.dumps({"running": False, "home": str(home), "state": condition, "pid": pid}))
        elif silent:
            click.echo(f"Not answering ({home}).\n  {silent}")
        elif condition == "ended":
            click.echo(
                f"Not running ({home}): it has ended, and what was in it is gone.\n  `labkit up` starts it anew."
            )
        else:
            click.echo(f"Not running ({home}). Start it with `labkit up`.")
        raise SystemExit(1)
    report = {
        "running": True,
        "home": str(home),
        "aws_url": endpoints.aws_url,
        "kubernetes_url": endpoints.kubernetes_url,
        "region": endpoints.region,
        "cluster": endpoints.cluster,
        **report,
    }
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    minutes, rest = divmod(round(report["uptime"]), 60)
    lasted = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    click.echo(f"Running for {lasted}, pid {report['pid']}, {report['memory'] / 1e6:.0f} MB")
    click.echo(f"  AWS         {endpoints.aws_url}  (region {endpoints.region})")
    click.echo(f"  Kubernetes  {endpoints.kubernetes_url}  (cluster {endpoints.cluster})")
    pods = tuple((f"{pod['namespace']}/{pod['name']}", str(pod["status"])) for pod in report["pods"])
    click.echo(repr(Table(f"  {counted(len(pods), 'pod')}", ("pod", "status"), pods)))


@click.command()
def env() -> None:
    """Print what a shell evaluates to use the embedded lab: PATH, and variables for kubectl, the AWS CLI and boto3."""
    click.echo(environment.embedded(client.running(Settings.load().home).environment()).as_shell())
