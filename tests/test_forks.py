"""How tests start the project's programs by forks (`tests/forks.py`)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path


def test_a_file_keeps_its_number_whichever_that_is(tmp_path: Path) -> None:
    """A worker that has run many tests has many files open."""
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        command = [sys.executable, "-m", "ekslab.server", f"--home={tmp_path}", f"--aws-port={taken.getsockname()[1]}"]
        while (number := os.open(os.devnull, os.O_RDONLY)) < 106:
            stack.callback(os.close, number)
            if number < 98:
                continue
            read, write = os.pipe()
            with os.fdopen(read, "rb") as ready:
                with os.fdopen(write, "wb"):
                    program = subprocess.Popen(
                        [*command, f"--ready-fd={write}"], pass_fds=[write], stderr=subprocess.DEVNULL
                    )
                assert b"a port is in use" in ready.read(), f"the file of number {write} is closed"
            program.wait()
        os.close(number)


def test_a_program_ends_as_it_does_by_itself(tmp_path: Path) -> None:
    """Its status and what it says last, also where what it prints is no longer read."""
    environ = os.environ | {"LABKIT_HOME": str(tmp_path)}
    read, closed = os.pipe()
    os.close(read)
    for output, arguments, status in (
        *((subprocess.PIPE, ["--help"], 0), (subprocess.PIPE, ["--nosuch"], 2), (subprocess.PIPE, ["status"], 1)),
        *((closed, ["--help"], 1), (closed, ["status"], 1)),
    ):
        command = [sys.executable, "-m", "labkit.cli", *arguments]
        forked, alone = (
            subprocess.run(argv, env=environ, stdout=output, stderr=subprocess.PIPE, text=True)
            for argv in (command, ["/usr/bin/env", *command])
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)
        assert forked.returncode == status
    os.close(closed)
