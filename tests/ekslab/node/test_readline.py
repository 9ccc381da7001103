"""The line editor of the node's bash.

`data/readline_shows.json` was recorded from Debian 12's bash 5.2.37, without /etc/inputrc and bash-completion, on a
terminal of 12 rows and 40 columns, in a folder with the files of `FILES`: keys that were typed one after the other,
what the screen showed then, where the cursor was, and how often the bell rang.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.terminals import Screen

from .conftest import Pod, Start

RECORDED = json.loads((Path(__file__).parent / "data" / "readline_shows.json").read_text(encoding="utf-8"))
FILES = {
    **dict.fromkeys(("alpha", "alpine", "beta.txt", "sub/one", "sub/two", "my dir/x y", "a$b", "grüße", "it's"), 0o644),
    **dict.fromkeys((f"sub/deep/q{number}" for number in range(1, 121)), 0o644),
    **{"home/.bashrc": 0o644, "bin/zzprog": 0o755, "bin/zzother": 0o755, "bin/zznot": 0o644},
}
ENVIRONMENT = {"HOME": "/w/home", "PATH": "/w/bin", "HISTFILE": ""}


class Bash:
    """An interactive bash in a pod, and its screen."""

    def __init__(self, pod: Pod, rows: int = 12, columns: int = 40, program: str = "/bin/bash", **env: str) -> None:
        self.screen = Screen(rows, columns)
        self.said = bytearray()
        self._keys: asyncio.Queue[bytes] = asyncio.Queue()
        self._asks = False
        size = (rows, columns)
        self.execution = pod.node.runtime.start_exec(
            pod.container, [program], tty=True, stdin=self, stdout=self, size=size, env={**ENVIRONMENT, **env}
        )

    async def read(self, n: int) -> bytes:
        self._asks = True
        keys = await self._keys.get()
        self._asks = False
        return keys

    def write(self, data: bytes) -> None:
        self.said += data
        self.screen.write(data)

    @property
    def waits(self) -> bool:
        """Whether all that was typed has been read, and the shell or the program in the foreground waits for more."""
        tty, shell = self.execution._tty, self.execution.process
        assert tty is not None
        if not shell.alive:
            return True
        program = shell.kernel.processes.get(tty.foreground)
        if (
            not self._asks
            or not self._keys.empty()
            or tty._ready
            or program is None
            or program.fatal_signal
            or program.stopped
        ):
            return False
        reads = tty._wake._waiters and not tty._wake.is_set()  # type: ignore[attr-defined]
        return bool(reads) or program.name == "sleep"

    async def type(self, *keys: str | bytes) -> Bash:
        """Types keys one after the other, each when the one before has had its effect."""
        for key in (*keys, b""):
            if key:
                self._asks = False
                self._keys.put_nowait(key.encode() if isinstance(key, str) else key)
            deadline = time.monotonic() + 30
            while not self.waits:
                assert time.monotonic() < deadline, bytes(self.said)
                await asyncio.sleep(0)
        return self

    async def ready(self) -> Bash:
        """With a plain prompt in `/w`, as on a client's screen."""
        await self.type()
        self.execution.resize(self.screen.rows, self.screen.columns)
        await self.type("cd /w; PS1='$ '\r", "true\r")
        self.screen = Screen(self.screen.rows, self.screen.columns)
        return await self.type("\r")

    async def end(self) -> None:
        self.execution.kill()
        await self.execution.wait()


@pytest.fixture
async def pod(start: Start) -> Pod:
    pod = await start()
    files = pod.container.filesystem
    for folder in ("bin", "sub/deep", "my dir", "home/.ssh"):
        files.mkdir(f"/w/{folder}")
    for name, mode in FILES.items():
        files.open_file(f"/w/{name}", mode)
    files.symlink("sub", "/w/link")
    return pod


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: repr("".join(recorded["keys"])))
async def test_the_screen_is_that_of_bash(pod: Pod, recorded: dict[str, object]) -> None:
    bash = await Bash(pod).ready()
    await bash.type(*recorded["keys"])  # type: ignore[misc]
    screen = bash.screen
    shown = {"screen": screen.lines, "cursor": [screen.row, min(screen.column, 39)], "bells": screen.bells}
    await bash.end()
    assert shown == {name: recorded[name] for name in shown}


