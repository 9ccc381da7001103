"""Alerts for pictures of incidents, and what must hold for all texts in one."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from labkit.alerts import PRIORITIES, read_file
from labkit.triage import incident

DAY = Path(__file__).parents[3] / "notebooks" / "data" / "day.jsonl.gz"
ODD = (
    ("Cost $5 and $6 <b>bold</b>", "web-$a$-_b_^2", "echo $HOME $PATH <script>alert(1)</script>", "root"),
    ("Rule \N{FIRE} with an emoji", "pod-\N{FIRE}", "cat '\N{FIRE}' \n newline \t tab", "www-data"),
    ("R" * 200, "p" * 200, "x " * 200, "u" * 60),
    ("\\frac{a}{b} $\\alpha$", "a\\b", "printf '\\x41' $\\frac{1}{2}$", "daemon"),
    ("", "q", "", None),
    ("A rule", "q", "ls -la /very/long/path/" + "d/" * 60, "root"),
)


def intrusion() -> pd.DataFrame:
    """The intruder's alerts of the day of chapter 05: about forty, in fifty minutes."""
    return incident(read_file(DAY))


def odd(make: Any) -> pd.DataFrame:
    """Texts that matplotlib, HTML or a narrow column would get wrong."""
    return make(
        *(
            {
                "time": f"2026-11-23T04:{minute:02}:07Z",
                "priority": PRIORITIES[minute],
                "rule": rule,
                "fields": {
                    **{"k8s.pod.name": pod, "proc.cmdline": command, "proc.name": command[:6]},
                    **{"proc.pname": "sh $x$", "user.name": user, "proc.pid": minute * 1000 + 7},
                },
            }
            for minute, (rule, pod, command, user) in enumerate(ODD)
        )
    )


def many(make: Any, count: int) -> pd.DataFrame:
    """Alerts of all priorities, thirty rules and four pods, all over a day."""
    chance = random.Random(3)
    pick = chance.choice
    return make(
        *(
            {
                "time": f"2026-11-23T{chance.randrange(24):02}:{chance.randrange(60):02}:07Z",
                "priority": pick(PRIORITIES),
                "rule": f"Rule number {chance.randrange(30)} with a name",
                "fields": {
                    **{"k8s.pod.name": f"web-{chance.randrange(4)}", "proc.name": "cmd"},
                    "proc.cmdline": f"cmd{chance.randrange(150)} --with args {chance.randrange(5)}",
                    **{"proc.pname": pick(["sh", "bash", "nginx"]), "proc.aname[2]": pick(["runc", "tini", None])},
                },
            }
            for _ in range(count)
        )
    )


def untidy(ax: Axes, dpi: float) -> list[str]:
    """Texts of the axes that overlap another one, or are partly outside of the figure."""
    figure: Any = ax.get_figure(root=True)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in ax.texts if text.get_text().strip()]
    labels = ax.get_xticklabels() if ax.axison else []
    boxes += [(label.get_text(), label.get_window_extent(renderer)) for label in labels]
    width, height = figure.bbox.width, figure.bbox.height
    found = [f"outside: {text}" for text, box in boxes if box.x0 < 0 or box.x1 > width or box.y0 < 0 or box.y1 > height]
    for (one, left), (other, right) in combinations(boxes, 2):
        if min(left.x1, right.x1) - max(left.x0, right.x0) > 0.5 and min(left.y1, right.y1) - max(
            left.y0, right.y0
        ) > 0.3 * min(left.height, right.height):
            found.append(f"{one} / {other}")
    return found
