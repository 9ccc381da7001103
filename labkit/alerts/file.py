"""Reads alerts from a file of lines as Falco prints them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pandas as pd

from labkit.alerts.frame import to_frame
from labkit.calls import checked, short_repr
from labkit.errors import LabError

_GZIP = b"\x1f\x8b"


@checked
def read_file(file: Path | str) -> pd.DataFrame:
    """The alerts of a file, one JSON object a line, plain or compressed by gzip, as `labkit.alerts.read` gives them.

    `attrs["skipped"]` counts lines that are no alerts. Raises `LabError` for a file that can't be read.
    """
    path = Path(file)
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode("utf-8", "replace")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = "Check its name; paths count from here or from the workshop's folder."
        raise LabError(f"{short_repr(str(file), 200)} can't be read: {why}.", hint=hint) from error
    return to_frame([line for line in text.splitlines() if line.strip()])
