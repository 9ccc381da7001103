"""What the documents name is there, and what is there is named."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
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
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text()):
        path = document.parent / link if link else document
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_every_setting_of_the_instructor_guide_is_one() -> None:
    from labkit.settings import Settings

    named = re.findall(r"`LABKIT_(\w+)`", (ROOT / "docs" / "instructor-guide.md").read_text())
    assert named
    assert {name.lower() for name in named} <= set(Settings.__dataclass_fields__)


def test_the_layers_of_labkit_in_the_architecture_are_those_that_are_enforced_and_name_every_module() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    part = text[text.index("### Layers of `labkit`") : text.index("`manifests/` and `custom-rules/`")]
    modules_of = {
        path.stem for path in (ROOT / "labkit").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules_of - {"__init__"} <= {name.strip("/") for name in re.findall(r"`(\w+/?)`", part)}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["name"] == "the layers of labkit")
    enforced = [set(re.findall(r"\w+", layer)) for layer in layers]
    rows = re.findall(r"^\| (`.*?) \|", part, re.M)
    assert [{name.strip("/") for name in re.findall(r"`([\w/]+)`", row)} for row in rows] == enforced


CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.S)


def texts() -> Iterator[tuple[str, str]]:
    """Names and texts of documents, READMEs and chapters' Markdown."""
    for path in (*DOCUMENTS, ROOT / "falcorules/README.md", ROOT / "ekslab/README.md", ROOT / "custom-rules/README.md"):
        yield path.name, path.read_text()
    for notebook in sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb")):
        cells = nbformat.read(notebook, 4).cells
        yield notebook.name, "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def codes() -> Iterator[tuple[str, str]]:
    """Each piece of code in them: a block or what is in backquotes, with the name of the document."""
    for name, text in texts():
        for block, inline in CODE.findall(text):
            yield name, block or inline


def test_every_labkit_command_and_option_that_is_named_exists() -> None:
    import click

    from labkit.cli import main

    seen = set()
    for name, code in codes():
        for line in re.findall(r"(?:^|[\s;(|&/])labkit ((?:[^`#|;&)\n]|\\\n)+)", code):
            words = [word.strip("\"'[]()") for word in line.replace("\\\n", " ").split()]
            command: click.Command = main
            context = click.Context(main)
            while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", words[0]):
                found = command.get_command(context, words[0])
                assert found is not None, (name, line)
                seen.add(words.pop(0))
                command = found
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            if command.ignore_unknown_options or not known:
                continue
            for word in words:
                if word == "--":
                    break
                if re.match(r"--[a-z]", word):
                    assert word.partition("=")[0] in known | {"--help", "--version"}, (name, line)
    assert {"start-over", "doctor", "shell", "run", "teardown", "replay"} <= seen


def test_every_make_target_and_test_module_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set()
    for name, code in codes():
        for target in re.findall(r"(?:^|[\s(`])make ([a-z]+)\b", code, re.M):
            named.add(target)
            assert re.search(rf"^{target}:", makefile, re.M), (name, target)
        for module in re.findall(r"python -m (tests[\w.]+)", code):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), (name, module)
        for test in re.findall(r"\b(tests/[\w/]+\.py)\b", code):
            assert (ROOT / test).exists(), (name, test)
    assert {"run", "test", "lab", "doctor", "bench", "notebooks", "browser", "clean"} <= named


def test_every_method_of_the_lab_that_is_named_exists() -> None:
    from labkit import Lab

    named = {(name, method) for name, code in codes() for method in re.findall(r"\blab\.(\w+)\(", code)}
    assert len({method for _, method in named}) > 15
    assert not [(name, method) for name, method in named if not hasattr(Lab, method)]


def test_every_test_that_a_document_names_is_one() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name, code in codes():
        for test in re.findall(r"^test_\w+$", code):
            assert f"def {test}(" in tests, (name, test)


def test_screenshots_are_small_and_of_the_chapters() -> None:
    from tests import screenshots

    for name in screenshots.CELLS:
        picture = ROOT / "images" / f"{name}.png"
        assert picture.stat().st_size < screenshots.LARGEST
        assert f"images/{name}.png" in (ROOT / "README.md").read_text()
    for chapter, parts in screenshots.CELLS.values():
        cells = nbformat.read(ROOT / f"notebooks/{chapter}.ipynb", 4).cells
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        for part in parts:
            assert any(part in source for source in sources), (
                f"python -m tests.screenshots can't find {part} in {chapter}"
            )


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
    minutes = re.findall(r"^\| \[\d\d .*\| (\d+) \|$", text, re.M)
    openings = [nbformat.read(notebook, 4).cells[0].source for _, notebook in chapters]
    assert minutes == [re.findall(r"\*\*Time\*\*: (\d+) minutes", opening)[0] for opening in openings]
