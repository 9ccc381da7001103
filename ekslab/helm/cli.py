"""Helm's command line, as far as the embedded lab needs it: the commands of `python -m ekslab.helm`.

Prints and exits as Helm does. Takes the kubeconfig from --kubeconfig or KUBECONFIG. Commands and flags of Helm that the
stand-in doesn't have are refused by name.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from ekslab import versions
from ekslab.helm import storage
from ekslab.helm.cluster import Cluster
from ekslab.helm.errors import HelmError

# Modules that need yaml are imported by the commands that use them: `helm list` starts sooner without.

_OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")
_REVISION = click.option("--revision", type=int, default=0)

# Commands and flags of Helm that the stand-in doesn't have.
_COMMANDS = {"completion", "create", "dependency", "env", "lint", "package", "plugin", "pull", "push", "registry"}
_COMMANDS |= {"show", "test", "verify", "hooks", "metadata", "index", "hub", "inspect", "fetch"}
_FLAGS = """
    burst-limit ca-file cascade cert-file date dependency-update devel disable-openapi-validation enable-dns
    generate-name hide-notes hide-secret include-crds insecure-skip-tls-verify is-upgrade keep-history key-file keyring
    kube-apiserver kube-as-group kube-as-user kube-ca-file kube-insecure-skip-tls-verify kube-tls-server-name kube-token
    kube-version name-template no-headers offset output-dir pass-credentials password plain-http post-renderer
    post-renderer-args qps recreate-pods registry-config release-name render-subchart-notes replace repository-cache
    repository-config reverse show-desc show-only show-resources skip-crds
    skip-schema-validation skip-tests superseded take-ownership time-format uninstalled username validate
    verify api-versions
"""
_GLOBAL = {"-n": True, "--namespace": True, "--kubeconfig": True, "--kube-context": True, "--debug": False}


def _as_switch(argument: str) -> str:
    """`--wait=true` and Helm 4's `--wait=watcher` as `--wait`; nothing for `--wait=false`; others as they are."""
    match = re.fullmatch(r"(--(?:wait|dry-run|install|create-namespace|atomic|reuse-values|debug))=(\w+)", argument)
    if match is None:
        return argument
    return "" if match[2] in ("false", "none", "hookOnly") else match[1]


class NotEmulatedError(HelmError):
    """A command or flag of Helm that the stand-in doesn't have."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the embedded lab's stand-in for Helm doesn't have {what}.\n"
            "What to do: install Helm (https://helm.sh/docs/intro/install/): the lab's terminals then use that one."
        )


class _Group(click.Group):
    """Names commands that only Helm has, and accepts global flags before the command, as Helm does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = [switch for arg in args if (switch := _as_switch(arg))]
        first: list[str] = []
        while args and args[0].partition("=")[0] in _GLOBAL:
            has_value = _GLOBAL[args[0].partition("=")[0]] and "=" not in args[0]
            first, args = first + args[: 1 + has_value], args[1 + has_value :]
        return super().parse_args(ctx, args + first if args else first)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            if args[0] in _COMMANDS:
                raise NotEmulatedError(f"`{ctx.command_path} {args[0]}`")
            import difflib

            close = difflib.get_close_matches(args[0], self.commands)
            meant = "".join(f"\n\nDid you mean this?\n\t{name}" for name in close[:1])
            raise HelmError(f'unknown command "{args[0]}" for "{ctx.command_path}"{meant}')
        return super().resolve_command(ctx, args)


def _on_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which cluster and namespace: the command gets `cluster` and `namespace`."""

    @functools.wraps(command)
    def called(namespace: str, kubeconfig: str, kube_context: str, **options: Any) -> None:
        cluster = Cluster(kubeconfig or os.environ.get("KUBECONFIG", ""), kube_context)
        command(cluster=cluster, namespace=namespace or cluster.namespace, **options)

    called = click.option("-n", "--namespace", default="", envvar="HELM_NAMESPACE")(called)
    called = click.option("--kubeconfig", default="", help="Path of the kubeconfig.")(called)
    called = click.option("--debug", is_flag=True, expose_value=False, help="Accepted.")(called)
    return click.option("--kube-context", default="", envvar="HELM_KUBECONTEXT")(called)


def _off_cluster(command: Callable[..., None], *, but: str = "") -> Callable[..., None]:
    """The same options, for a command that needs no cluster: they have no effect. `but` one that the command has."""
    for name, has_value in _GLOBAL.items():
        if name not in ("-n", but):
            names = ("-n", name) if name == "--namespace" else (name,)
            command = click.option(*names, is_flag=not has_value, expose_value=False, hidden=True)(command)
    return command


@click.group(cls=_Group)
def helm() -> None:
    """Helm's commands for the chart falcosecurity/falco on the embedded lab."""


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in options:
            command = option(command)
        return command

    return decorate


