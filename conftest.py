"""What holds for every test, and lets nbval compare the notebooks' stored outputs: strictly, in name order, on one lab.

Labs that are started by tests, or by commands and kernels that tests start, belong to this process: they end with it,
however it ends, and one that is still there when the tests are through is a failure.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints

HERE = Path(__file__).parent
FUNCTION = HERE / "labkit" / "respond" / "forwarder.py"
_lab_home: Path | None = None


def pytest_configure() -> None:
    os.environ[client.PARENT] = str(os.getpid())
    # A shell starts what runs in its background with SIGINT ignored, and commands that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_being_set_up: list[pytest.FixtureRequest] = []
_running: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, object, object]:
    _being_set_up.append(request)
    try:
        return (yield)
    finally:
        _being_set_up.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Endpoints]:
    """Starts labs, each in a folder of its own unless `home` is given.

    A lab ends with what asked for it: a fixture, or else the test.
    """
    homes: set[Path] = set()

    def start(**settings: object) -> Endpoints:
        home = Path(str(settings.pop("home", None) or tmp_path_factory.mktemp("lab") / ".labkit"))
        if home not in homes:
            homes.add(home)
            owner = _being_set_up[-1] if _being_set_up else _running[-1]
            owner.addfinalizer(lambda: client.stop(home))
        return client.ensure_running(home, functions=[FUNCTION], **settings)  # type: ignore[arg-type]

    return start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The chapters come last, so that a broken part is reported by its own test first.
    items.sort(key=_is_notebook_cell)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the chapters' lab before nbval starts the first kernel, which inherits the environment."""
    global _lab_home
    if _lab_home is None and _is_notebook_cell(item):
        from labkit.environment import embedded

        for name in list(os.environ):
            if name.startswith(("AWS_", "KUBE", "LABKIT_", "EKSLAB_")) and name != client.PARENT:
                del os.environ[name]
        _lab_home = Path(tempfile.mkdtemp(prefix="labkit-notebooks-")) / ".labkit"
        lab = client.ensure_running(_lab_home, functions=[FUNCTION])
        os.environ.update(embedded(lab.environment()).of_process(os.environ))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _lab_home is not None:
        client.stop(_lab_home)
    left = _labs_of(os.getpid())
    if left:
        print(f"\nLabs that tests started are still running: {'; '.join(left)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _labs_of(pid: int) -> list[str]:
    """Pid and command line of the labs that belong to a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    mine = ("ekslab.server", f"--parent {pid}")
    return [line.strip() for line in listed.splitlines() if all(part in f"{line} " for part in mine)]


def _is_notebook_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"
