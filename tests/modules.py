"""Writes docs/modules: for each package, its modules with the first sentence of their docstrings.

python -m tests.modules
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("labkit", "falcorules", "ekslab", "classroom")


def page(package: str) -> str:
    """The page of a package: one table for each folder, in alphabetical order."""
    lines = [f"# Modules of `{package}`", "", "Written from the modules' docstrings by `python -m tests.modules`."]
    folders = sorted({path.parent for path in (ROOT / package).rglob("*.py")})
    for folder in folders:
        lines += ["", f"## `{folder.relative_to(ROOT).as_posix()}/`", "", "| module | what it does |", "|---|---|"]
        lines += [f"| `{path.name}` | {_first_sentence(path)} |" for path in sorted(folder.glob("*.py"))]
    return "\n".join(lines) + "\n"


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", paragraph)[0].replace("|", "\\|")


def main() -> None:
    folder = ROOT / "docs" / "modules"
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        (folder / f"{package}.md").write_text(page(package), encoding="utf-8")


if __name__ == "__main__":
    main()
