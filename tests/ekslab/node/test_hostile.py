"""Commands that would stop a lab, or take all of its memory: each is over soon or can be killed, and others go on.

`data/hostile.txt` has one a line. How long they hold the event loop is measured in time of the processor, which doesn't
depend on what else the computer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from pathlib import Path

import pytest

COMMANDS = (Path(__file__).parent / "data" / "hostile.txt").read_text().splitlines()
AT_ONCE = 6
GROUP = 60
LONGEST_HOLD = 0.5  # seconds; a busy loop gets 2 ms at a time, what is left is the odd library call
MOST_MEMORY = 400  # MiB that the test's process may grow by


class Held:
    """How long the event loop was held at a time, at most."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            await asyncio.sleep(0.002)
            last = time.thread_time()


def _memory() -> int:
    """MiB that this process has in memory."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


async def _let_run(commands: asyncio.Future[list[int]]) -> None:
    """Waits until commands have ended, have had 0.15 s of processor time, or wait for something themselves."""
    began, idle = time.process_time(), 0
    before = began
    while not commands.done() and before - began < 0.15 and idle < 3:
        await asyncio.sleep(0.01)
        now = time.process_time()
        before, idle = now, idle + 1 if now - before < 0.002 else 0
    commands.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await commands


@pytest.mark.parametrize("first", range(0, len(COMMANDS), GROUP))
async def test_hostile_commands_leave_room_for_others(start, first):
    gc.collect()
    gc.freeze()  # what other tests have left is not what a collection should take long for
    neighbour = await start(name="neighbour")
    runtime, held, before = neighbour.node.runtime, Held(), _memory()
    neighbour.look_away()
    watching = asyncio.create_task(held.watch())
    group = COMMANDS[first : first + GROUP]
    for begin in range(0, len(group), AT_ONCE):
        pod = await start()  # for each some: a program that takes too much memory ends its container
        pod.look_away()
        some = group[begin : begin + AT_ONCE]
        running = [runtime.start_exec(pod.container, ["bash", "-c", command]) for command in some]
        await _let_run(asyncio.gather(*(execution.wait() for execution in running)))
        assert (await neighbour.sh("echo $((6 * 7))")).out == "42\n", some
        assert held.longest < LONGEST_HOLD, some
        assert _memory() - before < MOST_MEMORY, some
        for execution in running:
            execution.kill()
        await asyncio.wait_for(asyncio.gather(*(execution.wait() for execution in running)), 60)
        await runtime.stop(pod.container, 0)
        await runtime.remove(pod.container)
    watching.cancel()
    gc.unfreeze()


def test_there_are_enough_hostile_commands() -> None:
    assert len(set(COMMANDS)) > 150


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("echo {1..1000000000}", 1, "brace expansion: failed to allocate memory for 1000000000 elements"),
        ("x=xxxxxxxx; for i in {1..14}; do x=$x$x; done; /bin/echo $x", 126, "/bin/echo: Argument list too long"),
        (
            "x=xxxxxxxx; for i in {1..12}; do x=$x$x; done; /bin/echo $x{1..99}",
            126,
            "/bin/echo: Argument list too long",
        ),
        (
            "f() { f; }; f",
            1,
            "embedded lab: commands and functions call one another 64 levels deep at most in the lab's bash",
        ),
        ("echo $((99**-1))", 1, 'exponent less than 0 (error token is "1")'),
        ("x=x; while :; do x=$x$x; done", 137, ""),
        ("[[ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! =~ ^(a+)+$ ]]", 1, ""),
        ("[[ " + "a" * 2000 + r" =~ (a*)*\1b ]]", 2, "embedded lab: this pattern takes more than the 150000 steps"),
        (
            "grep -E '(a*)*\\1b' <<< " + "a" * 2000,
            2,
            "grep: embedded lab: this pattern takes more than the 150000 steps",
        ),
        ("exec 3<>/dev/udp/1.2.3.4/53", 1, "embedded lab: the lab's network has no UDP"),
        ("sleep 0 & kill -STOP $$; echo $?", 0, ""),
        ("seq 1 1e12 | head -n 1", 0, ""),
        ("yes | head -n 1; echo ${PIPESTATUS[@]}", 0, ""),
    ],
)
async def test_what_is_too_much_is_refused_in_a_sentence(pod, command, code, said):
    result = await pod.bash(command)
    assert result.code == code
    assert said in result.err
