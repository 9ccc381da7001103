"""Where the workshop can be opened besides `make`: conda, Binder, Codespaces, a container image.

None of them can be built here. What their files name is looked up: packages, versions, paths, commands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from ekslab import client
from labkit.cli import COMMANDS
from labkit.doctor import MINIMUM_PYTHON
from labkit.versions import pinned

ROOT = Path(__file__).parent.parent
CONTAINERFILE = (ROOT / "Containerfile").read_text()


@pytest.fixture(scope="module")
def conda() -> dict[str, str]:
    """The packages of environment.yml that are conda-forge's, with their versions."""
    document = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert document["channels"] == ["conda-forge"]
    return dict(entry.partition("=")[::2] for entry in document["dependencies"] if isinstance(entry, str))


@pytest.fixture(scope="module")
def devcontainer() -> dict[str, Any]:
    document = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert isinstance(document, dict)
    return document


def test_python_packages_of_environment_yml_are_those_of_the_lock(conda: dict[str, str]) -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in document["dependencies"] if isinstance(entry, dict))
    constraints, package = pip
    assert (ROOT / constraints.removeprefix("-c ")).is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    requirement = re.fullmatch(r"-e \.\[([\w,]+)\]", package)
    assert requirement is not None
    assert set(requirement[1].split(",")) <= set(extras)
    # One source of versions: conda-forge has nothing that the lock has, too.
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    assert {canonicalize_name(name) for name in conda}.isdisjoint(map(canonicalize_name, locked))


def test_tools_of_environment_yml_have_the_versions_that_the_lab_emulates(conda: dict[str, str]) -> None:
    versions = pinned()
    assert conda["kubernetes-helm"] == f"{versions['helm']['version'].split('.')[0]}.*"
    assert conda["kubernetes-client"] == f"{versions['kubernetes']['eks']}.*"
    assert {"make", "awscli", "eksctl"} <= set(conda)


def test_every_environment_has_a_python_that_is_new_enough(conda: dict[str, str], devcontainer: dict[str, Any]) -> None:
    image, _, version = devcontainer["image"].rpartition(":")
    assert image.endswith("/python")
    for named in (conda["python"], version):
        assert tuple(map(int, named.split("."))) >= MINIMUM_PYTHON


def test_the_devcontainer_has_the_tools_and_the_commands_it_names(devcontainer: dict[str, Any]) -> None:
    features = {
        name.rpartition("/")[2].partition(":")[0]: options for name, options in devcontainer["features"].items()
    }
    versions = pinned()
    assert features["kubectl-helm-minikube"]["version"] == versions["kubernetes"]["eks"]
    assert features["kubectl-helm-minikube"]["helm"] == versions["helm"]["version"]
    assert "aws-cli" in features
    command = devcontainer["postCreateCommand"]
    for target in re.findall(r"\bmake ([\w./-]+)", command):
        done = subprocess.run(["make", "--dry-run", "--silent", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, target
    for name in re.findall(r"labkit ([\w-]+)", command):
        assert name in COMMANDS
    interpreter = devcontainer["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter.startswith("${containerWorkspaceFolder}/.venv/bin/")


def test_the_image_copies_what_it_names_and_runs_as_a_user(tmp_path: Path) -> None:
    instructions = dict(re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", CONTAINERFILE, re.M))
    assert re.fullmatch(r"\S+:[\w.-]+", instructions["FROM"])
    assert not instructions["FROM"].endswith(":latest")
    assert instructions["COPY"] == ". ."
    ignored = (ROOT / ".dockerignore").read_text().split()
    folder = instructions["WORKDIR"]
    entry = Path(*json.loads(instructions["ENTRYPOINT"])).relative_to(folder)
    for named in [entry, *map(Path, re.findall(r"(?:--file|-c) (\S+)", CONTAINERFILE))]:
        assert (ROOT / named).is_file(), named
        assert named.as_posix() not in ignored
    assert os.access(ROOT / entry, os.X_OK)
    assert instructions["USER"] == "1000"
    assert CONTAINERFILE.index("\nUSER") > CONTAINERFILE.index("chown -R 1000:100")
    assert "jupyterhub==" in CONTAINERFILE
    assert json.loads(instructions["CMD"]) == ["jupyterhub-singleuser"]


def test_the_image_leaves_out_what_git_ignores_and_is_large() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in (".venv", ".labkit", "my-notebooks", "build"):
        assert name in ignored
        assert f"{name}/" in (ROOT / ".gitignore").read_text().split()


def opened(folder: Path, home: Path, command: str, **environ: str) -> str:
    """What a program prints that `start` starts in an image whose workshop is in `folder`."""
    if not folder.exists() or folder == home:
        for name in ("notebooks", "manifests", "custom-rules", "images"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "start", folder)
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(home), client.PARENT: str(os.getpid())} | environ
    words = [folder / "start", "bash", "-c", f"{command}; exit 7"]
    done = subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr  # that of the program that was started
    return done.stdout


BUTTON = 'grep -q labkit.terminals "${JUPYTER_CONFIG_PATH%%:*}/jupyter_server_config.json"'
LAB = BUTTON + ' && echo "endpoint:$AWS_ENDPOINT_URL"; grep -c 127.0.0.1 "$KUBECONFIG"; command -v labkit'
CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.start_up
@pytest.mark.parametrize("place", ["image", "home"])
def test_start_makes_the_copies_and_sets_the_labs_variables(tmp_path: Path, place: str) -> None:
    """In an image, twice: a Hub starts the container again, with the home folder that it has kept."""
    home, folder = tmp_path / "home", tmp_path / place
    home.mkdir()
    try:
        assert "endpoint:http://127.0.0.1:" in opened(folder, home, LAB)
        workshop = folder if place == "home" else home / "falco-workshop"
        copies = workshop / "my-notebooks"
        assert sorted(path.name for path in copies.glob("*.ipynb")) == CHAPTERS
        if place == "image":
            (copies / CHAPTERS[0]).write_text("{}")  # an attendee's work
            shutil.rmtree(folder)
            assert "endpoint:http://127.0.0.1:" in opened(folder, home, LAB)
            assert (copies / CHAPTERS[0]).read_text() == "{}"
            assert not {".labkit", "my-notebooks"} & {path.name for path in folder.iterdir()}
        assert not [path for path in workshop.rglob("*") if path.is_symlink()]  # a server doesn't hand their files out
    finally:
        client.stop(home / ".labkit")


def test_start_leaves_a_clusters_environment_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    own = {"LABKIT_TARGET": "eks", "AWS_PROFILE": "own"}
    printed = opened(tmp_path / "image", tmp_path / "home", 'echo "$AWS_PROFILE:$AWS_ENDPOINT_URL"', **own)
    assert printed.splitlines()[-1] == "own:"
    assert not (tmp_path / "home/.labkit").exists()
