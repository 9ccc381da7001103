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
