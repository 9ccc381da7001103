"""Checks arguments of public functions: unknown names and wrong types raise `LabError` with a hint."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from numbers import Integral, Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from labkit.errors import LabError, StoppedError

# boto3's clients of these services; `checked` refuses the client of another.
if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient as CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_securityhub import SecurityHubClient as SecurityHubClient
    from mypy_boto3_sqs import SQSClient

    LogsClient = CloudWatchLogsClient
    SqsClient = SQSClient
else:
    CloudWatchClient = LogsClient = SecurityHubClient = SqsClient = Any

Checked = TypeVar("Checked", bound=Callable[..., Any])
_calls = threading.local()  # `made`: whether a checked call is going on in this thread

LONGEST = 7 * 24 * 3600.0
"""The longest time that can be waited for, in seconds."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(
    r"(\d{1,40}(?:\.\d{1,40})?)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
    r"(?![a-z])[\s,]*(?:and\s+)?",
    re.ASCII,
)

# What a parameter's annotation says -> what it accepts, and the words for that.
_KINDS: Mapping[str, tuple[Any, str]] = {
    "None": (type(None), ""),
    "str": (str, "text"),
    "StepName": (str, "text"),
    "bytes": (bytes, "bytes"),
    "bool": (Integral, "True or False"),
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "Path": (PurePath, "a path"),
    "Callable": (Callable, "a function"),
    "Mapping": (Mapping, "a mapping"),
    "Iterable": (Iterable, "several values"),
    "Sequence": (Iterable, "several values"),
}
# Parameters that are frames of a kind -> columns that they have to have.
_ALERTS = {"time", "rule", "priority", "tags"}
_COLUMNS: Mapping[str, set[str]] = {
    **dict.fromkeys(("df", "before", "after"), _ALERTS),
    "compared": {"alerts", "metric"},
}
# Annotations of clients -> the service as boto3 calls it.
_SERVICES = {
    "LogsClient": "logs",
    "CloudWatchClient": "cloudwatch",
    "SecurityHubClient": "securityhub",
    "SqsClient": "sqs",
}
# Classes that aren't imported for this: told by their name.
_NAMED = {
    "pd.DataFrame": "a frame of alerts, as lab.alerts() gives",
    "pd.Series": "a column of a frame",
    "ExecResult": "what lab.exec(...) returned",
    "Counter": "a counter, as labkit.respond.metrics.counters() gives",
}


# Words for a parameter that is called otherwise in another verb, in the command line or in pandas.
_ALIKE = ({"start", "since", "after", "begin"}, {"end", "until", "before"}, {"limit", "n", "head", "count", "max"})


def alike(name: str, names: Iterable[str]) -> str:
    """`Did you mean 'start'? ` for another word for one of `names`, else what `near` says."""
    others = [other for words in _ALIKE if name in words for other in names if other in words]
    return f"Did you mean {others[0]!r}? " if others else near(name, names)


def near(name: object, names: Iterable[str], *, cutoff: float = 0.5) -> str:
    """`Did you mean 'a' or 'b'? ` with the most similar of `names`; empty if none is. Case doesn't matter."""
    by_lower = {known.lower(): known for known in names}
    text = str(name).strip().lower()[:200]
    found = difflib.get_close_matches(text, by_lower, 3, cutoff)
    if len(text) >= 3:
        found += [known for known in by_lower if text in known and known not in found]
    return f"Did you mean {' or '.join(repr(by_lower[known]) for known in found[:3])}? " if found else ""


def short_repr(value: object, width: int = 60) -> str:
    """The value as Python writes it, on one line and not longer than `width`."""
    try:
        text = repr(value[: 2 * width] if isinstance(value, str | bytes) else value)
    except Exception:  # a class with a faulty __repr__
        text = f"a {type(value).__name__}"
    return shortened(" ".join(text.split()), width)


def shortened(text: str, width: int = 200) -> str:
    """The text, or its beginning if it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8. (What a terminal sends that is none comes as surrogates.)"""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def duration(text: str) -> float | None:
    """Seconds that a text such as `90s`, `1h 30m` or `5 minutes` stands for; None if it is none."""
    lower = text.strip().lower()
    parts = _PART.findall(lower)
    if not parts or _PART.sub("", lower):
        return None
    return sum(float(number) * _UNITS[unit[0]] for number, unit in parts)


def seconds(value: object, name: str = "timeout") -> float:
    """A time to wait, in seconds, of a number, a text (`"5m"`, `"90"`) or a timedelta. Raises `LabError`."""
    number: float | None = None
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        number = duration(value)
        if number is None and re.fullmatch(r"\s*-?\d{1,15}(\.\d{0,9})?\s*", value, re.ASCII):
            number = float(value)
    if number is None or not math.isfinite(number) or not 0 <= number <= LONGEST:
        raise LabError(
            f"{name} is {short_repr(value)}, which is no time to wait.",
            hint='Give it seconds from 0 to 604800, or a text such as "90s" or "5m".',
        )
    return number


