"""A day of a cluster, for chapters 05 to 07: four simulated nodes whose clock runs through 24 hours in some seconds.

`python -m tests.day_of_alerts` writes `notebooks/data/day.jsonl.gz`, the alerts, and `day-events.jsonl.gz`, the system
calls behind them with the programs that were started in between. Each alert is one that Falco's default rules raise on
a system call of a simulated node; who runs what and when is in `work.py` (what is normal there) and `intruder.py`.
The same code gives the same lines.
"""

from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "notebooks" / "data"
ALERTS, EVENTS = _FOLDER / "day.jsonl.gz", _FOLDER / "day-events.jsonl.gz"
