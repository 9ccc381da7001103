"""`python -m labkit.embedded.helm`: Helm's command line, as far as the workshop uses it, on the embedded lab's cluster.

Takes the kubeconfig from --kubeconfig or KUBECONFIG; prints and exits as Helm does.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from labkit.embedded.helm import VERSION, chart, release, storage
from labkit.embedded.helm.errors import HelmError
from labkit.embedded.helm.values import read
from labkit.errors import LabError
from labkit.provision.kube import Kube

_OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")


def _where(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which cluster and namespace."""
    command = click.option("-n", "--namespace", default="default", envvar="HELM_NAMESPACE")(command)
    command = click.option("--kubeconfig", default="", help="Path of the kubeconfig.")(command)
    return click.option("--kube-context", default="", envvar="HELM_KUBECONTEXT")(command)


def _kube(kubeconfig: str, kube_context: str) -> Kube:
    path = kubeconfig or os.environ.get("KUBECONFIG", "")
    return Kube(kubeconfig=Path(path) if path else None, context=kube_context)


@click.group()
def helm() -> None:
    """Helm's commands for the chart falcosecurity/falco on the embedded lab."""


def _upgrade_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--version", "version", default=""),
        click.option("--repo", default=""),
        click.option("-f", "--values", "files", multiple=True),
        click.option("--set", "settings", multiple=True),
        click.option("--create-namespace", is_flag=True),
        click.option("--wait", is_flag=True),
        click.option("--timeout", default="5m0s"),
        click.option("--reuse-values", is_flag=True),
        click.option("--reset-values", is_flag=True),
        click.option("--reset-then-reuse-values", is_flag=True),
        click.option("-l", "--labels", "labels", multiple=True, metavar="KEY=VALUE,..."),
        _OUTPUT,
        _where,
    ):
        command = option(command)
    return command


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@click.option("-i", "--install", "may_install", is_flag=True, help="Install it if there is no such release.")
@_upgrade_options
def upgrade(name: str, chart_name: str, may_install: bool, **options: Any) -> None:
    """Upgrade a release, or install it with --install."""
    _deploy(name, chart_name, may_install=may_install, **options)


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@_upgrade_options
def install(name: str, chart_name: str, **options: Any) -> None:
    """Install a release."""
    kube = _kube(options["kubeconfig"], options["kube_context"])
    if storage.revisions(kube, name, options["namespace"]):
        raise HelmError("INSTALLATION FAILED: cannot re-use a name that is still in use")
    _deploy(name, chart_name, may_install=True, **options)


def _deploy(
    name: str,
    chart_name: str,
    *,
    may_install: bool,
    version: str,
    repo: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    create_namespace: bool,
    wait: bool,
    timeout: str,
    reuse_values: bool,
    reset_values: bool,
    reset_then_reuse_values: bool,
    labels: tuple[str, ...],
    output: str,
    namespace: str,
    kubeconfig: str,
    kube_context: str,
) -> None:
    chart.locate(chart_name, version, repo)
    kube = _kube(kubeconfig, kube_context)
    existed = bool(storage.revisions(kube, name, namespace))
    made = release.upgrade_install(
        kube,
        name,
        namespace,
        read(files, settings),
        install=may_install,
        keep="reuse" if (reuse_values or reset_then_reuse_values) and not reset_values else "",
        create_namespace=create_namespace,
        wait=wait,
        timeout=_seconds(timeout),
        labels=dict(_pair(part) for text in labels for part in text.split(",") if part),
        warn=lambda text: click.echo(text, err=True),
    )
    if output != "table":
        _print(_document(made), output)
        return
    if existed:
        click.echo(f'Release "{name}" has been upgraded. Happy Helming!')
    elif may_install:
        click.echo(f'Release "{name}" does not exist. Installing it now.')
    _print_status(made)


@helm.command()
@click.argument("name")
@_OUTPUT
@_where
def status(name: str, output: str, namespace: str, kubeconfig: str, kube_context: str) -> None:
    """The latest revision of a release."""
    last = _stored(_kube(kubeconfig, kube_context), name, namespace)[-1]
    if output == "table":
        _print_status(last)
    else:
        _print(_document(last), output)


