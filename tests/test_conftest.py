"""How the tests run (`conftest.py`): what must not pass unnoticed doesn't, in this process and in workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAB = """
from pathlib import Path
from ekslab import client

def test_a_lab_is_left_behind(tmp_path: Path) -> None:
    client.ensure_running(tmp_path)
"""
BROKEN = """
def test_the_worker_breaks(request) -> None:
    request.node.repr_failure = lambda excinfo: 1 / 0
    assert False

def test_another() -> None:
    pass
"""
SKIPPED = """
import pytest

def test_a_tool_is_missing() -> None:
    pytest.skip("no such tool")

@pytest.mark.xfail(reason="known")
def test_an_expected_failure() -> None:
    assert False
"""

COLLECTED = """
import gc

def test_garbage_is_looked_for_in_what_is_new() -> None:
    assert gc.isenabled()
    found = sum(len(gc.get_objects(number)) for number in range(3))
    assert gc.get_freeze_count() > 5 * found
"""


def _run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a test file in a folder that has the project's conftest."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "xdist", "-p", "no:cacheprovider", *options]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=90)


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_a_lab_that_is_left_behind_fails_the_run(tmp_path: Path, workers: str) -> None:
    done = _run(tmp_path, LAB, workers)
    assert "1 passed" in done.stdout, done.stdout
    assert "Labs that tests started are still running" in done.stdout
    assert done.returncode == 1


def test_where_no_test_may_be_skipped_a_skip_is_a_failure_that_names_its_reason(tmp_path: Path) -> None:
    done = _run(tmp_path, SKIPPED, "-n0", "--no-skips")
    assert "1 failed, 1 xfailed" in done.stdout
    assert "must not be skipped here (--no-skips): Skipped: no such tool" in done.stdout
    assert done.returncode == 1


def test_a_worker_that_breaks_fails_the_run(tmp_path: Path) -> None:
    done = _run(tmp_path, BROKEN, "-n1")
    assert "ZeroDivisionError" in done.stdout, done.stdout
    assert done.returncode == 3


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_what_was_collected_is_left_out_of_collections_of_garbage(tmp_path: Path, workers: str) -> None:
    done = _run(tmp_path, COLLECTED, workers)
    assert "1 passed" in done.stdout, done.stdout


def test_workers_share_the_rewriting_of_assertions(tmp_path: Path) -> None:
    for name in ("tests/more/test_one.py", "tests/more/test_two.py", "tests/test_three.py", "tests/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def test_the_message() -> None:\n    assert [1] == [2]\n")
    done = _run(tmp_path, "", "-n2", "--ignore=tests/more")  # not collected: rewritten all the same
    assert "At index 0 diff: 1 != 2" in done.stdout, done.stdout
    assert sorted(file.name.partition(".")[0] for file in tmp_path.glob("tests/**/*pytest*.pyc")) == [
        *("test_one", "test_three", "test_two"),
    ]
