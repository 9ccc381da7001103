"""The `labkit rules` commands: those of `falcorules`, downloads go to the lab's folder, and digests are asked for."""

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


@click.command()
@click.option("--registry", default="https://ghcr.io", show_default=True, help="Which registry is asked.")
def lock(registry: str) -> None:
    """Pin the rules that Falco installs on EKS by digest, as well as by version."""
    from labkit.provision.rules_lock import lock_rules
    from labkit.settings import Settings

    file = lock_rules(Settings.load(), registry.rstrip("/"))
    click.echo(file.read_text(encoding="utf-8"), nl=False)
    click.echo(f"{file}: used by `labkit apply falco` on eks.", err=True)


rules = click.Group(
    "rules",
    help="Check and try Falco rules without Falco.",
    commands={**main.commands, "fetch": fetch, "lock": lock},
)
