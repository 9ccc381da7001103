"""A process that has imported what attendees' servers, labs and kernels need: `python -P -m hub.template SOCKET`.

It forks a session for each connection to the socket, whose first line is a request (JSON): `account`, a Unix account or
"" for this process's own; `folder`, the attendee's; `environ` and `argv` of the server. Imports are paid once, and
attendees share the memory that they take. The session answers with its pid, and then with "" or an error. It forks the
attendee's lab, server and kernels, and ends all of them when the server ends, or on SIGTERM.

The template never reads a request: what it forks next has a copy of its memory, and a request holds an attendee's
token. It ends with its standard input.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pwd
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import ipykernel.debugger
import numpy

from ekslab import client, memory
from labkit import jupyterlab, workbook
from labkit.errors import LabError
from labkit.kernels import template as kernels
from labkit.kernels.process import Process
from labkit.settings import Settings

WORKSHOP = Path(__file__).parent.parent
IMPORTS = (
    "jupyterhub.singleuser.extension",
    "jupyterlab.labapp",
    "jupyter_lsp.serverextension",
    "nbconvert.exporters.html",
    "nbconvert.preprocessors",
    "notebook_shim.nbserver",
    "hub.kernels",
    "ekslab.lab",
    "ekslab.server",
    "ekslab.images.falco",
    "ekslab.images.fluent_bit",
    "ekslab.images.nginx",
    "falcorules.engine",
    "moto.eks.models",
    "moto.iam.responses",
    "moto.iam.urls",
    "moto.sts",
)
SERVICES = ("eks", "iam", "lambda", "logs", "monitoring", "securityhub", "sns", "sqs", "sts")
PROCESSES = 400
"""Processes and threads of an attendee's account: a fork bomb in a terminal ends there."""
LOWEST_UID = 1000
_PDEATHSIG, _DUMPABLE = 1, 4  # prctl(2)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the Hub, which ends this one
    prepare()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # sessions aren't waited for
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                _session(connection)


def prepare() -> None:
    """Imports, and reads what labs read of their services."""
    for name in IMPORTS:
        importlib.import_module(name)
    from ekslab.aws import Aws, protocols
    from ekslab.identity import Credentials, ServiceAccountIssuer

    Aws(credentials=Credentials(), issuer=ServiceAccountIssuer("https://oidc.example/id/0")).account.load()
    for service in SERVICES:
        protocols.service_model(service)
    kernels.prepare()  # collects and freezes what there is


def _session(connection: socket.socket) -> NoReturn:
    """An attendee's session, in the process that was forked for it."""
    answers, status = connection.makefile("w", encoding="utf-8"), 1
    try:
        os.setsid()
        request = json.loads(connection.makefile("r", encoding="utf-8").readline())
        # The Hub sends signals to this pid as root. From `_become` on, the account's processes may trace this one.
        print(os.getpid(), file=answers, flush=True)
        _become(request["account"])
        os.environ.clear()
        os.environ.update(request["environ"])
        folder = Path(request["folder"])
        workbook.make_folder(folder, WORKSHOP)
        os.chdir(folder)
        _redirect(folder / "server.log")
        session = Session(folder, request["argv"])
        print(json.dumps(""), file=answers, flush=True)
        answers.close()
        connection.close()
        session.run()
        status = 0
    except Exception as error:
        traceback.print_exc()
        with suppress(OSError, ValueError):
            hint = getattr(error, "hint", "")
            said = f"{error} {hint}" if isinstance(error, LabError | OSError) else f"{type(error).__name__}: {error}"
            print(json.dumps(said.strip()), file=answers, flush=True)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _become(account: str) -> None:
    """Takes a Unix account's user and groups; what the process makes from now on is readable by that user only."""
    os.umask(0o077)
    if not account:
        return
    entry = pwd.getpwnam(account)
    if entry.pw_uid < LOWEST_UID:
        raise LabError(f"{account} is an account of the system.", hint="Give the attendee another name.")
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    os.initgroups(account, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    # Linux makes the files in /proc of a process that has changed its user root's.
    ctypes.CDLL(None).prctl(_DUMPABLE, 1)


def _redirect(log: Path) -> None:
    """Reads from nothing, and writes to a log from now on."""
    nothing, file = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, onto in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, onto)
    os.close(nothing)
    os.close(file)


