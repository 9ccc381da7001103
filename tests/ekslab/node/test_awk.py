"""The lab's awk against mawk 1.3.4: `data/mawk_says.json` has programs with what mawk printed for an input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SAYS = json.loads((Path(__file__).parent / "data" / "mawk_says.json").read_text())
GROUP = 20


@pytest.mark.parametrize("first", range(0, len(SAYS["said"]), GROUP))
async def test_the_lab_prints_what_mawk_printed(pod, first):
    pod.look_away()
    pod.container.filesystem.write_text("/tmp/table", SAYS["input"])
    for said in SAYS["said"][first : first + GROUP]:
        result = await pod.run("awk", *said["argv"], stdin=SAYS["input"])
        assert (result.out, result.code) == (said["out"], said["code"]), said["argv"]


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("{ c[]++ }", "]"),
        ("{ delete c[] }", "]"),
        ("{ c[1,]++ }", "]"),
        ("{ print length(1,) }", ")"),
        ("{ f(,) }", ","),
    ],
)
async def test_a_list_that_lacks_an_expression_is_a_syntax_error(pod, source, near):
    for name in ("awk", "mawk", "/usr/bin/awk"):  # mawk calls itself by the name it was started by
        result = await pod.run(name, source, stdin="")
        assert (result.code, result.err) == (2, f"{name.split('/')[-1]}: line 1: syntax error at or near {near}\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("BEGIN{\nprint 1", "line 3: missing } near end of file"),
        ("BEGIN{print (1}", "line 1: missing ) near }"),
        ("BEGIN{f(1;}", "line 1: missing ) near ;"),
        ("BEGIN{print 1 END{}", "line 1: missing } near END"),
        ("{if (x {}", "line 1: syntax error at or near {"),
        ("BEGIN{print x[}", "line 1: syntax error at or near }"),
        ("else", "line 1: syntax error at or near else"),
        ("--nope", "not an option: --nope"),
    ],
)
async def test_mawk_says_what_is_not_closed(pod, source, said):
    result = await pod.run("mawk", source, stdin="")
    assert (result.code, result.err) == (2, f"mawk: {said}\n")


async def test_awk_runs_commands_and_writes_files_as_processes_do(pod):
    await pod.sh('awk \'BEGIN {system("id"); print "x" > "/tmp/made"; "whoami" | getline name; print name}\'')
    assert {event["proc.cmdline"] for event in pod.seen("execve", proc_pname="sh")} >= {"id", "whoami"}
    assert pod.seen("openat", fd_name="/tmp/made")[0]["proc.exepath"] == "/usr/bin/mawk"
    assert pod.seen("execve", proc_name="awk")[0]["proc.exepath"] == "/usr/bin/mawk"


@pytest.mark.parametrize(
    "source",
    [
        'BEGIN { while (1) x = x "y" }',
        "BEGIN { while (1) a[i++] = i }",
        "function f(n) { return f(n + 1) } BEGIN { f(1) }",
        "BEGIN { print " + "(" * 400 + "1" + ")" * 400 + " }",
        'BEGIN { printf "%999999999d", 1 }',
        "BEGIN { $999999999 = 1 }",
        "BEGIN { print 9 ^ 9 ^ 9 ^ 9 }",
    ],
)
async def test_what_asks_for_too_much_ends_and_leaves_the_others(pod, source):
    pod.look_away()
    pod.container.memory.limit = 8 << 20
    await pod.run("timeout", "3", "awk", source)
    if pod.container.state == "running":
        assert (await pod.sh("echo on")).out == "on\n"