def _switch(*names: str) -> Callable[..., Any]:
    """A flag that is accepted and has no effect."""
    return click.option(*names, is_flag=True, expose_value=False, hidden=True)


_chart_options = _options(
    click.option("--version", "version", default=""),
    click.option("--repo", default=""),
    click.option("-f", "--values", "files", multiple=True),
    click.option("--set", "settings", multiple=True),
    click.option("--set-string", "texts", multiple=True),
    click.option("--set-json", "json_settings", multiple=True),
    click.option("--set-file", "file_settings", multiple=True),
    click.option("--set-literal", "literals", multiple=True),
)
_upgrade_options = _options(
    _on_cluster,
    _chart_options,
    click.option("--create-namespace", is_flag=True),
    click.option("--wait", is_flag=True),
    click.option("--timeout", default="5m0s"),
    click.option("--atomic", "--rollback-on-failure", "atomic", is_flag=True),
    click.option("--dry-run", is_flag=True),
    click.option("--history-max", type=int, expose_value=False, hidden=True),
    click.option("--description", expose_value=False, hidden=True),
    click.option("-l", "--labels", "labels", multiple=True, metavar="KEY=VALUE,..."),
    *map(_switch, ("--wait-for-jobs", "--force", "--cleanup-on-fail", "--no-hooks")),
    _OUTPUT,
)


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@click.option("-i", "--install", "may_install", is_flag=True, help="Install it if there is no such release.")
@click.option("--reuse-values", is_flag=True)
@click.option("--reset-values", is_flag=True)
@click.option("--reset-then-reuse-values", is_flag=True)
@_upgrade_options
def upgrade(
    name: str,
    chart_name: str,
    may_install: bool,
    reuse_values: bool,
    reset_values: bool,
    reset_then_reuse_values: bool,
    **options: Any,
) -> None:
    """Upgrade a release, or install it with --install."""
    reuse = (reuse_values or reset_then_reuse_values) and not reset_values
    _deploy(name, chart_name, may_install=may_install, reuse_values=reuse, **options)


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@_upgrade_options
def install(name: str, chart_name: str, **options: Any) -> None:
    """Install a release."""
    try:
        if storage.revisions(options["cluster"], name, options["namespace"]):
            raise HelmError("cannot re-use a name that is still in use")
        _deploy(name, chart_name, may_install=True, reuse_values=False, announce=False, **options)
    except HelmError as error:
        raise HelmError(f"INSTALLATION FAILED: {error}") from error


def _deploy(
    name: str,
    chart_name: str,
    *,
    may_install: bool,
    reuse_values: bool,
    announce: bool = True,
    version: str,
    repo: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    texts: tuple[str, ...],
    json_settings: tuple[str, ...],
    file_settings: tuple[str, ...],
    literals: tuple[str, ...],
    create_namespace: bool,
    wait: bool,
    timeout: str,
    atomic: bool,
    dry_run: bool,
    labels: tuple[str, ...],
    output: str,
    cluster: Cluster,
    namespace: str,
) -> None:
    from ekslab.helm import chart, release
    from ekslab.helm.values import read

    chart.locate(chart_name, version, repo)
    values = read(files, settings, texts, json_settings=json_settings, file_settings=file_settings, literals=literals)
    earlier = storage.revisions(cluster, name, namespace)
    if dry_run:
        click.echo(chart.manifest(chart.render(name, namespace, values, warn=_warn)))
        return
    if announce and not earlier and may_install and output == "table":
        click.echo(f'Release "{name}" does not exist. Installing it now.')
    seconds = _seconds(timeout)
    try:
        made = release.upgrade_install(
            cluster,
            name,
            namespace,
            values,
            install=may_install,
            reuse_values=reuse_values,
            create_namespace=create_namespace,
            wait=wait or atomic,
            timeout=seconds,
            labels=dict(_pair(part) for text in labels for part in text.split(",") if part),
            warn=_warn,
        )
    except HelmError as error:
        stored = storage.revisions(cluster, name, namespace)
        if not atomic or len(stored) == len(earlier):
            raise
        if not earlier:
            release.uninstall(cluster, name, namespace)
            raise HelmError(
                f"release {name} failed, and has been uninstalled due to rollback-on-failure being set: {error}"
            ) from error
        good = [r.version for r in earlier if r.status in ("deployed", "superseded")]
        release.rollback(cluster, name, namespace, good[-1] if good else 0, wait=True, timeout=seconds)
        text = str(error).removeprefix("UPGRADE FAILED: ")
        raise HelmError(
            f"UPGRADE FAILED: release {name} failed, and has been rolled back due to rollback-on-failure being set: "
            f"{text}"
        ) from error
    if output != "table":
        _print(_document(made), output)
        return
    if earlier:
        click.echo(f'Release "{name}" has been upgraded. Happy Helming!')
    _print_status(made)


