"""Programs of the project for tests, forked from a process that has imported them: a tenth of the time.

`subprocess` starts `python -m ekslab.server`, `labkit.cli` and the like by a fork while `Forks.instead_of_programs`
says so. A program is a child of the test's process, with the arguments, environment, folder, files and session that it
was given; only imports, policies and models of services are paid once. Labs are children of the process that forks,
which waits for their ends.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import functools
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
_SERVICES = ("eks", "iam", "lambda", "logs", "monitoring", "securityhub", "servicequotas", "sns", "sqs", "sts")
"""Signing names of the services that tests use."""
_LAB = ("ekslab.lab", "ekslab.images.falco", "ekslab.images.fluent_bit", "ekslab.images.nginx", "falcorules.engine")
_LAB += ("botocore.auth", "moto.eks.models", "moto.iam.responses", "moto.iam.urls", "moto.sts")
_CLI = ("labkit.cli.attacks", "labkit.cli.shell", "labkit.connect", "labkit.lab", "labkit.attacks.runner")
_CLI += ("ekslab.client", "labkit.provision.preflight", "boto3", "kubernetes.client", "kubernetes.stream")
_CLI += ("aiohttp", "jwt", "labkit.alerts.arrival", "labkit.alerts.query", "orjson")
IMPORTS = {
    "ekslab.server": _LAB,
    "ekslab.helm": ("ekslab.helm.cli",),
    "labkit.cli": _CLI,
    "labkit.eks_token": ("boto3", "labkit.boto_errors"),
    "ekslab/aws/lambda_runtime.py": ("boto3", "botocore.loaders", "concurrent.futures"),
    "labkit.report": ("nbconvert.exporters.html", "nbformat.v4", "jinja2", "pygments.lexers", "pygments.formatters"),
}
"""What a program needs, by its module or file; imported when a program is forked for the first time."""
_MODELS = {
    "ekslab/aws/lambda_runtime.py": ("securityhub", "sqs"),
    "labkit.cli": ("cloudwatch", "eks", "iam", "lambda", "logs", "securityhub", "sns", "sqs", "sts"),
    "labkit.eks_token": ("sts",),
}
"""Services whose models a program reads."""
_READS = {"get", "history", "list", "status"}
"""Commands of Helm that change nothing. A release's lock looks for the others by their names."""
_BECOME_SUBREAPER = 36  # prctl(2)


def take_terminal() -> None:
    """A `preexec_fn`: standard input becomes the controlling terminal of the new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def program_of(argv: object) -> tuple[str, list[str]]:
    """The program of a command, by its name in `IMPORTS`, and its arguments. No name: it can't be forked."""
    if not isinstance(argv, list | tuple) or argv[0] != sys.executable:
        return "", []
    how, what, *arguments = map(os.fsdecode, argv[1:])
    name = what if how == "-m" else os.path.relpath(what, ROOT) if how == "-I" else ""
    forked = name in IMPORTS and (name != "ekslab.helm" or arguments[0] in _READS)
    return name if forked else "", arguments


