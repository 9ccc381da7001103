"""A process that kernels are forked from: `python -P template.py`. Each starts in a tenth of a second.

Reads requests, a line of JSON each, from standard input: `argv`, `cwd`, `environ` and `log` of a kernel. Answers with
its pid. When standard input ends, so does this, and then its kernels, which see that their parent is gone.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

# They are in `sys.modules` only: a chapter still has to import what it uses.
IMPORTS = (
    "boto3",
    "falcorules",
    "ipykernel.debugger",  # half of a kernel's start
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "kubernetes.client.api.core_v1_api",
    "labkit.alerts.arrival",
    "labkit.alerts.query",
    "labkit.charts.bars",
    "labkit.connect",
    "labkit.lab",
    "labkit.provision.preflight",
    "labkit.respond.findings",
    "labkit.respond.metrics",
)
SERVICES = ("cloudwatch", "eks", "iam", "lambda", "logs", "securityhub", "sns", "sqs", "sts")
KEYS = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}


def prepare() -> None:
    """Imports what kernels need, and reads what their clients do."""
    # As IPython's kernel sets it when it starts, which is after matplotlib has read it here.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # its warning is for those who use the debugger
    for name in IMPORTS:
        importlib.import_module(name)
    # pandas takes a process without IPython for one at a terminal, whose width then decides how many columns it shows.
    display = importlib.import_module("pandas").options.display
    display.max_columns, display.encoding = 20, "UTF-8"
    importlib.import_module("labkit.provision.steps").STEPS.table  # noqa: B018  imports its modules
    aws = importlib.import_module("labkit.aws").Aws("us-east-1", hint="", endpoint="http://127.0.0.1:9", keys=KEYS)
    for service in SERVICES:
        aws.client(service)  # reads the service's description, which other clients use, too
    gc.freeze()


def main() -> None:
    prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernels aren't waited for
    for line in sys.stdin:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_kernel(json.loads(line), parent)
            return
        print(pid, flush=True)


def become_kernel(request: dict[str, Any], parent: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, onto in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, onto)
    sys.argv = [*request["argv"], f"--IPKernelApp.parent_handle={parent}"]  # with its parent gone, it ends
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
    _end()


def _end() -> NoReturn:
    """Ends the process, but doesn't take all modules apart: that takes longer than a kernel's start."""
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
