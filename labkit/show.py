"""How results look: a table as text in a terminal and as HTML in a notebook, commands as a block to copy."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of text. The same input always gives the same output."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in range(len(self.columns))]
        lines = [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.rows
        ]
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        def cells(tag: str, row: tuple[str, ...]) -> str:
            return "".join(f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in row)

        head = f"<tr>{cells('th', self.columns)}</tr>"
        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        title = f"<b>{html.escape(self.title)}</b>"
        return f"{title}<table><thead>{head}</thead><tbody>{body}</tbody></table>" if self.rows else title


class Cli(str):
    """Shell commands. Printed they are the commands; at the end of a cell, a block to copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return f"```bash\n{self}\n```"


def in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def say(text: str) -> None:
    """Tells at once what a result can't: in a notebook below its cell, elsewhere on standard error."""
    print(text, file=sys.stdout if in_notebook() else sys.stderr, flush=True)
