"""Job control: Ctrl-Z, fg, bg and jobs at a terminal, as Debian's bash shows them; stopped processes."""

from __future__ import annotations

import asyncio
import re

import pytest

from .conftest import Pod
from .test_readline import Bash

CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
STOPPED = "[1]+  Stopped                 "


async def shown(pod: Pod, *keys: str) -> str:
    """What an interactive bash shows of these keys, without prompts' control sequences; numbers of processes are N."""
    bash = Bash(pod, 24, 80, HOME="/tmp", PATH="/usr/bin:/bin")
    await bash.type("PS1='$ '\r", "cd /tmp\r")
    bash.said.clear()
    await bash.type(*keys)
    text = re.sub(r"\x1b\[\?2004[hl]\r?", "", bash.said.decode()).replace("\r", "")
    await bash.end()
    return re.sub(r"(?<=^\[\d\] )\d+|(?<=group )\d+", "N", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            ("sleep 100\r", CTRL_Z, "jobs\r", "bg\r", "jobs\r", "kill %1\r", "\r"),
            f"sleep 100\n^Z\n{STOPPED}sleep 100\n$ jobs\n{STOPPED}sleep 100\n$ bg\n[1]+ sleep 100 &\n$ jobs\n"
            "[1]+  Running                 sleep 100 &\n$ kill %1\n"
            "(\\$ \n)?\\[1]\\+  Terminated              sleep 100\n\\$ (\n\\$ )?",
        ),
        (
            ("sleep 100\r", CTRL_Z, "fg\r", CTRL_C, "echo $?\r"),
            f"sleep 100\n^Z\n{STOPPED}sleep 100\n$ fg\nsleep 100\n^C\n$ echo $?\n130\n$ ",
        ),
        (
            ("cat\r", "abc\r", CTRL_Z, "echo $?\r", "fg\r", "def\r", CTRL_D, "jobs\r"),
            f"cat\nabc\nabc\n^Z\n{STOPPED}cat\n$ echo $?\n148\n$ fg\ncat\ndef\ndef\n$ jobs\n$ ",
        ),
        (
            ("sleep 100 | cat\r", CTRL_Z, "jobs -s\r", "jobs -r\r"),
            f"sleep 100 | cat\n^Z\n{STOPPED}sleep 100 | cat\n$ jobs -s\n{STOPPED}sleep 100 | cat\n$ jobs -r\n$ ",
        ),
        (
            ("sleep 100\r", CTRL_Z, "exit\r", "exit\r"),
            f"sleep 100\n^Z\n{STOPPED}sleep 100\n$ exit\nexit\nThere are stopped jobs.\n$ exit\nexit\n",
        ),
        (
            ("sleep 100; echo after $?\r", CTRL_Z),
            f"sleep 100; echo after $?\n^Z\n{STOPPED}sleep 100\nafter 148\n$ ",
        ),
        (
            ("sleep 50 & kill -STOP $!\r", "jobs\r", "kill -CONT $!\r", "jobs\r"),
            "sleep 50 & kill -STOP $!\n[1] N\n$ jobs\n"
            f"{STOPPED}sleep 50\n$ kill -CONT $!\n$ jobs\n[1]+  Running                 sleep 50 &\n$ ",
        ),
        (
            ("sleep 100 &\r", "bg\r", "fg\r", CTRL_Z, "disown\r", "jobs\r"),
            "sleep 100 &\n[1] N\n$ bg\nbash: bg: job 1 already in background\n$ fg\nsleep 100\n^Z\n"
            f"{STOPPED}sleep 100\n$ disown\nbash: warning: deleting stopped job 1 with process group N\n$ jobs\n$ ",
        ),
        (("\x1a", "echo hi\r"), "echo hi\nhi\n$ "),
    ],
)
async def test_a_terminal_shows_jobs_as_bash_does(pod: Pod, keys: tuple[str, ...], text: str) -> None:
    said = await shown(pod, *keys)
    if "(\\$" in text:  # bash may tell of a job's end before the next prompt or the one after that
        plain, _, rest = text.partition("(\\$")
        assert re.fullmatch(f"{re.escape(plain)}(\\$" + rest, said), said
    else:
        assert said == text


async def test_a_stopped_process_waits_and_is_seen_to_be_stopped(pod: Pod) -> None:
    script = (
        "{ for i in {1..15}; do echo $i >> /tmp/n; sleep 0.01; done; } & until [ -s /tmp/n ]; do :; done\n"
        "kill -STOP $!; sleep 0.05; before=$(wc -l < /tmp/n); sleep 0.2\n"
        "[ $(wc -l < /tmp/n) = $before ] && echo held $before\n"
        "cat /proc/$!/status; kill -CONT $!; wait $!; wc -l < /tmp/n"
    )
    result = await pod.bash(script)
    assert re.match(r"held (\d|1[0-4])\n", result.out)
    assert "State:\tT (stopped)" in result.out
    assert result.out.endswith("\n15\n")


async def test_a_stopped_process_ends_by_kill_at_once_and_by_other_signals_when_it_goes_on(pod: Pod) -> None:
    result = await pod.bash("sleep 9 & kill -STOP $!; kill -KILL $!; wait $!; echo $?")
    assert result.out == "137\n"
    result = await pod.bash(
        "sleep 9 & kill -STOP $!; kill $!; sleep 0.05; kill -0 $! && echo there; kill -CONT $!; wait $!; echo $?"
    )
    assert result.out == "there\n143\n"


async def test_nothing_that_is_stopped_is_left_when_its_shell_ends(pod: Pod) -> None:
    await shown(pod, "sleep 100\r", CTRL_Z, "exit\r", "exit\r")
    await asyncio.sleep(0.05)
    assert "sleep" not in [process.name for process in pod.node.kernel.processes.values()]


async def test_a_shell_that_nothing_could_resume_does_not_stop_itself(pod: Pod) -> None:
    assert (await pod.bash("kill -STOP $$; echo $?")).out == "0\n"


@pytest.mark.parametrize(
    ("command", "out", "err"),
    [
        ("cd /tmp; touch .h; echo .*; rm .h", ".h\n", ""),
        ("trap 'echo at $BASH_COMMAND' DEBUG; echo x; y=1", "at echo x\nx\nat y=1\n", ""),
        ("printf", "", "printf: usage: printf [-v var] format [arguments]\n"),
        (
            "cd /tmp; echo '#!/bin/nope' > s; chmod +x s; ./s; echo $?",
            "127\n",
            "bash: line 1: ./s: cannot execute: required file not found\n",
        ),
    ],
)
async def test_bash_says_what_debian_s_bash_says(pod: Pod, command: str, out: str, err: str) -> None:
    result = await pod.bash(command)
    assert (result.out, result.err) == (out, err)


async def test_ctrl_z_stops_no_program_that_no_shell_waits_for(pod: Pod) -> None:
    execution = Bash(pod, 24, 80, program="/usr/bin/cat")
    await execution.type("a\r", CTRL_Z, "b\r")
    assert execution.said == b"a\r\na\r\n^Zb\r\nb\r\n"
    await execution.end()
