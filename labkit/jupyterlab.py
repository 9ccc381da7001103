"""`labkit lab`: JupyterLab on the workshop's folder, where terminals, kernels and shell cells use the target."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from labkit import environment
from labkit.connect import start_embedded
from labkit.errors import LabError
from labkit.settings import Settings

FIRST = Path("notebooks", "00-start-here.ipynb")


@click.command("lab", context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(options: tuple[str, ...]) -> None:
    """Open JupyterLab on the first chapter. OPTIONS are JupyterLab's, such as --no-browser or --port=9000.

    On the embedded target the lab is started, and everything that JupyterLab opens uses it and nothing else.
    """
    settings = Settings.load()
    if not (settings.root / FIRST).is_file():
        raise LabError(f"There is no {FIRST} in {settings.root}.", hint="Run this from the workshop's folder.")
    if find_spec("jupyterlab") is None:
        raise LabError("JupyterLab is not installed beside labkit.", hint="Use `make lab`, which installs it.")
    environ, shell = on_embedded(settings, os.environ) if settings.target == "embedded" else _own()
    command = [*_jupyterlab(settings.root, shell), *options]
    sys.stdout.flush()
    os.execve(command[0], command, environ)


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


def _own() -> tuple[dict[str, str], list[str]]:
    """A person's own environment and shell. As in a terminal window, it isn't a login shell, which resets the PATH."""
    environment.refuse_embedded()
    environ = environment.own().of_process(os.environ)
    return environ, [_shell(environ)]


def _shell(environ: Mapping[str, str], among: tuple[str, ...] = ()) -> str:
    """The person's shell, if it is one that can be used; else bash or sh."""
    preferred = environ.get("SHELL", "")
    if shutil.which(preferred) and (not among or Path(preferred).name in among):
        return preferred
    return shutil.which("bash") or "/bin/sh"


def _jupyterlab(root: Path, shell: list[str]) -> list[str]:
    """The command. A person's own Jupyter configuration, which is about other folders, can't change what it sets."""
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--LabApp.default_url=/lab/tree/{FIRST.as_posix()}",  # also of the address that it prints
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.preferred_dir={root}",
        f"--AsyncLargeFileManager.root_dir={root}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.terminado_settings={ {'shell_command': shell}!r}",
        # A container's only user; nobody but this computer's users can connect, and they need the token.
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
