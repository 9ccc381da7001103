"""The attacks of `catalogue.yaml` as `Attack` objects."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import yaml

from labkit.calls import checked, near, short_repr
from labkit.errors import LabError
from labkit.show import AsTable, Table, terminal_width

AttackName = Literal[
    "terminal-shell",
    "read-shadow",
    "directory-traversal",
    "search-private-keys",
    "search-aws-credentials",
    "symlink-shadow",
    "hardlink-shadow",
    "drop-and-execute",
    "execute-from-dev-shm",
    "clear-log",
    "shred-data",
    "shell-from-web-server",
    "reverse-shell",
    "contact-api-server",
    "netcat-shell",
    "packet-socket",
    "ptrace-attach",
    "ptrace-anti-debug",
    "fileless-execution",
    "system-user-logs-in",
    "release-agent",
    "debugfs-in-privileged-container",
    "load-kernel-module",
    "shell-startup-file",
    "cron-job",
    "read-ssh-settings",
    "command-from-database",
    "enter-namespace",
    "make-namespace",
    "start-privileged-pod",
    "start-capable-pod",
    "shell-uses-network",
    "proxy-in-environment",
    "setuid-without-sudo",
    "file-below-dev",
    "instance-metadata",
    "package-manager",
    "network-scanner",
    "remove-shell-history",
    "setuid-bit",
    "copy-files-out",
    "mount-in-privileged-container",
    "fetch-tool",
    "read-environment",
    "copy-files-as-kubectl-cp",
    "authorize-ssh-key",
    "glibc-tunables",
    "backdoored-liblzma",
    "load-bpf-program",
    "add-package-repository",
    "write-among-programs",
    "write-among-libraries",
    "change-settings",
    "write-home-of-root",
    "write-package-database",
    "rename-a-program",
    "folder-among-programs",
    "mining-pool",
    "kubernetes-client",
    "sudo-overflow",
    "unprivileged-userfaultfd",
    "pkexec-without-arguments",
    "decode-payload",
    "look-around",
    "miner",
    "shell-from-php",
    "program-from-web-server",
    "pipe-from-web-server",
    "disk-of-the-node",
    "files-of-the-node",
    "whoami",
    "control-shell-without-terminal",
    "control-read-passwd",
    "control-run-from-image",
    "control-run-from-shared-memory",
]
"""Names of the entries of `catalogue.yaml`."""


TierName = Literal["stable", "incubating", "sandbox", "custom"]
"""Where a rule comes from: Falco's three tiers, or the workshop's own rules."""


@dataclass(frozen=True)
class Twin:
    """A command much like the attack's that must not alert."""

    argv: tuple[str, ...]
    why: str
    cleanup: tuple[str, ...] = ()
    pod: str | None = None
    """As the attack's, if it isn't given; empty: the application's."""
    also: tuple[str, ...] = ()
    """Rules that may alert all the same."""


