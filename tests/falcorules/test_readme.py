"""The examples of falcorules/README.md, run by a copy of the package that can import nothing but its dependencies."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import falcorules

PACKAGE = Path(falcorules.__file__).parent
README = (PACKAGE / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [shlex.split(line)[3:] for line in re.findall(r"    (python -m falcorules .*)", README)]
# What the documented `pip install` brings, by the names that it is imported under.
INSTALLED = {"pyyaml": ("yaml", "_yaml"), "google-re2": ("re2", "_re2"), "click": ("click",)}
IMPORTED = ["falcorules", *(name for names in INSTALLED.values() for name in names)]

ALONE = f"""
import runpy, sys

class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"{{name}} is no dependency of falcorules")

ALLOWED = sys.stdlib_module_names | set({IMPORTED})
sys.meta_path.insert(0, Alone())
"""

EACH_COMMAND = """
import contextlib, io, json

said = {}
for command in json.loads(sys.argv[1]):
    sys.argv[1:] = command
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        runpy.run_module("falcorules", run_name="__main__")
    said[command[0]] = out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "falcorules", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder: Path, script: str, *arguments: str) -> str:
    """What a script prints that may import the package and its dependencies, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", ALONE + script, *arguments],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documented_packages_are_enough() -> None:
    (packages,) = re.findall(r"    pip install (.*)", README)
    assert packages.split() == list(INSTALLED)


def test_other_packages_cannot_be_imported(folder: Path) -> None:
    script = """
for name in ("labkit", "ekslab", "boto3", "pandas", "kubernetes", "orjson"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
import falcorules
print(falcorules.__file__)
"""
    said = run(folder, script).splitlines()
    assert len(said) == 7
    assert all("is no dependency of falcorules" in line for line in said[:-1])
    assert Path(said[-1]).parent == folder / "falcorules"


def test_every_module_can_be_imported(folder: Path) -> None:
    names = [f"falcorules.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__main__"]
    assert len(names) > 20
    assert run(folder, f"import importlib\nfor name in {names}: importlib.import_module(name)\nprint('all')") == "all\n"


def test_the_examples_hold(folder: Path) -> None:
    assert len(EXAMPLES) == 4
    run(folder, "\n".join(EXAMPLES))


def test_the_commands_work(folder: Path) -> None:
    write = "Path('shadow.yaml').write_text(rule); Path('events.jsonl').write_text(json.dumps(event.to_dict()))"
    run(folder, "\n".join(["import json", "from pathlib import Path", *EXAMPLES, write]))
    said = json.loads(run(folder, EACH_COMMAND, json.dumps(COMMANDS)))
    assert list(said) == ["check", "replay", "why", "explain", "fields"]
    assert said["check"] == "falco_rules.yaml: Ok\nshadow.yaml: Ok\n"
    assert json.loads(said["replay"])["rule"] == "Read sensitive file untrusted"
    assert said["why"].startswith("'Shadow file read' matches openat of `cat /etc/shadow`.")
    assert "macros       open_read, container" in said["explain"]
    assert all(line.startswith("proc.") for line in said["fields"].splitlines())
    assert len(said["fields"].splitlines()) > 50