def texts(values: Any, name: str) -> list[str]:
    """One text, or several as arguments or in lists, as one list. Raises `LabError` for anything else."""
    if isinstance(values, str):
        return [values]
    if isinstance(values, Iterable) and not isinstance(values, bytes | Mapping):
        return [text for value in values for text in texts(value, name)]
    raise LabError(f"{name} is {short_repr(values)}, which is not text.", hint="Give it one text, or a list of them.")


def checked(target: Checked) -> Checked:
    """Checks the arguments of a function, or of each public method of a class, before it is called.

    Raises `LabError` for names that aren't parameters and for values of another kind than the annotation says (as far
    as that is a simple one). A parameter `timeout` takes what `seconds` does. In a notebook, Jupyter's stop button ends
    a call with `StoppedError`.
    """
    if isinstance(target, type):
        for name, member in list(vars(target).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(member, classmethod):
                setattr(target, name, classmethod(_checked(member.__func__, f"{target.__name__}.{name}")))
            elif inspect.isfunction(member):
                label = target.__name__ if name == "__init__" else f"{target.__name__}.{name}"
                setattr(target, name, _checked(member, label))
        return cast(Checked, target)
    return cast(Checked, _checked(target, target.__qualname__.removesuffix(".__init__")))


def _checked(function: Callable[..., Any], label: str) -> Callable[..., Any]:
    signature = inspect.signature(function)
    parameters = signature.parameters
    names = [name for name in parameters if name not in ("self", "cls")]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in parameters), None)
            said = f"It takes no {short_repr(unknown)}" if unknown is not None else str(error)
            takes = f"It takes {', '.join(names)}." if names else "It takes nothing."
            raise LabError(
                f"{label}() can't be called like this: {said}.",
                hint=f"{alike(unknown, names) if unknown is not None else ''}{takes}",
            ) from None
        for name, value in bound.arguments.items():
            parameter = parameters[name]
            if parameter.kind is parameter.VAR_KEYWORD or name in ("self", "cls"):
                continue
            if name == "timeout" and value is not None:
                bound.arguments[name] = seconds(value)
                continue
            service = _SERVICES.get(str(parameter.annotation))
            if service and _service(value) != service:
                raise LabError(
                    f"{label}(): {name} is {short_repr(value)}, which is no boto3 client of {service!r}.",
                    hint=f'Give it lab.aws.client("{service}"), or boto3.client("{service}").',
                )
            if name == "n" and (not isinstance(value, Integral) or not 1 <= int(value) <= 10_000):
                raise LabError(
                    f"{label}(): n is {short_repr(value)}.", hint="It has to be a whole number from 1 to 10,000."
                )
            lacking = _COLUMNS.get(name, set()) - set(getattr(value, "columns", ()))
            if lacking and (value is not None or parameter.default is not None):
                raise LabError(
                    f"{label}(): {name} is {short_repr(value, 40)}, which has no column {min(lacking)!r}.",
                    hint="Give it the frame that lab.alerts() gives."
                    if name != "compared"
                    else "Give it what labkit.respond.metrics.compare() gives.",
                )
            for one in value if parameter.kind is parameter.VAR_POSITIONAL else (value,):
                _check(label, name, one, str(parameter.annotation))
        if getattr(_calls, "made", False):
            return function(*bound.args, **bound.kwargs)
        _calls.made = True
        try:
            return function(*bound.args, **bound.kwargs)
        except KeyboardInterrupt:
            if not _in_notebook():
                raise
            raise StoppedError(f"Stopped {label}().", hint="Run the cell again to have it whole.") from None
        finally:
            _calls.made = False

    return call


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


def _service(client: object) -> str:
    """The service that a boto3 client is for; empty for anything else."""
    model = getattr(getattr(client, "meta", None), "service_model", None)
    return str(getattr(model, "service_name", ""))


def _check(label: str, name: str, value: object, annotation: str) -> None:
    accepted, words = _accepted(annotation)
    if not accepted or (isinstance(value, accepted[0]) if accepted[0] else False):
        return
    if accepted[1] & {base.__name__ for base in type(value).__mro__}:
        return
    raise LabError(f"{label}(): {name} is {short_repr(value)}.", hint=f"It has to be {words}.")


@functools.cache
def _accepted(annotation: str) -> tuple[Any, str]:
    """Types and names of classes that an annotation allows, and that in words; nothing if it is not a simple one."""
    outer = annotation
    while (inner := re.sub(r"\[[^\[\]]*\]", "", outer)) != outer:
        outer = inner
    alternatives = [alternative.strip() for alternative in outer.split("|")]
    if not all(alternative in _KINDS or alternative in _NAMED for alternative in alternatives):
        return (), ""
    types = tuple(_KINDS[alternative][0] for alternative in alternatives if alternative in _KINDS)
    named = {alternative.rpartition(".")[2] for alternative in alternatives if alternative in _NAMED}
    said = [_KINDS[a][1] if a in _KINDS else _NAMED[a] for a in alternatives]
    return (types, named), " or ".join(dict.fromkeys(filter(None, said)))