@helm.command()
@click.argument("name")
@click.argument("number", metavar="REVISION", type=int, default=0)
@_options(
    _on_cluster,
    click.option("--wait", is_flag=True),
    click.option("--timeout", default="5m0s"),
    click.option("--history-max", type=int, expose_value=False, hidden=True),
    *map(_switch, ("--wait-for-jobs", "--force", "--cleanup-on-fail", "--no-hooks")),
)
def rollback(name: str, number: int, wait: bool, timeout: str, cluster: Cluster, namespace: str) -> None:
    """Roll a release back to a revision, by default the one before."""
    from ekslab.helm import release

    release.rollback(cluster, name, namespace, number, wait=wait, timeout=_seconds(timeout))
    click.echo("Rollback was a success! Happy Helming!")


@helm.command()
@click.argument("name")
@_OUTPUT
@_REVISION
@_on_cluster
def status(name: str, output: str, revision: int, cluster: Cluster, namespace: str) -> None:
    """Print a revision of a release, by default the latest."""
    stored = _stored(cluster, name, namespace, revision)
    if output == "table":
        _print_status(stored)
    else:
        _print(_document(stored), output)


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
@click.option("-m", "--max", type=int, expose_value=False, hidden=True)
@_OUTPUT
@_on_cluster
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
    cluster: Cluster,
    namespace: str,
) -> None:
    """List the releases of a namespace, or of all."""
    found = storage.all_releases(cluster, "" if all_namespaces else namespace, selector=selector)
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
@click.option("--max", "most", type=int, default=256)
@_OUTPUT
@_on_cluster
def history(name: str, most: int, output: str, cluster: Cluster, namespace: str) -> None:
    """List the revisions of a release, oldest first."""
    rows = [
        {
            "revision": r.version,
            "updated": r.last_deployed if output != "table" else _ansi_c_time(r.last_deployed),
            "status": r.status,
            "chart": f"{r.chart['name']}-{r.chart['version']}",
            "app_version": r.chart.get("appVersion", ""),
            "description": r.description,
        }
        for r in _all_stored(cluster, name, namespace)[-most:]
    ]
    _print_rows(rows, output)


@helm.command()
@click.argument("names", nargs=-1, required=True)
@_options(
    _on_cluster,
    click.option("--ignore-not-found", is_flag=True),
    click.option("--dry-run", is_flag=True),
    click.option("--timeout", default="5m0s"),
    click.option("--description", expose_value=False, hidden=True),
    *map(_switch, ("--wait", "--no-hooks")),
)
def uninstall(
    names: tuple[str, ...], ignore_not_found: bool, dry_run: bool, timeout: str, cluster: Cluster, namespace: str
) -> None:
    """Remove releases; waits until their objects are gone."""
    from ekslab.helm import release

    for name in names:
        if dry_run:
            found = bool(storage.revisions(cluster, name, namespace))
        else:
            found = release.uninstall(cluster, name, namespace, timeout=_seconds(timeout))
        if found:
            click.echo(f'release "{name}" uninstalled')
        elif not ignore_not_found:
            raise HelmError(f"uninstall: Release not loaded: {name}: release: not found")


for _alias in ("del", "delete", "un"):
    helm.add_command(uninstall, _alias)


@helm.group(cls=_Group)
def get() -> None:
    """Print parts of a release."""


@get.command("values")
@click.argument("name")
@click.option("-a", "--all", "computed", is_flag=True, help="With the chart's defaults.")
@_OUTPUT
@_REVISION
@_on_cluster
def get_values(name: str, computed: bool, output: str, revision: int, cluster: Cluster, namespace: str) -> None:
    """Print the user's values."""
    stored = _stored(cluster, name, namespace, revision)
    values: Any = stored.config or None
    if computed:
        from ekslab.helm.values import coalesce

        values = coalesce(stored.config, stored.defaults, warn=lambda text: None, path="falco")
    if output == "table":
        click.echo("COMPUTED VALUES:" if computed else "USER-SUPPLIED VALUES:")
    _print(values, "yaml" if output == "table" else output)


