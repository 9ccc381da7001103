"""ekslab/README.md: its examples, on a lab of a copy of the package that can't import labkit."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client as kubernetes
from kubernetes import config
from kubernetes.stream import stream
from kubernetes.watch import Watch

import ekslab
import falcorules

PACKAGE = Path(ekslab.__file__).parent
ROOT = Path(__file__).parents[2]
README = (PACKAGE / "README.md").read_text()
(PYTHON,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
DEPLOY, ATTACK = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
(INSTALLED,) = re.findall(r"    pip install (.*)", README)
# Names of imports that differ from the distribution's, and packages that come with one of them.
IMPORTED_AS = {"pyyaml": ["yaml"], "google-re2": ["re2"], "pyjwt": ["jwt"], "flask": ["werkzeug"]}
IMPORTED_AS |= {"boto3": ["boto3", "botocore"]}
BLOCKED = ("labkit", "pandas", "matplotlib", "IPython", "papermill")


class Alone:
    """A folder with copies of `ekslab` and `falcorules`, in which `labkit` and what only it needs can't be imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in (PACKAGE, Path(falcorules.__file__).parent):
            shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in BLOCKED:
            (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name} is not installed')\n")
        self.environment = {name: os.environ[name] for name in ("HOME", "EKSLAB_PARENT") if name in os.environ}
        self.environment |= {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
        self.environment |= {"PYTHONPATH": str(folder), "EKSLAB_HOME": str(folder / "lab")}

    def run(self, *argv: str, code: int = 0) -> str:
        done = subprocess.run(argv, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ekslab(self, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "ekslab", *words, code=code)

    def shell(self, script: str) -> str:
        """Runs a script in a shell with the lab's variables."""
        return self.run("bash", "-c", f'eval "$("{sys.executable}" -m ekslab env)"\nset -e -o pipefail\n{script}')


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    alone = Alone(tmp_path_factory.mktemp("alone"))
    alone.ekslab("up", "--cluster", "mine")
    yield alone
    assert alone.ekslab("down") == "Stopped.\n"


def test_the_lab_is_the_copys_and_knows_nothing_of_labkit(alone: Alone) -> None:
    printed = alone.shell(f'"{sys.executable}" -c "import ekslab; print(ekslab.__file__)"')
    assert printed == f"{alone.folder}/ekslab/__init__.py\n"
    status = json.loads(alone.ekslab("status", "--json"))
    assert (status["running"], status["cluster"], len(status["nodes"])) == (True, "mine", 2)
    command = Path(f"/proc/{status['pid']}/cmdline")
    if command.exists():
        environment = Path(f"/proc/{status['pid']}/environ").read_text()
        assert f"PYTHONPATH={alone.folder}\0" in environment
    pattern = r"Running for \d+ s, pid \d+, \d+ MB\n  AWS   .*\n  Kubernetes .*cluster mine"
    assert re.match(pattern, alone.ekslab("status"))
    assert "was running" in alone.ekslab("up")


def test_commands_without_a_lab_say_how_to_start_one(alone: Alone, tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    assert alone.ekslab("status", *home, code=1) == f"Not running ({tmp_path}). Start it with `python -m ekslab up`.\n"
    said = f"ekslab: No embedded lab is running in {tmp_path}.\n  What to do: Start it with `python -m ekslab up`.\n"
    assert alone.ekslab("env", *home, code=1) == said
    assert alone.ekslab("down", *home) == f"No embedded lab is running in {tmp_path}.\n"


def test_the_example_with_boto3_holds(alone: Alone) -> None:
    (alone.folder / "example.py").write_text(PYTHON)
    assert alone.shell(f'"{sys.executable}" example.py') == ""


def test_a_shell_in_a_pod_raises_an_alert_without_kubectl(alone: Alone) -> None:
    install = ATTACK.partition("kubectl")[0]
    helm = [word if word != "helm" else f'"{sys.executable}" -m ekslab.helm' for word in install.split(" ")]
    assert "STATUS: deployed" in alone.shell(" ".join(helm))
    api = config.new_client_from_config(str(alone.folder / "lab" / "kubeconfig"))
    core = kubernetes.CoreV1Api(api)
    spec = kubernetes.V1PodSpec(containers=[kubernetes.V1Container(name="web", image="nginx")])
    core.create_namespaced_pod("default", kubernetes.V1Pod(metadata=kubernetes.V1ObjectMeta(name="web"), spec=spec))
    seen = (event["object"] for event in Watch().stream(core.list_namespaced_pod, "default", timeout_seconds=30))
    assert any(pod.metadata.name == "web" and pod.status.phase == "Running" for pod in seen)
    options = {"stdin": True, "stdout": True, "stderr": True, "tty": True}
    shell = ["sh", "-c", "id -un; exit"]
    said = stream(core.connect_get_namespaced_pod_exec, "web", "default", command=shell, **options)
    assert said.strip() == "root"
    logs = [
        core.read_namespaced_pod_log(pod.metadata.name, "falco", container="falco")
        for pod in core.list_namespaced_pod("falco").items
    ]
    alerts = [json.loads(line) for log in logs for line in log.splitlines() if line.startswith("{")]
    assert "Terminal shell in container" in [alert["rule"] for alert in alerts if "rule" in alert]
    core.delete_namespaced_pod("web", "default")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_examples_with_kubectl_hold(alone: Alone) -> None:
    alone.environment["PATH"] += f":{Path(shutil.which('kubectl') or '').parent}"
    assert "successfully rolled out" in alone.shell(DEPLOY)
    assert '"rule":"Read sensitive file untrusted"' in alone.shell(ATTACK)


def test_the_documented_packages_are_what_the_package_imports() -> None:
    used = {
        name.partition(".")[0]
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    used -= sys.stdlib_module_names | {"ekslab", "falcorules"}
    brought = {name for package in INSTALLED.split() for name in IMPORTED_AS.get(package, [package.replace("-", "_")])}
    optional = set(re.findall(r"Install `(\w+)` as well", README))
    assert used <= brought | optional
    assert optional == {"matplotlib"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(INSTALLED.split()) <= {re.split(r"[<>=!]", line)[0] for line in project["dependencies"]}


def test_the_counts_of_recorded_facts_are_those_of_the_recordings() -> None:
    data = Path(__file__).parent / "node" / "data"
    bash, dash = (len(json.loads((data / f"{name}_says.json").read_text())) for name in ("bash", "dash"))
    assert f"{bash} scripts run by bash 5.2, {dash} run by dash" in README
    commands = json.loads((data / "captured_alerts.json").read_text())["commands"]
    alerts = sum(len(command["alerts"]) for command in commands)
    assert f"{len(commands)} commands in a real container, and the {alerts} alerts of Falco 0.44.1" in README
