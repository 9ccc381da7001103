"""`labkit shell`: an interactive session in a pod."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from labkit.cli.parameters import running
from labkit.kube import Place
from labkit.kube.terminal import Terminated, is_terminal
from labkit.settings import Settings

if TYPE_CHECKING:
    from labkit.lab import Lab

_KILLED = 128 + 9


class _WithArgv(click.Command):
    """A command whose `argv` is what follows `--`, whether or not arguments come before that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:at])
        ctx.params["argv"] = tuple(args[at + 1 :])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ARGV...]"]


@click.command(cls=_WithArgv)
@click.option("--namespace", "-n", default="", help="Namespace (default: the application's).")
@click.option("--container", "-c", default="", help="Container; by default the pod's first.")
@click.argument("pod", default="deploy/nginx")
def shell(namespace: str, container: str, pod: str, argv: tuple[str, ...]) -> None:
    """Open a shell in POD (a pod, namespace/pod or deploy/name; by default deploy/nginx), or run ARGV there.

    At a terminal it is what `kubectl exec -it POD -- bash` is: keys go to the pod, Ctrl-D or `exit` ends it. With
    input or output that is no terminal, it is `kubectl exec -i`. The exit code is that of the program.
    """
    open_input()
    lab = running()
    place = lab.kube.place(pod, namespace or lab.settings.app_namespace, container)
    sys.exit(session(lab, place, argv, tty=True))


def open_input() -> None:
    """Opens standard input if it is closed: or a connection would get its number."""
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)


def session(lab: Lab, place: Place, argv: tuple[str, ...], *, tty: bool, greets: bool = True) -> int:
    """Connects a program in a pod with this process's input and output; its exit code.

    `tty` gives it this process's terminal, if input and output are one; `greets` tells then where it is.
    """
    tty = tty and is_terminal()

    def greeting() -> None:
        if tty and greets:
            click.echo(f"{where(place, lab.settings)}\r", err=True)

    try:
        code = lab.kube.shell(place, argv, tty=tty, greeting=greeting)
    except Terminated as ended:
        with suppress(OSError):  # the terminal may be gone
            click.echo("labkit: Stopped.", err=True)
        code = 128 + ended.number
    if tty and code == _KILLED:
        click.echo(
            "labkit: It was killed in the pod (exit code 137), as when the pod is deleted or the lab ends.", err=True
        )
    return code


def where(place: Place, settings: Settings) -> str:
    """What a person who opens a shell should know about the place."""
    container = f"container {place.container} of " if place.others else ""
    others = f" (others: {', '.join(place.others)})" if place.others else ""
    if settings.target == "embedded":
        lab, means = "of the embedded lab", "commands here run in the simulated pod, not on your computer"
    else:
        lab, means = f"on cluster {settings.cluster}", "commands here run in the pod, not on your computer"
    return f"This is {container}pod {place.pod} {lab}{others}: {means}. Ctrl-D leaves."
