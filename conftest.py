"""How the tests run: labs for tests, files spread over the processors, and nbval's comparison of the notebooks.

A folder's tests are spread over one worker more than there are processors, file by file; the notebooks count as one
file, because they share a lab and run in name order, and so do the tests of a class. A single file runs in this
process, and with `-n 0` all do.

Labs that are started by tests, or by commands and kernels that tests start, belong to the worker: they end with it,
however it ends, and a lab that is still running when the worker's tests have ended is a failure.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.assertion import rewrite

from ekslab import client
from ekslab.state import Endpoints

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling
    from xdist.workermanage import WorkerController

HERE = Path(__file__).parent
FUNCTION = HERE / "labkit" / "respond" / "forwarder.py"
# Files that take longest, first: the short ones at the end fill the workers evenly.
LONG_FIRST = ("tests/notebooks", "tests/end_to_end", "tests/classroom", "tests/labkit", "tests/ekslab", "tests")
TOGETHER = "tests/classroom"
"""A folder whose files count as one: they share a lab that takes some seconds to set up."""
_lab_home: Path | None = None
_environment: dict[str, str] = {}
"""This process's own environment while chapters run."""
_labs_left: list[str] = []
_internal_error = False
_numbers = itertools.count()
_NUMBER = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as failed")
    parser.addoption("--report", metavar="DIR", help="where the report of the chapters' run is kept")


def pytest_configure() -> None:
    os.environ[client.PARENT] = str(os.getpid())
    # Where no bytecode is written, each lab and each command that a test starts would compile all modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell starts what runs in its background with SIGINT ignored, and commands that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collects without garbage collection, and leaves what was collected out of later ones, which are rarer, too.

    Tests and what they import are two million objects, which stay: to look at them took an eighth of a worker's time.
    """
    gc.disable()
    try:
        if worker := getattr(session.config, "workerinput", None):
            _rewrite(session.config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def _rewrite(config: pytest.Config, worker: int, workers: int) -> None:
    """Rewrites the assertions of this worker's part of the files. Each would else do so with all, at the same time."""
    state = config.stash[rewrite.assertstate_key]
    for file in sorted(file for path in _paths(config) for file in path.rglob("test_*.py"))[worker::workers]:
        compiled = rewrite.get_cache_dir(file) / f"{file.stem}{rewrite.PYC_TAIL}"
        if rewrite._read_pyc(file, compiled) is None and rewrite.try_makedirs(compiled.parent):
            written, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, written, compiled)


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are processors, since tests also wait; none for a single file, which takes less time
    than the start of workers."""
    paths = _paths(config)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if processors == 1 or (len(paths) == 1 and paths.pop().is_file()) else processors + 1


def _paths(config: pytest.Config) -> set[Path]:
    """Files and folders to run."""
    return {config.invocation_params.dir / argument.partition("::")[0] for argument in config.args}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "notebooks" if path.endswith(".ipynb") else TOGETHER if path.startswith(TOGETHER) else path

    return ByFile(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.stash[_NUMBER] = next(_numbers)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first in workers, the chapters last in this process: a broken part's own test fails before them.

    However a plugin has shuffled the tests, cells and tests that build on one another stay in the order of their files.
    """
    worker = hasattr(config, "workerinput")

    def position(item: pytest.Item) -> tuple[int, float]:
        ordered = _is_notebook_cell(item) or item.get_closest_marker("in_order")
        number = item.stash[_NUMBER] if ordered else math.inf if worker else -1
        return _first_folder(item.nodeid) if worker else _is_notebook_cell(item), number

    items.sort(key=position)


def _first_folder(nodeid: str) -> int:
    """Position of the first folder in `LONG_FIRST` that has the test."""
    return next((i for i, folder in enumerate(LONG_FIRST) if nodeid.startswith(f"{folder}/")), len(LONG_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{item.nodeid} must not be skipped here (--no-skips): {reason}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Starts the chapters' lab before nbval starts the first kernel, which inherits the environment of its shells."""
    global _lab_home
    if not _is_notebook_cell(item):
        _restore_environment()
    elif not _environment:
        from labkit.environment import embedded

        _environment.update(os.environ)
        for name in list(os.environ):
            if name.startswith(("AWS_", "KUBE", "LABKIT_", "EKSLAB_")) and name != client.PARENT:
                del os.environ[name]
        _lab_home = _lab_home or Path(tempfile.mkdtemp(prefix="labkit-notebooks-")) / ".labkit"
        lab = client.ensure_running(_lab_home, functions=[FUNCTION])
        os.environ.update(embedded(lab).of_process(os.environ))


def _restore_environment() -> None:
    """Tests that follow the chapters in this process have the environment of those before them."""
    if _environment:
        os.environ.clear()
        os.environ.update(_environment)
        _environment.clear()


def pytest_internalerror() -> None:
    global _internal_error
    _internal_error = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _lab_home is not None:
        client.stop(_lab_home)
    _labs_left.extend(_labs_of(os.getpid()))
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["labs_left"] = _labs_left
    elif _labs_left:
        print(f"\nLabs that tests started are still running: {'; '.join(_labs_left)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if _internal_error:  # xdist goes on without the worker that had it, and with nothing said of the tests it had left
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    _labs_left.extend(getattr(node, "workeroutput", {}).get("labs_left", ()))


def _labs_of(pid: int) -> list[str]:
    """Pid and command line of the labs that belong to a process."""
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [
        f"{process} {command}"
        for process, parent, command in (line.split(maxsplit=2) for line in listed.splitlines())
        if ("ekslab.server" in command and f"--parent {pid} " in f"{command} ")
        or (f"/forks-{pid}-" in command and int(parent) != pid)  # it has the command of the process that has forked it
    ]


def _is_notebook_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"
