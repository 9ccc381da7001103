"""The shells: what they print, what they return, and how they treat what can't be run."""

from __future__ import annotations

import asyncio

import pytest


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("echo hello  world", "hello world"),
        ("echo 'a  b' \"c $((1 + 2 * 3))\" d\\ e", "a  b c 7 d e"),
        ("x=5; echo $x ${x}y ${z:-none} ${#x}", "5 5y none 1"),
        ("x=a.b.c; echo ${x%.*} ${x%%.*} ${x#*.} ${x##*.}", "a.b a b.c c"),
        ("echo $(echo one; echo two) `echo three`", "one two three"),
        ("echo \"$(printf 'a\\nb')\"", "a\nb"),
        ("for i in 1 2 3; do echo -n $i,; done; echo", "1,2,3,"),
        ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done", "1\n3"),
        ("if false; then echo a; elif true; then echo b; else echo c; fi", "b"),
        ("case abc in x) echo x;; a*) echo a;; esac", "a"),
        ("f() { echo $1 $#; return 3; }; f x y; echo $?", "x 2\n3"),
        ("true && echo and || echo or; false || echo or; ! true; echo $?", "and\nor\n1"),
        ("(cd /tmp; pwd); pwd", "/tmp\n/"),
        ("{ echo a; echo b; } | wc -l", "2"),
        ("echo out; echo err >&2", "out"),
        ("ls /nowhere 2>&1 | head -1", "ls: cannot access '/nowhere': No such file or directory"),
        ("cat <<X\nhi $HOME\nX\n", "hi /root"),
        ("cat <<'X'\nhi $HOME\nX\n", "hi $HOME"),
        ("echo a > /tmp/f; echo b >> /tmp/f; cat < /tmp/f; wc -c < /tmp/f", "a\nb\n4"),
        ("cd /etc; echo host* ; echo 'host*' nothing*", "host.conf hostname hosts\nhost* nothing*"),
        ("echo /et[c]/pass?d", "/etc/passwd"),
        ('set -- a \'b c\'; for x in "$@"; do echo "<$x>"; done; echo $#', "<a>\n<b c>\n2"),
        ('IFS=:; x=a:b::c; for p in $x; do echo "[$p]"; done', "[a]\n[b]\n[]\n[c]"),
        ("export A=1; B=2; env | grep -c '^[AB]='", "1"),
        ("A=1 env | grep ^A=", "A=1"),
        ("sleep 30 & kill $!; wait $!; echo $?", "143"),
        ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008"),
        ("echo 'a b' | while read x y; do echo $y $x; done", "b a"),
        ("trap 'echo bye' EXIT; echo hi", "hi\nbye"),
        ("set -e; false; echo never", ""),
        ("eval 'echo $((2 + 1))'", "3"),
        ("type cd ls; command -v cat", "cd is a shell builtin\nls is /usr/bin/ls\n/usr/bin/cat"),
        ("exec 3> /tmp/g; echo x >&3; exec 3>&-; cat /tmp/g", "x"),
        ("yes | head -2", "y\ny"),
        ("test -d /etc -a ! -e /nowhere && [ abc != abd ] && echo ok", "ok"),
        ("echo $0 $$", "sh {pid}"),
        ("echo 'x\\ny'", "x\ny"),
        ("readonly R=1; echo $R", "1"),
        ("umask 077; echo > /tmp/u; stat -c %a /tmp/u", "600"),
    ],
)
async def test_sh_prints(pod, command, printed):
    result = await pod.sh(command)
    expected = printed.replace("{pid}", result.out.split()[-1] if "{pid}" in printed else "")
    assert result.out.rstrip("\n") == expected


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("echo -e 'a\\tb'; echo 'a\\tb'", "a\tb\na\\tb"),
        ("x=hello; echo ${x^^} ${x:1:3} ${x/l/L} ${x//l/L}", "HELLO ell heLlo heLLo"),
        ("[[ abc == a* && ! -e /nowhere ]] && echo yes", "yes"),
        ("[[ abc =~ ^a.c$ ]]; echo $?", "0"),
        ("cat <<< word", "word"),
        ("echo $'a\\nb'", "a\nb"),
        ("x=1; x+=2; echo $x", "12"),
        ('function f { local y=3; echo $y; }; f; echo "<$y>"', "3\n<>"),
        ("ls /nowhere &> /tmp/o; wc -l < /tmp/o", "1"),
        ("false | true; echo $?; set -o pipefail; false | true; echo $?", "0\n1"),
        ("echo $BASH_VERSION", "5.2.37(1)-release"),
        ("echo {a,b}c x{1..3} '{a,b}' {a b{,.bak} {x,{y,z}}1", "ac bc x1 x2 x3 {a,b} {a b b.bak x1 y1 z1"),
        (
            "((x = 3 * 2)) && echo $x; ((0)) || echo zero; let y=x+1; echo $y; ((echo sub); echo shell)",
            "6\nzero\n7\nsub\nshell",
        ),
    ],
)
async def test_bash_prints(pod, command, printed):
    assert (await pod.bash(command)).out.rstrip("\n") == printed