@get.command("manifest")
@click.argument("name")
@_REVISION
@_on_cluster
def get_manifest(name: str, revision: int, cluster: Cluster, namespace: str) -> None:
    """Print the objects of a release."""
    click.echo(_stored(cluster, name, namespace, revision).manifest)


@get.command("notes")
@click.argument("name")
@_REVISION
@_on_cluster
def get_notes(name: str, revision: int, cluster: Cluster, namespace: str) -> None:
    """Print the notes of a release."""
    click.echo(f"NOTES:\n{_stored(cluster, name, namespace, revision).notes}")


@get.command("all")
@click.argument("name")
@_REVISION
@_on_cluster
def get_all(name: str, revision: int, cluster: Cluster, namespace: str) -> None:
    """Print status, values and objects of a release."""
    stored = _stored(cluster, name, namespace, revision)
    _print_status(stored)
    click.echo("USER-SUPPLIED VALUES:")
    _print(stored.config or None, "yaml")
    click.echo(f"MANIFEST:\n{stored.manifest}")


@helm.command()
@click.argument("name")
@click.argument("chart_name", metavar="CHART")
@_options(
    functools.partial(_off_cluster, but="--namespace"),
    _chart_options,
    click.option("-n", "--namespace", default="default", envvar="HELM_NAMESPACE"),
)
def template(
    name: str,
    chart_name: str,
    version: str,
    repo: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    texts: tuple[str, ...],
    json_settings: tuple[str, ...],
    file_settings: tuple[str, ...],
    literals: tuple[str, ...],
    namespace: str,
) -> None:
    """Render a chart without a cluster."""
    from ekslab.helm import chart
    from ekslab.helm.values import read

    chart.locate(chart_name, version, repo)
    values = read(files, settings, texts, json_settings=json_settings, file_settings=file_settings, literals=literals)
    click.echo(chart.manifest(chart.render(name, namespace, values, warn=_warn)))


@helm.group(cls=_Group)
def repo() -> None:
    """Chart repositories: the stand-in has its chart built in."""


_REPOSITORY = {"name": versions.FALCO_CHART_NAME.partition("/")[0], "url": versions.FALCO_CHART_REPOSITORY}


@repo.command("add")
@click.argument("name")
@click.argument("url")
@_options(_off_cluster, _switch("--force-update"))
def repo_add(name: str, url: str) -> None:
    """Accepted for the one repository that the stand-in knows."""
    if {"name": name, "url": url.rstrip("/")} != _REPOSITORY:
        raise HelmError(
            f'looks like "{url}" is not a valid chart repository or cannot be reached: the embedded lab has the '
            f"repository {_REPOSITORY['name']} ({_REPOSITORY['url']}) only"
        )
    click.echo(f'"{name}" has been added to your repositories')


@repo.command("update")
@click.argument("names", nargs=-1)
@_off_cluster
def repo_update(names: tuple[str, ...]) -> None:
    """Accepted."""
    name = _REPOSITORY["name"]
    click.echo("Hang tight while we grab the latest from your chart repositories...")
    click.echo(f'...Successfully got an update from the "{name}" chart repository')
    click.echo("Update Complete. ⎈Happy Helming!⎈")


@repo.command("list")
@_OUTPUT
@_off_cluster
def repo_list(output: str) -> None:
    """List the one repository."""
    _print_rows([_REPOSITORY], output)


@repo.command("remove")
@click.argument("names", nargs=-1, required=True)
@_off_cluster
def repo_remove(names: tuple[str, ...]) -> None:
    """Accepted: the chart stays built in."""
    for name in names:
        click.echo(f'"{name}" has been removed from your repositories')


@helm.group(cls=_Group)
def search() -> None:
    """Search for charts."""


@search.command("repo")
@click.argument("words", nargs=-1)
@click.option("-l", "--versions", is_flag=True, expose_value=False, help="Accepted: there is one.")
@_OUTPUT
@_off_cluster
def search_repo(words: tuple[str, ...], output: str) -> None:
    """Print the one chart, if it matches."""
    from ekslab.helm import chart

    known = chart.metadata()
    row = {
        "name": versions.FALCO_CHART_NAME,
        "chart version": known["version"],
        "app version": known["appVersion"],
        "description": known["description"],
    }
    if any(word.lower() not in row["name"] for word in words):
        click.echo("No results found")
        return
    _print_rows([row], output)


