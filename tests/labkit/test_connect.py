"""The embedded lab as labkit reaches it: started, found, lost, and its errors in labkit's words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ekslab import client
from ekslab.client import Endpoints
from labkit import Lab
from labkit.cli import main
from labkit.connect import labkit_errors, labkit_words
from labkit.errors import LabError, NoLabError, NotRunningError

NewLab = Callable[..., Endpoints]


def test_errors_of_the_lab_become_labkits_with_its_command_and_variables() -> None:
    with pytest.raises(NoLabError, match=r"^gone") as lost, labkit_errors():
        raise client.NoLabError("gone", ended=True, hint="Start it with `python -m ekslab up`.")
    assert (lost.value.ended, lost.value.hint) == (True, "Start it with `labkit up`.")
    with pytest.raises(NotRunningError, match=r"^full") as full, labkit_errors():
        raise client.NotRunningError("full", hint="Set EKSLAB_HOME.")
    assert (type(full.value), full.value.hint) == (NotRunningError, "Set LABKIT_HOME.")
    assert labkit_words("`python -m ekslab down` and `python -m ekslab up`") == "`labkit down` and `labkit up`"


@pytest.fixture
def stopped(new_lab: NewLab) -> Iterator[Endpoints]:
    """A lab that is stopped, as by Ctrl-Z or a computer that sleeps."""
    lab = new_lab()
    os.kill(lab.pid, signal.SIGSTOP)
    yield lab
    with contextlib.suppress(ProcessLookupError):
        os.kill(lab.pid, signal.SIGCONT)


def test_a_lab_that_is_stopped_is_told_from_one_that_has_ended(
    stopped: Endpoints, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(stopped.pid, signal.SIGCONT)
    lab = Lab.connect(home=stopped.home, root=workshop)
    os.kill(stopped.pid, signal.SIGSTOP)
    cont = f"It is stopped (pid {stopped.pid}): `kill -CONT {stopped.pid}` lets it go on"
    for use in (
        lambda: Lab.connect(home=stopped.home, root=workshop),
        lambda: Lab.connect(home=stopped.home, root=workshop, start=False),
        lab.alerts,
        lambda: lab.exec("deploy/nginx", "id"),
        lambda: lab.aws.client("iam").list_roles(),
        lab.status,
    ):
        with pytest.raises(LabError) as caught:
            use()
        assert cont in caught.value.hint
        assert "ended" not in str(caught.value)
    monkeypatch.setenv("LABKIT_HOME", str(stopped.home))
    told = CliRunner().invoke(main, ["status"])
    assert (told.exit_code, cont in told.output) == (1, True)
    told = CliRunner().invoke(main, ["status", "--json"])
    assert json.loads(told.output) == {
        **{"running": False, "home": str(stopped.home), "state": "stopped", "pid": stopped.pid}
    }
    assert cont in CliRunner().invoke(main, ["alerts"]).stderr
    os.kill(stopped.pid, signal.SIGCONT)
    assert len(lab.status().rows) > 10  # and goes on, with the same clients
    os.kill(stopped.pid, signal.SIGSTOP)
    assert CliRunner().invoke(main, ["down"]).output == "Stopped.\n"
    assert not client._alive(stopped.pid)


def test_after_a_crash_it_is_told_that_the_lab_is_new_and_what_is_gone(
    new_lab: NewLab, workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed = new_lab()
    monkeypatch.setenv("LABKIT_HOME", str(crashed.home))
    told = "has ended (killed, or the computer restarted), and what was in it is gone: "
    gone = "pods, logs, alarms and the steps log-group. A new one was started; apply again what you need."
    pid = crashed.pid
    for start in (
        lambda: Lab.connect(home=crashed.home, root=workshop),
        lambda: CliRunner().invoke(main, ["up"]),
        lambda: CliRunner().invoke(main, ["exec", "nginx", "id"]),
    ):
        Lab.connect(home=crashed.home, root=workshop).apply("log-group")
        capsys.readouterr()
        os.kill(pid, signal.SIGKILL)
        assert client._wait_for_exit(pid, 10)
        status = json.loads(CliRunner().invoke(main, ["status", "--json"]).output)
        assert status["state"] == "ended"
        result = start()
        said = capsys.readouterr().err + getattr(result, "stderr", "")
        assert said.count(told) == 1
        assert gone in said
        assert "Starting a new one" not in said
        pid = client.running(crashed.home).pid
    Lab.connect(home=crashed.home, root=workshop)
    assert capsys.readouterr().err == ""


def test_up_status_env_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "lab"))
    labkit = CliRunner()
    assert labkit.invoke(main, ["status"]).exit_code == 1
    assert "labkit up" in labkit.invoke(main, ["env"]).output
    assert "labkit up" in labkit.invoke(main, ["status"]).output
    try:
        started = labkit.invoke(main, ["up"])
        assert started.exit_code == 0, started.output
        assert "Started in" in started.output
        assert "was running" in labkit.invoke(main, ["up"]).output
        report = json.loads(labkit.invoke(main, ["status", "--json"]).output)
        assert report["running"]
        assert f"export AWS_ENDPOINT_URL={report['aws_url']}\n" in labkit.invoke(main, ["env"]).output
    finally:
        stopped = labkit.invoke(main, ["down"])
    assert stopped.output == "Stopped.\n"
    assert labkit.invoke(main, ["down"]).exit_code == 0
    assert not (tmp_path / "lab" / "lab.json").exists()
