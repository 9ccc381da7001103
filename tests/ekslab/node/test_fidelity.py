"""Commands that were run in a real container under Falco 0.44.1: the lab's events raise the same rules.

`data/captured_tiers.json` has commands and the rules of all tiers that alerted. `data/captured_alerts.json` has each
command and the alerts of the stable rules that it raised, without what differs from run to run (times, ids, ports,
and which of the runtime's processes was still the parent).
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path

import pytest

from ekslab.node import Process, program, subscribe
from ekslab.node.syscalls import sockets
from falcorules import Engine
from falcorules.rulesets import DATA, TIERS

CAPTURED = json.loads((Path(__file__).parent / "data" / "captured_alerts.json").read_text())["commands"]
OWN_RULES = Path(__file__).parents[3] / "falcorules/data/falco_rules.yaml"
# A folder with the published falco_rules.yaml, where there is one.
PUBLISHED = os.environ.get("LABKIT_PUBLISHED_RULES", "")
RUN_SPECIFIC = {
    "container.id",
    "container.start_ts",
    "evt.time",
    "fd.lport",
    "proc.exe_ino.ctime",
    "proc.exe_ino.ctime_duration_proc_start",
    "proc.exe_ino.mtime",
}


# The programs that were fetched from a server and run: what they do, as far as a rule can see it.
@program("dropper")
async def dropper(p: Process) -> int:
    return 0


@program("memfdrun")
async def memfdrun(p: Process) -> int:
    return await p.exec([p.memfd_create("payload", p.read_bytes(p.argv[1]))])


@program("antidebug")
async def antidebug(p: Process) -> int:
    p.ptrace("PTRACE_TRACEME")
    return 0


@program("ptrattach")
async def ptrattach(p: Process) -> int:
    p.ptrace("PTRACE_ATTACH", int(p.argv[1]))
    return 0


@program("packet")
async def packet(p: Process) -> int:
    p.socket("AF_PACKET", 3, 768)
    return 0


@program("launcher")
async def launcher(p: Process) -> int:
    child = p.executable("/bin/sh", argv=["sh", "-c", " ".join(p.argv[1:])])  # execl

    async def main(shell: Process) -> int:
        return await shell.run_executable(child)

    return await p.wait(p.fork(main))


@program("uffd")
async def uffd(p: Process) -> int:
    p.userfaultfd()
    return 0


@cache
def engine_with(rules: Path) -> Engine:
    engine = Engine(matching="first")
    engine.load([rules])
    return engine


def comparable(rule: str, priority: str, fields: dict[str, object]) -> tuple[str, str, dict[str, object]]:
    kept = {}
    for name, value in fields.items():
        if name not in RUN_SPECIFIC:
            if isinstance(value, str):
                value = re.sub(r":\d+->", ":*->", re.sub(r"ptrattach \d+", "ptrattach *", value))
            kept[name] = value
    return rule, priority, kept


@pytest.mark.parametrize(
    "rules",
    [OWN_RULES, *([Path(PUBLISHED) / "falco_rules.yaml"] if PUBLISHED else [])],
    ids=lambda path: path.parent.name,
)
@pytest.mark.parametrize("captured", CAPTURED, ids=[command["name"] for command in CAPTURED])
async def test_a_recorded_command_raises_the_recorded_alerts(pod, captured, rules, monkeypatch):
    monkeypatch.setattr(sockets, "_UNANSWERED", 0.05)  # so that curl needn't wait for its own limit
    pod.look_away()
    await pod.sh("cp /bin/ls /usr/bin/ls2; echo > /var/log/syslog")
    engine = engine_with(rules)
    raised = []
    subscribe(pod.node.kernel, lambda event: raised.extend(engine.process(event)))
    await pod.run(*captured["argv"], stdin=captured["stdin"], tty=captured["tty"])
    lines = [json.loads(alert.to_json()) for alert in raised]
    assert [comparable(line["rule"], line["priority"], line["output_fields"]) for line in lines] == [
        comparable(alert["rule"], alert["priority"], alert["output_fields"]) for alert in captured["alerts"]
    ]


TIERED = json.loads((Path(__file__).parent / "data" / "captured_tiers.json").read_text())


@cache
def engine_with_all_tiers() -> Engine:
    engine = Engine(matching="first")
    engine.load([DATA / file for file in TIERS.values()])
    return engine


@pytest.mark.parametrize("captured", TIERED, ids=[command["name"] for command in TIERED])
async def test_a_recorded_command_raises_the_recorded_rules_of_all_tiers(pod, captured, monkeypatch):
    monkeypatch.setattr(sockets, "_UNANSWERED", 0.05)
    pod.look_away()
    await pod.sh("cp /bin/ls /usr/bin/ls2; echo > /var/log/syslog")
    engine, raised = engine_with_all_tiers(), []
    subscribe(pod.node.kernel, lambda event: raised.extend(engine.process(event)))
    await pod.run(*captured["argv"], stdin=captured["stdin"], tty=captured["tty"])
    assert {alert.rule for alert in raised} == set(captured["rules"])
