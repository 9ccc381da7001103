"""Rules of an attendee, before a Falco that is shared with others loads them: checked, and limited to a namespace.

They are written anew: each rule under its own name, `NAME (attendee-07)`, with macros and lists put into
its condition, and with `k8s.ns.name = attendee-07 and` before it. So it can neither change what others have defined nor
see what happens elsewhere, whatever was in the text.

Run as a program, this is the gate's worker: it reads requests as lines of JSON, and checks each in a process of its own
whose time and memory are limited.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from labkit.alerts.choice import known_as
from labkit.errors import LabError

MAX_BYTES = 32_000
"""Of an attendee's text, and of what becomes of it: the keys of thirty fit into a ConfigMap, which holds 1 MiB."""
MAX_RULES = 20
MAX_COMPARISONS = 400
"""In a rule's condition, with macros put in."""
MAX_PATTERNS = 10
"""Regular expressions and globs of all rules together."""
MAX_OUTPUT = 2_000
"""Characters of a rule's output, which each of its alerts carries."""
MAX_MATCHES = 65
"""Of the recorded visit's 649 events: what alerts on more of what goes on in a container floods the log group."""
MAX_MICROSECONDS = 500.0
"""For each event of the recording, on average; rules take about 5."""
SECONDS = 10
"""Of processor time that a check may take."""
MAX_MEMORY = 2 << 30

RuleFile = tuple[str, str]
"""Name and text."""


@dataclass(frozen=True)
class Checked:
    """What became of an attendee's rules."""

    problems: tuple[str, ...] = ()
    """Why they are refused; empty if they are accepted."""
    text: str = ""
    """The rule file that Falco loads."""
    rules: tuple[str, ...] = ()
    """Their names in Falco."""

    @property
    def accepted(self) -> bool:
        return not self.problems


def limited(namespace: str, condition: str) -> str:
    """A condition that holds in one Kubernetes namespace only, whatever it is."""
    return f'k8s.ns.name = "{namespace}" and ({condition})'


