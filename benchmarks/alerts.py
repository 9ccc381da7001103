"""Makes any number of alerts that look like a cluster's, the same ones each time.

The kinds of alert are those of the recorded day (`notebooks/data`): what Falco's rules raised on real commands. Each
alert is one of them in another pod, on another node, at another time, with other programs and files; its `output` is
written by its rule's own format.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

import falcorules
from falcorules.output import Format, Token
from falcorules.text import iso8601

ROOT = Path(__file__).parent.parent
DAY = ROOT / "notebooks" / "data" / "day.jsonl.gz"
START = 1_773_100_800_000_000_000  # ns: 2026-03-10T00:00:00Z

Variant = Literal["usual", "long", "varied", "hard"]
"""`usual`: forty pods and their nodes do six hundred things again and again; a command in ten, and each connection's
port, is new. The container's fields are in `output_fields` (Falco's `append_output.extra_fields`).
`long`: as `usual`, with the container's fields in `output`, too (`suggested_output`, the chart's default).
`varied`: the same pods, users, programs, files and parents in any combination.
`hard`: nearly no value repeats."""

NODES = tuple(f"ip-10-0-{i}-{23 * i}.ec2.internal" for i in range(1, 5))
_PORT = re.compile(r":\d+->")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_IMAGES = ("nginx:1.27", "web:3.12", "cart:2.8", "redis:7.4", "mysql:9", "audit:1.9", "busybox:1.37")
_USERS = (("root", 0, -1), ("root", 0, -1), ("www-data", 33, -1), ("postgres", 999, -1), ("ec2-user", 1000, 1000))
_PROGRAMS = ("cat", "grep", "find", "curl", "sh", "bash", "python3", "tail", "sed", "awk", "nc", "tar", "perl", "node")
_PARENTS = ("sh", "bash", "containerd-shim", "tini", "crond", "nginx", "runc", "sshd")
_FILES = (
    *("/etc/shadow", "/etc/sudoers", "/etc/pam.conf", "/root/.ssh/id_rsa"),
    *("/root/.aws/credentials", "/tmp/run", "/var/log/lastlog"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of alert: its rule, the rule's output format, and the alert that was raised."""

    alert: dict[str, Any]
    format: Format


@dataclass(frozen=True)
class Activity:
    """A kind of alert, with the values that it has here: of fields by their names, and `node`, `file`, `parent`."""

    kind: Kind
    values: dict[str, Any]

    def fields(self, chance: random.Random, *, new_command: bool) -> dict[str, Any]:
        """The output fields of one more alert."""
        fields = dict(self.kind.alert["output_fields"])
        port = chance.randrange(32768, 61000)
        for name, value in fields.items():
            if name in self.values:
                fields[name] = self.values[name]
            elif name == "fd.lport":
                fields[name] = port
            elif name == "fd.name":
                is_file = str(value).startswith("/")
                fields[name] = self.values["file"] if is_file else _PORT.sub(f":{port}->", str(value))
            elif value is not None and (name in ("proc.pname", "proc.pcmdline") or name.startswith("proc.aname")):
                fields[name] = self.values["parent"]
        if new_command:
            fields["proc.cmdline"] += f" --id={chance.randrange(1_000_000)}"
        return fields


@dataclass
class Summary:
    """What the alerts are like: their number, their messages' size in bytes, and how much of them is new."""

    count: int = 0
    size: int = 0
    texts: int = 0
    values: set[tuple[str, str]] = field(default_factory=set, repr=False)
    combinations: set[int] = field(default_factory=set, repr=False)

    def add(self, fields: dict[str, Any], line: bytes) -> None:
        self.count += 1
        self.size += len(line)
        values = [(name, value) for name, value in fields.items() if type(value) is str]
        self.texts += len(values)
        self.values.update(values)
        self.combinations.add(hash(tuple(values)))

    @property
    def distinct(self) -> tuple[float, float]:
        """Shares of the output fields' texts, and of all texts of an alert together, that weren't there before."""
        return len(self.values) / max(self.texts, 1), len(self.combinations) / max(self.count, 1)


def kinds(*, appended: bool) -> list[Kind]:
    """The first alert of each rule that the recorded day has, the shortest message first.

    `appended`: the formats end with the container's fields.
    """
    engine = falcorules.Engine(suggested_output=appended)
    engine.load([falcorules.default_rules()])
    formats = {rule.name: rule.format for rule in engine.active}
    first: dict[str, dict[str, Any]] = {}
    with gzip.open(DAY) as lines:
        for alert in map(orjson.loads, lines):
            first.setdefault(alert["rule"], alert)
    known = sorted((len(orjson.dumps(alert)), name) for name, alert in first.items() if name in formats)
    return [Kind(first[name], formats[name]) for _, name in known]


