"""The lab's programs against GNU's: what coreutils, findutils, grep and sed of Debian printed for the same commands.

`data/coreutils_says.json` has each command with its output, errors and status, in a folder that `FOLDER` makes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SAID = json.loads((Path(__file__).parent / "data" / "coreutils_says.json").read_text())
GROUP = 30
FOLDER = r"""rm -rf /tmp/dx; mkdir -p /tmp/dx; cd /tmp/dx
printf 'apple 3 red\nbanana 10 yellow\ncherry 2 red\ndate 10 brown\napple 1 green\n' > fruit
printf 'name,age,city\nbob,30,paris\namy,25,rome\njoe,41,oslo\n' > p.csv
printf 'one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve\n' > n
printf '{"a":1,"b":[1,2,{"c":null}],"d":"x"}\n' > j
mkdir -p dir/sub; echo inner > dir/in; echo deep > dir/sub/deep; ln -s fruit lnk; ln -s nowhere broken
touch -d '2024-01-02 03:04:05' fruit p.csv n j dir/in dir/sub/deep dir/sub dir .
touch -h -d '2024-01-02 03:04:05' lnk broken
chmod 600 j; chmod +x n
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TZ=UTC0 LC_ALL=C.UTF-8 \
    /bin/bash -c "$1"
"""


@pytest.mark.parametrize("first", range(0, len(SAID), GROUP))
async def test_the_lab_says_what_the_real_program_said(pod, first):
    pod.look_away()
    for said in SAID[first : first + GROUP]:
        result = await pod.run("bash", "-c", FOLDER, "bash", said["command"])
        assert (result.out, result.err, result.code) == (said["out"], said["err"], said["code"]), said["command"]


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("2024-01-15", "2024-01-15 00:00:00"),
        ("2024-01-15 10:20:30", "2024-01-15 10:20:30"),
        ("2024-01-15T10:20:30Z", "2024-01-15 10:20:30"),
        ("Mon, 15 Jan 2024 10:20:30 +0200", "2024-01-15 08:20:30"),
        ("Jan 15 2024 5pm", "2024-01-15 17:00:00"),
        ("1/15/2024", "2024-01-15 00:00:00"),
        ("20240115", "2024-01-15 00:00:00"),
        ("2024-01-31 + 1 month", "2024-03-02 00:00:00"),
        ("2024-01-15 2 days ago", "2024-01-13 00:00:00"),
        ("2024-01-15 -1 week", "2024-01-08 00:00:00"),
        ("@0", "1970-01-01 00:00:00"),
    ],
)
async def test_a_date_is_read_as_gnu_date_reads_it(pod, typed, day):
    result = await pod.run("date", "-u", "-d", typed, "+%F %T")
    assert (result.out, result.err) == (f"{day}\n", "")


@pytest.mark.parametrize("typed", ["foo", "2024-13-01", "99999999999 weeks ago", "25:00", "next"])
async def test_a_date_that_is_none_is_refused(pod, typed):
    result = await pod.run("date", "-d", typed)
    assert (result.code, result.err) == (1, f"date: invalid date '{typed}'\n")


@pytest.mark.parametrize("word", ["-fprintf", "-fstype", "-used", "-okdir"])
async def test_find_says_what_the_lab_lacks(pod, word):
    result = await pod.run("find", ".", word, "x")
    assert (result.code, result.err) == (1, f"find: option {word} is not simulated in this lab\n")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("split --numeric-suffixes=1 /etc/passwd", "--numeric-suffixes"),
        ("diff --color=never /etc/passwd /etc/group", "--color"),
        ("tee --output-error=warn", "--output-error"),
        ("rm --interactive=never x", "--interactive"),
        ("uniq --all-repeated=separate", "--all-repeated"),
    ],
)
async def test_an_argument_that_the_real_program_takes_is_what_the_lab_lacks(pod, command, option):
    result = await pod.bash(command)
    assert result.err == f"{command.split()[0]}: option {option} is not simulated in this lab\n"
    assert result.code != 0


async def test_tar_says_that_the_lab_has_no_checkpoints(pod):
    result = await pod.bash("tar cf /dev/null /dev/null --checkpoint=1 --checkpoint-action=exec=id")
    assert "embedded lab: the lab's tar has no option --checkpoint" in result.err


async def test_ls_at_a_terminal_has_columns_quotes_and_colours(pod):
    await pod.bash("mkdir /tmp/c; cd /tmp/c; touch 'a b' plain; chmod +x plain; mkdir d; ln -s d l")
    assert (await pod.run("bash", "-c", "ls /tmp/c", tty=True)).out == "'a b'   d   l   plain\r\n"
    shown = (await pod.run("bash", "-c", "TERM=xterm ls -1 --color=auto /tmp/c", tty=True)).out
    assert shown == (
        "'a b'\r\n\x1b[0m\x1b[01;34md\x1b[0m\r\n\x1b[01;36ml\x1b[0m\r\n\x1b[01;32mplain\x1b[0m\r\n"
    )  # fmt: skip


async def test_grep_paints_what_matches_at_a_terminal_alone(pod):
    command = "TERM=xterm grep -n --color root /etc/passwd"
    painted = "\x1b[32m\x1b[K1\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K\x1b[01;31m\x1b[Kroot\x1b[m\x1b[K:x:0:0:"
    assert (await pod.run("bash", "-c", command, tty=True)).out.startswith(painted)
    assert (await pod.bash(command)).out.startswith("1:root:x:0:0:")


async def test_sed_runs_a_command_in_the_pod(pod):
    assert (await pod.bash("echo x | sed '1e id -u'")).out == "0\nx\n"
    assert pod.seen("execve", proc_name="sh", proc_pname="sed")


async def test_a_device_can_be_made_in_a_container_and_not_opened(pod):
    result = await pod.bash("cd /tmp; mknod disk b 202 0; mknod null c 1 3; echo x > null && head -c 1 disk")
    assert (result.code, result.err) == (1, "head: cannot open 'disk' for reading: Operation not permitted\n")
    assert [event["evt.arg"]["mode"] for event in pod.seen("mknodat")] == ["61B6", "21B6"]


async def test_a_fifo_carries_a_shell_s_commands(pod):
    script = "cd /tmp; mkfifo f; cat f | sh -i 2>&1 | cat > said & echo 'id -u; exit' > f; wait; cat said"
    assert "0\n" in (await pod.bash(script)).out