@pytest.mark.parametrize(
    ("shell", "command", "code", "message"),
    [
        ("sh", "nope", 127, "sh: 1: nope: not found"),
        ("bash", "nope", 127, "bash: line 1: nope: command not found"),
        ("sh", "/etc/passwd", 126, "sh: 1: /etc/passwd: Permission denied"),
        ("bash", "/etc", 126, "bash: line 1: /etc: Is a directory"),
        ("sh", "echo x > /no/such", 2, "sh: 1: cannot create /no/such: Directory nonexistent"),
        ("bash", "echo x > /no/such", 1, "bash: line 1: /no/such: No such file or directory"),
        ("sh", "echo 'open", 2, "sh: 1: Syntax error: Unterminated quoted string"),
        ("sh", "fi", 2, 'sh: 1: Syntax error: "fi" unexpected'),
        ("bash", "fi", 2, "bash: -c: line 1: syntax error near unexpected token `fi'\nbash: -c: line 1: `fi'"),
        ("sh", "cd /nowhere", 2, "sh: 1: cd: can't cd to /nowhere"),
        ("sh", "exit 7", 7, ""),
        ("sh", "kill -9 $$", 137, ""),
        ("sh", "f() { f; }; f", 2, "sh: 1: maximum recursion reached"),
        ("sh", "set -u; echo $nothing", 2, "sh: 1: nothing: parameter not set"),
    ],
)
async def test_errors_are_the_shells_own(pod, shell, command, code, message):
    result = await pod.run(shell, "-c", command)
    assert (result.code, result.err.rstrip("\n")) == (code, message)


async def test_commands_come_from_standard_input_too(pod):
    result = await pod.run("sh", stdin="x=2\necho $((x + 1))\nread y\nnot-a-command-but-input\necho $y\n")
    assert result.out == "3\nnot-a-command-but-input\n"


async def test_a_script_runs_by_its_first_line(pod):
    await pod.sh("printf '#!/bin/bash\\necho $0 $1\\n' > /tmp/s; chmod +x /tmp/s")
    assert (await pod.run("/tmp/s", "arg")).out == "/tmp/s arg\n"


async def test_an_interactive_bash_prompts_echoes_and_remembers(pod):
    result = await pod.run("bash", stdin="cd /tmp\nwhoami\nexit\n", tty=True)
    assert "root@web-0:/# cd /tmp\r\n" in result.out
    assert "root@web-0:/tmp# whoami\r\nroot\r\n" in result.out
    assert pod.container.filesystem.read_text("/root/.bash_history") == "cd /tmp\nwhoami\nexit\n"


async def test_ctrl_d_ends_an_interactive_shell(pod):
    result = await pod.run("bash", stdin="false\n\x04", tty=True)
    assert result.code == 1
    assert result.out.endswith("exit\r\n")


async def test_ctrl_c_ends_the_foreground_command_only(pod, shown):
    class Keys:
        def __init__(self) -> None:
            self.left = [b"sleep 60\n", b"\x03", b"echo status $?\n", b"exit\n"]

        async def read(self, n: int) -> bytes:
            await asyncio.sleep(0.05)
            return self.left.pop(0) if self.left else b""

    code = await asyncio.wait_for(
        pod.node.runtime.exec(pod.container, ["bash"], tty=True, stdin=Keys(), stdout=shown), 5
    )
    assert code == 0
    assert "status 130" in shown.text


async def test_what_is_typed_is_echoed_once_and_multi_line_commands_go_on(pod):
    result = await pod.run("bash", stdin="cat <<X\nab\nX\nsleep 9 &\nkill %1\nwait\nhistory 1\nexit\n", tty=True)
    assert result.out.splitlines()[:5] == ["root@web-0:/# cat <<X", "> ab", "> X", "ab", "root@web-0:/# sleep 9 &"]
    assert "    5  history 1" in result.out


async def test_keys_edit_the_line(pod):
    result = await pod.run("bash", stdin="echo abx\x7fc\x1b[D\x1b[DX\nexit\n", tty=True)
    assert "aXbc" in result.out.splitlines()


async def test_an_endless_loop_leaves_room_for_others(pod):
    pod.look_away()
    execution = pod.node.runtime.start_exec(pod.container, ["sh", "-c", "while true; do :; done"])
    for _ in range(20):
        await asyncio.sleep(0)
        assert (await pod.sh("echo hi")).out == "hi\n"
    execution.kill()
    assert await execution.wait() == 137


async def test_a_fork_bomb_hits_a_limit(pod):
    pod.look_away()
    result = await pod.bash("b() { b | b & }; b; sleep 0.2; echo alive")
    assert result.out == "alive\n"
    assert len(pod.node.kernel.processes) < 600
    await pod.node.runtime.stop(pod.container, 0)
