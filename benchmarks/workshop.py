"""What attendees wait for: imports, rules, the lab, delivery of an alert, chapters."""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Cell, Part, Table, this_machine

COLUMNS = ("what", "measured", "unit")
ALERTS = 50_000


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def imports() -> Part:
    """Imports in a fresh process."""
    machine = this_machine()
    rows: list[list[Cell]] = []
    for statement in ("import labkit", "import labkit; labkit.Lab", "import labkit.alerts, pandas"):
        code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
        run = [sys.executable, "-c", code]
        times = [float(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(9)]
        rows.append([f"`{statement}`", statistics.median(times) * 1000, "ms of CPU time"])
    return Part("import", machine, [Table("Start", COLUMNS, rows)])


def rules(files: Sequence[Path] = ()) -> Part:
    """Loading and evaluating the default rules, and rule files that are given."""
    import falcorules

    machine = this_machine()
    visit = list(falcorules.open_events(ROOT / "custom-rules" / "recorded" / "visit.jsonl.gz"))
    events = visit * (200_000 // len(visit))
    rows: list[list[Cell]] = []
    for name, chosen in (("the default rules", [falcorules.default_rules()]), ("the given files", list(files))):
        if not chosen:
            continue
        engine = falcorules.Engine(matching="all")
        started = time.process_time()
        engine.load(chosen)
        rows.append([f"load {name}", (time.process_time() - started) * 1000, "ms of CPU time"])
        names = [rule.name for rule in engine.active]
        for count in (len(names) // 4, len(names) // 2, len(names)):
            engine = falcorules.load(chosen, matching="all")
            only: list[dict[str, dict[str, str]]] = [{"enable": {"rule": name}} for name in names[:count]]
            engine.select([{"disable": {"rule": "*"}}, *only])
            engine.replay(visit)  # compiles what the events need
            started = time.process_time()
            for event in events:
                engine.process(event)
            spent = time.process_time() - started
            what = f"evaluate {len(events):,} recorded events, {count} of {len(names)} rules"
            rows.append([what, len(events) / spent, "events per CPU second"])
    return Part("rules", machine, [Table("Rules", COLUMNS, rows)])


def lab() -> Part:
    """The embedded lab: its start, and how long an alert and a finding take to arrive."""
    from ekslab import client
    from labkit import Lab
    from labkit.connect import start_embedded
    from labkit.settings import Settings

    machine = this_machine()
    os.environ[client.PARENT] = str(os.getpid())
    home = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    settings = Settings.load(environ={}, home=home, root=ROOT)
    rows: list[list[Cell]] = [["`labkit up`", seconds(lambda: start_embedded(settings)), "s"]]
    try:
        endpoints = start_embedded(settings)
        lab = Lab.connect(home=home, root=ROOT)
        spent = seconds(lambda: lab.ensure("fluent-bit", "falco", "nginx", "custom-rules"))
        rows.append(["apply Fluent Bit, Falco, nginx, custom rules", spent, "s"])
        logs = lab.aws.client("logs")
        delays = []
        for _ in range(10):
            since = int(time.time() * 1000)
            started = time.perf_counter()
            lab.exec("deploy/nginx", "bash", tty=True, stdin="exit\n")
            while not logs.filter_log_events(logGroupName="falco", startTime=since)["events"]:
                pass
            delays.append(time.perf_counter() - started)
        rows.append(["exec of a shell until its alert is readable, median of 10", statistics.median(delays), "s"])
        rows.append(["exec of a shell until its alert is readable, worst", max(delays), "s"])
        lab.ensure("findings-forwarder")
        delays = [seconds(partial(_forward, lab, known)) for known in range(8)]
        rows.append(["exec of a command until its finding is there, the first", delays[0], "s"])
        rows.append(["exec of a command until its finding is there, median of 7", statistics.median(delays[1:]), "s"])
        lab.undo("findings-forwarder")
        _fill(logs, ALERTS)
        start = datetime.now(UTC).replace(hour=0, minute=0, second=0)
        spent = seconds(lambda: lab.alerts(start))
        rows.append([f"read {ALERTS:,} alerts from the lab into a frame", ALERTS / spent, "alerts/s"])
        report = client.health(endpoints)
        assert report is not None
        rows.append([f"memory of the lab, with {ALERTS:,} alerts", report["memory"] / 1e6, "MB"])
    finally:
        client.stop(home)
    return Part("lab", machine, [Table("The embedded lab", COLUMNS, rows)])


def chapters() -> Part:
    """The chapters against as many notebooks with nothing in them, on the same computer at the same time."""
    import nbformat
    import papermill
    from nbformat.v4 import new_code_cell, new_notebook

    machine = this_machine()
    folder = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[new_code_cell("pass")], metadata={"kernelspec": kernelspec}), folder / "a.ipynb")
    chapters = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
    logging.disable()

    def empty() -> None:
        for _ in chapters:
            # Kernels say at each start that TCP isn't encrypted.
            quiet = ["--log-level=CRITICAL"]
            papermill.execute_notebook(
                folder / "a.ipynb", folder / "b.ipynb", progress_bar=False, extra_arguments=quiet
            )

    run = [sys.executable, "-m", "labkit.cli", "run", "--target=embedded", f"--output={folder / 'run'}"]
    environ = {name: value for name, value in os.environ.items() if name != "LABKIT_HOME"}
    before = seconds(empty)
    started = time.perf_counter()
    done = subprocess.run(run, env=environ, cwd=ROOT, capture_output=True, text=True)
    spent = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"labkit run failed:\n{done.stderr}")
    least = (before + seconds(empty)) / 2
    logging.disable(logging.NOTSET)
    rows: list[list[Cell]] = [
        [f"{len(chapters)} empty notebooks, by papermill", least, "s"],
        [f"{len(chapters)} chapters, by `labkit run`, with their lab and the report", spent, "s"],
        ["chapters to empty notebooks", spent / least, "times"],
    ]
    return Part("chapters", machine, [Table("Chapters", COLUMNS, rows)])


def _forward(lab: Any, known: int) -> None:
    """Reads a file that an attacker would, and waits until there are more findings than before."""
    hub = lab.aws.client("securityhub")
    lab.exec("deploy/nginx", "cat", "/etc/shadow")
    while len(hub.get_findings(MaxResults=100)["Findings"]) <= known:
        pass


def _fill(logs: Any, count: int) -> None:
    """Puts copies of one alert into the log group, in batches as large as the service takes."""
    newest = logs.filter_log_events(logGroupName="falco", limit=1)["events"][0]
    logs.create_log_stream(logGroupName="falco", logStreamName="bench")
    now = int(time.time() * 1000)
    size = 800
    for first in range(0, count, size):
        batch = [{"timestamp": now, "message": newest["message"]} for _ in range(min(size, count - first))]
        logs.put_log_events(logGroupName="falco", logStreamName="bench", logEvents=batch)