@helm.command("list")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-q", "--short", is_flag=True)
@click.option("--filter", "pattern", default="")
@click.option("-a", "--all", "everything", is_flag=True, help="Accepted: all states are shown anyway.")
@click.option("--deployed", is_flag=True)
@click.option("--failed", is_flag=True)
@click.option("--pending", is_flag=True)
@click.option("--uninstalling", is_flag=True)
@click.option("-l", "--selector", default="")
@_OUTPUT
@_where
def list_releases(
    all_namespaces: bool,
    short: bool,
    pattern: str,
    everything: bool,
    deployed: bool,
    failed: bool,
    pending: bool,
    uninstalling: bool,
    selector: str,
    output: str,
    namespace: str,
    kubeconfig: str,
    kube_context: str,
) -> None:
    """Releases of a namespace, or of all."""
    kube = _kube(kubeconfig, kube_context)
    found = storage.all_releases(kube, "" if all_namespaces else namespace, selector=selector)
    states = {"deployed": deployed, "failed": failed, "pending": pending, "uninstalling": uninstalling}
    if any(states.values()) and not everything:
        found = [r for r in found if states.get(r.status.split("-")[0])]
    found = [r for r in found if re.search(pattern, r.name)]
    rows = [
        {
            "name": r.name,
            "namespace": r.namespace,
            "revision": str(r.version),
            "updated": _go_time(r.last_deployed),
            "status": r.status,
            "chart": f"{r.chart['name']}-{r.chart['version']}",
            "app_version": r.chart.get("appVersion", ""),
        }
        for r in found
    ]
    if short:
        click.echo("\n".join(row["name"] for row in rows))
    else:
        _print_rows(rows, output)


helm.add_command(list_releases, "ls")


@helm.command()
@click.argument("name")
@_OUTPUT
@_where
def history(name: str, output: str, namespace: str, kubeconfig: str, kube_context: str) -> None:
    """The revisions of a release, oldest first."""
    rows = [
        {
            "revision": r.version,
            "updated": r.last_deployed,
            "status": r.status,
            "chart": f"{r.chart['name']}-{r.chart['version']}",
            "app_version": r.chart.get("appVersion", ""),
            "description": r.description,
        }
        for r in _stored(_kube(kubeconfig, kube_context), name, namespace)
    ]
    _print_rows(rows, output)


@helm.command()
@click.argument("name")
@click.argument("revision", type=int, default=0)
@click.option("--wait", is_flag=True)
@click.option("--timeout", default="5m0s")
@_where
def rollback(
    name: str, revision: int, wait: bool, timeout: str, namespace: str, kubeconfig: str, kube_context: str
) -> None:
    """Go back to an earlier revision of a release, by default the one before the last."""
    kube = _kube(kubeconfig, kube_context)
    release.rollback(kube, name, namespace, revision, wait=wait, timeout=_seconds(timeout))
    click.echo("Rollback was a success! Happy Helming!")


@helm.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Accepted: the stand-in always waits.")
@click.option("--ignore-not-found", is_flag=True)
@click.option("--timeout", default="5m0s", help="Accepted.")
@_where
def uninstall(
    names: tuple[str, ...],
    wait: bool,
    ignore_not_found: bool,
    timeout: str,
    namespace: str,
    kubeconfig: str,
    kube_context: str,
) -> None:
    """Remove releases."""
    for name in names:
        if release.uninstall(_kube(kubeconfig, kube_context), name, namespace):
            click.echo(f'release "{name}" uninstalled')
        elif not ignore_not_found:
            raise HelmError(f"uninstall: Release not loaded: {name}: release: not found")


@helm.group()
def get() -> None:
    """What is stored of a release."""


@get.command("values")
@click.argument("name")
@click.option("-a", "--all", "computed", is_flag=True, help="With the chart's defaults.")
@_OUTPUT
@_where
def get_values(name: str, computed: bool, output: str, namespace: str, kubeconfig: str, kube_context: str) -> None:
    """The values a user gave."""
    from labkit.embedded.helm.values import coalesce

    last = _stored(_kube(kubeconfig, kube_context), name, namespace)[-1]
    values: Any = last.config or None
    if computed:
        values = coalesce(last.config, last.defaults, warn=lambda text: None, path="falco")
    if output == "table":
        click.echo("COMPUTED VALUES:" if computed else "USER-SUPPLIED VALUES:")
    _print(values, "yaml" if output == "table" else output)


