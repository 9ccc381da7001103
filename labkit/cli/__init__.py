"""The `labkit` command: a group whose subcommands are imported when they are used, and how errors are printed."""

from __future__ import annotations

import importlib
import io
import os
import re
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import Any

import click

from falcorules import FalcoRulesError
from labkit.calls import is_text, near, short_repr
from labkit.errors import LabError, RunError

# Subcommand -> module and name of its click command.
COMMANDS = {
    "up": "labkit.cli.lab:up",
    "down": "labkit.cli.lab:down",
    "status": "labkit.cli.lab:status",
    "env": "labkit.cli.lab:env",
    "console": "labkit.cli.console:console",
    "diagnose": "labkit.cli.console:diagnose",
    "lab": "labkit.jupyterlab:lab",
    "start-over": "labkit.jupyterlab:start_over",
    "run": "labkit.cli.run:run",
    "doctor": "labkit.cli.doctor:doctor",
    "preflight": "labkit.cli.provision:preflight",
    "apply": "labkit.cli.provision:apply",
    "policy": "labkit.cli.provision:policy",
    "teardown": "labkit.cli.provision:teardown",
    "audit": "labkit.cli.provision:audit",
    "class": "classroom.cli:class_",
    "shell": "labkit.cli.shell:shell",
    "exec": "labkit.cli.attacks:exec_command",
    "attack": "labkit.cli.attacks:attack",
    "rules": "labkit.cli.rules:rules",
    "alerts": "labkit.cli.alerts:alerts",
}


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module when that subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = COMMANDS.get(cmd_name)
        if path is None:
            return None
        module, attribute = path.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the command. Errors go to stderr in two lines; the exit code is 1, of a wrong call 2.

        (A reader of the output that goes away ends it with 1, too, without a word: click sees to that.)
        """
        problem: LabError | FalcoRulesError
        try:
            if sys.stdout is None:
                raise LabError("Standard output is closed.", hint="Send it to a file, or to /dev/null.")
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be UTF-8
            wrong = next((one for one in extra.get("args") or sys.argv[1:] if not is_text(one)), None)
            if wrong is not None:
                raise LabError(f"The argument {short_repr(wrong)} is not text in UTF-8.", hint="Write it in UTF-8.")
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(error.exit_code)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f"`{context.command_path} --help` shows how." if context else ""
            _tell(LabError(" ".join(error.format_message().split()), hint=_similar(error) + hint))
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("labkit: Stopped.", err=True)
            sys.exit(130)  # as of any command that Ctrl-C ends
        except (LabError, FalcoRulesError) as error:
            problem = error
        except OSError as error:
            what = f"{error.filename} can't be used" if error.filename else "Input or output failed"
            hint = "See to what is read from or written to: that it is there, may be used, and has room."
            problem = LabError(f"{what}: {error.strerror or error}.", hint=hint)
            _give_up_output()
        except ModuleNotFoundError as error:
            hint = "The workshop has changed since it was set up. Any `make` command sets it up anew; so does "
            hint += "`pip install -e '.[notebooks]'` in its folder."
            problem = LabError(f"The module {error.name} isn't installed here.", hint=hint)
        except Exception as error:
            problem = LabError(
                f"{type(error).__name__}: {short_repr(str(error), 200)}",
                hint=f"This is a fault of labkit itself; please report it with {_traceback_file()}.",
            )
        _tell(problem)
        sys.exit(1)


def _similar(error: click.ClickException) -> str:
    """`Did you mean 'apply'? ` for a command or an option that isn't there, if one is spelled like it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or "Did you mean" in error.format_message():
        return ""
    if isinstance(error, click.NoSuchOption):
        options = [name for one in context.command.params for name in one.opts if name.startswith("--")]
        return near(error.option_name, options, cutoff=0.6)
    typed = re.match(r"No such command '(.*)'", error.format_message())
    if typed is None or not isinstance(context.command, click.Group):
        return ""
    return near(typed[1], context.command.list_commands(context), cutoff=0.65)


def _tell(problem: LabError | FalcoRulesError) -> None:
    """Prints an error on stderr, without what a terminal would take for a command, and no line too long to read."""
    said = str(problem) if isinstance(problem, RunError) else as_commands(str(problem))  # a chapter's error is Python's
    text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in f"labkit: {said}")
    click.echo("\n".join(_shortened(line) for line in text.splitlines()), err=True)


# The method of a lab -> the command that does the same.
_METHODS = {name: name for name in ("alerts", "apply", "audit", "exec", "teardown")} | {
    "ensure": "apply",
    "status": "apply --help",
    "undo": "teardown",
}
# Other calls -> the command that does the same.
_CALLS = {
    "labkit.attacks.catalogue()": "labkit attack list",
    "lab.falco_rules()": "kubectl exec -n falco daemonset/falco -c falco -- falco -L -o json_output=false",
}


def as_commands(text: str) -> str:
    """A text with commands in place of calls of a lab's methods: `labkit apply falco` for `lab.apply("falco")`."""

    def command(call: re.Match[str]) -> str:
        words = [double or single for double, single in re.findall(r'"([^"]*)"|\'([^\']*)\'', call["arguments"])]
        if call["method"] == "exec":
            words.insert(1, "--")
        return f"`{' '.join(['labkit', _METHODS[call['method']], *map(shlex.quote, words)])}`"

    argument = r'(?:"[^"\n]*"|\'[^\'\n]*\')'
    calls = rf"`?\blab\.(?P<method>{'|'.join(_METHODS)})\((?P<arguments>(?:{argument}(?:, )?)*)\)`?"
    text = re.sub(calls, command, text).replace("`Lab.connect()` again", "run this again")
    for python, typed in _CALLS.items():
        text = text.replace(python, f"`{typed}`")
    return text


def _shortened(line: str, width: int = 1000) -> str:
    return line if len(line) <= width else f"{line[: width // 2]} ... {line[-width // 2 :]}"


def _traceback_file() -> str:
    try:
        with tempfile.NamedTemporaryFile("w", prefix="labkit-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
            return file.name
    except OSError:
        return "what you typed"


def _give_up_output() -> None:
    """Drops what could not be written, or the interpreter would try again when it ends, and complain."""
    with suppress(OSError):  # standard output isn't a file in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labkit")
def main() -> None:
    """Falco on Amazon EKS, a workshop: start the embedded lab, run the chapters, look at alerts."""
