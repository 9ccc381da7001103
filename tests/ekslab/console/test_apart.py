"""The console is a package that the lab works without, and costs nothing until it is asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TRY = """
import sys
from pathlib import Path
from ekslab import client
if __name__ == "__main__":
    lab = client.ensure_running(Path(sys.argv[1]))
    try:
        print(client.console(lab))
    except client.EksLabError as error:
        print(error)
    finally:
        client.stop(sys.argv[1])
"""


def test_nothing_imports_it() -> None:
    packages = ("ekslab", "labkit", "classroom", "falcorules")
    for file in (file for package in packages for file in ROOT.glob(f"{package}/**/*.py")):
        if file.parent != ROOT / "ekslab" / "console":
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"^\s*(from|import) ekslab\.console\b|from ekslab import .*\bconsole\b", text, re.M), (
                file
            )


@pytest.mark.start_up
def test_a_lab_without_the_package_starts_and_says_so(tmp_path: Path) -> None:
    for package in ("ekslab", "falcorules"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.rmtree(tmp_path / "ekslab" / "console")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", TRY, str(tmp_path / "home")]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "This lab has no console: the package ekslab.console is not there.", done.stderr


def test_a_lab_that_was_not_asked_has_not_imported_it() -> None:
    loaded = "import sys, ekslab.server, ekslab.lab; print([name for name in sys.modules if 'console' in name])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
