"""`labkit lab`: JupyterLab on the workshop's folder, where terminals, kernels and shell cells use the target."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from labkit import environment, workbook
from labkit.connect import start_embedded
from labkit.console import ELSEWHERE, IN_JUPYTERLAB
from labkit.errors import LabError
from labkit.exercises.store import Progress
from labkit.settings import Settings
from labkit.show import counted


@click.command("lab", context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(options: tuple[str, ...]) -> None:
    """Open JupyterLab on your copies of the chapters. OPTIONS are JupyterLab's, such as --no-browser or --port=9000.

    The copies are in my-notebooks; the one that was worked on last is opened. On the embedded target the lab is
    started, and everything that JupyterLab opens uses it and nothing else.
    """
    settings = Settings.load()
    if find_spec("jupyterlab") is None:
        raise LabError("JupyterLab is not installed beside labkit.", hint="Use `make lab`, which installs it.")
    _prepare(settings.root)
    environ, shell = environment_of(settings, os.environ)
    notebook = workbook.current(settings.root)
    command = [sys.executable, "-m", "jupyterlab"]
    command += [f"--LabApp.default_url=/lab/tree/{notebook.as_posix()}"]  # also of the address that it prints
    state = settings.root / workbook.FOLDER / ".jupyterlab"
    # What is open belongs to the folder: a person's other JupyterLabs have other tabs, which aren't there.
    command += [f"--LabApp.workspaces_dir={state / 'workspaces'}"]
    command += [*server_options(settings.root, shell), *options]
    sys.stdout.flush()
    os.execve(command[0], command, environ | extensions(settings.root, environ))


def extensions(root: Path, environ: Mapping[str, str], *, elsewhere: bool = False) -> dict[str, str]:
    """Variables that give a Jupyter server in the workshop's folder what is the workshop's own.

    That are terminals below the chapter, the console beside it, and a kernel that says which cell to run first.
    `elsewhere`: its pages are for browsers that don't reach this computer's loopback.
    """
    own = root / workbook.FOLDER / ".jupyterlab"
    _write_kernel(own)
    found = {"JUPYTER_CONFIG_PATH": [environment.SHELL], "JUPYTER_PATH": [own, environment.SHELL]}
    paths = {
        name: os.pathsep.join([*map(str, folders), *filter(None, [environ.get(name)])])
        for name, folders in found.items()
    }
    return {**paths, IN_JUPYTERLAB: ELSEWHERE if elsewhere else "1"}


def _write_kernel(folder: Path) -> None:
    """The kernel `python3` of this Python, as a folder of a JUPYTER_PATH has it, which says which cell to run first."""
    from ipykernel.kernelspec import write_kernel_spec

    kernel = folder / "kernels" / "python3"
    shutil.rmtree(kernel, ignore_errors=True)
    write_kernel_spec(kernel, extra_arguments=["--ext=labkit.unset"])


def _prepare(root: Path) -> None:
    """Makes the copies of the chapters, and says which are new or differ from the workshop's."""
    copies = workbook.prepare(root)
    if copies.made:
        click.echo(f"{counted(len(copies.made), 'chapter')} copied to {workbook.FOLDER}, which is yours to write in.")
    for name in copies.updated:
        click.echo(f"{workbook.FOLDER}/{name} is the workshop's new version; you hadn't changed the old one.")
    for name in copies.outdated:
        click.echo(
            f"{workbook.FOLDER}/{name} is kept as you left it, though the workshop has a new version. "
            f"To work with that: labkit start-over {name[:2]}"
        )
    for name in copies.unknown:
        click.echo(
            f"{workbook.FOLDER}/{name} is kept as it is; it differs from the workshop's chapter. "
            f"To begin that again: labkit start-over {name[:2]}"
        )


@click.command("start-over")
@click.argument("chapters", nargs=-1, metavar="[NN]...")
def start_over(chapters: tuple[str, ...]) -> None:
    """Begin chapters again: makes new copies in my-notebooks, and keeps the old ones beside them.

    NN are chapters by number, such as 03; without any, all begin again. Their exercises are to do again. What the lab
    has made stays: see `labkit teardown`.
    """
    settings = Settings.load()
    for old, aside in workbook.start_over(settings.root, chapters):
        click.echo(f"{old}: yours is kept as {workbook.FOLDER}/{aside}")
    Progress(settings).forget(chapters)
    click.echo("Fresh copies are there. Close and open the chapter in JupyterLab if it was open.")


def environment_of(settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment of a JupyterLab on the target, and its terminals' shell."""
    return on_embedded(settings, environ) if settings.target == "embedded" else _own(settings.profile)


def on_embedded(settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What takes the place of `environ` on the embedded lab, which is started if need be, and terminals' shell."""
    endpoints = start_embedded(settings)
    click.echo(f"The embedded lab is running: AWS {endpoints.aws_url}, Kubernetes {endpoints.kubernetes_url}.")
    environ = environment.embedded(endpoints, environ).of_process(environ)
    rc = str(environment.SHELL / "rc")
    shell = _shell(environ, among=("bash", "zsh", "sh"))
    starts = [shell, "--rcfile", rc] if Path(shell).name == "bash" else [shell]
    # What zsh and sh read when they start. SHELL is also what runs a notebook's `!command`.
    return environ | {"ENV": rc, "ZDOTDIR": str(environment.SHELL), "SHELL": shell}, starts


def _own(profile: str) -> tuple[dict[str, str], list[str]]:
    """A person's own environment and shell. As in a terminal window, it isn't a login shell, which resets the PATH.

    With a profile, commands typed there use it as labkit does: before keys in variables.
    """
    environment.refuse_embedded()
    environ = environment.own().of_process(os.environ)
    if profile:
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        environ = {name: value for name, value in environ.items() if name not in keys} | {"AWS_PROFILE": profile}
    return environ, [_shell(environ)]


def _shell(environ: Mapping[str, str], among: tuple[str, ...] = ()) -> str:
    """The person's shell, if it is one that can be used; else bash or sh."""
    preferred = environ.get("SHELL", "")
    if shutil.which(preferred) and (not among or Path(preferred).name in among):
        return preferred
    return shutil.which("bash") or "/bin/sh"


def server_options(root: Path, shell: list[str]) -> list[str]:
    """Options of a server. A person's own Jupyter configuration, which is about other folders, can't change them."""
    return [
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.preferred_dir={root}",
        f"--AsyncLargeFileManager.root_dir={root}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.terminado_settings={ {'shell_command': shell}!r}",
        "--TerminalsExtensionApp.terminal_manager_class=labkit.terminals.Terminals",
        # A container's only user; only users of this computer can connect, and they need the token.
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
