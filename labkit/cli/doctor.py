"""`labkit doctor`: says before class what will go wrong, and what to do."""

from __future__ import annotations

import sys

import click

from labkit.doctor import run


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(as_json: bool) -> None:
    """Say what will go wrong in class: Python, packages, ports, disk, memory, AWS... Exits 1 on a blocker."""
    sys.exit(run(as_json))