class Forks:
    """The processes that fork, one a package; they end with this one, or with `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"forks-{os.getpid()}-")
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._turn = threading.Lock()

    @contextmanager
    def instead_of_programs(self, wanted: Callable[[], bool]) -> Generator[None]:
        """While the block runs, `subprocess` forks where it can, and `wanted()` is true."""
        original = subprocess.Popen._execute_child  # type: ignore[attr-defined]
        signature = inspect.signature(original)

        def execute(process: Any, *positional: Any, **named: Any) -> None:
            given = signature.bind(process, *positional, **named).arguments
            program, arguments = program_of(given["args"])
            if not program or given["preexec_fn"] not in (None, take_terminal) or not wanted():
                original(process, *positional, **named)
                return
            pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            files = {number: number if pipe == -1 else pipe for number, pipe in enumerate(pipes)}
            request = {
                "program": program,
                "arguments": arguments,
                "environment": dict(os.environ if given["env"] is None else given["env"]),
                "folder": os.fspath(given["cwd"] or os.getcwd()),
                "session": given["start_new_session"],
                "terminal": given["preexec_fn"] is take_terminal,
            }
            process.pid = self._fork(request, files | {number: number for number in given["pass_fds"]})
            process._child_created = True
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            process._close_pipe_fds(*(given[name] for name in ends))

        subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
        try:
            yield
        finally:
            subprocess.Popen._execute_child = original  # type: ignore[attr-defined]

    def _fork(self, request: dict[str, Any], files: dict[int, int]) -> int:
        """The pid of a new child of this process; `files` are its descriptors and this process's."""
        prctl = ctypes.CDLL(None).prctl
        with self._turn, socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._server(request["program"]))
            prctl(_BECOME_SUBREAPER, 1)  # who forks ends at once, and this process becomes the parent
            try:
                data = json.dumps({**request, "files": list(files)}).encode() + b"\n"
                sent = socket.send_fds(connection, [data], list(files.values()))
                if sent < len(data):  # to send nothing is an error, too, when the other end has been quick to close
                    connection.sendall(data[sent:])
                said = b""
                while not said.endswith(b"\n"):
                    said += (chunk := connection.recv(100))
                    assert chunk, f"{request} could not be forked"
                return int(said)
            finally:
                prctl(_BECOME_SUBREAPER, 0)

    def _server(self, program: str) -> str:
        """The address of the process that forks a program."""
        name = "functions" if program.endswith(".py") else program.partition(".")[0]
        address = os.path.join(self._folder.name, name)
        if name not in self._servers:
            server = self._servers[name] = subprocess.Popen(
                [sys.executable, "-I" if name == "functions" else "-P", __file__, address],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        return address

    def close(self) -> None:
        for server in self._servers.values():
            server.communicate()
        self._folder.cleanup()


def _serve(address: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end this one
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    prepared: set[str] = set()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        request, files = _receive(connection)
        if request["program"] not in prepared:
            prepared.add(request["program"])
            _prepare(request["program"])
        is_lab = request["program"] == "ekslab.server"
        pid = os.fork()
        if pid == 0:
            if not is_lab and (pid := os.fork()):
                connection.sendall(str(pid).encode())
                os._exit(0)
            _become(request, files)
        if is_lab:
            connection.sendall(str(pid).encode())
        else:
            with suppress(ChildProcessError):  # it has been waited for
                os.waitpid(pid, 0)
        connection.sendall(b"\n")
        connection.close()
        for file in files:
            os.close(file)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _receive(connection: socket.socket) -> tuple[dict[str, Any], Sequence[int]]:
    data, files, *_ = socket.recv_fds(connection, 1 << 20, 16)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    return json.loads(data), files


def _prepare(program: str) -> None:
    for name in IMPORTS[program]:
        importlib.import_module(name)
    if program in _MODELS:
        from botocore import session

        session.create_loader = functools.cache(session.create_loader)
        for service in _MODELS[program]:
            session.get_session().create_client(service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    if program == "labkit.report":  # the first page reads nbconvert's templates
        from nbformat.v4 import new_notebook, writes

        from labkit import report

        with tempfile.TemporaryDirectory() as folder:
            notebook = Path(folder, "00.ipynb")
            notebook.write_text(writes(new_notebook()))
            run = report.Run("embedded", [report.chapter_of(notebook, Path(folder))], Path(folder))
            report.write_page(run, run.chapters[0])
    if program == "ekslab.server":
        from ekslab.aws import Aws, protocols
        from ekslab.identity import Credentials, ServiceAccountIssuer

        Aws(credentials=Credentials(), issuer=ServiceAccountIssuer("https://oidc.example/id/0")).account.load()
        for service in _SERVICES:
            protocols.service_model(service)
    gc.collect()
    gc.freeze()


def _become(request: dict[str, Any], files: Sequence[int]) -> NoReturn:
    """Goes on as the program in this process."""
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # First above all numbers that a file is to have: else one might be there already, and be closed as another's copy.
    above = max(*request["files"], *files) + 1
    copies = (fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files)
    high = dict(zip(request["files"], copies, strict=True))
    os.closerange(3, above)
    for number, file in high.items():
        os.dup2(file, number)
        os.close(file)
    if request["terminal"]:
        take_terminal()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    program = request["program"]
    sys.argv = [program, *request["arguments"]]
    status: object = None
    try:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code
    _end(status)


def _end(status: object) -> NoReturn:
    """Ends as Python does, but doesn't take all modules apart: that takes longer than most programs."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads: Python says so
        sys.exit(status if isinstance(status, int) else status is not None)
    os._exit(status & 0xFF if isinstance(status, int) else status is not None)


if __name__ == "__main__":
    _serve(sys.argv[1])
