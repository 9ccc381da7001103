"""`make bench`: how long the things take that people wait for. Prints a table; asserts nothing.

python -m tests.bench [RULES.yaml ...]     rule files to load and replay besides the lab's default rules
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def row(what: str, value: float, unit: str) -> None:
    print(f"{what:<58} {value:>12,.2f} {unit}")


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bench_import() -> None:
    times = []
    for _ in range(5):
        code = "import time; t = time.perf_counter(); import labkit; labkit.Lab; print(time.perf_counter() - t)"
        times.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    row("import labkit", statistics.median(times), "s")


def bench_rules(files: list[Path]) -> None:
    import falcorules as rules

    default = ROOT / "falcorules" / "data" / "falco_rules.yaml"
    visit = list(rules.open_events(ROOT / "custom-rules" / "recorded" / "visit.jsonl.gz"))
    events = visit * (200_000 // len(visit))
    for name, chosen in (("the default rules", [default]), ("the given files", files)):
        if not chosen:
            continue
        engine = rules.Engine(matching="all")
        started = time.process_time()
        engine.load(chosen)
        row(f"load {name}", (time.process_time() - started) * 1000, "ms of CPU")
        names = [rule.name for rule in engine.active]
        for count in (len(names) // 4, len(names) // 2, len(names)):
            engine = rules.load(chosen, matching="all")
            only: list[dict[str, dict[str, str]]] = [{"enable": {"rule": name}} for name in names[:count]]
            engine.select([{"disable": {"rule": "*"}}, *only])
            engine.replay(visit)  # compiles what the events need
            started = time.process_time()
            for event in events:
                engine.process(event)
            spent = time.process_time() - started
            row(f"  {len(events):,} recorded events, {count} of {len(names)} rules", len(events) / spent, "events/s")


def bench_lab() -> None:
    from ekslab import client
    from labkit import Lab
    from labkit.connect import start_embedded
    from labkit.settings import Settings

    os.environ[client.PARENT] = str(os.getpid())
    home = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    settings = Settings.load(environ={}, home=home, root=ROOT)
    row("labkit up", seconds(lambda: start_embedded(settings)), "s")
    try:
        endpoints = start_embedded(settings)
        lab = Lab.connect(home=home, root=ROOT)
        row("provision everything", seconds(lambda: lab.ensure("fluent-bit", "falco", "nginx", "custom-rules")), "s")
        logs = lab.aws.client("logs")
        delays = []
        for _ in range(10):
            since = int(time.time() * 1000)
            started = time.perf_counter()
            lab.exec("deploy/nginx", "bash", tty=True, stdin="exit\n")
            while not logs.filter_log_events(logGroupName="falco", startTime=since)["events"]:
                pass
            delays.append(time.perf_counter() - started)
        row("exec of a shell until its alert is readable, median", statistics.median(delays), "s")
        row("exec of a shell until its alert is readable, worst", max(delays), "s")
        lab.ensure("findings-forwarder")
        delays = [seconds(partial(forward, lab, known)) for known in range(8)]
        row("exec of a command until its finding is there, the first", delays[0], "s")
        row("exec of a command until its finding is there, median", statistics.median(delays[1:]), "s")
        lab.undo("findings-forwarder")
        fill(logs, 50_000)
        start = datetime.now(UTC).replace(hour=0, minute=0, second=0)
        spent = seconds(lambda: lab.alerts(start))
        row("read alerts into a frame", 50_000 / spent, "alerts/s")
        report = client.health(endpoints)
        assert report is not None
        row("memory of the lab, with 50,000 alerts", report["memory"] / 1e6, "MB")
    finally:
        client.stop(home)


def bench_chapters() -> None:
    """The chapters against as many notebooks with nothing in them, on the same computer at the same time."""
    import nbformat
    import papermill
    from nbformat.v4 import new_code_cell, new_notebook

    folder = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[new_code_cell("pass")], metadata={"kernelspec": kernelspec}), folder / "a.ipynb")
    chapters = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
    logging.disable()

    def empty() -> None:
        for _ in chapters:
            papermill.execute_notebook(folder / "a.ipynb", folder / "b.ipynb", progress_bar=False)

    run = [sys.executable, "-m", "labkit.cli", "run", "--target=embedded", f"--output={folder / 'run'}"]
    environ = {name: value for name, value in os.environ.items() if name != "LABKIT_HOME"}
    before = seconds(empty)
    spent = seconds(partial(subprocess.run, run, env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL))
    least = (before + seconds(empty)) / 2
    row(f"{len(chapters)} empty notebooks, by papermill", least, "s")
    row(f"{len(chapters)} chapters, by labkit run, with their lab and the report", spent, "s")
    row("  chapters to empty notebooks", spent / least, "times")


def forward(lab: Any, known: int) -> None:
    """Reads a file that an attacker would, and waits until there are more findings than before."""
    hub = lab.aws.client("securityhub")
    lab.exec("deploy/nginx", "cat", "/etc/shadow")
    while len(hub.get_findings(MaxResults=100)["Findings"]) <= known:
        pass


def fill(logs: object, count: int) -> None:
    """Put copies of one alert into the log group, in batches as large as the service takes."""
    newest = logs.filter_log_events(logGroupName="falco", limit=1)["events"][0]  # type: ignore[attr-defined]
    logs.create_log_stream(logGroupName="falco", logStreamName="bench")  # type: ignore[attr-defined]
    now = int(time.time() * 1000)
    size = 800
    for first in range(0, count, size):
        batch = [{"timestamp": now, "message": newest["message"]} for _ in range(min(size, count - first))]
        logs.put_log_events(logGroupName="falco", logStreamName="bench", logEvents=batch)  # type: ignore[attr-defined]


if __name__ == "__main__":
    bench_import()
    bench_rules([Path(name) for name in sys.argv[1:]])
    bench_lab()
    bench_chapters()
