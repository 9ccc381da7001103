"""`labkit alerts` on the embedded lab's CloudWatch Logs."""

from __future__ import annotations

import io
import json
import re
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from labkit.alerts import diagnose, live
from labkit.cli import main
from labkit.cli.alerts import alerts
from labkit.lab import Lab


@pytest.fixture
def labkit(client: Any, group: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `labkit alerts` with these arguments on the group, returns what it printed."""
    settings = SimpleNamespace(log_group=group.name, scope="")
    lab = SimpleNamespace(
        aws=SimpleNamespace(client=lambda name: client), settings=settings, target=SimpleNamespace(settings=settings)
    )
    monkeypatch.setattr(Lab, "connect", lambda **_: lab)
    monkeypatch.setattr(diagnose, "_loaded", lambda _: {"Terminal shell in container": True})

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(alerts, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def logged(group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("old")], ago=7_200_000)
    group.put(["Falco version: 0.44.1", shell("sh -c 'a\nb'"), shell("cat", rule="Other")], ago=60_000)


@pytest.mark.usefixtures("logged")
def test_a_table_has_a_line_for_each_alert(labkit: Callable[..., str]) -> None:
    lines = labkit().splitlines()
    assert len(lines) == 2
    cells = ["2026-11-23 04:20:15", "Notice", "Terminal shell in container", "web-0", "sh -c 'a b'"]
    assert re.split(r" {2,}", lines[0]) == cells


def test_a_table_has_a_dash_for_what_is_not_known(labkit: Callable[..., str], group: Any) -> None:
    group.put([json.dumps({"rule": "R", "priority": "Blah", "time": "9999-12-31T23:59:59Z", "output": "o"})])
    group.put(["04:20:15.177232855: Notice A shell | command=sh"])
    cells = [re.split(r" {2,}", line) for line in labkit().splitlines()]
    assert cells[0][1:] == ["Notice", "-", "host", "sh"]
    assert cells[1] == ["-", "-", "R", "host", ""]


@pytest.mark.usefixtures("logged")
def test_json_lines_are_falco_s_own(labkit: Callable[..., str], shell: Callable[..., str]) -> None:
    lines = labkit("--format", "jsonl", "--since", "3h").splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(shell("old")),
        json.loads(shell("sh -c 'a\nb'")),
        json.loads(shell("cat", rule="Other")),
    ]


@pytest.mark.usefixtures("logged")
def test_csv_is_read_back_as_it_was(labkit: Callable[..., str]) -> None:
    df = pd.read_csv(io.StringIO(labkit("--format", "csv", "--rule", "Other")))
    assert df["proc.cmdline"].tolist() == ["cat"]
    assert df["tags"].tolist() == ["T1059 container maturity_stable mitre_execution shell"]
    assert labkit("--format", "csv", "--since", "1s").startswith("time,rule,priority,")


@pytest.mark.usefixtures("logged", "labkit")
@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_that_there_is_none_is_said_beside_the_output(form: str) -> None:
    result = CliRunner().invoke(alerts, ["--rule", "nope", "--format", form], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("There are no alerts of the rule 'nope' since ")


@pytest.mark.usefixtures("logged")
def test_alerts_are_chosen(labkit: Callable[..., str], group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("newest", rule="Third")], ago=1000)

    def commands(*arguments: str) -> list[str]:
        lines = labkit("--format", "jsonl", "--since", "3h", *arguments).splitlines()
        return [json.loads(line)["output_fields"]["proc.cmdline"] for line in lines]

    assert commands("--rule", "Other", "--rule", "Third") == ["cat", "newest"]
    assert commands("--limit", "2") == ["cat", "newest"]
    assert commands("--until", "1h") == ["old"]
    assert commands("--priority", "notice", "--pod", "web-0", "--rule", "Third") == ["newest"]
    assert commands("--priority", "warning") == []


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("arguments", [(), ("--rule", "Other"), ("--until", "1h"), ("--priority", "warning")])
def test_insights_reads_the_same_alerts_and_says_what_that_costs(
    labkit: Callable[..., str], arguments: tuple[str, ...]
) -> None:
    window = ("--since", "3h", "--format", "jsonl", *arguments)
    assert sorted(labkit("--by", "insights", *window).splitlines()) == sorted(labkit(*window).splitlines())
    said = CliRunner().invoke(alerts, ["--by", "insights", *window]).stderr
    assert said.startswith("Insights scans about 0.000 GB for this window: less than 0.01 US dollars")


@pytest.mark.usefixtures("logged", "labkit")
def test_insights_isn_t_asked_for_what_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.cli.alerts._MOST_DOLLARS", -1.0)
    result = CliRunner().invoke(main, ["alerts", "--by", "insights"])
    assert result.exit_code == 1
    assert "What to do: Ask for less (--since, --until), or leave --by insights out." in result.stderr


@pytest.mark.parametrize("arguments", [("--follow",), ("--limit", "3")])
def test_insights_reads_a_whole_window(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["alerts", "--by", "insights", *arguments])
    assert (result.exit_code, "leave --follow and --limit out" in result.stderr) == (2, True)


@pytest.mark.usefixtures("logged", "labkit")
def test_a_similar_rule_is_named_where_there_is_none_of_the_name() -> None:
    result = CliRunner().invoke(alerts, ["--rule", "terminal shell"], catch_exceptions=False)
    assert "Did you mean 'Terminal shell in container'?" in result.stderr


@pytest.mark.usefixtures("logged", "labkit")
def test_following_a_rule_that_is_not_there_says_so_with_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.cli.alerts.follow_events", lambda *_, **__: iter(()))
    result = CliRunner().invoke(alerts, ["--follow", "--rule", "terminal shell"], catch_exceptions=False)
    warning = result.stderr.splitlines()[0]
    assert warning.startswith("Warning: Falco has loaded no rule 'terminal shell'. Did you mean 'Terminal shell in")
    assert "`labkit apply custom-rules`" in warning
    assert "falco -L -o json_output=false` lists those it has" in warning
    assert "lab." not in warning


@pytest.mark.usefixtures("labkit")
def test_following_has_no_end() -> None:
    result = CliRunner().invoke(alerts, ["--follow", "--limit", "5"])
    assert result.exit_code == 2
    assert "--follow has no end" in result.stderr


@pytest.mark.usefixtures("logged")
def test_ctrl_c_while_it_reads_prints_what_was_read(
    labkit: Callable[..., str], client: Any, group: Any, falco_lines: list[str]
) -> None:
    group.put(falco_lines * 60, ago=50_000, step=10)

    once = [signal.SIGINT]

    def interrupt(**_: Any) -> None:
        if once:
            signal.raise_signal(once.pop())

    calls = client.meta.events
    calls.register("before-parse.cloudwatch-logs.FilterLogEvents", interrupt, unique_id="interrupt")
    try:
        result = CliRunner().invoke(alerts, ["--format", "jsonl"], catch_exceptions=False)
    finally:
        calls.unregister("before-parse.cloudwatch-logs.FilterLogEvents", interrupt, unique_id="interrupt")
    assert result.exit_code == 0
    assert "Stopped: " in result.stderr
    assert len(result.stdout.splitlines()) < 3600


@pytest.mark.usefixtures("logged")
def test_following_prints_what_is_there_and_what_comes(
    labkit: Callable[..., str], group: Any, shell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threading.Timer(0.2, lambda: group.put([shell("later")])).start()
    pauses = []

    def until_it_came(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 1:
            raise KeyboardInterrupt  # what Ctrl-C does
        threading.Event().wait(0.5)

    monkeypatch.setattr(live.time, "sleep", until_it_came)
    lines = labkit("--follow", "--format", "csv", "--rule", "Terminal shell in container").splitlines()
    df = pd.read_csv(io.StringIO("\n".join(lines)))
    assert df["proc.cmdline"].tolist() == ["sh -c 'a b'".replace(" b", "\nb"), "later"]


@pytest.mark.usefixtures("labkit")
def test_following_a_rule_that_falco_has_not_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live.time, "sleep", stop)
    result = CliRunner().invoke(alerts, ["--follow", "--rule", "Terminal shell"])
    assert "Warning: Falco has loaded no rule 'Terminal shell'. Did you mean 'Terminal shell in cont" in result.stderr


def test_a_time_that_is_none_is_an_error_of_two_sentences() -> None:
    result = CliRunner().invoke(main, ["alerts", "--since", "yesterday-ish"])
    assert result.exit_code == 1
    assert "'yesterday-ish' is not a time" in result.stderr
    assert "What to do" in result.stderr
