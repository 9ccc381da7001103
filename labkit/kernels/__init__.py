"""The kernels of a run, forked from one process that has imported what chapters import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class Template:
    """The process that kernels are forked from, started at once. What it and they print goes to the file `log`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        program = Path(__file__).with_name("template.py")
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the run, which ends it
                env=os.environ | {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"},  # macOS: no other thread runs there
            )

    def fork(self, argv: list[str], cwd: str, environ: Mapping[str, str]) -> int:
        """The pid of a new kernel."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"argv": argv, "cwd": cwd, "environ": dict(environ), "log": str(self.log.resolve())}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        pid = self._process.stdout.readline()
        if not pid:
            raise RuntimeError(f"no kernel could be started; {self.log} says why")
        return int(pid)

    def stop(self) -> None:
        """Ends the process, and with it the kernels that there are still."""
        self._process.communicate()
