"""`labkit run`: executes the chapters and writes a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from labkit.cli.parameters import FileName
from labkit.errors import RunError
from labkit.kernels import Template
from labkit.report import INTERRUPTED, Run, write_index, write_junit
from labkit.runner import alone, execute, find_chapters, lab_of_its_own, refuse_output, store_outputs
from labkit.settings import Settings, workshop_root
from labkit.show import counted


@click.command()
@click.option(
    "--target", type=click.Choice(["embedded", "eks"]), help="Where to run (default: LABKIT_TARGET, embedded)."
)
@click.option("--only", default="", metavar="NN,NN", help="Chapters to run, by number.")
@click.option("--output", type=FileName(), help="Folder for the report (default: build/run).")
@click.option("--junit", type=FileName(), help="Where to write JUnit (default: junit.xml in the output).")
@click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A notebook parameter.")
@click.option("--here", is_flag=True, help="Use this shell's embedded lab, started if need be. Chapters change it.")
@click.option("--store", is_flag=True, help="Store the outputs in notebooks/ when all of it passed.")
@click.pass_context
def run(
    context: click.Context,
    target: str | None,
    only: str,
    output: Path | None,
    junit: Path | None,
    parameters: tuple[tuple[str, str], ...],
    here: bool,
    store: bool,
) -> None:
    """Run the chapters in order and write a report; exits 1 at the first chapter that fails.

    On the embedded target, they run on a new lab, which ends with the run.
    """
    given: dict[str, Any] = dict(parameters)
    if target is not None:
        given["target"] = target
    unknown = sorted(set(given) - {"target", "region", "cluster"})
    if unknown:
        raise RunError(f"Notebooks have no parameter {unknown[0]!r}.", hint="There are: target, region, cluster.")
    settings = Settings.load(**given)
    root = workshop_root()
    output = (output or root / "build" / "run").resolve()
    refuse_output(output, root, settings.home)
    notebooks = find_chapters(root / "notebooks", [part.strip() for part in only.split(",") if part.strip()])
    given.pop("target", None)
    if settings.target != "embedded":  # which is the default, and a parameter would be one more cell in the notebook
        given["target"] = settings.target
    junit = junit or output / "junit.xml"
    index = output / "index.html"
    with alone(output):
        for old in (index, junit, *(output / f"{path.stem}.html" for path in notebooks)):
            old.unlink(missing_ok=True)  # else they would say of a run that is killed how another one ended
        done = _run(settings, notebooks, output, given, here=here)
        write_index(done)
        write_junit(done, junit)
    failed = done.failed_chapter
    if failed is not None and failed.error == INTERRUPTED:
        click.echo(f"labkit: Interrupted in {failed.name}. Report: {index}", err=True)
        context.exit(130)
    if failed is not None:
        cell = f"in cell {failed.cell_number}:\n\n{_indented(failed.cell)}\n\n" if failed.cell else ""
        raise RunError(f"{failed.name} failed {cell}{failed.reason}", hint=f"{failed.what_to_do} The report: {index}")
    if store:
        for notebook in notebooks:
            store_outputs(output / notebook.name, notebook)
    click.echo(f"{counted(len(done.chapters), 'chapter')} passed. Report: {index}")


def _run(settings: Settings, notebooks: Sequence[Path], output: Path, given: dict[str, Any], *, here: bool) -> Run:
    """Executes the chapters, a line each."""
    done = Run(settings.target, [], output)
    template = Template(output / "kernels.log")  # it imports while the lab starts
    with lab_of_its_own(settings, output, here=here) as lab:
        for done in execute(notebooks, output, target=settings.target, parameters=given, template=template, lab=lab):
            for number, chapter in enumerate(done.chapters, 1):
                if chapter.status == "running":
                    click.echo(f"[{number}/{len(done.chapters)}] {chapter.name:<24}", nl=False)
                    break
            else:
                chapter = [c for c in done.chapters if c.seconds][-1]
                click.echo(f" {chapter.status} {chapter.seconds:6.1f} s")
    return done


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
