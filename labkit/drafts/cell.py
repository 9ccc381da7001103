"""The cell magic `%%rule NAME`, and Tab completion of fields, macros and keys in its cell."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from labkit.drafts.draft import Draft, DraftError, save
from labkit.target import Target

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

_KEYS = "rule: macro: list: items: desc: condition: output: priority: tags: source: enabled: override: exceptions:"
_WORDS = "and or not in contains icontains startswith endswith glob iglob exists intersects regex pmatch"


def register(target: Target) -> None:
    """Makes `%%rule` a magic of the notebook's or IPython's shell, for this target; outside IPython, nothing."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None  # an InteractiveShell
    if shell is None:
        return

    def rule(line: str, cell: str) -> Draft:
        """Checks rules as Falco would load them, and tries them on recorded system calls.

            %%rule NAME [--values FILE]... [--events FILE]

        The cell holds rules in YAML, from `- rule:` on. `--values` names a values file whose rules are loaded, too;
        `--events` a recording other than the workshop's. `lab.draft("NAME")` is the result.
        """
        given = _arguments(line)
        return save(target, given.name, cell, values=given.values, events=given.events)

    shell.register_magic_function(rule, "cell", "rule")
    completer = shell.Completer
    if not any(getattr(known, "matcher_identifier", "") == "rule" for known in completer.custom_matchers):
        from IPython.core.completer import context_matcher

        completer.custom_matchers.append(context_matcher(identifier="rule")(_completions))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DraftError(
            f"The first line of the cell can't be read: {message}.",
            hint="It is like this: %%rule passwd-lookup, with --values FILE or --events FILE after the name.",
        )


def _arguments(line: str) -> argparse.Namespace:
    """What stands after `%%rule`. Raises `DraftError`."""
    parser = _Parser("%%rule", add_help=False, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--values", action="append", default=[])
    parser.add_argument("--events", default="")
    try:
        return parser.parse_args(shlex.split(line))
    except ValueError as error:  # a quote that isn't closed
        parser.error(str(error))


def _completions(context: CompletionContext) -> SimpleMatcherResult:
    """Names that begin like the word at the cursor, in a cell that begins with `%%rule`."""
    from IPython.core.completer import SimpleCompletion

    if not context.full_text.lstrip().startswith("%%rule"):
        return {"completions": [], "suppress": False}
    found = re.search(r"[\w.]*$", context.line_with_cursor[: context.cursor_position])
    word = found[0] if found else ""
    offered = [
        SimpleCompletion(name, type=kind)
        for name, kind in _names(context.full_text).items()
        if name.startswith(word) and name != word
    ]
    return {"completions": offered, "matched_fragment": word, "suppress": True}


def _names(cell: str) -> dict[str, str]:
    """What a rule can be made of, and what each is: fields, macros and lists (of the cell, too), keys, operators."""
    from falcorules import default_rules
    from falcorules.fields import fields

    known = {name: "field" for name, info in fields().items() if not info.hidden and not info.deprecated}
    defined = re.findall(r"(?m)^\s*- (macro|list): *(\S+)", f"{default_rules()[1]}\n{cell}")
    known |= {name: kind for kind, name in defined}
    return dict(sorted(known.items())) | dict.fromkeys(_KEYS.split(), "key") | dict.fromkeys(_WORDS.split(), "operator")
