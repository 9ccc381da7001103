"""Tab completion of the names that a lab's verbs take as text: attacks, steps, exercises, rules, views."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

# A verb whose parenthesis is open, what stands before the text that is being typed, and that text.
_CALL = re.compile(r"\.(?P<verb>\w+)\((?P<before>[^()]*?)[\"'](?P<typed>[^\"'\n]*)$")
_RULE = re.compile(r"\brule=\s*\[?(?:\s*[\"'][^\"']*[\"']\s*,)*\s*$")


def register(shell: Any) -> None:
    """Makes the names known to a shell of IPython."""
    from IPython.core.completer import context_matcher

    known = shell.Completer.custom_matchers
    if not any(getattr(matcher, "matcher_identifier", "") == "lab" for matcher in known):
        known.append(context_matcher(identifier="lab")(_completions))


def _completions(context: CompletionContext) -> SimpleMatcherResult:
    from IPython.core.completer import SimpleCompletion

    lines = context.full_text.split("\n")[: context.cursor_line]
    typed, names = offered("\n".join([*lines, context.line_with_cursor[: context.cursor_position]]))
    if not names:
        return {"completions": [], "suppress": False}
    found = [SimpleCompletion(name, type="text") for name in names]
    return {"completions": found, "matched_fragment": typed, "suppress": True}


def offered(text: str) -> tuple[str, list[str]]:
    """What has been typed of a name at the end of `text`, and the names that begin so; none if it is no verb's."""
    call = _CALL.search(text)
    if call is None:
        return "", []
    of_rule = call["verb"] in ("wait_for_alert", "alerts") and (
        _RULE.search(call["before"]) or (call["verb"] == "wait_for_alert" and not call["before"].strip())
    )
    names = _rules() if of_rule else _NAMES[call["verb"]]() if call["verb"] in _NAMES else ()
    typed = call["typed"].lower()
    return call["typed"], [name for name in names if name.lower().startswith(typed) and name != call["typed"]]


def _attacks() -> Iterable[str]:
    from labkit.attacks import catalogue

    return [attack.name for attack in catalogue()]


def _steps() -> Iterable[str]:
    from labkit.provision.steps import StepName

    return get_args(StepName)


def _exercises() -> Iterable[str]:
    from labkit.exercises import exercises

    return exercises()


def _rules() -> Iterable[str]:
    from falcorules import default_rules

    return re.findall(r"(?m)^- rule: *(.+?) *$", default_rules()[1])


def _views() -> Iterable[str]:
    from labkit.console import VIEWS

    return VIEWS


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "attack": _attacks,
    **dict.fromkeys(("apply", "ensure", "undo", "cli"), _steps),
    **dict.fromkeys(("check", "hint"), _exercises),
    "console": _views,
}