@dataclass(frozen=True)
class Attack:
    """One entry; the comment at the top of `catalogue.yaml` says what each field means."""

    name: str
    title: str
    rule: str | None
    argv: tuple[str, ...]
    why: str
    needs: tuple[str, ...]
    tier: str = ""
    priority: str = ""
    tactic: str = ""
    technique: str = ""
    tty: bool = False
    stdin: str | None = None
    also: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()
    on_falco: bool = False
    pod: str = ""
    traced: bool = True
    eks: str = "The command runs in the application's pod."
    embedded: str = "The same command runs in the simulated pod, and makes the system calls that rules can see."
    benign: Twin | None = None

    @property
    def twin(self) -> Attack:
        """Its benign twin as a control. Raises `LabError` for a control, which has none."""
        if self.benign is None:
            raise LabError(f"{self.name} has no benign twin.", hint="It is a control: it must not alert itself.")
        pod = self.pod if self.benign.pod is None else self.benign.pod
        control = replace(self, rule=None, tier="", tty=False, stdin=None, benign=None, pod=pod)
        benign = self.benign
        return replace(control, argv=benign.argv, why=benign.why, cleanup=benign.cleanup, also=benign.also)

    @property
    def is_control(self) -> bool:
        """Whether it must not alert."""
        return self.rule is None

    @property
    def is_in_class(self) -> bool:
        """Whether an attendee of a class can run it: an attendee's namespace takes no pod with privileges."""
        return self.pod in ("", "plain")

    @property
    def command(self) -> str:
        """The command line, with `RUN` for the id of a run."""
        return typed(argument.replace("{run}", "RUN") for argument in self.argv)

    def to_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Attack:
        """An entry of the YAML file; lists become tuples."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        if twin := values.get("benign"):
            lists: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in twin.items()}
            values["benign"] = Twin(**lists)
        return cls(**values)


def typed(argv: Iterable[str]) -> str:
    """An argument vector as a command line; arguments with single quotes are in double quotes."""
    return " ".join(_quoted(word) for word in argv)


def shown(command: str) -> str:
    """A command line for a table, which has room for its beginning."""
    return command if len(command) <= _WIDEST else f"{command[: _WIDEST - 4]} ..."


_WIDEST = 72


def _quoted(word: str) -> str:
    if "'" not in word or set(word) & set("$`\\!"):
        return shlex.quote(word)
    return '"' + word.replace('"', '\\"') + '"'


class Catalogue(AsTable, tuple[Attack, ...]):
    """Attacks in the file's order."""

    __slots__ = ()

    def of(self, *tiers: TierName | Literal["control"]) -> Catalogue:
        """Those whose rules are of some tiers; `control` stands for the commands that must not alert.

        Raises `LabError` for a tier that there isn't.
        """
        known = (*get_args(TierName), "control")
        for tier in tiers:
            if tier not in known:
                raise LabError(
                    f"There is no tier {short_repr(tier)}.", hint=f"{near(tier, known)}There are: {', '.join(known)}."
                )
        return Catalogue(attack for attack in self if (attack.tier or "control") in tiers)

    @property
    def twins(self) -> Table:
        """The benign twin of each attack: its command, and why it is silent."""
        rows = tuple(
            (
                a.name,
                shown(a.twin.command) + (f" (in a pod of its own: {a.twin.pod})" if a.twin.pod else ""),
                a.twin.why,
            )
            for a in self
            if not a.is_control
        )
        return Table(f"{len(rows)} benign twins", ("twin of", "command", "why it is silent"), rows)

    def __repr__(self) -> str:
        """In a terminal without the commands, for which it is not wide enough."""
        width = terminal_width()
        if width is None:
            return super().__repr__()
        rows = tuple((a.name, a.title, a.rule or "none: a control", a.tier) for a in self)
        table = Table(f"{len(self)} attacks and controls", ("name", "what it does", "expected alert", "tier"), rows)
        return f"{table.text(width)}\nTheir commands and more: labkit attack list --json"

    def _table(self) -> Table:
        rows = tuple(
            (
                a.name,
                a.title,
                shown(a.command)
                + (" (terminal)" if a.tty else "")
                + (f" (in a pod of its own: {a.pod})" if a.pod else ""),
                a.rule or "none: a control",
                a.tier,
                a.technique,
            )
            for a in self
        )
        columns = ("name", "what it does", "command", "expected alert", "tier", "ATT&CK")
        return Table(f"{len(self)} attacks and controls", columns, rows)


@cache
def catalogue() -> Catalogue:
    """All attacks."""
    text = resources.files("labkit.attacks").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time
    return Catalogue(Attack.from_dict(entry) for entry in yaml.load(text, loader))


@checked
def find(name: str) -> Attack:
    """The attack called `name`. Raises `LabError` that suggests the nearest names."""
    by_name = {attack.name: attack for attack in catalogue()}
    if name not in by_name:
        hint = f"{near(name, by_name)}labkit.attacks.catalogue() shows all."
        raise LabError(f"There is no attack called {short_repr(name)}.", hint=hint)
    return by_name[name]
