"""`labkit doctor`: each thing that goes wrong in class is found before it, with what to do."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab, doctor
from labkit.doctor import Finding, Place

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A workshop's folder that is set up, and a person without any set-up."""
    (tmp_path / "home").mkdir()
    (tmp_path / "workshop").mkdir()
    shutil.copy(ROOT / "constraints.txt", tmp_path / "workshop")
    environ = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    return Place(tmp_path / "workshop", tmp_path / "workshop" / ".labkit", environ, installed=True)


def with_environ(place: Place, **environ: str) -> Place:
    return replace(place, environ={**place.environ, **environ})


def results(findings: Iterator[Finding]) -> list[str]:
    """Results; each that isn't ok says what to do."""
    found = list(findings)
    assert all(bool(finding.hint) == (finding.result != "ok") for finding in found), found
    return [finding.result for finding in found]


def test_a_python_that_is_too_old_is_a_blocker(place: Place) -> None:
    assert results(doctor.python(place)) == ["ok"]
    assert results(doctor.python(place, (3, 10, 4))) == ["blocker"]


def test_the_file_is_one_that_an_old_python_reads() -> None:
    ast.parse(Path(doctor.__file__).read_text(), feature_version=(3, 8))
    imported = [line for line in Path(doctor.__file__).read_text().splitlines() if "import" in line.split("  ")[0]]
    assert not [line for line in imported if line.startswith(("from labkit", "import click", "from click"))]


def test_packages_are_compared_with_the_lock(place: Place) -> None:
    assert results(doctor.packages(place)) == ["ok"]
    lock = place.root / "constraints.txt"
    lock.write_text(lock.read_text().replace("\nboto3==", "\nboto3==0.0.1+was-"))
    (found,) = doctor.packages(place)
    assert found.result == "warning"
    assert "(tested: 0.0.1+was-" in found.found
    assert results(doctor.packages(replace(place, installed=False))) == ["warning"]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("NODES", "0", "which is not a whole number from 1 to 5"),
        ("IDLE_MINUTES", "abc", "LABKIT_IDLE_MINUTES is 'abc'"),
        ("AWS_PORT", "22x", "LABKIT_AWS_PORT is '22x'"),
        ("AWS_PORT", "99999", "LABKIT_AWS_PORT is '99999'"),
        ("TIMEOUT", "-1", "LABKIT_TIMEOUT is '-1'"),
        ("REGION", "mars", "LABKIT_REGION is 'mars'"),
        ("REGION", "", "region is ''"),
        ("CLUSTER", "a b", "LABKIT_CLUSTER is 'a b'"),
    ],
)
def test_a_setting_that_labkit_refuses_is_a_blocker(place: Place, variable: str, value: str, says: str) -> None:
    wrong = with_environ(place, **{f"LABKIT_{variable}": value})
    (found,) = doctor.settings(wrong)
    assert (found.result, says in found.found) == ("blocker", True), found
    assert found.hint
    assert results(doctor.ports(wrong)) == ["ok"]  # which is not about it
    assert results(doctor.settings(replace(wrong, installed=False))) == []


def test_settings_that_labkit_takes_are_fine(place: Place) -> None:
    assert results(doctor.settings(place)) == []
    assert results(doctor.settings(with_environ(place, LABKIT_NODES="3", LABKIT_AWS_PORT="0"))) == ["ok"]
    assert results(doctor.settings(with_environ(place, LABKIT_TARGET="eks", LABKIT_REGION=""))) == ["ok"]
    same = with_environ(place, LABKIT_AWS_PORT="40001", LABKIT_KUBERNETES_PORT="40001")
    assert results(doctor.settings(same)) == ["blocker"]


def test_a_kernel_of_another_python_is_a_blocker(place: Place) -> None:
    assert results(doctor.kernel(place)) == ["ok"]
    spec = Path(place.environ["HOME"], "elsewhere", "kernels", "python3", "kernel.json")
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/opt/conda/bin/python", "-m", "ipykernel_launcher"]}))
    assert results(doctor.kernel(with_environ(place, JUPYTER_PATH=str(spec.parents[2])))) == ["blocker"]


def test_a_folder_in_which_nothing_can_be_written_is_a_blocker(place: Place) -> None:
    assert results(doctor.writable(place)) == ["ok"]
    found = list(doctor.writable(replace(place, home=Path("/proc/labkit"))))  # not even root may
    assert [finding.result for finding in found] == ["blocker"]
    assert "/proc/labkit" in found[0].found
    assert results(doctor.writable(with_environ(place, TMPDIR="/proc"))) == ["blocker"]


