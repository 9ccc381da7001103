"""A lab with the whole workshop in it, and a page of its console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit.lab import Lab
from tests.ekslab.console.page import Page


@pytest.fixture(scope="session")
def console_lab(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Iterator[Lab]:
    """Started by labkit, which names the command of the diagnosis."""
    lab = Lab.connect(home=tmp_path_factory.mktemp("console") / "home", root=workshop)
    lab.ensure()
    yield lab
    client.stop(lab.settings.home)


@pytest.fixture(scope="session")
def endpoints(console_lab: Lab) -> Endpoints:
    return client.running(console_lab.settings.home)


@pytest.fixture
def page(endpoints: Endpoints) -> Page:
    return Page.of(client.console(endpoints))
