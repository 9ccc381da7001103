"""What an attendee is told of an answer: a card in a notebook, text elsewhere."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

from falcorules import markup
from labkit.errors import Hint, LabError
from labkit.show import in_notebook

Verdict = Literal["right", "wrong", "your turn", "hint", "solution"]
# What stands before the title, and the colour of the card's edge. Text keeps the theme's own colour.
_MARKS: dict[Verdict, tuple[str, str]] = {
    "right": ("✓", "#1a7f37"),
    "wrong": ("✗", "#b35900"),
    "your turn": ("✎", "#0969da"),
    "hint": ("?", "#0969da"),
    "solution": ("=", "#6e7781"),
}


@dataclass(frozen=True)
class Feedback:
    """A verdict, a title, and a text in which `backquotes` mark code and an empty line begins a paragraph."""

    verdict: Verdict
    title: str
    text: str = ""
    code: str = ""

    @property
    def right(self) -> bool:
        return self.verdict == "right"

    def __repr__(self) -> str:
        head = f"{_MARKS[self.verdict][0]} {self.title}"
        return "\n".join(part for part in (head, _indented(self.text), _indented(self.code)) if part)

    def _repr_html_(self) -> str:
        mark, colour = _MARKS[self.verdict]
        body = "".join(f'<p style="margin:.4em 0 0">{marked_up(part)}</p>' for part in self.text.split("\n\n") if part)
        code = f'<pre style="margin:.6em 0 0;{markup.WRAPPED}">{html.escape(self.code)}</pre>' if self.code else ""
        return (
            f'<div class="mathjax_ignore" style="border-left:4px solid {colour};padding:.5em 1em;margin:.3em 0;'
            'color:var(--jp-content-font-color1,CanvasText);overflow-wrap:anywhere">'
            f'<b><span aria-hidden="true">{mark}</span> {marked_up(self.title)}</b>{body}{code}</div>'
        )


def marked_up(text: str) -> str:
    """Plain text as HTML: escaped, with `backquotes` as code and `[text](address)` as a link."""
    text = re.sub(r"\[([^\]]+)\]\(([\w./-]+)\)", r'<a href="\2">\1</a>', markup.with_code(text))
    return text.replace("\n", "<br>")


class NotYet(LabError):
    """An exercise isn't solved, or a checkpoint isn't reached: the cells that follow wait for it."""

    def __init__(self, feedback: Feedback, *, hint: Hint = "") -> None:
        super().__init__(f"{feedback.title}\n{_indented(feedback.text)}".rstrip(), hint=hint)
        self.feedback = feedback

    def _render_traceback_(self) -> list[str]:
        """One line: the card above it has said the rest."""
        return ["Not yet: the cells below wait for this one."]


def stop(feedback: Feedback, *, hint: Hint = "") -> NotYet:
    """Shows the card in a notebook and returns the exception that ends `Run All Cells` here."""
    if in_notebook():
        from IPython.display import display

        text = "\n\n".join(part for part in (feedback.text, hint if isinstance(hint, str) else hint()) if part)
        display(Feedback(feedback.verdict, feedback.title, text, feedback.code))  # type: ignore[no-untyped-call]
    return NotYet(feedback, hint=hint)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