class Checker:
    """Checks rules against those that are shared. `events` are recorded system calls, to try the rules on."""

    def __init__(self, shared: Sequence[RuleFile], events: Path) -> None:
        import falcorules

        self._engine = falcorules.load(list(shared))
        self._before = {rule.name: _meaning(rule) for rule in self._engine.rules}
        self._shared = list(shared)
        self._names = {name for _, text in shared for _, name, _ in _items(text)}
        self._events = list(falcorules.open_events(events))
        falcorules.check([("warm-up.yaml", _WARM_UP)])  # what is imported now needs no room later

    def check(self, namespace: str, text: str) -> Checked:
        """Checks one attendee's rules. The checker has them loaded then, and is of no use any more."""
        if len(text.encode("utf-8", "replace")) > MAX_BYTES:
            return Checked((f"They are larger than {MAX_BYTES:,} bytes.",))
        problems = tuple(self._problems(text))
        if problems:
            return Checked(problems)
        written = [_written(rule, namespace) for rule in self._own()]
        return self._proved(namespace, written)

    def _own(self) -> list[Any]:
        return [rule for rule in self._engine.rules if rule.name not in self._before]

    def _problems(self, text: str) -> Iterator[str]:
        """What is wrong with the text; loads it."""
        from falcorules import LoadError, RuleError

        try:
            named = _items(text)
        except Exception as error:
            named = []  # whatever Falco's own reader makes of it is said below
            unread = " ".join(str(error).split())
        else:
            unread = ""
        for kind, name, keys in named:
            if kept := sorted(_NOT_SHARED & keys.keys()):
                yield (
                    f"The {kind} {name!r} has the key {kept[0]!r}, which writes files to the nodes. Leave it out: the "
                    "class shares the nodes."
                )
                return
            if name in self._names:
                yield (
                    f"The {kind} {name!r} is Falco's own, which the class shares: it can't be changed here. "
                    f"Give your {kind} another name."
                )
                return
        try:
            report = self._engine.load([("rules.yaml", text)])
        except LoadError as error:
            yield from (_said(problem) for problem in error.report.errors)
            if not error.report.errors:
                yield error.message
            return
        except RuleError as error:
            yield error.message
            return
        if unread:
            yield f"It isn't plain YAML: {unread}"
            return
        if changed := [r.name for r in self._engine.rules if self._before.get(r.name) not in (None, _meaning(r))]:
            yield f"They would change Falco's own rule {changed[0]!r}, which the class shares."
            return
        own = self._own()
        skipped = {name for kind, name, _ in named if kind == "rule"} - {rule.name for rule in own}
        reasons = [_said(warning) for warning in report.warnings if warning.code in _SKIPPING]
        if skipped:
            yield f"Falco would leave out {', '.join(map(repr, sorted(skipped)))}. {' '.join(reasons)}".strip()
        elif not own:
            yield "There is no rule in it; lists and macros alone raise no alert."
        if len(own) > MAX_RULES:
            yield f"There are {len(own)} rules in it; {MAX_RULES} are allowed."
        yield from (_said(warning) for warning in report.warnings if warning.code in _FORBIDDEN)
        patterns = 0
        for rule in own:
            comparisons, found = _size(rule)
            patterns += found
            if comparisons > MAX_COMPARISONS:
                yield f"Rule {rule.name!r} compares {comparisons:,} values; {MAX_COMPARISONS} are allowed."
            if len(rule.written_output) > MAX_OUTPUT or len(rule.description) > MAX_OUTPUT:
                yield f"Rule {rule.name!r} has a text of more than {MAX_OUTPUT:,} characters."
            if len(rule.name) > 120 or not rule.name.isprintable():
                yield f"The name {rule.name[:60]!r} has more than 120 characters, or some that can't be printed."
            if len(rule.tags) > 30 or any(len(tag) > 60 for tag in rule.tags):
                yield f"Rule {rule.name!r} has more than 30 tags, or one of more than 60 characters."
        if patterns > MAX_PATTERNS:
            yield f"There are {patterns} regular expressions and globs in them; {MAX_PATTERNS} are allowed."
        yield from self._tried([rule.name for rule in own])

    def _tried(self, names: Sequence[str]) -> Iterator[str]:
        """What the recording shows: rules that alert all the time, or that take long."""
        self._engine.select([{"disable": {"rule": "*"}}, *({"enable": {"rule": name}} for name in names)])
        took, hits = float("inf"), dict.fromkeys(names, 0)
        for _ in range(3):
            hits, started = dict.fromkeys(names, 0), time.process_time()
            for event in self._events:
                for rule in self._engine.matches(event):
                    hits[rule.name] += 1
            took = min(took, (time.process_time() - started) * 1e6 / len(self._events))
            if took <= MAX_MICROSECONDS:
                break
        for name, count in hits.items():
            if count > MAX_MATCHES:
                yield (
                    f"Rule {name!r} alerts on {count} of the {len(self._events)} system calls of a short visit to a "
                    "container: it would flood the class's log group. Narrow it down."
                )
        if took > MAX_MICROSECONDS:
            yield f"They take {took:,.0f} µs for each system call; {MAX_MICROSECONDS:,.0f} are allowed."

    def _proved(self, namespace: str, written: list[dict[str, Any]]) -> Checked:
        """What was written, as a file that has been read again: each rule is limited, and means what it did."""
        import yaml

        import falcorules

        text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=10_000)
        if len(text.encode()) > MAX_BYTES:
            said = f"With macros and lists put in, they have {len(text.encode()):,} bytes; {MAX_BYTES:,} are allowed."
            return Checked((said,))
        again = falcorules.Engine()
        try:
            report = again.load([*self._shared, ("attendee.yaml", text)])
        except falcorules.FalcoRulesError as error:
            return Checked((f"Falco would refuse what becomes of them: {error.message}",))
        if problems := tuple(_said(warning) for warning in report.warnings if warning.code in _FORBIDDEN):
            return Checked(problems)
        before = {known_as(rule.name, namespace)[-1]: rule for rule in self._own()}
        found = {rule.name: rule for rule in again.rules if rule.name not in self._before}
        if found.keys() != before.keys():
            return Checked(("Their names aren't kept as they are: use plain letters.",))
        for name, rule in found.items():
            meant = falcorules.parse_condition(limited(namespace, str(before[name].condition)))
            if rule.condition != meant or not str(meant).startswith(f"(k8s.ns.name = {namespace} and "):
                return Checked((f"The condition of {name!r} can't be limited to a namespace: write it more simply.",))
        return Checked((), text, tuple(found))


# Warnings for which Falco leaves a rule out.
_SKIPPING = {"LOAD_UNKNOWN_FILTER", "LOAD_UNKNOWN_SOURCE"}
# Warnings that are errors where a Falco is shared: the rule would be evaluated for each system call on every node.
_FORBIDDEN = {"LOAD_NO_EVTTYPE"}
_NOT_SHARED = {"capture", "capture_duration"}
_WARM_UP = """
- rule: warm-up
  desc: A rule with each kind of pattern.
  condition: evt.type = execve and proc.name regex "a+" and proc.name glob "a*" and proc.name iglob "a*"
  output: "%proc.name"
  priority: DEBUG
"""
_PATTERN_OPERATORS = {"regex", "glob", "iglob"}


