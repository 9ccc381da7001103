"""Tries an answer out: runs command lines in the application's pod and looks at their alerts."""

from __future__ import annotations

import shlex
from typing import Any

from labkit.alerts.arrival import alerts_of
from labkit.calls import short_repr
from labkit.errors import ExecError
from labkit.exercises.exercise import Wrong
from labkit.kube import ExecResult
from labkit.kube.command import command
from labkit.target import Target

POD = "deploy/nginx"
_BUILTINS = {
    *(".", ":", "alias", "bg", "builtin", "cd", "command", "declare", "eval", "exec", "exit", "export", "fg"),
    *("hash", "help", "history", "jobs", "let", "local", "mapfile", "popd", "pushd", "read", "readarray", "readonly"),
    *("return", "set", "shift", "shopt", "source", "times", "trap", "type", "typeset", "ulimit", "umask", "unalias"),
    *("unset", "wait"),
}


def command_lines(answer: Any, count: int) -> list[str]:
    """The answer as that many different command lines. Raises `Wrong` if it isn't."""
    if not isinstance(answer, list | tuple):
        raise Wrong(f"It has to be a list of {count} command lines; it is `{short_repr(answer)}`.")
    lines = [command_line(line) for line in answer]
    if len(set(lines)) != count:
        raise Wrong(f"It has to be {count} different command lines; there are {len(set(lines))}.")
    return lines


def command_line(answer: Any) -> str:
    """The answer as one command line. Raises `Wrong` if it isn't."""
    if not isinstance(answer, str):
        raise Wrong(f"It has to be a command line, a text; it is `{short_repr(answer)}`.")
    return answer.strip()


def run(target: Target, line: str) -> ExecResult:
    """Runs a command line as `lab.exec` does. Raises `Wrong` if there is no such program, `ExecError` without a pod."""
    namespace = target.settings.app_namespace
    try:
        done = target.kube.exec(POD, command(line), namespace=namespace, timeout=60.0)
    except ExecError as error:
        if "executable file not found" not in error.message:
            raise
        program = command(line)[0]
        if program in _BUILTINS:
            raise Wrong(
                f"`{line}` can't be run by itself: `{program}` is no program, but a command that is built into shells. "
                f"Run it in one: `bash -c {shlex.quote(line)}`."
            ) from error
        raise Wrong(f"`{line}` can't be run: the image has no `{program}`.") from error
    if done.exit_code in (126, 127):
        raise Wrong(f"`{line}` can't be run in the pod: {(done.stderr or done.stdout).strip()}")
    return done


def rules_of(target: Target, done: ExecResult) -> list[str]:
    """The names of the rules that a command tripped, each once, in order."""
    found = alerts_of(target, done, timeout=target.settings.alert_timeout)
    return list(dict.fromkeys(found["rule"].astype(str)))


def report(target: Target, lines: list[str]) -> dict[str, tuple[list[str], str]]:
    """Runs command lines; for each the rules that it tripped, and a line of text about it."""
    found = {}
    for line in lines:
        done = run(target, line)
        rules = rules_of(target, done)
        failed = f" (exit code {done.exit_code}: {(done.stderr or done.stdout).strip()})" if done.exit_code else ""
        found[line] = (rules, f"`{line}`: {', '.join(rules) or 'no alert'}{failed}")
    return found
