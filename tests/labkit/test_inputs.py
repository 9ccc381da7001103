"""Every input of every command and setting has a bound: what can't be used ends in a few lines that say what to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ekslab.state import Endpoints
from falcorules.files import read
from labkit import Lab
from labkit.cli import COMMANDS, main
from labkit.errors import SettingsError
from labkit.settings import Settings

LONG = "x" * 100_000
# As arguments come from a shell. None of them is a good value for any option or argument that isn't free text.
BAD = ["", " ", "nan", "inf", "-1", "1e99", LONG, "\x01\x1b[31m", "\udcff", "../x", "a\nb\nc\nd\ne\nf", "$(id)", "💥"]
NUMBERS = ["", " ", "nan", "inf", "-1", "1e99", "9" * 400, "1_0", "٣", "0x10", "\udcff", "99999"]
FILES = ["", " ", "/", "/nowhere/x", "/dev/null/x", "LOOP", "PIPE", "/dev/zero", "/dev/full", LONG, "\udcff", "a\nb"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names of files that are odd."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    return {"LOOP": str(folder / "loop"), "PIPE": str(folder / "pipe")}


@pytest.fixture(scope="module")
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    lab = Lab.connect(home=embedded.home, root=workshop)
    lab.ensure("nginx", "log-group")
    return lab


def refused(arguments: list[str], *, at_most: int = 4) -> str:
    """What a command says on stderr when it refuses: a few lines, without a traceback."""
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), (result.exception, result.output)
    assert result.exit_code in (1, 2), (result.exit_code, result.output)
    assert "Traceback" not in result.output
    assert "fault of labkit itself" not in result.stderr, result.stderr
    said = result.stderr
    assert said.strip()
    assert len(said.splitlines()) <= at_most, said
    assert len(said) < 3000, said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", said), said
    return said


OFFLINE = [
    *(["rules", verb, value] for verb in ("list",) for value in FILES if value not in ("/",)),
    *(["rules", "check", value] for value in ("", " ", "\udcff")),
    *(["rules", "list", "--values", value] for value in FILES if value != "/dev/full"),
    *(["rules", "explain", value, "--default-rules"] for value in BAD),
    *(["rules", "explain", "--default-rules"], ["rules", "why", "X", "--default-rules"], ["rules", "list"]),
    *(["rules", "replay", "--default-rules", "--events", value] for value in FILES if value != "/dev/full"),
    *(["rules", "replay", "--default-rules", "--events", "/dev/null", "--priority", value] for value in BAD),
    *(["rules", "replay", "--default-rules", "--events", "/dev/null", "--matching", value] for value in BAD),
    *(["rules", "why", value, "--default-rules", "--events", "/dev/null"] for value in BAD),
    *(["rules", "why", "X", "--default-rules", "--events", "/dev/null", "--number", v] for v in NUMBERS if v != "-1"),
    *(["rules", "fields", value] for value in BAD if value not in ("", " ", "inf")),
    *(
        ["rules", "fetch", "--url", value]
        for value in (" ", "nan", "file:///dev/zero", "file:///nowhere", "\udcff", "x:y")
    ),
    *(["rules", "lock", "--registry", value] for value in (*BAD, "x:y", "http://127.0.0.1:1")),
    *(["rules", "fetch", "--url", "file:///nowhere", "--to", value] for value in ("", " ", "\udcff")),
    *(["run", "--only", value] for value in ("nan", "-1", LONG, "\x01", "\udcff", "99")),
    *(["run", "--target", value] for value in BAD),
    *(["run", "--output", value] for value in ("", " ", "/dev/null", "/dev/null/x", "LOOP", "\udcff")),
    *(["run", "--junit", value] for value in ("", " ", "\udcff")),
    *(
        ["run", "-p", name, value]
        for name in ("region", "cluster")
        for value in BAD
        if value not in ("nan", "inf", "1e99")
    ),
    *(["run", "-p", value, "x"] for value in BAD),
    *(["apply", value] for value in [*BAD, "flaco"]),
    *(["teardown", value] for value in [*BAD, "flaco"]),
    *(
        ["up", option, value]
        for option in ("--aws-port", "--kubernetes-port", "--nodes")
        for value in NUMBERS
        if value not in ("1_0", "٣")
    ),
    *(["up", option, value] for option in ("--aws-latency", "--query-time") for value in [*BAD, "-1", "soon"]),
    *(["up", "--aws-quota", value] for value in [*BAD, "FilterLogEvents", "FilterLogEvents=soon"]),
    *(["up", "--noise", value] for value in ("nan", "-1", "121", "soon")),
    *(["up", "--noise-seed", value] for value in ("nan", "1.5", "soon")),
    *(["alerts", "--until", value] for value in [*BAD, "2026-13-45T00:00Z"]),
    *(["alerts", "--limit", value] for value in ("", "nan", "-1", "0", "many")),
    *(["alerts", "--priority", value] for value in BAD),
    *(["alerts", "--by", value] for value in [*BAD, "page"]),
    *(["alerts", "--since", value] for value in [*BAD, "99999999w", "1h" * 5000, "2026-13-45T00:00Z", "5"]),
    *(["alerts", "--format", value] for value in BAD),
    *(["attack", "run", "read-shadow", "--timeout", value] for value in [*BAD, "-1", "soon"]),
    *(["attack", value] for value in BAD),
    *(["class", "up", "--attendees", value] for value in ("", "nan", "-1", "0", "100", "many")),
    *(["class", "up", "--names", value] for value in BAD if value not in ("nan", "inf", "1e99")),
    *(["class", "up", "--names", "anna", "--trust", value] for value in [*BAD, "anna=", "arn:aws:iam::1:user/anna"]),
    *(["class", verb, value] for verb in ("env", "remove", "nope") for value in BAD),
    *(["class", "up"], ["class", "up", "--attendees", "2", "--names", "anna"], ["class", "env"], ["class", "remove"]),
    *(["preflight", "--chapters", value] for value in BAD if value.strip()),
    *(["attack", "run", "--all", "--tier", value] for value in BAD),
    *(["diagnose", "--home", value] for value in FILES if value not in ("/dev/full",)),
    *([value] for value in BAD if value),
    # `labkit lab` hands what it doesn't know on to JupyterLab.
    *([command, "--no-such-option"] for command in COMMANDS if command != "lab"),
]


@pytest.mark.parametrize("arguments", OFFLINE, ids=lambda arguments: ascii(" ".join(arguments))[:70])
def test_a_command_refuses_what_it_cannot_use(
    arguments: list[str], odd: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Path
) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "no-lab"))  # where none is running, and none is to be started
    monkeypatch.chdir(workshop)
    monkeypatch.setattr("ekslab.client._start", lambda *_: pytest.fail("a lab was started"))
    monkeypatch.setattr("falcorules.files.PATIENCE", 0.1)
    refused([odd.get(argument, argument) for argument in arguments])


IN_THE_LAB = [
    *(["exec", value, "id"] for value in BAD),
    *(["exec", "deploy/nginx", "--", value] for value in ("", " ", "\udcff", "\x01", "no-such-program")),
    *(["exec", "-c", value, "deploy/nginx", "id"] for value in BAD if value),
    *(["exec", "--record", value, "deploy/nginx", "id"] for value in FILES if value not in ("/dev/zero", "a\nb")),
    *(["exec", "deploy/nginx"], ["exec"]),
    *(["shell", value] for value in BAD),
    *(["shell", option, value] for option in ("--namespace", "-c") for value in BAD if value),
    *(["shell", "--", value] for value in ("", " ", "\udcff", "\x01", "no-such-program")),
    *(["attack", "run", value] for value in BAD),
    *(["attack", "run", "--target", value, "control-read-passwd"] for value in BAD),
]


@pytest.mark.parametrize("arguments", IN_THE_LAB, ids=lambda arguments: ascii(" ".join(arguments))[:70])
def test_a_command_in_the_lab_refuses_what_it_cannot_use(
    arguments: list[str], lab: Lab, odd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(lab.settings.home))
    monkeypatch.setenv("LABKIT_ROOT", str(lab.settings.root))
    refused([odd.get(argument, argument) for argument in arguments])


def test_every_command_and_option_is_tried() -> None:
    tried = {word for arguments in OFFLINE + IN_THE_LAB for word in arguments}
    free_text = {"--stdin", "--rule", "--pod"}  # any text will do
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        for one in (command, *getattr(command, "commands", {}).values()):
            for option in one.params:
                if isinstance(option, click.Option) and not option.is_flag:
                    assert {*option.opts} & (tried | free_text), (name, option.opts)


VALUES = {
    "target": ["", "gke", "EKS"],
    "region": ["", "../x", "US-EAST-1", "us east 1", "us-east-1\n", LONG],
    "cluster": ["", "../x", "a b", "-x", "é", "x" * 101],
    "context": ["a\nb", "\x01", LONG],
    "profile": ["a]", "a\nb", "\x01", LONG],
    "role": ["role/a", "arn:aws:iam::1:role/a", "arn:aws:iam::111122223333:user/a", "\x01", LONG],
    "identity": ["", "IRSA", "pod identity", LONG],
    "log_group": ["", " ", "a b", "*", "x" * 513],
    "log_stream": ["", "a:b", "*", "\x01"],
    "role_name": ["", "a b", "a/b", "x" * 65],
    "prefix": ["", " ", "../x", "a b"],
    "rule_tiers": [" ", "stable", "sandbox,incubating", "incubating,", "INCUBATING", LONG],
    "falco_privileges": ["", "some", "ALL", LONG],
    "attendee": [" ", "A", "a-b", "../x", "é", "x" * 13],
    **{
        name: ["", "A", "a.b", "-a", "../x", "x" * 64]
        for name in ("logging_namespace", "falco_namespace", "app_namespace")
    },
    **dict.fromkeys(("retention_days", "nodes", "aws_port", "kubernetes_port"), NUMBERS),
    **{
        name: ["", "nan", "inf", "-1", "1e99", "\udcff", "soon"]
        for name in ("timeout", "alert_timeout", "idle_minutes")
    },
    "home": ["", " ", "~nouser", "\udcff", "a\0b", "LOOP"],
    "root": ["", " ", "~nouser", "\udcff"],
}


def test_every_setting_has_bounds() -> None:
    assert set(VALUES) == set(Settings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, vs in VALUES.items() for v in vs], ids=lambda v: ascii(v)[:40]
)
def test_a_setting_refuses_what_it_cannot_be(name: str, value: str, odd: dict[str, str]) -> None:
    value = odd.get(value, value)
    for load in (
        lambda: Settings.load(environ={f"LABKIT_{name.upper()}": value}),
        lambda: Settings.load(environ={}, **{name: value}),
    ):
        with pytest.raises(SettingsError, match=name.split("_")[0] if name == "region" else f"(?i){name} is") as caught:
            load()
        assert caught.value.hint
        assert len(str(caught.value).splitlines()) == 2


def test_a_setting_takes_what_it_obviously_means() -> None:
    settings = Settings.load(environ={"LABKIT_TIMEOUT": "5m", "LABKIT_IDLE_MINUTES": "0.5", "LABKIT_NODES": "3"})
    assert (settings.timeout, settings.idle_minutes, settings.nodes) == (300.0, 0.5, 3)
    assert Settings.load(environ={}, home="~/x").home == Path.home() / "x"


# Files


def test_a_pipe_is_read_to_its_end_and_no_longer_waited_for_than_somebody_writes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            file.write("- list: a\n  items: [b]\n" * 20_000)

    threading.Thread(target=write, daemon=True).start()
    assert len(read(pipe)) == 20_000 * len("- list: a\n  items: [b]\n")


def test_a_line_of_events_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"evt.type": "execve"}\n' + b"x" * ((1 << 20) + 1))
    said = refused(["rules", "replay", "--default-rules", "--events", str(file)])
    assert "line 2 is longer than 1 MiB" in said


@pytest.mark.parametrize("command", [["check"], ["replay", "--events", "/dev/null"]])
def test_a_large_file_of_rules_is_refused_before_it_is_read_as_yaml(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(b"[" * (2 << 20))
    result = CliRunner().invoke(main, ["rules", *command, str(file)])
    assert result.exit_code == 1
    assert "It is larger than 1 MiB" in result.output


def full(command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `labkit` where no file can grow beyond a few bytes, as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))

    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "labkit.cli", *command],
        env={**os.environ, **environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_full_disk_is_said_when_the_lab_is_started(tmp_path: Path) -> None:
    done = full(["up"], LABKIT_HOME=str(tmp_path / "lab"))
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4, done.stderr
    assert re.search("can't be written|File too large|No space", done.stderr), done.stderr


# Terminals


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def typed(terminal: tuple[int, int], arguments: list[str], columns: int, home: Path) -> str:
    """What a command writes to a terminal of so many columns."""
    ours, theirs = terminal
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {**os.environ, "LABKIT_HOME": str(home), "TERM": "xterm"}
    environ.pop("COLUMNS", None)
    argv = [sys.executable, "-m", "labkit.cli", *arguments]
    with subprocess.Popen(argv, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # the other end is closed
            pass
        process.wait(60)
    return written.decode()


def seen(written: str) -> list[str]:
    """The lines that stay on a terminal: what is overwritten or wiped is gone."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in re.split(r"\r", line):
            erased = part.startswith("\x1b[K")
            part = part.removeprefix("\x1b[K")
            shown = part if erased else part + shown[len(part) :]
        lines.append(shown)
    return lines


