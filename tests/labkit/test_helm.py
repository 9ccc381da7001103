"""Helm by its command line: what is called, what comes back, and what is said when it refuses."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import StepError, TargetError, UnreachableError
from labkit.helm import Helm, Release, _finish, _kubeconfig_of, _release, upgrade_install_arguments

# A helm that notes its arguments, answers `list` and fails as told.
SHIM = """#!{python}
import json, os, sys
with open(os.environ["HELM_CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
if os.environ.get("HELM_FAILS"):
    sys.exit("WARNING: Kubernetes configuration file is group-readable.\\nError: " + os.environ["HELM_FAILS"])
if sys.argv[1] == "history":
    if sys.argv[2] == "nginx":
        sys.exit("Error: release: not found")
    old = {{"revision": 1, "updated": "2026-11-23T04:00:00.123456789Z", "status": "superseded", "chart": "falco-9.0.0",
           "app_version": "0.44.0"}}
    last = old | {{"revision": 2, "status": "deployed", "chart": "falco-9.1.0", "app_version": "0.44.1"}}
    left = {{"gone": [{{"status": "uninstalled"}}], "stuck": [{{}}, {{"revision": 3, "status": "pending-upgrade"}}],
            "new": [{{"revision": 3, "status": "pending-install"}}], "going": [{{"status": "uninstalling"}}]}}
    print(json.dumps([old] * (sys.argv[2] != "new") + [last | change for change in left.get(sys.argv[2], [{{}}])]))
elif sys.argv[1:3] == ["get", "values"]:
    print("null")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "helm"
    program.parent.mkdir()
    program.write_text(SHIM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("HELM_CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def made(calls: Path) -> list[list[str]]:
    return [json.loads(line) for line in calls.read_text().splitlines()]


def test_upgrade_install_gives_all_values_files(calls: Path) -> None:
    Helm(kubeconfig=Path("k"), context="c").upgrade_install(
        "falco", "falcosecurity/falco", version="9.1.0", namespace="falco", values=[Path("a.yaml"), Path("b.yaml")]
    )
    (first,) = made(calls)
    assert first[:6] == ["upgrade", "--install", "falco", "falco", "--repo", "https://falcosecurity.github.io/charts"]
    assert [first[i + 1] for i, word in enumerate(first) if word == "--values"] == ["a.yaml", "b.yaml"]
    assert first[-4:] == ["--kubeconfig", "k", "--kube-context", "c"]
    assert "--wait" in first
    assert "--reuse-values" not in first


def test_the_status_is_that_of_the_latest_revision(calls: Path) -> None:
    assert Helm().status("falco", "falco") == Release("falco", "falco", 2, "deployed", "falco", "9.1.0", "0.44.1")
    assert made(calls) == [["history", "falco", "--namespace", "falco", "--output", "json"]]
    assert [release.revision for release in Helm().history("falco", "falco")] == [1, 2]
    assert Helm().status("gone", "falco") is None


def test_what_several_parts_ask_is_asked_once_until_the_release_changes(calls: Path, tmp_path: Path) -> None:
    helm = Helm(notes=tmp_path / "notes")
    with helm.reading_once():
        for _ in range(3):
            assert helm.status("falco", "falco") is not None
        with helm.reading_once():
            helm.get_values("falco", "falco")
        helm.get_values("falco", "falco")
        assert [call[0] for call in made(calls)] == ["history", "get"]
        helm.upgrade_install("falco", "falcosecurity/falco", version="9.1.0", namespace="falco")
        helm.status("falco", "falco")
        assert [call[0] for call in made(calls)] == ["history", "get", "history", "upgrade", "history"]
    helm.status("falco", "falco")
    with helm.reading_once():
        for _ in range(2):  # also that there is none
            assert helm.status("nginx", "falco") is None
        helm.fresh = 0
        helm.status("falco", "falco")
        helm.status("falco", "falco")
    assert [call[:2] for call in made(calls)][5:] == [
        ["history", name] for name in ("falco", "nginx", "falco", "falco")
    ]


@pytest.mark.parametrize(
    ("release", "repair"),
    [
        ("stuck", ["rollback", "stuck", "2", "--namespace", "falco"]),
        ("new", ["uninstall", "new", "--namespace", "falco", "--wait"]),
        ("going", ["uninstall", "going", "--namespace", "falco", "--wait"]),
    ],
)
def test_what_an_interrupted_call_left_is_rolled_back_to_the_last_good_revision_or_uninstalled(
    calls: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    release: str,
    repair: Any,
) -> None:
    monkeypatch.setattr("labkit.helm._helm_process", lambda *_: 0)
    Helm(notes=tmp_path / "notes").upgrade_install(release, "./chart", version="1", namespace="falco")
    assert [call[0] for call in made(calls)] == ["history", repair[0], "history", "upgrade"]
    assert made(calls)[1] == repair
    said = "rolling it back to revision 2." if release == "stuck" else "uninstalling it."
    assert f"Helm release {release} was left " in (told := capsys.readouterr().err)
    assert told.endswith(f"by an interrupted call: {said}\n")


def test_a_release_without_values_has_an_empty_map(calls: Path) -> None:
    assert Helm().get_values("falco", "falco") == {}


def test_what_is_not_installed_is_not_uninstalled(calls: Path) -> None:
    assert Helm().status("nginx", "falco") is None
    assert Helm().uninstall("nginx", "falco") is False
    assert {call[0] for call in made(calls)} == {"history"}


def test_helms_own_message_is_kept_without_its_warnings(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_FAILS", "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
    with pytest.raises(StepError, match="failed: UPGRADE FAILED: another operation") as caught:
        Helm().upgrade_install("falco", "falcosecurity/falco", version="9.1.0", namespace="falco")
    assert "WARNING" not in caught.value.message
    assert "interrupted" in caught.value.hint


def test_without_helm_its_installation_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="no `helm` on the PATH") as caught:
        Helm().version()
    assert "helm.sh" in caught.value.hint


def test_a_chart_of_another_repository_is_left_as_it_is() -> None:
    assert upgrade_install_arguments("x", "./chart", version="1", namespace="n", wait=False)[3:5] == [
        "./chart",
        "--version",
    ]


@pytest.mark.parametrize(
    ("chart", "name", "version"),
    [("falco-9.1.0", "falco", "9.1.0"), ("aws-for-fluent-bit-0.2.0-rc.1", "aws-for-fluent-bit", "0.2.0-rc.1")],
)
def test_chart_and_version_are_told_apart(chart: str, name: str, version: str) -> None:
    listed = {"chart": chart, "revision": 1, "status": "deployed", "app_version": "1", "updated": ""}
    release = _release(listed, "r", "n")
    assert (release.chart, release.version) == (name, version)


def test_a_helm_that_is_too_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "helm"  # 3.12: it takes no labels, and says so
    old.write_text(
        "#!/bin/sh\n[ \"$1\" = history ] && { echo 'Error: release: not found' >&2; exit 1; }\n"
        "echo 'Error: unknown flag: --labels' >&2; exit 1\n"
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(StepError, match="unknown flag: --labels") as caught:
        Helm().upgrade_install("falco", "falcosecurity/falco", version="9.1.0", namespace="falco", labels={"a": "b"})
    assert "`helm version` has to say v3.13 or later" in caught.value.hint


def test_the_program_is_run_with_helms_arguments(calls: Path) -> None:
    program = (sys.executable, str(calls.parent / "bin" / "helm"))
    assert Helm(program=program).history("nginx", "falco") == []
    assert made(calls)[0][0] == "history"


def test_a_cluster_that_does_not_answer_is_told_with_what_to_do(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_FAILS", "Kubernetes cluster unreachable: Get https://10.0.0.1: refused")
    with pytest.raises(UnreachableError, match=r"The Kubernetes API does not answer: .*10\.0\.0\.1: refused") as caught:
        Helm(hint="Start it.").status("falco", "falco")
    assert (caught.value.service, caught.value.hint) == ("Kubernetes", "Start it.")


def test_what_is_called_before_a_run_may_refuse_it(calls: Path) -> None:
    def refuse() -> None:
        raise TargetError("gone")

    helm = Helm(before=refuse)
    with pytest.raises(TargetError, match=r"^gone$"):
        helm.status("falco", "falco")
    assert not calls.exists()
    assert helm.version() == ""  # needs no cluster


@pytest.mark.parametrize(
    ("shared", "noted", "age", "refused"),
    [
        (True, False, 100, "is pending-upgrade, and that began 100 s ago"),
        (True, False, 400, ""),
        (True, False, None, ""),
        (True, True, 100, ""),
        (False, False, 100, ""),
    ],
)
def test_a_pending_operation_may_be_that_of_another_computer(
    shared: bool, noted: bool, age: int | None, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.helm._helm_process", lambda *_: 0)
    began = "" if age is None else (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)).isoformat()
    found = Release("falco", "falco", 2, "pending-upgrade", "falco", "9.1.0", "0.44.1", began)
    with pytest.raises(StepError, match=refused) if refused else contextlib.nullcontext() as caught:
        Helm(shared=shared)._refuse_if_alive(found, owned=noted)
    if caught is not None:
        assert "run this again in 200 s" in caught.value.hint


def test_an_interrupted_helm_is_asked_to_end_and_awaited(tmp_path: Path) -> None:
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    code = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path(sys.argv[2]).write_text('asked') and 1))\n"
        "open(sys.argv[1], 'w').close()\n"
        "signal.pause()\n"
    )

    def press() -> None:
        fifo.open().close()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        _finish([sys.executable, "-c", code, str(fifo), str(tmp_path / "end")], 30, keep=())
    thread.join()
    assert (tmp_path / "end").read_text() == "asked"


def test_a_process_that_has_ended_uses_no_kubeconfig() -> None:
    waiting = [sys.executable, "-c", "print(flush=True); input()", "--kubeconfig", "/a/config"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it has started
        assert _kubeconfig_of(process.pid) == "/a/config"
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _kubeconfig_of(process.pid) is None
    assert _kubeconfig_of(process.pid) is None