def _items(text: str) -> list[tuple[str, str, Mapping[Any, Any]]]:
    """Kind, name and keys of every rule, macro and list that a text defines or changes. Raises as PyYAML does."""
    import yaml

    found: list[tuple[str, str, Mapping[Any, Any]]] = []
    for document in yaml.load_all(text, Loader=yaml.BaseLoader):  # which takes every scalar for a text, as Falco does
        for item in document if isinstance(document, list) else ():
            kinds = ("rule", "macro", "list") if isinstance(item, Mapping) else ()
            found += [(kind, str(item[kind]), item) for kind in kinds if kind in item]
    return found


def _meaning(rule: Any) -> tuple[Any, ...]:
    return (str(rule.condition), rule.written_output, rule.priority, rule.tags, rule.enabled, rule.source)


def _written(rule: Any, namespace: str) -> dict[str, Any]:
    return {
        "rule": known_as(rule.name, namespace)[-1],
        "desc": rule.description or rule.name,
        "condition": limited(namespace, str(rule.condition)),
        "output": rule.written_output,
        "priority": rule.priority,
        "tags": list(rule.tags),
        **({} if rule.enabled else {"enabled": False}),
    }


def _size(rule: Any) -> tuple[int, int]:
    """The values that a condition compares with, and its regular expressions and globs."""
    from falcorules import ast

    comparisons = patterns = 0
    for node in ast.walk(rule.condition):
        if isinstance(node, ast.Check):
            values = len(node.value.items) if isinstance(node.value, ast.ValueList) else 1
            comparisons += max(values, 1)
            patterns += values if node.operator in _PATTERN_OPERATORS else 0
        elif isinstance(node, ast.Exists | ast.Transformer):
            comparisons += 1
    return comparisons, patterns


def _said(problem: Any) -> str:
    """An error or a warning of Falco, with its place in the text."""
    place = problem.location
    item = f" in {place.item_type} {place.item_name!r}" if place.item_name else ""
    said = " ".join(problem.message.split()).rstrip(".")
    return f"{problem.code} at line {place.line + 1}{item}: {said}. {problem.suggestion}".strip()


# The worker


class Worker:
    """A program that checks rules one after the other, each in a process of its own, with these shared rules."""

    def __init__(self, shared: Iterable[RuleFile], events: Path) -> None:
        self._start = json.dumps({"shared": list(shared), "events": str(events)})
        self._process: subprocess.Popen[str] | None = None

    def check(self, namespace: str, text: str) -> Checked:
        """Checks an attendee's rules. Raises `LabError` if the worker can't be started."""
        if len(text) > MAX_BYTES:
            return Checked((f"They are larger than {MAX_BYTES:,} bytes.",))
        answer = self._ask({"namespace": namespace, "text": text})
        return Checked(tuple(answer["problems"]), answer["text"], tuple(answer["rules"]))

    def _ask(self, request: dict[str, str]) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "classroom.rules"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is the gate's, which closes the worker
            )
            self._say(self._start)
        self._say(json.dumps(request))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise LabError("The check of rules ended without an answer.", hint="Look at what it printed above.")
        return json.loads(line)

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Ends the program."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main(requests: IO[str], answers: IO[str]) -> None:
    """Answers requests, a line each; the first line has the shared rules and the file of events."""
    start = json.loads(requests.readline())
    checker = Checker([(name, text) for name, text in start["shared"]], Path(start["events"]))
    for line in requests:
        request = json.loads(line)
        answers.write(_in_a_process(checker, request["namespace"], request["text"]) + "\n")
        answers.flush()


def _in_a_process(checker: Checker, namespace: str, text: str) -> str:
    """The answer of a process that has what the checker has loaded, and limits of its own."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
            try:
                found = checker.check(namespace, text)
            except (RecursionError, MemoryError):
                found = Checked(("They are nested too deeply, or too large.",))
            except Exception as error:
                found = Checked((f"They can't be checked: {type(error).__name__}: {error}"[:500],))
            with os.fdopen(writable, "w", encoding="utf-8", errors="backslashreplace") as pipe:
                json.dump(asdict(found), pipe)
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    try:
        json.loads(answer)
    except ValueError:
        return json.dumps(asdict(Checked((f"Checking them takes more than {SECONDS} s, or too much memory.",))))
    return answer


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
