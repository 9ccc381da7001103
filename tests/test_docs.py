"""What the documents name is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests import modules, pictures

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("package", modules.PACKAGES)
def test_the_pages_of_modules_are_up_to_date(package: str) -> None:
    page = ROOT / "docs" / "modules" / f"{package}.md"
    assert page.read_text() == modules.page(package), "python -m tests.modules"
    assert "|  |" not in page.read_text(), "a module without a docstring"


def test_the_pictures_of_chapters_are_up_to_date() -> None:
    for path, text in pictures.pictures().items():
        assert path.read_text() == text, "python -m tests.pictures"
        assert 'class="lit"' in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / link).exists(), link


def test_every_setting_of_the_instructor_guide_is_one() -> None:
    from labkit.settings import Settings

    named = re.findall(r"`LABKIT_(\w+)`", (ROOT / "docs" / "instructor-guide.md").read_text())
    assert named
    assert {name.lower() for name in named} <= set(Settings.__dataclass_fields__)


def test_every_command_of_the_readme_is_one() -> None:
    from labkit.cli import COMMANDS

    named = re.findall(r"^labkit (\w+)", (ROOT / "README.md").read_text(), re.M)
    assert named
    assert set(named) <= set(COMMANDS)
    targets = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.M)
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


@pytest.mark.parametrize("table", ["README.md", "notebooks/00-start-here.ipynb"])
def test_the_tables_of_chapters_have_the_notebooks_that_there_are(table: str) -> None:
    page = ROOT / table
    if page.suffix == ".ipynb":
        text = "\n".join(cell.source for cell in nbformat.read(page, 4).cells if cell.cell_type == "markdown")
    else:
        text = page.read_text()
    rows = re.findall(r"^\| \[(\d\d [^\]]+)\]\(([^)]+)\) \|", text, re.M)
    assert len(rows) == len(re.findall(r"^\| \W*\d\d ", text, re.M))
    chapters = []
    for notebook in sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb")):
        title = nbformat.read(notebook, 4).cells[0].source.splitlines()[0]
        chapters.append((f"{notebook.name[:2]} {title.removeprefix('# ')}", notebook))
    assert [(name, (page.parent / link).resolve()) for name, link in rows] == chapters
