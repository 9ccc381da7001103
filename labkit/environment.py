"""Environment variables that make labkit, kubectl, Helm, the AWS CLI and boto3 use a target."""

from __future__ import annotations

import os
import shlex
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from labkit.errors import TargetError
from labkit.settings import shell_root

SHELL = Path(__file__).parent / "shell"
"""Start-up files of shells on the embedded lab."""

# Prefixes of a person's own variables that lead a client elsewhere, or make it sign with something else.
_ELSEWHERE = ("AWS_", "KUBE", "HELM_KUBE", "HELM_NAMESPACE", "HELM_DRIVER")
# Files that a shell reads before it runs a script: they could set all of these again.
_START_UP = "BASH_ENV"
# Says that the variables are the embedded lab's.
_MARK = "LABKIT_ENVIRONMENT"


class EmbeddedLab(Protocol):
    """The endpoints of a running embedded lab."""

    @property
    def home(self) -> Path:
        """Its state folder."""

    @property
    def programs(self) -> Path:
        """A folder of programs for the start of the PATH."""

    def environment(self) -> dict[str, str]:
        """The variables that clients need."""


@dataclass(frozen=True)
class Environment:
    """What is put before the PATH and, on the embedded lab, the variables that take the place of a person's own."""

    path: tuple[Path, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def of_process(self, environ: Mapping[str, str]) -> dict[str, str]:
        """A process's whole environment, made from that of another one."""
        own = {name: value for name, value in environ.items() if not (self.variables and _leads_elsewhere(name))}
        folders = [str(folder) for folder in self.path]
        folders += [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder not in folders]
        return own | self.variables | {"PATH": os.pathsep.join(folders), "LABKIT_ROOT": _root(environ)}

    def as_shell(self) -> str:
        """The same for a POSIX shell to evaluate."""
        lines = [f'export PATH={shlex.quote(os.pathsep.join(map(str, self.path)))}:"$PATH"']
        if self.variables:
            names = f"$(env | sed -nE 's/^(({'|'.join(_ELSEWHERE)})[A-Za-z0-9_]*)=.*/\\1/p')"
            lines.insert(0, f"unset AWS_PROFILE {_START_UP} {names}")
        lines.append(f"export LABKIT_ROOT={shlex.quote(_root(os.environ))}")
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return "\n".join(lines)


def own() -> Environment:
    """A person's own environment, in which `labkit` is found."""
    return Environment((_scripts(),))


def embedded(lab: EmbeddedLab, environ: Mapping[str, str] = os.environ) -> Environment:
    """The environment of a running embedded lab. A proxy of `environ` isn't used for it."""
    variables = {
        "LABKIT_TARGET": "embedded",
        "LABKIT_HOME": str(lab.home),
        "EKSLAB_COMMAND": "labkit",  # what the programs suggest to start a lab
        _MARK: "embedded",
    }
    proxies = {name: _with_loopback(environ.get(name, "")) for name in ("NO_PROXY", "no_proxy")}
    return Environment((lab.programs, _scripts()), {**variables, **lab.environment(), **proxies})


def refuse_embedded(environ: Mapping[str, str] = os.environ) -> None:
    """Raises `TargetError` if `environ` is that of an embedded lab, and so not a person's account and cluster."""
    if _MARK in environ:
        raise TargetError(
            "The credentials and the kubeconfig of this process are the embedded lab's, not those of your account.",
            hint="Start JupyterLab for your cluster with `LABKIT_TARGET=eks make lab`; else, open a new shell.",
        )


def _root(environ: Mapping[str, str]) -> str:
    """The workshop's folder, on both targets: commands that name its files go there first."""
    return environ.get("LABKIT_ROOT") or str(shell_root())


def _leads_elsewhere(name: str) -> bool:
    return name.startswith(_ELSEWHERE) or name == _START_UP


def _with_loopback(hosts: str) -> str:
    """A NO_PROXY list that has this computer in it."""
    listed = [host for host in hosts.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*listed, "127.0.0.1", "localhost"]))


def _scripts() -> Path:
    """Where the `labkit` command of this Python is."""
    return Path(sysconfig.get_path("scripts"))
