"""Writes the day's files."""

from __future__ import annotations

import gzip

from tests.day_of_alerts import ALERTS, EVENTS
from tests.day_of_alerts.day import lines

if __name__ == "__main__":
    for file, found in zip((ALERTS, EVENTS), lines(), strict=True):
        file.write_bytes(gzip.compress("".join(found).encode(), mtime=0))
        print(f"{file.name}: {len(found):,} lines, {file.stat().st_size:,} bytes")
