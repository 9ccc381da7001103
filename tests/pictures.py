"""Writes `images/pipeline-NN.svg`: the pipeline's picture with the part lit that chapter NN is about.

`python -m tests.pictures` writes them anew; a test compares them with `images/pipeline.svg`, of which they are made.
"""

from __future__ import annotations

import re
from pathlib import Path

IMAGES = Path(__file__).parent.parent / "images"
# Chapter -> ids of the groups of `pipeline.svg` that are lit.
LIT = {
    "01": ("log", "fluent-bit", "role", "logs"),
    "02": ("falco",),
    "03": ("you", "pod", "falco"),
    "04": ("falco",),
    "05": ("reader", "frame", "charts"),
    "06": ("logs", "metrics"),
    "07": ("logs", "findings"),
}


def pictures() -> dict[Path, str]:
    """Each file with its text."""
    whole = (IMAGES / "pipeline.svg").read_text(encoding="utf-8")
    assert set().union(*LIT.values()) <= set(re.findall(r'<g id="([\w-]+)"', whole))
    return {IMAGES / f"pipeline-{chapter}.svg": _lit(whole, parts) for chapter, parts in LIT.items()}


def _lit(whole: str, parts: tuple[str, ...]) -> str:
    def group(found: re.Match[str]) -> str:
        return f'<g id="{found[1]}" class="{"lit" if found[1] in parts else "dim"}">'

    return re.sub(r'<g id="([\w-]+)">', group, whole)


if __name__ == "__main__":
    for path, text in pictures().items():
        path.write_text(text, encoding="utf-8")
