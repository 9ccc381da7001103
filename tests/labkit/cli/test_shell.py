"""`labkit shell`: a session in a pod of the embedded lab, on a terminal and on pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ekslab import client
from ekslab.state import Endpoints
from labkit.cli import main
from labkit.lab import Lab
from labkit.waiting import poll
from tests.terminals import Terminal

LABKIT = [sys.executable, "-m", "labkit.cli"]
PROMPT = r"root@nginx-[-\w]+:/# "


@pytest.fixture(scope="module")
def home(new_lab: Callable[..., Endpoints], workshop: Path) -> Path:
    home = new_lab().home
    lab = Lab.connect(home=home, root=workshop)
    lab.ensure("nginx")
    return home


@pytest.fixture
def environ(home: Path, workshop: Path) -> dict[str, str]:
    return {**os.environ, "LABKIT_HOME": str(home), "LABKIT_ROOT": str(workshop), "TERM": "xterm"}


@pytest.fixture
def shell(environ: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Opens `labkit shell` on a terminal."""
    opened: list[Terminal] = []

    def open_shell(*arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
        opened.append(Terminal([*LABKIT, "shell", *arguments], environ, rows, columns))
        return opened[-1]

    yield open_shell
    for terminal in opened:
        terminal.close()


@pytest.fixture
def piped(environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs `labkit shell` with pipes."""

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*LABKIT, "shell", *arguments]
        return subprocess.run(command, env=environ, input=stdin, capture_output=True, timeout=60, check=False)

    return run


Shell = Callable[..., Terminal]
Piped = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_session_says_where_it_is_and_ends_with_the_exit_code_of_the_shell(shell: Shell) -> None:
    terminal = shell()
    said = terminal.until(PROMPT)
    assert "This is pod nginx-" in said
    assert "of the embedded lab: commands here run in the simulated pod, not on your computer." in said
    assert said.index("not on your computer") < re.search(PROMPT, said).start()  # type: ignore[union-attr]
    assert terminal.is_raw
    terminal.type("echo gr\u00fc\u00dfe \u65e5\u672c \U0001f980; exit 7\r")
    terminal.until("\rgr\u00fc\u00dfe \u65e5\u672c \U0001f980\r\n")
    assert terminal.ended() == 7
    assert not terminal.is_raw


def test_the_pod_has_the_size_of_the_window_and_follows_it(shell: Shell) -> None:
    terminal = shell(rows=33, columns=111)
    terminal.until(PROMPT)
    terminal.type("stty size\r")
    terminal.until("33 111\r\n")
    terminal.until(PROMPT)
    terminal.resize(44, 122)
    terminal.until(PROMPT)
    terminal.type("stty size\r")
    terminal.until("44 122\r\n")
    terminal.type("\x04")
    assert terminal.ended() == 0


def test_keys_go_to_the_program_in_the_pod(shell: Shell) -> None:
    terminal = shell()
    terminal.until(PROMPT)
    terminal.type("sleep 1000\r")
    terminal.until("sleep 1000\r\n")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.until(r"\^C\r\n")
    terminal.until(PROMPT)
    terminal.type("echo status $?\r")
    terminal.until("status 130\r\n")
    terminal.type("cat /etc/ngi\t")  # one file there: the Tab completes to its end
    terminal.until("/etc/nginx/")
    terminal.type("\x15\x1c\x1aexit\r")
    assert terminal.ended() == 0
    assert not terminal.is_raw


def test_what_is_pasted_arrives_whole(shell: Shell) -> None:
    terminal = shell()
    terminal.until(PROMPT)
    lines = "".join(f"line {number}\t\u20ac\n" for number in range(5000))
    terminal.type("cat > /tmp/pasted; wc -l -c < /tmp/pasted\r")
    terminal.until(r"pasted\r\n")
    terminal.type("")
    for start in range(0, len(lines.encode()), 1000):
        terminal.type(lines.encode()[start : start + 1000])
        terminal._read(0)
    terminal.type("\x04")
    terminal.until(rf" *5000 +{len(lines.encode())}\r\n")
    terminal.type("\x1b[200~echo 'a\tb'\recho two\x1b[201~\r")
    terminal.until("a\tb\r\ntwo\r\n")
    terminal.type("rm /tmp/pasted; exit\r")
    assert terminal.ended() == 0


def test_another_program_can_be_named(shell: Shell) -> None:
    terminal = shell("deploy/nginx", "--", "sh", "-c", "tty; exit 3")
    terminal.until("/dev/pts/0\r\n")
    assert terminal.ended() == 3
    terminal = shell("--", "cat", "/etc/hostname")
    terminal.until("nginx-")
    assert terminal.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_terminal_as_it_was(shell: Shell, number: int) -> None:
    terminal = shell()
    terminal.until(r"\x1b\[\?2004h")
    os.kill(terminal.pid, number)
    assert terminal.ended() == 128 + number
    assert not terminal.is_raw
    assert terminal.said.count("\x1b[?2004h") == 1
    assert terminal.said.endswith("\x1b[?2004l\x1b[0m\r\nlabkit: Stopped.\r\n")


def test_it_goes_on_after_a_stop(shell: Shell) -> None:
    terminal = shell()
    terminal.until(PROMPT)
    os.kill(terminal.pid, signal.SIGSTOP)
    terminal.resize(20, 70)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until(PROMPT)  # drawn anew for the other size
    terminal.type("stty size; exit\r")
    terminal.until("20 70\r\n")
    assert terminal.ended() == 0


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_lost_connection_is_told_in_a_line(
    new_lab: Callable[..., Endpoints], environ: dict[str, str], workshop: Path, how: str
) -> None:
    lab = new_lab()
    Lab.connect(home=lab.home, root=workshop).ensure("nginx")
    terminal = Terminal([*LABKIT, "shell"], {**environ, "LABKIT_HOME": str(lab.home)})
    terminal.until(PROMPT)
    terminal.type("printf '\\033[?1049h\\033[?25l'\r")
    terminal.until(r"\x1b\[\?1049h")
    terminal.until(PROMPT)
    if how == "killed":
        os.kill(lab.pid, signal.SIGKILL)
    else:
        client.stop(lab.home)
    assert terminal.ended() == (1 if how == "killed" else 137)
    assert not terminal.is_raw
    end = terminal.said[terminal.said.rindex("\x1b[?1049l") :]
    assert "\x1b[?25h" in end
    if how == "killed":
        assert "labkit: The connection to `bash` was lost" in end
        assert "  What to do: " in end
    else:
        assert "labkit: It was killed in the pod (exit code 137)" in end
    assert "Traceback" not in terminal.said
    terminal.close()


def test_without_a_terminal_it_passes_input_and_output_on(piped: Piped) -> None:
    done = piped(stdin=b"echo out; echo err >&2; exit 5\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 5)
    data = os.urandom(3_000_000)
    done = piped("deploy/nginx", "--", "cat", stdin=data)
    assert done.stdout == data
    assert done.returncode == 0
    done = piped("-n", "default", "-c", "nginx", "deploy/nginx", "--", "tty")
    assert (done.stdout, done.returncode) == (b"not a tty\n", 1)


def test_a_file_and_nothing_at_all_are_input_too(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text("echo from a file\n")
    for source, wanted in ((tmp_path / "script", b"from a file\n"), (Path(os.devnull), b"")):
        with source.open("rb") as stdin:
            done = subprocess.run([*LABKIT, "shell"], env=environ, stdin=stdin, capture_output=True, timeout=60)
        assert (done.stdout, done.stderr, done.returncode) == (wanted, b"", 0)
    command = ["sh", "-c", '"$@" <&-', "sh", *LABKIT, "shell", "--", "cat"]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


def test_a_reader_that_goes_away_ends_it(environ: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *LABKIT, "shell", "--", "yes"],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"y\n", b"")


def test_output_to_a_file_is_not_a_terminal_s(environ: dict[str, str], tmp_path: Path) -> None:
    command = ["sh", "-c", f'"$@" > {tmp_path}/out', "sh", *LABKIT, "shell", "--", "sh", "-c", "echo a; echo b"]
    terminal = Terminal(command, environ)
    assert terminal.ended() == 0
    assert (tmp_path / "out").read_bytes() == b"a\nb\n"
    terminal.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deploy/ngnix"], "Namespace default has no ngnix. Pods there: nginx-"),
        (["-n", "nowhere"], "Namespace nowhere has no nginx. There are no pods there"),
        (["-c", "ngnix"], "has no container 'ngnix'.\n  What to do: Did you mean 'nginx'?"),
        (["--", "nosuch"], '"nosuch": executable file not found in $PATH'),
        (["a/b/c/d"], "names no pod"),
        (["deploy/nginx", "bash"], "Got unexpected extra argument (bash)"),
        (["--sideways"], "No such option"),
        ([""], "'' names no pod"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_with_what_to_do(piped: Piped, arguments: list[str], said: str) -> None:
    done = piped(*arguments)
    assert done.returncode in (1, 2)
    text = done.stderr.decode()
    assert text.startswith("labkit: ")
    assert said in text
    assert "  What to do: " in text
    assert "Traceback" not in text


def test_a_pod_that_has_ended_and_a_pod_with_two_containers(shell: Shell, piped: Piped, home: Path) -> None:
    kube = Lab.connect(home=home).kube

    def pod(name: str, **spec: object) -> None:
        runs = {"image": "nginx:1.29.3", "command": ["sleep", "1000"]}
        containers = [{"name": "one", **runs}, {"name": "two", **runs}]
        kube.apply_one(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
             "spec": {"containers": containers, "restartPolicy": "Never", **spec}}
        )  # fmt: skip
        phase = "Succeeded" if spec else "Running"
        poll(lambda: ((kube.get("Pod", name) or {}).get("status") or {}).get("phase") == phase or None, phase, 20)

    pod("both")
    terminal = shell("both")
    assert "This is container one of pod both of the embedded lab (others: two)" in terminal.until(r"both:/# ")
    terminal.type("exit\r")
    assert terminal.ended() == 0
    assert piped("both", "-c", "two", "--", "cat", "/etc/hostname").stdout == b"both\n"
    ends = [{"name": "one", "image": "nginx:1.29.3", "command": ["true"]}]
    pod("done", containers=ends)
    said = piped("done").stderr.decode()
    assert "cannot exec into a container in a completed pod" in said
    for name in ("both", "done"):
        kube.delete([item] if (item := kube.get("Pod", name)) else [])


def test_a_container_without_a_shell_says_so(piped: Piped, home: Path, shell: Shell) -> None:
    lab = Lab.connect(home=home)
    lab.exec("deploy/nginx", "mv", "/usr/bin/bash", "/usr/bin/was-bash")
    try:
        terminal = shell()
        terminal.until("# ")
        terminal.type("echo $0; exit\r")
        terminal.until("sh\r\n")
        assert terminal.ended() == 0
        assert terminal.said.count("This is pod") == 1
        lab.exec("deploy/nginx", "was-bash", "-c", "mv /usr/bin/dash /usr/bin/was-dash")
        said = piped().stderr.decode()
    finally:
        lab.exec(
            "deploy/nginx", "was-bash", "-c", "mv /usr/bin/was-dash /usr/bin/dash; mv /usr/bin/was-bash /usr/bin/bash"
        )
    assert "has no shell: its image has neither bash nor sh." in said
    assert "labkit shell POD -- PROGRAM" in said


def test_on_eks_it_names_the_cluster() -> None:
    from labkit.cli.shell import where
    from labkit.kube import Place
    from labkit.settings import Settings

    said = where(Place("default", "web-1", "web"), Settings.load(target="eks", cluster="prod"))
    assert (
        said == "This is pod web-1 on cluster prod: commands here run in the pod, not on your computer. Ctrl-D leaves."
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("aply",), "'apply'"),
        (("shel",), "'shell'"),
        (("attack", "rum"), "'run'"),
        (("rules", "chek"), "'check'"),
        (("alerts", "--sinse", "1h"), "'--since'"),
        (("run", "--onyl", "03"), "'--only'"),
    ],
)
def test_what_is_spelled_like_a_word_that_is_there_names_it(typed: tuple[str, ...], meant: str) -> None:
    result = CliRunner().invoke(main, typed)
    assert result.exit_code == 2
    assert f"Did you mean {meant}" in result.stderr
    assert result.stderr.count("Did you mean") == 1


def test_what_is_like_no_other_word_names_none() -> None:
    assert "Did you mean" not in CliRunner().invoke(main, ["xyzzy"]).stderr
