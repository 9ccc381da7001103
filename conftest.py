"""Lets nbval compare the notebooks' stored outputs: strictly, in name order, on a fresh lab that all of them share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_lab_home: Path | None = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The chapters come last, so that a broken part is reported by its own test first.
    items.sort(key=_is_notebook_cell)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the chapters' lab before nbval starts the first kernel, which inherits the environment."""
    global _lab_home
    if _lab_home is None and _is_notebook_cell(item):
        from labkit.embedded import client
        from labkit.settings import Settings

        for name in list(os.environ):
            if name.startswith(("AWS_", "KUBE", "LABKIT_")):
                del os.environ[name]
        _lab_home = Path(tempfile.mkdtemp(prefix="labkit-notebooks-")) / ".labkit"
        os.environ["LABKIT_HOME"] = str(_lab_home)
        client.ensure_running(Settings.load(root=HERE))


def pytest_sessionfinish() -> None:
    if _lab_home is not None:
        from labkit.embedded import client

        client.stop(_lab_home)


def _is_notebook_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"
