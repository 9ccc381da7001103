"""The argument vector for a command line that a person typed."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath
from typing import Any

from labkit.calls import is_text, short_repr
from labkit.errors import ExecError


def command(*argv: Any) -> list[str]:
    """The argument vector for what a person typed; a shell's, if a single line needs a shell. Raises `ExecError`."""
    listed = len(argv) == 1 and isinstance(argv[0], list | tuple)
    words = [_word(word) for word in (argv[0] if listed else argv)]
    if not "".join(words).strip():
        raise ExecError("There is no command to run.", hint='Give one, e.g. lab.exec("deploy/nginx", "id").')
    if listed or len(words) > 1:
        return words
    line = words[0]
    quoted = r"'[^']*'|\"(?:[^\"\\$`]|\\.)*\"|\\."
    if re.search(r"[|&;<>()$`*?~\n]", re.sub(quoted, "", line.strip())):
        return ["sh", "-c", line]
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ExecError(f"{line!r} is no command line: {error}.", hint="Close the quotes.") from error


def _word(word: object) -> str:
    """One argument of a command. Raises `ExecError` for what no argument can be."""
    if isinstance(word, PurePath) or (isinstance(word, int | float) and not isinstance(word, bool)):
        word = str(word)
    if not isinstance(word, str):
        raise ExecError(f"{short_repr(word)} is no argument of a command.", hint="Give it texts, or one list of them.")
    if "\0" in word or not is_text(word):
        raise ExecError(f"{short_repr(word)} can't be an argument.", hint="It has to be UTF-8 without NUL.")
    return word
