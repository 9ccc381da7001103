"""The package as it is installed: its lock, its versions, its command."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ekslab import versions as emulated
from ekslab.helm import chart
from labkit.versions import pinned

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def project() -> dict[str, list[Requirement]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": document["dependencies"], **document["optional-dependencies"]}
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_pins_every_dependency_within_its_range(
    project: dict[str, list[Requirement]], lock: dict[str, str]
) -> None:
    for requirement in (r for group in project.values() for r in group):
        assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), requirement


def test_the_stand_ins_have_the_versions_that_the_workshop_installs() -> None:
    versions = pinned()
    assert versions["helm"]["version"] == emulated.HELM
    assert chart.defaults()["falcoctl"]["image"]["tag"] == versions["falco"]["falcoctl"]
    plugin = chart.defaults()["collectors"]["containerEngine"]["pluginRef"]
    assert plugin.endswith(f"/container:{versions['falco']['plugins']['container']}")


def test_importing_labkit_loads_nothing_heavy() -> None:
    code = (
        "import sys; from labkit import Lab; "
        "print([m for m in ('pandas', 'boto3', 'kubernetes', 'matplotlib', 'moto', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_that_came_after_the_set_up_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from labkit.cli import COMMANDS, main

    monkeypatch.setitem(COMMANDS, "new", "labkit_new.cli:new")
    result = CliRunner().invoke(main, ["new", "--help"])
    assert result.exit_code == 1
    assert result.stderr.startswith("labkit: The module labkit_new isn't installed here.\n  What to do: The ")


def test_every_command_explains_itself() -> None:
    from click.testing import CliRunner

    from labkit.cli import COMMANDS, main

    for name in COMMANDS:
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        assert "Usage:" in result.output
    # Click notes a command's help options when it is used first, so this takes a new process.
    code = """
from click.testing import CliRunner
from labkit.cli import COMMANDS, main
for words in ([], *([name] for name in COMMANDS), ["rules", "check"], ["attack", "run"]):
    result = CliRunner().invoke(main, [*words, "-h"])
    assert result.output.startswith("Usage:"), (words, result.output)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
