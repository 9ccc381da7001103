"""The `labkit rules` commands: those of `falcorules`, and downloads go to the lab's folder."""

from __future__ import annotations

from pathlib import Path

import click

from falcorules.cli import FileName, main


@click.command()
@click.option("--to", "folder", type=FileName(), help="Where to (default: rules/ in the lab's folder).")
@click.option("--url", help="Where from (default: the published releases).")
def fetch(folder: Path | None, url: str | None) -> None:
    """Fetch the rule files that the Falco project publishes."""
    from falcorules.rulesets import fetch as fetch_files
    from labkit.settings import Settings

    for path in fetch_files(folder or Settings.load().home / "rules", url=url):
        click.echo(str(path))


rules = click.Group(
    "rules", help="Check and try Falco rules without Falco.", commands={**main.commands, "fetch": fetch}
)