def test_a_disk_that_is_almost_full_is_a_blocker(place: Place) -> None:
    free = shutil.disk_usage(place.root).free / doctor.MB
    assert results(doctor.disk(place, 1)) == ["ok"]
    assert results(doctor.disk(place, free * 0.6)) == ["warning"]
    assert results(doctor.disk(place, free * 2)) == ["blocker"]
    setup = replace(place, installed=False)
    assert results(doctor.disk(setup, free - doctor.DISK_SETUP_MB / 2)) == ["blocker"]  # the packages have to fit, too


def test_too_little_memory_is_a_blocker() -> None:
    assert results(doctor.memory(doctor.MEMORY_MB - 1)) == ["blocker"]
    assert results(doctor.memory(doctor.MEMORY_COMFORTABLE_MB - 1)) == ["warning"]
    assert results(doctor.memory(8000)) == ["ok"]
    assert len(list(doctor.memory())) == (1 if sys.platform == "linux" else 0)


def test_a_port_that_another_program_has_is_a_blocker(place: Place) -> None:
    assert results(doctor.ports(place)) == ["ok"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (found,) = doctor.ports(with_environ(place, LABKIT_AWS_PORT=port))
        assert (found.result, port in found.found) == ("blocker", True)
        place.home.mkdir()
        (place.home / "lab.json").write_text(json.dumps({"aws_port": int(port)}))  # the lab itself
        assert results(doctor.ports(with_environ(place, LABKIT_AWS_PORT=port))) == ["ok"]


def test_a_lab_of_an_older_version_is_noticed(place: Place) -> None:
    assert results(doctor.running_lab(place)) == ["ok"]
    place.home.mkdir()
    state = place.home / "lab.json"
    with socket.create_server(("127.0.0.1", 0)) as lab:
        state.write_text(json.dumps({"aws_port": lab.getsockname()[1]}))
        assert results(doctor.running_lab(place)) == ["ok"]
        os.utime(state, (1_700_000_000, 1_700_000_000))
        (found,) = doctor.running_lab(place)
        assert found.result == "warning"
        assert "labkit down" in found.hint
    assert results(doctor.running_lab(place)) == ["ok"]  # it was killed: a new one will be started


def test_an_account_in_the_way_is_noticed(place: Place) -> None:
    assert results(doctor.aws(place)) == ["ok"]
    assert results(doctor.aws(with_environ(place, AWS_PROFILE="production"))) == ["warning"]
    assert results(doctor.aws(with_environ(place, AWS_PROFILE="production", LABKIT_TARGET="eks"))) == ["warning"]
    assert results(doctor.aws(with_environ(place, LABKIT_TARGET="eks"))) == ["blocker"]
    assert results(doctor.aws(with_environ(place, LABKIT_TARGET="EKS"))) == ["blocker"]
    credentials = Path(place.environ["HOME"], ".aws", "credentials")
    credentials.parent.mkdir()
    credentials.write_text("[default]\naws_access_key_id = AKIA\n")
    (found,) = doctor.aws(place)
    assert (found.result, str(credentials) in found.found) == ("warning", True)
    lab_shell = with_environ(place, LABKIT_ENVIRONMENT="embedded", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert results(doctor.aws(lab_shell)) == ["ok"]
    assert results(doctor.aws(with_environ(lab_shell, LABKIT_TARGET="eks"))) == ["blocker"]


def test_eks_takes_helm(place: Place) -> None:
    nothing = with_environ(place, PATH=str(place.root))
    assert results(doctor.tools(nothing)) == ["ok"]
    assert results(doctor.tools(with_environ(nothing, LABKIT_TARGET="eks"))) == ["blocker", "warning", "warning"]


def test_an_attendee_of_a_class_needs_no_helm_and_no_lab(place: Place) -> None:
    attendee = with_environ(
        place, PATH=str(place.root), LABKIT_TARGET="eks", LABKIT_ATTENDEE="07", AWS_ACCESS_KEY_ID="ASIA"
    )
    assert results(doctor.tools(attendee)) == ["warning", "warning"]
    assert results(doctor.aws(attendee)) == ["ok"]
    (found,) = doctor.running_lab(attendee)
    assert "none is needed" in found.found


def test_a_proxy_has_to_spare_this_computer(place: Place) -> None:
    assert results(doctor.proxy(place)) == []
    proxied = with_environ(place, HTTPS_PROXY="http://me:secret@proxy:3128")
    (found,) = doctor.proxy(proxied)
    assert found.result == "warning"
    assert "secret" not in f"{found}"
    assert results(doctor.proxy(with_environ(proxied, NO_PROXY="localhost,127.0.0.1"))) == ["ok"]
    assert results(doctor.proxy(with_environ(place, HTTP_PROXY="proxy:3128", NO_PROXY="*"))) == ["warning", "ok"]


def test_a_missing_browser_is_a_warning_with_another_way_in(place: Place) -> None:
    (found,) = doctor.browser(place)
    if sys.platform != "darwin":
        assert found.result == "warning"
    assert found.result == "ok" or "ssh -L" in found.hint


class Index(BaseHTTPRequestHandler):
    """A package index whose clock may be wrong."""

    offset = 0.0

    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", self.date_time_string(time.time() + self.offset))
        self.end_headers()


@pytest.fixture
def index() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()


def test_a_registry_that_does_not_answer_blocks_only_the_set_up(
    place: Place, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    there = with_environ(place, PIP_INDEX_URL=index)
    assert results(doctor.registry(there, doctor._Answer(doctor._registry(there)))) == ["ok"]
    configured = tmp_path / "home" / ".config" / "pip" / "pip.conf"
    configured.parent.mkdir(parents=True)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        configured.write_text(f"[global]\nindex-url = http://127.0.0.1:{closed.getsockname()[1]}/\n")
        answer = doctor._Answer(doctor._registry(place))
        assert results(doctor.registry(place, answer)) == ["warning"]
        assert results(doctor.registry(replace(place, installed=False), answer)) == ["blocker"]
    assert results(doctor.clock(place, answer)) == []


def test_without_a_setting_it_is_pips_own_index_and_without_pip_none(place: Place) -> None:
    assert doctor._registry(place).startswith("https://")
    assert results(doctor.registry(place, doctor._Answer(""))) == ["warning"]


@pytest.mark.timeout(30)
def test_an_index_that_never_answers_is_not_waited_for_long(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = doctor._Answer(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert results(doctor.registry(place, answer)) == ["warning"]


@pytest.mark.parametrize(("offset", "target", "expected"), [(0, "eks", "ok"), (3600, "eks", "blocker"),
                                                            (-3600, "embedded", "warning")])  # fmt: skip
def test_a_wrong_clock_is_noticed(
    place: Place, index: str, monkeypatch: pytest.MonkeyPatch, offset: float, target: str, expected: str
) -> None:
    monkeypatch.setattr(Index, "offset", offset)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert results(doctor.clock(with_environ(place, LABKIT_TARGET=target), doctor._Answer(index))) == [expected]


def run_doctor(*command: str, **environ: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=os.environ | environ, cwd=ROOT)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_command_exits_1_on_a_blocker(tmp_path: Path) -> None:
    labkit = (sys.executable, "-m", "labkit.cli", "doctor")
    good = {"LABKIT_HOME": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/", "LABKIT_TARGET": "embedded"}
    code, document = run_doctor(*labkit, **good)
    assert (code, document["ready"]) == (0, True), document
    code, document = run_doctor(*labkit, **good | {"LABKIT_TARGET": "kind"})
    assert (code, document["ready"]) == (1, False)
    assert [f["check"] for f in document["findings"] if f["result"] == "blocker"] == ["AWS"]
    text = subprocess.run(labkit, capture_output=True, text=True, env=os.environ | good, cwd=ROOT).stdout
    assert text.rstrip().splitlines()[-1].startswith("Ready")


def test_before_anything_is_installed_it_needs_python_only(tmp_path: Path) -> None:
    bare = (getattr(sys, "_base_executable", sys.executable), "-S", "-m", "labkit.doctor")
    code, document = run_doctor(*bare, LABKIT_HOME=str(tmp_path), PIP_INDEX_URL="http://127.0.0.1:9/")
    found = {finding["check"]: finding["result"] for finding in document["findings"]}
    assert found["packages"] == "warning"
    assert found["network"] == "blocker"
    assert code == 1


def test_what_of_the_workshop_does_not_run_is_said_with_why(
    place: Place, new_lab: Callable[..., Endpoints], workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor._Look(place).wait() == []  # no lab, nothing to look at
    monkeypatch.setattr(doctor, "CLUSTER_SECONDS", 20.0)
    home = new_lab().home
    lab = Lab.connect(home=home, root=workshop)
    lab.ensure("nginx")
    running = replace(place, home=home, installed=True)
    assert [(found.check, found.result) for found in doctor._Look(running).wait()] == [("nginx", "ok")]
    path = lab.kube.path("apps/v1", "Deployment", "default", "nginx")
    spec = {"template": {"spec": {"containers": [{"name": "nginx", "image": "registry.example/platform:1"}]}}}
    lab.kube.request("PATCH", path, body={"spec": spec}, content_type="application/strategic-merge-patch+json")
    (found,) = lab.wait_until(
        lambda: [f for f in doctor._Look(running).wait() if f.result == "warning"] or None, "the warning", timeout=10
    )
    assert "The image isn't made for the node's architecture" in found.found
    assert "kubernetes.io/arch" in found.hint