@helm.command()
@click.option("--short", is_flag=True)
@click.option("--template", "form", default="")
@_off_cluster
def version(short: bool, form: str) -> None:
    """Print the version of Helm that is emulated."""
    number = f"v{versions.HELM}"
    full = f'version.BuildInfo{{Version:"{number}", GitTreeState:"embedded lab"}}'
    click.echo(number if short or form else full)


@helm.command("help")
@click.argument("words", nargs=-1)
@click.pass_context
def help_about(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Help about any command."""
    helm.main([*words, "--help"], prog_name="helm", standalone_mode=False)


def _warn(text: str) -> None:
    click.echo(text, err=True)


def _all_stored(cluster: Cluster, name: str, namespace: str) -> list[storage.Revision]:
    stored = storage.revisions(cluster, name, namespace)
    if not stored:
        raise HelmError("release: not found")
    return stored


def _stored(cluster: Cluster, name: str, namespace: str, number: int) -> storage.Revision:
    """A revision of a release, or with 0 the latest."""
    for stored in reversed(_all_stored(cluster, name, namespace)):
        if number in (0, stored.version):
            return stored
    raise HelmError("release: not found")


def _seconds(text: str) -> float:
    """Seconds of a Go duration such as `5m0s` or `300s`."""
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise HelmError(f'invalid argument "{text}" for "--timeout" flag: time: invalid duration "{text}"')
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def _go_time(text: str) -> str:
    return text.replace("T", " ").replace("Z", " +0000 UTC")


def _ansi_c_time(text: str) -> str:
    """A time as Helm prints it in tables, such as `Sun Nov 29 16:49:00 2026`, in local time."""
    moment = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone()
    return moment.strftime("%a %b %e %H:%M:%S %Y")


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
    click.echo(f"LAST DEPLOYED: {_ansi_c_time(revision.last_deployed)}")
    click.echo(f"NAMESPACE: {revision.namespace}")
    click.echo(f"STATUS: {revision.status}")
    click.echo(f"REVISION: {revision.version}")
    click.echo(f"DESCRIPTION: {revision.description}")
    click.echo("TEST SUITE: None")
    if revision.notes:
        click.echo(f"NOTES:\n{revision.notes.strip()}")


def _print(value: Any, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(value))
    else:
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=True).rstrip("\n"))


def _print_rows(rows: list[dict[str, Any]], output: str) -> None:
    if output != "table":
        _print(rows, output)
        return
    names = list(rows[0]) if rows else ["name", "namespace", "revision", "updated", "status", "chart", "app_version"]
    table = [[name.replace("_", " ").upper() for name in names], *([str(row[n]) for n in names] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(names))]
    for row in table:
        click.echo("\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _problem(error: click.ClickException) -> HelmError:
    """A usage error in Helm's words."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "helm"
    match error:
        case click.NoSuchOption():
            flag = error.option_name
            if flag.lstrip("-") in re.split(r"\s+", _FLAGS):
                return NotEmulatedError(f"the flag {flag} of `{command}`")
            shorthand = f"unknown shorthand flag: '{flag[1:2]}' in {flag}"
            return HelmError(f"unknown flag: {flag}" if flag.startswith("--") else shorthand)
        case click.BadOptionUsage() if "requires an argument" in error.message:
            return HelmError(f"flag needs an argument: {error.option_name}")
        case click.BadParameter() if not isinstance(error, click.MissingParameter):
            return HelmError(error.format_message())
        case click.UsageError() if error.ctx is not None:
            arguments = [p for p in error.ctx.command.params if isinstance(p, click.Argument)]
            least = sum(p.required for p in arguments)
            count = f"{'at least ' if any(p.nargs < 0 for p in arguments) else ''}{least}"
            count += " argument" if least == 1 else " arguments"
            return HelmError(f'"{command}" requires {count}\n\n{error.ctx.get_usage()}')
    return HelmError(error.format_message())


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an operation under way ends as failed, as Helm's does
    try:
        helm(prog_name="helm", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        click.echo(f"Error: {_problem(error)}", err=True)
        sys.exit(1)
    except HelmError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HelmError(f'invalid argument "{text}" for "-l, --labels" flag: {text} must be formatted as key=value')
    return name, value