@pytest.mark.parametrize("columns", [80, 100, 145])
@pytest.mark.parametrize("arguments", [["attack", "list"], ["status"], ["alerts"]], ids=" ".join)
def test_tables_fit_the_terminal_and_progress_is_wiped(
    terminal: tuple[int, int], arguments: list[str], columns: int, lab: Lab
) -> None:
    if arguments == ["alerts"]:
        put_alert(lab)
    lines = seen(typed(terminal, arguments, columns, lab.settings.home))
    assert max(map(len, lines)) <= columns, lines
    if arguments == ["alerts"]:
        assert "Terminal shell" in lines[0]
        assert "event" not in "".join(lines)
    else:
        assert len(lines) > 2


def put_alert(lab: Lab) -> None:
    alert = (Path(__file__).parent / "alerts/data/falco-alerts.jsonl").read_text().splitlines()[0]
    logs, now = lab.aws.client("logs"), int(lab.kube.now().timestamp() * 1000)
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName="falco", logStreamName="test")
    events = [{"timestamp": now, "message": alert}]
    logs.put_log_events(logGroupName="falco", logStreamName="test", logEvents=events)


def test_errors_have_no_control_characters_and_a_fault_is_told_in_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("\x1b[31m" + LONG)

    monkeypatch.setattr(Lab, "connect", fail)
    result = CliRunner().invoke(main, ["audit"])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert "ZeroDivisionError" in lines[0]
    (report,) = re.findall(r"report it with (\S+\.txt)", lines[1])
    assert "Traceback" in Path(report).read_text()
    Path(report).unlink()
