"""Labs for tests: the real embedded lab, as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from ekslab import client
from ekslab.state import Endpoints
from tests import browser
from tests.forks import Forks

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def _no_real_aws() -> None:
    """No test may find a person's own credentials, cluster or lab."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KUBE", "LABKIT_", "EKSLAB_")) and name != client.PARENT:
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.fixture(autouse=True, scope="session")
def _models_parsed_once() -> Iterator[None]:
    """botocore finds and parses a service's model for each session anew, which takes some 40 ms; here, for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield


_running: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


@pytest.fixture(autouse=True, scope="session")
def _forks() -> Iterator[None]:
    """The project's programs are forks of processes that have imported them, unless a test is marked `start_up`."""
    forks = Forks()
    with forks.instead_of_programs(lambda: not _running[-1].get_closest_marker("start_up")):
        yield
    forks.close()


@pytest.fixture(scope="session")
def workshop() -> Path:
    """The workshop's folder."""
    return ROOT


@pytest.fixture
def as_on_eks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Path) -> Callable[[Endpoints], None]:
    """Makes a lab to be found as EKS is: by environment variables and a `helm` on the PATH, and nothing else."""

    def found(endpoints: Endpoints) -> None:
        helm = tmp_path / "bin" / "helm"
        helm.parent.mkdir()
        helm.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ekslab.helm "$@"\n')
        helm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{helm.parent}:/usr/bin:/bin")
        monkeypatch.setenv("PYTHONPATH", str(workshop))
        for name, value in endpoints.environment().items():
            monkeypatch.setenv(name, value)

    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def embedded(new_lab: Callable[..., Endpoints]) -> Endpoints:
    """One running lab that the whole session shares. A test that changes what others rely on takes `new_lab`."""
    return new_lab()
