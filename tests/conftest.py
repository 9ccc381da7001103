"""Labs for tests: the real embedded lab, as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.embedded import client
from labkit.embedded.state import Endpoints
from labkit.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def _no_real_aws() -> None:
    """No test may find a person's own credentials, cluster or lab."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KUBE", "LABKIT_")):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.fixture(scope="session")
def workshop() -> Path:
    """The workshop's folder."""
    return ROOT


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Endpoints]]:
    """Starts labs, each in a folder of its own unless `home` is given; all are stopped at the end."""
    homes: set[Path] = set()

    def start(**settings: object) -> Endpoints:
        home = Path(str(settings.pop("home", None) or tmp_path_factory.mktemp("lab") / ".labkit"))
        homes.add(home)
        return client.ensure_running(Settings.load(environ={}, home=home, root=ROOT, **settings))

    yield start
    for home in homes:
        client.stop(home)


@pytest.fixture(scope="session")
def embedded(new_lab: Callable[..., Endpoints]) -> Endpoints:
    """One running lab that the whole session shares. A test that changes what others rely on takes `new_lab`."""
    return new_lab()
