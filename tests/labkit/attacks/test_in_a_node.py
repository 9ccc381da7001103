"""Every attack of the catalogue and its benign twin, in a pod of the simulated node, under the rules of all tiers.

What is seen is what the entry promises, and nothing else, by the lab's rules and by the published ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.http import HttpRequest, HttpResponse
from ekslab.images import nginx
from ekslab.node import ImageRegistry, Network, Node, subscribe
from ekslab.node.syscalls import sockets
from falcorules import Engine, from_values
from falcorules.rulesets import DATA, TIERS
from labkit.attacks import Attack, catalogue
from tests.ekslab.node.conftest import Pod, spec
from tests.falcorules.conftest import _published

FOLDERS = (
    *("", "/tmp", "/dev", "/dev/shm", "/var/log", "/var/lib", "/etc", "/etc/*", "/etc/*/*", "/usr/bin"),
    *("/usr/local/bin", "/usr/local/share", "/root", "/home", "/opt", "/srv"),
)
"""Where attacks make files."""
ATTACKS = [attack for attack in catalogue() if not attack.is_control]
WHOAMI = from_values(Path(__file__).parents[3] / "custom-rules/whoami.yaml")
OWN = tuple(DATA / file for file in TIERS.values())
RULES = {"own": OWN, **({"published": tuple(_published())} if _published() else {})}
# The published rule alerts for every container: with the container plugin 0.7.1 no mount is ever found.
NOISE = {"Launch Sensitive Mount Container"}


@cache
def engine(which: str) -> Engine:
    made = Engine(matching="first")
    made.load([*RULES[which], *WHOAMI])
    return made


@cache
def images() -> ImageRegistry:
    return ImageRegistry([nginx.image()])


async def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, {}, b"{}")


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr(sockets, "_UNANSWERED", 0.05)
    network = Network()
    network.add_name("kubernetes.default.svc.cluster.local", "10.100.0.1")
    network.listen("10.100.0.1", 443, answer)
    made = Node("node-1", network=network, images=images(), ip="10.0.1.10")
    yield made
    for container in list(made.runtime.containers.values()):
        await made.runtime.remove(container)


async def start(node: Node, kind: str) -> Pod:
    """The application's pod, or one of an attack's own."""
    options: dict[str, Any] = {"image": "nginx:latest"}
    if kind:
        text = resources.files("labkit.attacks").joinpath("pods", f"{kind}.yaml").read_text()
        container = yaml.safe_load(text)["spec"]["containers"][0]
        security = container.get("securityContext", {})
        options |= {"command": container["command"], "privileged": security.get("privileged", False)}
        options |= {"add": security.get("capabilities", {}).get("add", [])}
    made = await node.runtime.create(spec(**options))
    await node.runtime.start(made)
    while not kind and node.network.handler_for("10.88.0.2", 80, "") is None:  # until nginx has started
        await asyncio.sleep(0.005)
    pod = Pod(node, made)
    pod.look_away()  # the rules look by themselves
    return pod


async def seen(node: Node, attack: Attack) -> tuple[dict[str, list[str]], str, str]:
    """The rules that alert by each set of rules, what the command says is wrong, and what it leaves behind."""
    raised: dict[str, list[str]] = {which: [] for which in RULES}

    def watch(event: Any) -> None:
        for which, rules in raised.items():
            rules += [alert.rule for alert in engine(which).process(event)]

    def filled(argv: tuple[str, ...]) -> list[str]:
        return [word.replace("{run}", "r1x2y3") for word in argv]

    stop = subscribe(node.kernel, watch) if attack.pod else lambda: None
    pod = await start(node, attack.pod)
    if not attack.pod:
        stop = subscribe(node.kernel, watch)
    result = await pod.run(*filled(attack.argv), tty=attack.tty, stdin=attack.stdin)
    stop()
    assert result.code in (0, 1), result.err
    if attack.cleanup:
        await pod.run(*filled(attack.cleanup))
    left = await pod.sh(f"ls -d {' '.join(f'{folder}/*r1x2y3*' for folder in FOLDERS)} /host /root/.cache")
    return raised, result.err, left.out


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_an_attack_raises_its_rule_and_those_that_it_names(node: Node, attack: Attack) -> None:
    raised, said, left = await seen(node, attack)
    for which, rules in raised.items():
        assert set(rules) - NOISE == {attack.rule, *attack.also}, (which, said)
    assert left == ""
    assert "not found" not in said


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_its_twin_raises_nothing(node: Node, attack: Attack) -> None:
    raised, said, left = await seen(node, attack.twin)
    for which, rules in raised.items():
        assert set(rules) <= set(attack.twin.also), (which, said)
    assert left == ""
    assert "not found" not in said
