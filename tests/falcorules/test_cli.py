"""The commands of `python -m falcorules`."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from falcorules import EventError, FalcoRulesError, rulesets
from falcorules.cli import main
from falcorules.events import open_events
from falcorules.rulesets import RELEASES, fetch

DATA = Path(__file__).parent / "data"
RULES = """
- rule: Shadow
  desc: d
  condition: evt.type = openat and fd.name = /etc/shadow
  output: shadow %proc.name
  priority: WARNING
  tags: [a]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return str(path)


def _run(*arguments: str, stdin: str | bytes = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def _refused(*arguments: str, stdin: str | bytes = "") -> str:
    """The error of a command that can't be executed."""
    code, output = _run(*arguments, stdin=stdin)
    assert code == 1
    assert output.startswith("Error: ")
    assert "\n  What to do: " in output
    return output


def test_check(file: str, tmp_path: Path) -> None:
    assert _run("check", file) == (0, f"{file}: Ok\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text(RULES.replace("fd.name", "fd.nme"))
    code, output = _run("check", str(broken))
    assert code == 1
    assert "LOAD_ERR_COMPILE_CONDITION (Error compiling condition): filter_check called with nonexistent" in output
    code, output = _run("check", "--json", file, str(broken))
    assert code == 1
    assert [result["successful"] for result in json.loads(output)["falco_load_results"]] == [True, False]


@pytest.mark.parametrize(
    ("condition", "advice"),
    [
        ("proc.nmae = x", "What to do: Did you mean 'proc.name' or 'proc.sname' or 'proc.pname'?"),
        (
            "spawned_process and proc.name = x",
            "What to do: Falco's default rules define it: load them before (--default",
        ),
        ("spawnd_process", "What to do: Did you mean 'spawned_process'?"),
        ("proc.name foo", ""),
    ],
)
def test_check_says_what_to_do(tmp_path: Path, condition: str, advice: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"- rule: R\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.stderr.startswith(advice)
    assert bool(result.stderr) == bool(advice)


def test_check_without_the_needed_plugin(tmp_path: Path) -> None:
    path = tmp_path / "plugin.yaml"
    path.write_text("- required_plugin_versions: [{name: json, version: 0.7.0}]\n")
    code, output = _run("check", str(path))
    assert code == 1
    assert "Error: Plugin requirement not satisfied, must load one of: json (>= 0.7.0)" in output
    assert _run("check", "--json", str(path)) == (code, output)  # there is no report to print
    path.write_text("- []\n")
    assert _run("check", "--json", str(path)) == (1, "JSON value is not an object.\n")


def test_replay(file: str) -> None:
    code, output = _run("replay", file, "--events", str(DATA / "events.jsonl.gz"))
    assert code == 0
    alerts = [json.loads(line) for line in output.splitlines()]
    assert {alert["rule"] for alert in alerts} == {"Shadow"}
    assert len(alerts) >= 2
    code, output = _run(
        "replay", file, "--text", "--events", "-", stdin='{"evt.type":"openat","fd.name":"/etc/shadow"}\n\n'
    )
    assert (code, output.split(" container_id")[0]) == (0, "00:00:00.000000000: Warning shadow <NA>")


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[]", "[" * 200_000, "\xff", '{"evt.time": 1}'),
        *('{"evt.type": "open", "evt.time": "now"}', '{"evt.type": "open", "evt.time": true}'),
        *(f'{{"evt.type": "open", "evt.num": {number}}}' for number in ("1e400", "NaN", 1 << 64, "9" * 6_000)),
        *(f'{{"evt.type": "open", "proc.name": {value}}}' for value in ("{}", "[[]]", '[{"a": 1}]', "[-1e400]")),
        '{"evt.type": "open", "evt.arg": {"mode": {}}}',
    ],
    ids=lambda line: line[:40],
)
def test_replay_of_what_is_not_an_event(file: str, line: str) -> None:
    refused = _refused("replay", file, "--events", "-", stdin=b'{"evt.type":"open"}\n' + line.encode("latin-1"))
    assert refused.startswith("Error: standard input, line 2")
    assert len(refused.splitlines()) == 2


def test_replay_of_every_kind_of_value(file: str) -> None:
    event = {
        **{"evt.type": "openat", "fd.name": "/etc/shadow", "evt.time": 0, "proc.pid": (1 << 64) - 1, "evt.rawres": -1},
        **{"proc.aname": ["sh", None], "evt.arg": {"mode": 0.5, "flags": "x"}, "container.label": {"app": "web"}},
        **{"container.privileged": None, "evt.failed": False},
    }
    assert _run("replay", file, "--events", "-", stdin=json.dumps(event))[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "what", "to_do"),
    [
        ("missing", None, "No such file", "Name a file of recorded events"),
        (".", None, "Is a directory", "Name a file of recorded events"),
        ("cut.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "end-of-stream marker", "damaged or cut short"),
        ("bent.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 99, "invalid", "damaged or cut short"),
        ("plain.gz", b"{}", "Not a gzipped file", "damaged or cut short"),
    ],
)
def test_replay_of_a_file_that_can_t_be_read(
    file: str, tmp_path: Path, name: str, content: bytes | None, what: str, to_do: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused = _refused("replay", file, "--events", str(tmp_path / name))
    assert re.search(f"Can't read events from .*: .*{what}", refused)
    assert to_do in refused


def test_list_and_explain(file: str) -> None:
    assert _run("list", file) == (0, "Warning       Shadow\n              tags: a\n              events: openat\n")
    code, output = _run("explain", "shadow", file)
    assert code == 0
    assert "fields       evt.type, fd.name" in output


def test_why(file: str) -> None:
    events = str(DATA / "events.jsonl.gz")
    code, output = _run("why", "Shadow", file, "--events", events)
    assert code == 0
    assert output.startswith("'Shadow' matches openat (event ")
    assert "✓ fd.name = /etc/shadow    [/etc/shadow]" in output
    code, output = _run("why", "Shadow", file, "--events", events, "--number", "3250")
    assert (
        "'Shadow' does not match container (event 3250). What decided (✓ true, ✗ false):\n  ✗ evt.type = openat"
        in output
    )
    assert "No event has the number 1." in _refused("why", "Shadow", file, "--events", events, "--number", "1")


def test_default_rules_and_the_rules_in_a_values_file(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    indented = RULES.replace("\n", "\n    ").replace("evt.type = openat", "open_read")
    values.write_text(f"customRules:\n  mine.yaml: |-{indented}\n")
    assert _run("check", "--default-rules", "--values", str(values)) == (0, "falco_rules.yaml: Ok\nmine.yaml: Ok\n")
    code, output = _run("check", str(values))
    assert code == 1
    assert f"{values} is a values file for the Falco chart: check the rules in it with --values." in output
    code, output = _run("explain", "shadow", "--default-rules", "--values", str(values))
    assert "macros       open_read" in output


@pytest.mark.parametrize("name", ["lab.yaml", "lab.yml", ".yaml", "a.b-c_d.yaml", "1.yml", f"{'a' * 248}.yaml"])
def test_names_of_rule_files_in_a_values_file(tmp_path: Path, name: str) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(f"customRules:\n  {name}: |-\n    - list: a\n      items: []\n")
    assert _run("check", "--values", str(values))[0] == 0


def test_a_folder_has_the_rule_files_that_falco_reads(tmp_path: Path) -> None:
    for name in ("b.yaml", ".yaml", "c.yml", "a.txt", "d.YAML", "e.yaml.bak"):
        (tmp_path / name).write_text("- list: a\n  items: []\n")
    (tmp_path / "f.yaml").mkdir()
    code, output = _run("check", str(tmp_path))
    assert code == 0
    assert [Path(line.partition(": ")[0]).name for line in output.splitlines() if "Ok" in line] == [
        ".yaml",
        "b.yaml",
        "c.yml",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "values.yaml can't be read: No such file or directory"),
        ("rules: []", "has no rules for the Falco chart"),
        ("customRules: {a.yaml: 1}", "has no rules for the Falco chart"),
        ("customRules: {whoami: ''}", "rules under 'whoami', which Falco never reads"),
        ("customRules: {a.yaml: '', lab.txt: ''}", "which Falco never reads: in rules.d it looks for *.yaml and *.yml"),
        ("customRules: {lab.YAML: ''}", "'lab.YAML', which Falco never reads"),
        ("customRules: {lab.yaml.bak: ''}", "which Falco never reads"),
        ("customRules: {rules/lab.yaml: ''}", "'rules/lab.yaml', which Kubernetes refuses"),
        ("customRules: {my rules.yaml: ''}", "'my rules.yaml', which Kubernetes refuses"),
        ("customRules: {..lab.yaml: ''}", "which Kubernetes refuses"),
        ("customRules: {é.yaml: ''}", "which Kubernetes refuses"),
        (f"customRules: {{{'a' * 249}.yaml: ''}}", "which Kubernetes refuses"),
        ("customRules: {true: ''}", "'True', which Falco never reads"),
        ("customRules: [", "values.yaml is not YAML"),
        ("customRules: 2001-99-99", "values.yaml is not YAML"),
        ("customRules: " + "[" * 1_000, "values.yaml is nested too deeply"),
        (b"customRules: \xff", "values.yaml is not text in UTF-8"),
    ],
)
def test_what_is_not_a_values_file(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    values = tmp_path / "values.yaml"
    if content is not None:
        values.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in _refused("check", "--values", str(values))
    assert _run("check", str(values))[0] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff" * 300,
        b"- list: \xc3\x28\n",
        b"- " * 3_000,
        b"%YAML 9.9\n---\n",
        b"- &a [*a]\n",
        b"\xff\xfe- \x00",
        b"",
    ],
)
def test_any_bytes_are_checked_and_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(content)
    for arguments in (("check", str(path)), ("check", "--json", str(path))):
        code, output = _run(*arguments)
        assert code == (1 if content else 0)
        assert str(path) in output


def test_a_reader_that_goes_away_ends_the_command_quietly(file: str, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text('{"evt.type":"openat","fd.name":"/etc/shadow"}\n' * 5_000)
    command = [sys.executable, "-m", "falcorules", "replay", file, "--events", str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["rule"] == "Shadow"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


COMMANDS = [["list"], ["check"], ["explain", "Shadow"], ["replay", "--events", str(DATA / "events.jsonl.gz")]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_output_that_can_t_be_written_is_an_error(file: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "falcorules", *arguments, file]

    def run(*command: str, stdout: int | None = None) -> tuple[int, str]:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stderr

    full = os.open("/dev/full", os.O_WRONLY)
    reader, gone = os.pipe()
    os.close(reader)
    code, said = run(*command, stdout=full)
    assert code == 1
    assert said == f"Error: Input or output failed: {os.strerror(errno.ENOSPC)}.\n"
    assert run(*command, stdout=gone) == (1, "")
    os.close(full)
    os.close(gone)


def test_events_from_a_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(EventError, match="standard input: it is closed"):
        next(open_events("-"))


def test_standard_input_is_named_as_a_file(file: str) -> None:
    code, output = _run("check", "-")
    assert code == 1
    assert "standard input is /dev/stdin" in output
    refused = _refused("list", "-")
    assert "Could not read rules file -" in refused
    assert "standard input is /dev/stdin" in refused


def test_rules_have_to_be_named(tmp_path: Path) -> None:
    code, output = _run("list")
    assert code == 2
    assert "Which rules?" in output
    assert "There are no rule files" in _refused("check", str(tmp_path))


def test_fields() -> None:
    code, output = _run("fields", "proc.an*")
    assert (code, output) == (0, f"{'proc.aname[argument, optional]':<48} charbuf\n")
    assert "fd.ip" in _run("fields", "ip")[1]
    assert "No field matches 'nothing'" in _refused("fields", "nothing")
    assert "No field matches '['" in _refused("fields", "[")


@pytest.fixture
def any_content(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], None]:
    """Makes some contents those of the releases, as far as `fetch` knows."""
    return lambda contents: monkeypatch.setattr(
        rulesets, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    )


def test_fetch(tmp_path: Path, any_content: Callable[[dict[str, bytes]], None]) -> None:
    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(
            FalcoRulesError, match=r"^falco_rules\.yaml isn't the file of falco-rules-5\.1\.0: its SHA-256"
        ) as caught:
            fetch(tmp_path / "none", url=url)
        assert "--url" in caught.value.hint
        assert not (tmp_path / "none").exists()
        any_content({name: f"/{name}".encode() for name in RELEASES})
        paths = fetch(tmp_path / "rules", url=url)
        assert [path.read_text() for path in paths] == [f"/{name}" for name in RELEASES]
        any_content({name: f"/{release}/{name}".encode() for name, release in RELEASES.items()})
        code, output = _run("fetch", "--to", str(tmp_path / "more"), "--url", f"{url}/{{release}}/{{file}}")
        server.shutdown()
    assert code == 0
    assert "falco_rules.yaml" in output
    with pytest.raises(FalcoRulesError, match="Can't fetch"):
        fetch(tmp_path / "none", url=url)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/{other}/{file}", "nowhere", "http://a b/", "http://[/"])
def test_fetch_from_where_nothing_is(tmp_path: Path, url: str) -> None:
    assert "Can't fetch" in _refused("fetch", "--to", str(tmp_path / "none"), "--url", url)
    assert not (tmp_path / "none").exists()


def test_fetch_to_where_no_file_can_be(
    tmp_path: Path, file: str, any_content: Callable[[dict[str, bytes]], None]
) -> None:
    any_content(dict.fromkeys(RELEASES, b"- list: l\n  items: []\n"))
    for name in RELEASES:
        (tmp_path / name).write_text("- list: l\n  items: []\n")
    with pytest.raises(FalcoRulesError, match="Can't write the rule files to"):
        fetch(Path(file), url=tmp_path.as_uri())
    assert Path(file).read_text() == RULES


@pytest.mark.parametrize("name", ["", " ", "loop"])
def test_a_name_that_is_no_files_is_a_wrong_call(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, output = _run("check", str(tmp_path / name) if name.strip() else name)
    assert code == 2
    assert ("can't be used: " if name.strip() else "The name of a file is empty.") in output


def test_warnings_are_told_on_standard_error(file: str) -> None:
    Path(file).write_text(RULES + "  tag: [b]\n")
    result = CliRunner().invoke(main, ["check", file])
    assert result.stdout == f"{file}: Ok, with warnings\n"
    assert "LOAD_UNKNOWN_KEY (Unknown key in item definition): Unknown key 'tag'" in result.stderr
