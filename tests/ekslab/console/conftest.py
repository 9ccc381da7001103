"""A lab with the whole workshop in it, and a page of its console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit.lab import Lab
from tests.ekslab.console.page import Page


@pytest.fixture(scope="session")
def console_lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.ensure()
    return lab


@pytest.fixture(scope="session")
def endpoints(console_lab: Lab) -> Endpoints:
    return client.running(console_lab.settings.home)


@pytest.fixture
def page(endpoints: Endpoints) -> Page:
    return Page.of(client.console(endpoints))