@get.command("manifest")
@click.argument("name")
@_where
def get_manifest(name: str, namespace: str, kubeconfig: str, kube_context: str) -> None:
    """The objects of a release."""
    click.echo(_stored(_kube(kubeconfig, kube_context), name, namespace)[-1].manifest)


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@click.option("--version", default="")
@click.option("--repo", default="")
@click.option("-f", "--values", "files", multiple=True)
@click.option("--set", "settings", multiple=True)
@click.option("-n", "--namespace", default="default")
def template(
    name: str,
    chart_name: str,
    version: str,
    repo: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    namespace: str,
) -> None:
    """Render a chart without a cluster."""
    chart.locate(chart_name, version, repo)
    objects = chart.render(name, namespace, read(files, settings), warn=lambda text: click.echo(text, err=True))
    click.echo(chart.manifest(objects))


@helm.group()
def repo() -> None:
    """Chart repositories: the stand-in has its chart built in."""


@repo.command("add")
@click.argument("name")
@click.argument("url")
def repo_add(name: str, url: str) -> None:
    """Accepted for the one repository that the stand-in knows."""
    if name != chart.REPOSITORY:
        raise HelmError(
            f'looks like "{url}" is not a valid chart repository or cannot be reached: the embedded lab has the '
            f"repository {chart.REPOSITORY} only"
        )
    click.echo(f'"{name}" has been added to your repositories')


@repo.command("update")
@click.argument("names", nargs=-1)
def repo_update(names: tuple[str, ...]) -> None:
    """Accepted."""
    click.echo("Hang tight while we grab the latest from your chart repositories...")
    click.echo(f'...Successfully got an update from the "{chart.REPOSITORY}" chart repository')
    click.echo("Update Complete. ⎈Happy Helming!⎈")


@helm.command()
@click.option("--short", is_flag=True)
@click.option("--template", "form", default="")
def version(short: bool, form: str) -> None:
    """Which Helm this stands in for."""
    click.echo(VERSION if short or form else f'version.BuildInfo{{Version:"{VERSION}", GitTreeState:"embedded lab"}}')


def _stored(kube: Kube, name: str, namespace: str) -> list[storage.Revision]:
    stored = storage.revisions(kube, name, namespace)
    if not stored:
        raise HelmError("release: not found")
    return stored


def _seconds(text: str) -> float:
    """Seconds of a Go duration such as `5m0s` or `300s`."""
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise HelmError(f'invalid argument "{text}" for "--timeout" flag: time: invalid duration "{text}"')
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HelmError(f'invalid argument "{text}" for "-l, --labels" flag: {text} must be formatted as key=value')
    return name, value


def _go_time(text: str) -> str:
    return text.replace("T", " ").replace("Z", " +0000 UTC")


def _document(revision: storage.Revision) -> dict[str, Any]:
    return {
        "name": revision.name,
        "info": {
            "first_deployed": revision.first_deployed,
            "last_deployed": revision.last_deployed,
            "deleted": "",
            "description": revision.description,
            "status": revision.status,
            "notes": revision.notes,
        },
        "config": revision.config,
        "manifest": revision.manifest,
        "version": revision.version,
        "namespace": revision.namespace,
    }


def _print_status(revision: storage.Revision) -> None:
    click.echo(f"NAME: {revision.name}")
    click.echo(f"LAST DEPLOYED: {_go_time(revision.last_deployed)}")
    click.echo(f"NAMESPACE: {revision.namespace}")
    click.echo(f"STATUS: {revision.status}")
    click.echo(f"REVISION: {revision.version}")
    click.echo(f"DESCRIPTION: {revision.description}")
    click.echo(f"NOTES:\n{revision.notes}")


def _print(value: Any, output: str) -> None:
    click.echo(json.dumps(value) if output == "json" else yaml.safe_dump(value, sort_keys=True).rstrip("\n"))


def _print_rows(rows: list[dict[str, Any]], output: str) -> None:
    if output != "table":
        _print(rows, output)
        return
    names = list(rows[0]) if rows else ["name", "namespace", "revision", "updated", "status", "chart", "app_version"]
    table = [[name.replace("_", " ").upper() for name in names], *([str(row[n]) for n in names] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(names))]
    for row in table:
        click.echo("\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    try:
        helm(prog_name="helm", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(1)
    except (HelmError, LabError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