async def test_only_directories_follow_cd(pod: Pod) -> None:
    """As with bash-completion, unlike in what was recorded."""
    bash = await Bash(pod).ready()
    await bash.type("cd ", "\t", "\t")
    assert bash.screen.lines[2:4] == ["bin/    link/   sub/", "home/   my dir/"]
    await bash.type("b\t", "\x15rmdir al\t")
    assert bash.screen.lines[-1] == "$ rmdir al"
    await bash.end()


async def test_an_open_quote_stays_open_for_what_is_in_the_directory(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type('cat "my\t', "x\t")
    assert bash.screen.lines[-1] == '$ cat "my dir/x y"'
    await bash.end()


async def test_a_completion_opens_the_directories_that_bash_reads(pod: Pod) -> None:
    bash = await Bash(pod, PATH="/w/bin:/usr/sbin").ready()

    def opened() -> list[object]:
        return [event["fd.name"] for event in pod.seen("openat", proc_name="bash") if "O_DIRECTORY" in str(event)]

    pod.events.clear()
    await bash.type("zz\t")
    assert opened() == ["/w/bin", "/usr/sbin"]
    pod.events.clear()
    await bash.type("\x15cat ~/.s\t", "\x15cat al\t")
    assert opened() == ["/w/home", "/w"]
    pod.events.clear()
    await bash.type("\x15cat ~ro\t")
    assert [event["fd.name"] for event in pod.seen("openat", proc_name="bash")] == ["/etc/passwd"]
    await bash.end()


async def test_a_directory_that_may_not_be_read_completes_nothing(pod: Pod) -> None:
    await pod.bash("mkdir -m 700 /secret; : > /secret/key; chown -R root /secret")
    bash = await Bash(pod, program="/bin/bash").ready()
    await bash.type("cat /secret/k\t")
    assert bash.screen.lines[-1] == "$ cat /secret/key"
    await bash.type("\x15cat /nowhere/\t", "x")
    assert bash.screen.lines[-1] == "$ cat /nowhere/x"
    await bash.end()


async def test_a_directory_of_thousands_asks_first_and_holds_nothing_up(pod: Pod) -> None:
    await pod.bash("mkdir /many")
    for number in range(3000):
        pod.container.filesystem.symlink("/w/alpha", f"/many/f{number}")
    bash = await Bash(pod).ready()
    await bash.type("cat /many/\t", "\t", "\t")
    assert "Display all 3000 possibilities? (y or n)" in bash.screen.lines
    await bash.type("y")
    assert bash.screen.lines[-1] == "--More--"
    await bash.type("q")
    assert bash.screen.lines[-1] == "$ cat /many/f"
    await bash.end()


async def test_a_line_longer_than_the_screen_shows_the_part_with_the_cursor(pod: Pod) -> None:
    bash = await Bash(pod, rows=4, columns=20).ready()
    line = "echo " + "".join(f"{number:04} " for number in range(40))
    await bash.type(line)
    assert bash.screen.lines[-1].endswith("0039")
    await bash.type("\x01", "X")
    assert bash.screen.lines[0].startswith("$ Xecho 0000")
    assert (bash.screen.row, bash.screen.column) == (0, 3)
    await bash.type("\x7f", "\x05", "\x7f\x7f", "!")
    assert bash.screen.lines[-1].endswith("003!")
    await bash.type("\r")
    assert bash.screen.lines[-1] == "$"
    assert "0001" not in "".join(bash.screen.lines[-2:])
    await bash.end()


async def test_a_line_is_drawn_anew_for_another_size(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type("echo 123456789012345678901234567890123456789012345")
    bash.execution.resize(12, 60)
    bash.screen = Screen(12, 60)
    await bash.type("\x0c")
    assert bash.screen.lines == ["$ echo 123456789012345678901234567890123456789012345"]
    await bash.type("\x15true\r", "echo $LINES $COLUMNS\r")
    assert bash.screen.lines[-2:] == ["12 60", "$"]
    await bash.type("readonly COLUMNS=7\r", "echo $LINES $COLUMNS\r")
    assert bash.screen.lines[-2:] == ["12 7", "$"]
    await bash.end()


async def test_pastes_are_marked_only_for_a_client_with_a_screen(pod: Pod) -> None:
    result = await pod.run("bash", stdin="id\nexit\n", tty=True)
    assert "\x1b" not in result.out  # it is read by a program
    bash = await Bash(pod).ready()
    assert b"\x1b[?2004h" in bash.said
    await bash.type("\x1b[200~echo 'a\tb'\recho \x1b[20", "1~", "two\r")
    assert bash.screen.lines[-3:] == ["ab", "two", "$"]  # a tab of output moves the cursor only
    await bash.end()


async def test_characters_that_come_in_pieces_are_whole(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type("echo ")
    await bash.type(*("grüße €".encode()[at : at + 1] for at in range(len("grüße €".encode()))))
    await bash.type(b"\x1b", b"[", b"D", b"\x1b", b"b")
    assert bash.screen.lines[-1] == "$ echo grüße €"
    assert bash.screen.column == 7
    await bash.type("\r")
    assert bash.screen.lines[-2:] == ["grüße €", "$"]
    await bash.end()


async def test_bytes_that_are_no_text_stay_what_they_are(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type(b"printf '\xff\xfe' > raw\r", "true\r")
    assert pod.container.filesystem.walk("/w/raw").inode.stat().size == 2  # type: ignore[union-attr]
    await bash.end()


async def test_history_is_kept_for_the_next_shell(pod: Pod) -> None:
    env = {"HISTFILE": "/w/home/.bash_history"}
    bash = await Bash(pod, **env).ready()
    await bash.type("echo first\r", "exit\r")
    assert await bash.execution.wait() == 0
    bash = await Bash(pod, **env).ready()
    await bash.type("echo second\r", "\x12fir")
    assert bash.screen.lines[-1] == "(reverse-i-search)`fir': echo first"
    await bash.type("\x07", "exit\r")
    await bash.execution.wait()
    kept = pod.container.filesystem.read_text("/w/home/.bash_history").splitlines()
    assert [line for line in kept if line.startswith("echo")] == ["echo first", "echo second"]


async def test_sh_is_dash_and_has_no_editor(pod: Pod) -> None:
    bash = Bash(pod, program="/bin/sh")
    await bash.type("echo al\t", "\x1b[A", "\x01", "\x15", "echo one\x7f\x7f\x7ftwo\r", "\x03", "exit\r")
    assert "two" in bash.screen.lines
    assert b"\x1b[" not in bash.said
    assert await bash.execution.wait() == 130


@pytest.mark.parametrize("program", ["/bin/bash", "/bin/sh"])
async def test_ctrl_c_ends_the_loop_that_a_program_is_in(pod: Pod, program: str) -> None:
    shell = Bash(pod, program=program, PATH="/usr/bin", PS1="$ ")
    await shell.type("PS1='$ '\r", "while true; do sleep 100; done; echo no\r", "\x03", "echo $?\r")
    assert shell.screen.lines[-4:] == ["^C", "$ echo $?", "130", "$"]
    await shell.end()


async def test_keys_that_mean_nothing_do_no_harm(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    keys = [bytes((number,)) for number in range(256) if number not in (3, 4, 0x0A, 0x0D, 0x1B, 0x1C, 0x18, 0x16, 0x11)]
    meta = [b"\x1b" + bytes((number,)) for number in range(0x80) if number not in (0x0A, 0x0D, 0x1B, 0x03, 0x1C)]
    sequences = [b"\x1b[%d~" % n for n in range(40)] + [b"\x1b[1;%d%c" % (n, c) for n in range(9) for c in b"ABCDHF"]
    await bash.type(*keys, b"\x12", *keys, b"\x07", *meta, *sequences, b"\x1b[" + b"9;" * 5000 + b"x", b"\x1b[200~")
    await bash.type(b"\x1b[201~", "\x03", "echo alive\r")
    assert bash.screen.lines[-2:] == ["alive", "$"]
    await bash.end()


async def test_a_count_with_a_sign_in_it_ends_nothing(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type("\x1b5", "\x1b-", "x", "\x15", "echo alive\r")
    assert bash.screen.lines[-2:] == ["alive", "$"]
    await bash.end()


async def test_ctrl_c_takes_half_a_key_along(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type("\x1b", "\x03", "echo lower\r", "\x1b[200~half", "\x03", "echo whole\r")
    assert [line for line in bash.screen.lines if line in ("lower", "whole")] == ["lower", "whole"]
    await bash.end()


async def test_a_number_sign_in_a_word_is_no_comment(pod: Pod) -> None:
    bash = await Bash(pod).ready()
    await bash.type("echo a#b \\\r", "c\r", "echo d # e \\\r")
    assert [line for line in bash.screen.lines if line in ("a#b c", "d")] == ["a#b c", "d"]
    await bash.end()