def messages(count: int, variant: Variant, summary: Summary | None = None) -> Iterator[tuple[int, bytes]]:
    """`count` alerts as Falco's JSON lines, with the time (ns) at which each happened, spread over a day.

    The lines come in the order in which a log group would have them: a line may have happened up to a second before
    the one that precedes it. `summary` is told of each.
    """
    chance = random.Random(f"{variant} 2026")
    known = kinds(appended=variant == "long")
    pods = [_pod(chance) for _ in range(40)]

    def activity() -> Activity:
        kind = known[min(int(chance.expovariate(5 / len(known))), len(known) - 1)]
        if variant == "hard":
            return Activity(kind, _pod(chance) | _unseen(chance))
        on_host = "host" in kind.alert["tags"] and chance.random() < 0.3
        return Activity(kind, (_host(chance) if on_host else chance.choice(pods)) | _seen(chance))

    again = [activity() for _ in range(600)] if variant in ("usual", "long") else []
    step = 86_400_000_000_000 // count
    for number in range(count):
        happened = START + number * step + chance.randrange(1_000_000_000)
        found = again[min(int(chance.expovariate(6 / 600)), 599)] if again else activity()
        fields = found.fields(chance, new_command=bool(again) and chance.random() < 0.1)
        fields["evt.time"] = happened
        line = _line(found.kind, fields, found.values["node"], happened)
        if summary is not None:
            summary.add(fields, line)
        yield happened, line


def _line(kind: Kind, fields: dict[str, Any], node: str, happened: int) -> bytes:
    stamp = iso8601(happened)
    shown = "".join([_shown(part, fields) for part in kind.format.parts])
    alert = {
        "hostname": node,
        "output": f"{stamp[11:-1]}: {kind.alert['priority']} {shown}",
        "output_fields": fields,
        **{name: kind.alert[name] for name in ("priority", "rule", "source", "tags")},
        "time": stamp,
    }
    return orjson.dumps(alert)


def _shown(part: str | Token, fields: dict[str, Any]) -> str:
    if isinstance(part, str):
        return part
    value = fields.get(part.fields[0][0])
    return "<NA>" if value is None else str(value)


def _pod(chance: random.Random) -> dict[str, Any]:
    """The fields of a container in a pod, and its node."""
    repository, _, tag = chance.choice(_IMAGES).partition(":")
    name = repository.rpartition("/")[2]
    return {
        "container.id": f"{chance.getrandbits(48):012x}",
        "container.image.repository": repository,
        "container.image.tag": tag,
        "container.name": name,
        "k8s.ns.name": chance.choice(("shop", "ops", "default")),
        "k8s.pod.name": f"{name}-{_random(chance, 9)}-{_random(chance, 5)}",
        "node": chance.choice(NODES),
    }


def _host(chance: random.Random) -> dict[str, Any]:
    """The container fields of a process of the node itself."""
    image = {"container.image.repository": "", "container.image.tag": ""}
    pod = {"k8s.ns.name": None, "k8s.pod.name": None}
    return {"container.id": "host", "container.name": "host", **image, **pod, "node": chance.choice(NODES)}


def _seen(chance: random.Random) -> dict[str, Any]:
    """What a process does, of what is usual."""
    program, file = chance.choice(_PROGRAMS), chance.choice(_FILES)
    name, uid, loginuid = chance.choice(_USERS)
    command = f"{program} {chance.choice(('-s', '-n', '-rs', '-q'))} {file}"
    tty = chance.choice((0, 0, 0, 34816, 34817))
    return _does(name, uid, loginuid, program, command, file, chance.choice(_PARENTS), tty)


def _unseen(chance: random.Random) -> dict[str, Any]:
    """What a process does, not seen before."""
    pid, uid = chance.randrange(2, 4_194_304), chance.randrange(1000, 4_000_000_000)
    program, parent = f"p{_random(chance, 5)}", f"p{_random(chance, 5)}"
    command = f"{program} --pid={pid} /tmp/{_random(chance, 12)}"
    file, tty = f"/proc/{pid}/root/{_random(chance, 8)}", 34816 + chance.randrange(4096)
    return _does(f"u{uid}", uid, uid, program, command, file, parent, tty)


def _does(
    user: str, uid: int, loginuid: int, program: str, command: str, file: str, parent: str, tty: int
) -> dict[str, Any]:
    return {
        "user.name": user,
        "user.uid": uid,
        "user.loginuid": loginuid,
        "proc.name": program,
        "proc.exepath": f"/usr/bin/{program}",
        "proc.cmdline": command,
        "proc.tty": tty,
        "file": file,
        "parent": parent,
    }


def _random(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_LETTERS, k=length))
