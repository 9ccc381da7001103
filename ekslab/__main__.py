"""Entry point of `python -m ekslab`."""

from __future__ import annotations

import sys

from ekslab.cli import main
from ekslab.errors import EksLabError

if __name__ == "__main__":
    try:
        main(prog_name="python -m ekslab")
    except EksLabError as error:
        print(f"ekslab: {error}", file=sys.stderr)
        sys.exit(1)
