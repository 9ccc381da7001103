"""Text to commands: parses what a shell reads, and reports syntax errors in the words of bash and dash."""

from __future__ import annotations

from ekslab.node.shell.errors import ShellSyntaxError
from ekslab.node.shell.parser import Parser
from ekslab.node.shell.state import State
from ekslab.node.shell.syntax import Sequence

_SHOWN = frozenset(
    ["if", "then", "elif", "else", "fi", "do", "done", "case", "esac", "while", "until", "for", "{", "}", "in", "!"]
)


class Reading(State):
    """A shell's reader."""

    def parser(self, text: str, *, prompting: bool = False, line: int = 1) -> Parser:
        parser = Parser(text, self.bash, prompting, line_number=line)
        self._prepare(parser)
        return parser

    def _prepare(self, parser: Parser) -> None:
        """Lets a parser know what the lines before have set."""
        parser.extglob = self.shopt.get("extglob", False)
        if self.interactive or self.shopt.get("expand_aliases") or not self.bash:
            parser.aliases = self.aliases

    async def parsed(self, text: str, *, line: int = 1, prompting: bool = False) -> Sequence:
        """The commands of a text that should be complete. Raises ShellSyntaxError, `incomplete` when it isn't."""
        parser = self.parser(text, prompting=prompting, line=line)
        items = []
        while parser.next_line():
            while (item := parser.next_item()) is not None:
                items.append(item)
                await self.process.cooperate()
            parser.ends_line()
        return Sequence(tuple(items))

    def syntax_error(self, exc: ShellSyntaxError, *, at_end: bool = False) -> None:
        """Tells of a syntax error; `at_end` when the text's last line has no end, which bash counts as one more."""
        self.line = exc.line
        if self.bash and exc.incomplete and at_end and (not exc.message or exc.needs == ")"):
            self.line += 1
        if exc.message.startswith("embedded lab: ") or (self.bash and exc.message.endswith("bad substitution")):
            self.complain(exc.message)
        elif self.bash:
            what = exc.message or (
                "syntax error: unexpected end of file"
                if exc.incomplete
                else f"syntax error near unexpected token `{exc.token}'"
            )
            self._complain_of_syntax(what)
            if not exc.incomplete and exc.text and not exc.message:
                self._complain_of_syntax(f"`{exc.text}'")
        elif exc.message and not exc.incomplete:
            bad = "bad substitution" in exc.message
            self.complain("Bad substitution" if bad else f"Syntax error: {exc.message}")
        elif exc.incomplete and "matching" in exc.message and exc.needs in ("'", '"', "`"):
            what = "EOF in backquote substitution" if exc.needs == "`" else "Unterminated quoted string"
            self.complain(f"Syntax error: {what}")
        elif exc.incomplete and exc.needs == "}":
            self.complain("Syntax error: Missing '}'")
        else:
            expecting = f' (expecting "{exc.expecting or exc.needs}")' if exc.expecting or exc.needs else ""
            if exc.incomplete:
                token = "end of file"
            elif exc.token in ("newline", "redirection"):
                token = exc.token
            elif exc.token and not set(exc.token) & set(";&|<>()") and exc.token not in _SHOWN:
                token = "word"
            else:
                token = f'"{exc.token}"'
            self.complain(f"Syntax error: {token} unexpected{expecting}")

    def _complain_of_syntax(self, what: str) -> None:
        if self.interactive or self.in_script:
            self.complain(what)
        else:
            self.process.stderr.write(f"{self.arg0}: -c: line {self.line}: {what}\n")
