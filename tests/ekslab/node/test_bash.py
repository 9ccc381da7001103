"""The lab's shells against the real ones: what bash 5.2 and dash 0.5.12 printed for the same commands.

`data/bash_says.json` and `data/dash_says.json` have each command with its output, errors and status.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
GROUP = 20
SAID = {shell: json.loads((DATA / f"{shell}_says.json").read_text()) for shell in ("bash", "dash")}


@pytest.mark.parametrize(
    ("shell", "first"), [(shell, first) for shell, said in SAID.items() for first in range(0, len(said), GROUP)]
)
async def test_the_lab_says_what_the_real_shell_said(pod, shell, first):
    pod.look_away()
    for said in SAID[shell][first : first + GROUP]:
        result = await pod.run(shell, "-c", said["command"])
        assert (result.out, result.err, result.code) == (said["out"], said["err"], said["code"]), said["command"]


@pytest.mark.parametrize("name", ["suspend", "fc", "enable -n echo", "ulimit -n 5", "mapfile -C x -c 1 a", "wait -p x"])
async def test_what_bash_has_and_the_lab_lacks_is_said_to_be_the_labs(pod, name):
    result = await pod.bash(name)
    assert result.code == 2
    assert result.err.startswith("bash: line 1: embedded lab: the lab's bash doesn't have ")


async def test_here_documents_and_functions_work_in_a_script_from_standard_input(pod):
    script = (
        "f() {\n  echo $1\n}\ncat <<X\na $((1+1))\nX\nf x\nfor i in 1 2; do\necho $i\ndone\n"
        'read y\nraw (line\necho "<$y>"\n'
    )
    for shell in ("bash", "sh"):
        result = await pod.run(shell, stdin=script)
        assert (result.out, result.err) == ("a 2\nx\n1\n2\n<raw (line>\n", "")


async def test_an_interactive_bash_knows_aliases_and_history(pod):
    typed = "alias hi='echo hello'\nhi there\n!!\necho !$\n!nope\nsleep 0.01 &\nwait\n"
    typed += "a=(x y)\necho k ${!a[@]} [!abc]\nexit\n"
    result = await pod.run("bash", stdin=typed, tty=True)
    assert result.out.count("hello there") == 2
    assert "bash: !nope: event not found" in result.out
    assert "k 0 1 [!abc]" in result.out
    assert result.out.count("event not found") == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("./nothere", "bash: ./nothere: No such file or directory"),
        ("/dev/shm/x", "bash: /dev/shm/x: No such file or directory"),
        ("nope x | head", "bash: nope: command not found"),
        ("(nope)", "bash: nope: command not found"),
        ("echo $(nope)", "bash: nope: command not found"),
        ("cat < /nox", "bash: /nox: No such file or directory"),
        ("(cd /nowhere)", "bash: cd: /nowhere: No such file or directory"),
        ("echo 1 > /proc/sys/kernel/panic", "bash: /proc/sys/kernel/panic: Read-only file system"),
        ("exec 3<>/dev/tcp/localhost/81", "bash: /dev/tcp/localhost/81: Connection refused"),
        ("exec 3<>/dev/tcp/nowhere.invalid/81", "bash: /dev/tcp/nowhere.invalid/81: Invalid argument"),
        ("echo nope > /tmp/s; chmod +x /tmp/s; /tmp/s", "/tmp/s: line 1: nope: command not found"),
        ("sleep 0.05 & wait", "[1]+  Done                    sleep 0.05"),
        ("(exit 3) & wait", "[1]+  Exit 3                  (exit 3)"),
    ],
)
async def test_messages_at_a_prompt_have_no_line_numbers_and_jobs_are_told_of(pod, typed, said):
    result = await pod.run("bash", stdin=f"{typed}\nexit\n", tty=True)
    assert said in result.out.splitlines()
    assert "bash: line" not in result.out


async def test_the_tab_key_completes_commands_files_and_variables(pod):
    typed = (
        "whoa\t\nls -d /et\t\nhead -n1 /etc/pass\t\necho $HOSTNA\t\ncd /tmp\n: > 'a b'\nls a\t\n"
        "touch same-1 same-2\necho sa\t\t\t1\nls /nowhere\t\nexit\n"
    )
    result = await pod.run("bash", stdin=typed, tty=True)
    lines = [line.rstrip() for line in result.out.replace("\r\n", "\n").split("\n")]
    assert {"root", "/etc/", "root:x:0:0:root:/root:/bin/bash", "'a b'"} <= set(lines)
    assert {"same-1  same-2", "same-1"} <= set(lines)
    assert "ls: cannot access '/nowhere': No such file or directory" in lines
