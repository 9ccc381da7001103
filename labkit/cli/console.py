"""`labkit console`: opens the console in a browser. `labkit diagnose`: which links of the pipeline are broken."""

from __future__ import annotations

import json
import sys
import webbrowser

import click

from labkit import connect
from labkit.cli import as_commands
from labkit.cli.parameters import running
from labkit.console import VIEWS
from labkit.settings import Settings


@click.command()
@click.argument("view", type=click.Choice(list(VIEWS)), default="pipeline", metavar="[VIEW]")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def console(view: str, no_browser: bool) -> None:
    """Open the console: what happens in the lab, live. On EKS, print where AWS's console shows the same.

    VIEW is the page to begin with: pipeline (default), logs, tail, insights, metrics, alarms, dashboards, nodes, pods,
    events, rules, terminal or findings. The address works once.
    """
    if Settings.load().target == "embedded":
        connect.start_embedded(Settings.load())
    shown = running("Start one with `labkit up`.").console(view)
    click.echo(str(shown))
    address = next(iter(shown.links.values()), "")
    if Settings.load().target == "embedded" and address.startswith("http") and not no_browser:
        webbrowser.open(address)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def diagnose(as_json: bool) -> None:
    """Say which links between a system call and a finding are broken, why, and what to do. Exits 1 if any is."""
    from labkit.provision.pipeline_diagnosis import broken_links, not_installed

    lab = running("Start one with `labkit up`, and put the workshop in it: `labkit apply`.")
    found = broken_links(lab.target)
    if as_json:
        named = [{"link": link.name, "finding": link.finding, "hint": as_commands(link.hint)} for link in found]
        click.echo(json.dumps(named, indent=1))
        sys.exit(bool(found))
    for link in found:
        click.echo(f"Broken: {link.name}. {link.finding}\n{as_commands(link.hint)}")
    if not found:
        missing = not_installed(lab.target)
        words = f" Not installed yet: {', '.join(missing)}; `labkit apply` does that." if missing else ""
        click.echo(f"No link is broken.{words}")
    sys.exit(bool(found))
