"""`labkit attack` and `labkit exec`: run attacks of the catalogue, or any command, in a pod."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click
import orjson

from labkit.attacks.catalogue import Attack, catalogue
from labkit.attacks.runner import run
from labkit.cli import as_commands
from labkit.cli.parameters import FileName, Seconds, running
from labkit.cli.shell import open_input, session


@click.group()
def attack() -> None:
    """Attacks that the rules detect, and controls that they don't."""


@attack.command("list")
@click.option("--json", "as_json", is_flag=True, help="The whole catalogue as JSON.")
@click.option("--benign", is_flag=True, help="The twins of the attacks, and why they are silent.")
def list_command(as_json: bool, benign: bool) -> None:
    """Show what can be run."""
    if benign and not as_json:  # the JSON has both
        click.echo(repr(catalogue().twins))
    elif as_json:
        click.echo(orjson.dumps([a.to_dict() for a in catalogue()], option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(repr(catalogue()))


@attack.command("run")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--all", "everything", is_flag=True, help="The whole catalogue, as far as Falco was given the rules.")
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    type=click.Choice(["stable", "incubating", "sandbox", "custom", "control"]),
    help="With --all: these only; may be repeated.",
)
@click.option("--benign", is_flag=True, help="Run the twins of the attacks, which must not alert.")
@click.option("--target", default="deploy/nginx", show_default=True, help="Pod, namespace/pod or deploy/name.")
@click.option("--timeout", type=Seconds(), help="How long to wait for an alert (90, 5m).")
def run_command(
    names: tuple[str, ...], everything: bool, tiers: tuple[str, ...], benign: bool, target: str, timeout: float | None
) -> None:
    """Run attacks and print the alerts that they raised; exit 1 if one did not end as expected."""
    if bool(names) == everything or (tiers and not everything):
        raise click.UsageError(
            "Name attacks, or give --all (with --tier for some of them). labkit attack list shows all."
        )
    lab = running()
    if everything:
        loaded = ("stable", "custom", "control", *lab.settings.rule_tiers.split(","))
        chosen = [attack for attack in catalogue() if (attack.tier or "control") in (tiers or loaded)]
        chosen = [attack for attack in chosen if not (benign and attack.is_control)]
        possible = [attack.name for attack in chosen if not lab.settings.attendee or _run(attack, benign).is_in_class]
        if left := [attack.name for attack in chosen if attack.name not in possible]:
            click.echo(f"Not in a class, and left out: {', '.join(left)}.", err=True)
        names = tuple(possible)
    outcomes = run(lab.target, *names, pod=target, timeout=timeout, benign=benign)
    for outcome in outcomes.values():
        if outcome.alert is not None:
            click.echo(outcome.alert["output"])
    click.echo(as_commands(repr(outcomes)), err=True)
    if outcomes.stopped:
        sys.exit(130)  # as of any command that Ctrl-C ends
    if not all(outcome.passed for outcome in outcomes.values()):
        sys.exit(1)


def _run(attack: Attack, benign: bool) -> Attack:
    """What is run of an attack: itself, or its twin."""
    return attack.twin if benign else attack


class _Exec(click.Command):
    """A command whose options may come after the pod if `--` ends them, as kubectl's; else they are the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = "--" in args
        rest = super().parse_args(ctx, args)
        argv = ctx.params.get("argv") or ("",)
        if "--" not in args and argv[0].startswith("-"):
            raise click.UsageError(f"{argv[0]} is no program: write `--` before the program, or options first.", ctx)
        return rest


@click.command("exec", cls=_Exec)
@click.option("--tty", "-t", is_flag=True, help="Give the command a terminal.")
@click.option("--interactive", "-i", is_flag=True, help="Connect it with your input and output; -it as in kubectl.")
@click.option("--stdin", help="Text that is typed into it.")
@click.option("--container", "-c", default="", help="Container; by default the pod's first.")
@click.option(
    "--record", metavar="FILE", type=FileName(), help="Write the system calls it makes here, for `labkit rules replay`."
)
@click.argument("pod")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    tty: bool,
    interactive: bool,
    stdin: str | None,
    container: str,
    record: Path | None,
    pod: str,
    argv: tuple[str, ...],
) -> None:
    """Run ARGV in POD (a pod, namespace/pod or deploy/name) and exit with its exit code."""
    if interactive and stdin is not None:
        raise click.UsageError("--interactive takes your input, --stdin a text: leave one of them out.")
    if interactive:
        open_input()
    lab = running()
    with lab.record(record) if record else nullcontext():
        if interactive:
            place = lab.kube.place(pod, lab.settings.app_namespace, container)
            sys.exit(session(lab, place, argv, tty=tty, greets=False))
        result = lab.exec(pod, *argv, tty=tty, stdin=stdin, container=container)
    click.echo(result.stdout, nl=False)
    click.echo(result.stderr, nl=False, err=True)
    sys.exit(result.exit_code)