def _name(name: str) -> None:
    """Names this process in lists of processes, where all have the template's command line."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


class Session:
    """The processes of an attendee: the lab, which is started at once, the server, and kernels."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        _name("attendee")
        os.environ["LABKIT_ROOT"] = str(folder)
        os.environ[client.PARENT] = str(os.getpid())
        settings = Settings.load()
        self._home = settings.home
        self._kernels: list[Process] = []
        self._server = 0
        from jupyterlab.commands import get_user_settings_dir, get_workspaces_dir

        workbook.prepare(folder)
        client.launch = Forked  # type: ignore[assignment]
        try:
            environ, shell = jupyterlab.environment_of(settings, os.environ)
        finally:
            client.launch = subprocess.Popen
        os.environ.update(environ)
        os.environ.update(jupyterlab.extensions(folder, os.environ, elsewhere=True))
        os.environ["JUPYTERHUB_DEFAULT_URL"] = f"/lab/tree/{workbook.current(folder).as_posix()}"
        # Sockets, whose paths may be 107 bytes long.
        os.environ["JUPYTER_RUNTIME_DIR"] = self._runtime = tempfile.mkdtemp(prefix="labkit-")
        self._argv = ["jupyterhub-singleuser", *jupyterlab.server_options(folder, shell), *argv]
        self._argv += [
            "--MultiKernelManager.kernel_manager_class=hub.kernels.Kernel",
            # The first runs npm to look for language servers. The second is in the workshop's defaults, too.
            "--ServerApp.jpserver_extensions={'jupyter_lsp': False, 'labkit.console_route': True}",
            "--LabApp.extension_manager=readonly",  # nothing can be installed into the workshop's environment
            # JupyterLab looked them up when it was imported, in the home of the template.
            f"--LabApp.user_settings_dir={get_user_settings_dir()}",
            f"--LabApp.workspaces_dir={get_workspaces_dir()}",
        ]

    def run(self) -> None:
        """Serves until the server ends."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        requests, ask = os.pipe()
        answer, answers = os.pipe()
        session = os.getpid()
        self._server = os.fork()
        if self._server == 0:
            os.close(requests)
            os.close(answers)
            ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)
            _serve(self._argv, os.fdopen(ask, "w"), os.fdopen(answer))
        os.close(ask)
        os.close(answer)
        with os.fdopen(requests) as lines:
            for line in lines:
                if (pid := os.fork()) == 0:
                    os.close(answers)
                    _name("kernel")
                    numpy.random.seed()  # or all attendees would get the same numbers
                    # A kernel's debugger takes commands on a port, from any account of the machine.
                    ipykernel.debugger._is_debugpy_available = False
                    _run(kernels.become_kernel, json.loads(line), session)
                self._kernels.append(Process(pid))
                os.write(answers, b"%d\n" % pid)
        self._end()

    def _stop(self, *_: Any) -> None:
        if self._server:
            with suppress(ProcessLookupError):
                os.kill(self._server, signal.SIGTERM)

    def _end(self) -> None:
        for kernel in self._kernels:
            kernel.terminate()
        client.stop(self._home)
        shutil.rmtree(self._runtime, ignore_errors=True)


def _run(function: Any, *arguments: Any) -> NoReturn:
    """Calls what this process is for from now on, and ends it."""
    status: Any = 1
    try:
        function(*arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else status is not None)


def _serve(argv: list[str], ask: IO[str], answer: IO[str]) -> NoReturn:
    """Goes on as the attendee's server."""
    from jupyterhub.singleuser.extension import main as server

    from hub.kernels import Kernel

    _name("jupyter")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def fork(argv: list[str], cwd: str, environ: Mapping[str, str]) -> int:
        request = {"argv": argv, "cwd": cwd, "environ": dict(environ), "log": f"{environ['LABKIT_ROOT']}/server.log"}
        print(json.dumps(request), file=ask, flush=True)
        return int(answer.readline())

    Kernel.fork = staticmethod(fork)
    sys.argv = argv
    _run(server)


class Forked(Process):
    """What `ekslab.client` uses of a `Popen`: a lab, forked from the session, which ignores its end."""

    def __init__(
        self, argv: list[str], *, stdout: IO[bytes], pass_fds: list[int], env: Mapping[str, str], **_: Any
    ) -> None:
        pid = os.fork()
        if pid == 0:
            _lab(argv, stdout.fileno(), pass_fds, env)
        super().__init__(pid)


def _lab(argv: list[str], log: int, keep: list[int], environ: Mapping[str, str]) -> NoReturn:
    from ekslab.server import main as lab

    os.setsid()
    _name("lab")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    limit = os.sysconf("SC_OPEN_MAX")
    for low, high in zip([3, *(k + 1 for k in sorted(keep))], [*sorted(keep), min(limit, 4096)], strict=True):
        os.closerange(low, high)
    os.environ.clear()
    os.environ.update(environ)
    gc.freeze()
    memory.begin_forked()
    sys.argv = [argv[2], *argv[3:]]
    _run(lab)


if __name__ == "__main__":
    main()
