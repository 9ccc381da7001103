"""The embedded lab's process: starting, finding, losing and stopping it."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ekslab import cli, client, identity, server, state
from ekslab.client import EksLabError, NoLabError, NotRunningError
from ekslab.identity import ServerCertificate
from ekslab.state import Endpoints

NewLab = Callable[..., Endpoints]


def test_starting_twice_gives_the_same_lab(embedded: Endpoints, new_lab: NewLab) -> None:
    again = new_lab(home=embedded.home)
    assert again == embedded


def test_it_listens_on_loopback_only(embedded: Endpoints) -> None:
    ports = {embedded.aws_port, embedded.kubernetes_port}
    listening = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address, port = line.split()[1].split(":")
        if line.split()[3] == "0A":
            listening[int(port, 16)] = address
    assert {listening[port] for port in ports} == {"0100007F"}


def test_its_files_are_private(embedded: Endpoints) -> None:
    for name in ("lab.json", "kubeconfig", "ca.crt"):
        assert stat.S_IMODE((embedded.home / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(embedded.home.stat().st_mode) == 0o700


def test_a_lab_lets_other_processes_first_where_it_is_asked_to(
    new_lab: NewLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux shares processors among sessions before it looks at processes, unless that is switched off."""
    monkeypatch.setenv(server.NICE, "10")
    pid = new_lab().pid
    group = Path(f"/proc/{pid}/autogroup")
    deadline = time.monotonic() + 20
    while os.getpriority(os.PRIO_PROCESS, pid) < 10 or (group.exists() and "nice 10" not in group.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_health_check_needs_the_token(embedded: Endpoints) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", embedded.aws_port, timeout=10)
    connection.request("GET", client.HEALTH_PATH, headers={"Authorization": "Bearer wrong"})
    assert connection.getresponse().status == 401
    report = client.health(embedded)
    assert report is not None
    assert report["pid"] == embedded.pid
    assert report["memory"] < 250e6


def test_load_is_set_on_a_running_lab_and_ends_with_the_block(embedded: Endpoints) -> None:
    off = {"latency": 0.0, "query_seconds": 0.0, "quotas": {}}
    assert client.load(embedded) == off
    with client.under_load(embedded, latency=0.001, quotas={"FilterLogEvents": 5}) as load:
        assert (load["latency"], load["query_seconds"], load["quotas"]["FilterLogEvents"]) == (0.001, 1.0, 5)
        with client.under_load(embedded, quotas=True) as inner:
            assert (inner["latency"], inner["quotas"]["FilterLogEvents"]) == (0.0, 25)
        assert client.load(embedded) == load
        report = client.health(embedded)
        assert report is not None
        assert report["load"] == load
    assert client.load(embedded) == off
    with pytest.raises(EksLabError, match="latency is -1"):
        client.set_load(embedded, latency=-1)
    assert client.load(embedded) == off


def test_two_folders_are_two_labs(embedded: Endpoints, new_lab: NewLab) -> None:
    other = new_lab()
    assert other.pid != embedded.pid
    assert {other.aws_port, other.kubernetes_port}.isdisjoint({embedded.aws_port, embedded.kubernetes_port})
    assert other.credentials != embedded.credentials
    assert client.stop(other.home)
    assert client.find(other.home) is None
    assert client.find(embedded.home) == embedded


@pytest.mark.start_up
def test_however_a_lab_ends_the_next_one_has_the_same_door(new_lab: NewLab) -> None:
    first = new_lab()
    lab = first
    for end in (signal.SIGKILL, signal.SIGTERM, None):
        if end is None:
            assert client.stop(lab.home)
        else:
            os.kill(lab.pid, end)
            assert client._wait_for_exit(lab.pid, 10)
        assert client.find(lab.home) is None
        assert lab.kubeconfig.exists()  # without it, kubectl would look for a cluster elsewhere
        back = new_lab(home=lab.home)
        assert back.pid != lab.pid
        assert replace(back, pid=first.pid, id=first.id) == first
        lab = back


def test_a_certificate_that_expires_soon_is_replaced(new_lab: NewLab, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = new_lab()
    assert not stopped.certificate.expires_soon
    client.stop(stopped.home)
    monkeypatch.setattr(identity, "_LIFETIME", dt.timedelta(days=20))
    old = ServerCertificate.for_loopback()
    monkeypatch.undo()
    assert old.expires_soon
    state.write(replace(stopped, certificate=old))
    state.remove(stopped.home)
    back = new_lab(home=stopped.home)
    assert back.certificate not in (old, stopped.certificate)
    assert back.credentials == stopped.credentials
    assert client.health(back) is not None


@pytest.fixture
def stopped(new_lab: NewLab) -> Iterator[Endpoints]:
    """A lab that is stopped, as by Ctrl-Z or a computer that sleeps."""
    lab = new_lab()
    os.kill(lab.pid, signal.SIGSTOP)
    yield lab
    with contextlib.suppress(ProcessLookupError):
        os.kill(lab.pid, signal.SIGCONT)


def test_a_stopped_lab_is_told_from_one_that_has_ended(stopped: Endpoints) -> None:
    cont = f"It is stopped (pid {stopped.pid}): `kill -CONT {stopped.pid}` lets it go on"
    for use in (client.ensure_running, client.running):
        with pytest.raises(NotRunningError, match="does not answer") as caught:
            use(stopped.home)
        assert caught.value.hint == f"{cont}; `python -m ekslab down` and `python -m ekslab up` start anew."
        assert not isinstance(caught.value, NoLabError)
    status = client.status(stopped.home)
    assert status.details == {"running": False, "home": str(stopped.home), "state": "stopped", "pid": stopped.pid}
    assert status.text == f"Not answering ({stopped.home}).\n  {caught.value.hint}"
    os.kill(stopped.pid, signal.SIGCONT)
    assert client.running(stopped.home) == stopped
    os.kill(stopped.pid, signal.SIGSTOP)
    assert client.stop(stopped.home)
    assert not client._alive(stopped.pid)
    assert client.silence(stopped.home) == ""


def test_a_process_that_is_not_waited_for_has_ended() -> None:
    """As in a container, where the processes that others have started may be left to a process 1 that ignores them."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert client._state(process.pid) == "Z"
    assert not client._alive(process.pid)
    process.wait()


@pytest.mark.parametrize("after", [signal.SIGTERM, signal.SIGCONT])
def test_a_process_that_ends_by_itself_meanwhile_is_ended(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    kill = os.kill

    def killed(pid: int, number: int) -> None:
        kill(pid, number)
        if number == after:
            process.kill()
            process.wait()  # and its number is nobody's

    monkeypatch.setattr(os, "kill", killed)
    client._end(process.pid)
    client._end(process.pid)


def test_after_a_crash_the_loss_is_reported_once(new_lab: NewLab, capsys: pytest.CaptureFixture[str]) -> None:
    crashed = new_lab()
    os.kill(crashed.pid, signal.SIGKILL)
    assert client._wait_for_exit(crashed.pid, 10)
    with pytest.raises(NoLabError, match="has ended, and what was in it is gone") as caught:
        client.running(crashed.home)
    assert caught.value.ended
    assert client.status(crashed.home).details["state"] == "ended"
    lost: list[Path] = []
    again = new_lab(home=crashed.home, on_loss=lost.append)
    assert lost == [crashed.home]
    os.kill(again.pid, signal.SIGKILL)
    assert client._wait_for_exit(again.pid, 10)
    new_lab(home=crashed.home)
    new_lab(home=crashed.home)
    assert capsys.readouterr().err == (
        f"The embedded lab in {crashed.home} has ended (killed, or the computer restarted), "
        "and what was in it is gone. A new one was started.\n"
    )
    client.stop(crashed.home)
    with pytest.raises(NoLabError, match="No embedded lab is running") as caught:
        client.running(crashed.home)
    assert not caught.value.ended
    assert client.status(crashed.home).details["state"] == "none"


def test_calls_are_recorded_of_one_namespace_until_the_end_of_the_block(embedded: Endpoints) -> None:
    with client.recording(embedded, "nowhere") as lines:
        assert lines == []
    assert lines == []
    with pytest.raises(NotRunningError, match=r"did not answer DELETE .*There is no such recording"):
        client._request(embedded, "DELETE", f"{client.RECORDING_PATH}?id=0")


def test_a_state_file_of_nonsense_is_replaced(new_lab: NewLab, tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text('{"pid": "x"')
    endpoints = new_lab(home=tmp_path)
    assert client.find(tmp_path) == endpoints


def test_a_lab_whose_state_file_was_lost_is_ended_not_orphaned(new_lab: NewLab) -> None:
    lost = new_lab()
    (lost.home / "lab.json").write_text("garbage")
    back = new_lab(home=lost.home)
    assert back.pid != lost.pid
    assert not client._alive(lost.pid)
    (lost.home / "lab.json").unlink()
    assert client.stop(lost.home)
    assert not client._alive(back.pid)


def test_another_program_on_its_port_is_not_taken_for_it(new_lab: NewLab) -> None:
    stopped = new_lab()
    os.kill(stopped.pid, signal.SIGKILL)
    assert client._wait_for_exit(stopped.pid, 10)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", stopped.aws_port))
        other.listen()
        back = new_lab(home=stopped.home)
        assert back.aws_port != stopped.aws_port
        assert client.health(back) is not None


@pytest.mark.start_up
def test_a_port_in_use_is_named(new_lab: NewLab) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(NotRunningError, match=rf"a port is in use \({port}\)"):
            new_lab(aws_port=port)


def test_a_running_lab_does_not_move_to_another_port(embedded: Endpoints, new_lab: NewLab) -> None:
    with pytest.raises(NotRunningError, match="already running"):
        new_lab(home=embedded.home, aws_port=embedded.aws_port + 1)


def test_it_ends_by_itself_when_nobody_uses_it(new_lab: NewLab) -> None:
    endpoints = new_lab(idle_minutes=0.02)
    assert client._wait_for_exit(endpoints.pid, 20)
    assert state.read(endpoints.home) is None
    assert state.previous(endpoints.home) == endpoints
    assert "idle for 0.02 minutes" in client.log_file(endpoints.home).read_text()


def test_a_state_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotRunningError, match="can't be used: Not a directory") as caught:
        client.ensure_running(tmp_path / "file" / "lab")
    assert "EKSLAB_HOME" in caught.value.hint


def test_it_survives_the_end_of_the_process_that_started_it(new_lab: NewLab, tmp_path: Path) -> None:
    code = f"import pathlib, ekslab.client as c; print(c.ensure_running(pathlib.Path({str(tmp_path)!r})).pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = new_lab(home=tmp_path)
    assert str(found.pid) == done.stdout.strip()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("region", "mars"),
        ("region", "x y"),
        ("region", ""),
        ("cluster", ""),
        ("cluster", "a b"),
        ("nodes", 0),
        ("nodes", 99),
        ("idle_minutes", 0),
        ("idle_minutes", -1),
        ("idle_minutes", float("nan")),
        ("idle_minutes", float("inf")),
    ],
)
def test_a_setting_that_is_out_of_its_range_starts_nothing(tmp_path: Path, setting: str, value: Any) -> None:
    with pytest.raises(EksLabError, match=rf"^{setting} can't be .*\n  What to do: Give "):
        client.ensure_running(tmp_path / ".ekslab", **{setting: value})
    assert not (tmp_path / ".ekslab").exists()


def test_a_home_may_be_a_text(embedded: Endpoints, tmp_path: Path) -> None:
    assert client.find(str(embedded.home)) == client.running(str(embedded.home)) == embedded
    assert client.status(str(embedded.home)).running
    assert not client.stop(str(tmp_path / "none"))


def test_up_names_the_home_that_the_next_command_needs(embedded: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EKSLAB_HOME", raising=False)
    said = CliRunner().invoke(cli.main, ["up", "--home", str(embedded.home)]).output
    assert said.endswith(f'eval "$(python -m ekslab env --home {embedded.home})"\n')
    monkeypatch.setenv("EKSLAB_HOME", str(embedded.home))
    assert CliRunner().invoke(cli.main, ["up"]).output.endswith('eval "$(python -m ekslab env)"\n')
