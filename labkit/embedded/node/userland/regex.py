"""Regular expressions that attendees write: matched in linear time wherever possible, so that none can stop the lab."""

from __future__ import annotations

import re
from typing import Any


def compiled(pattern: str | bytes, *, ignore_case: bool = False) -> Any:
    """A compiled expression (RE2's, or Python's for back-references and look-around). Raises re.error."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    if isinstance(pattern, bytes):
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
