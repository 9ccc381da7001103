"""The environment of the peers, awswrangler and what it needs, in `build/bench/peers`: made once, used from then on."""

from __future__ import annotations

import subprocess
import sys
import venv

from benchmarks.report import ROOT

AWSWRANGLER = "awswrangler==3.17.1"
ENVIRONMENT = ROOT / "build" / "bench" / "peers"


def python() -> str | None:
    """The environment's interpreter; None, after a line that says why, if it can't be made.

    Packages that this project has, too, have the versions of its lock: pandas, pyarrow, boto3.
    """
    interpreter = ENVIRONMENT / "bin" / "python"
    made = ENVIRONMENT / ".made-for"
    lock = (ROOT / "constraints.txt").read_text()
    if made.exists() and made.read_text() == AWSWRANGLER + lock:
        return str(interpreter)
    print(f"Setting up {ENVIRONMENT.relative_to(ROOT)} with {AWSWRANGLER}: half a minute, once.", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [
        str(interpreter),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries=1",
        "--timeout=15",
    ]
    done = subprocess.run(
        [*pip, f"--constraint={ROOT / 'constraints.txt'}", AWSWRANGLER], capture_output=True, text=True
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        print(f"awswrangler is left out: its environment can't be made without the network ({why})", file=sys.stderr)
        return None
    made.write_text(AWSWRANGLER + lock)
    return str(interpreter)
