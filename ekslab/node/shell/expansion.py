"""Word expansion: variables, command substitution, arithmetic, field splitting, file name patterns."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise

from ekslab.node import accounts
from ekslab.node.patterns import (
    Glob,
    PatternError,
    glob,
    glob_escaped,
    has_magic,
    regex_escaped,
    unescaped,
)
from ekslab.node.process import Process
from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.quoting import double_quoted, quoted, unescape
from ekslab.node.shell.state import State
from ekslab.node.shell.syntax import (
    Arithmetic,
    Part,
    ProcessSubstitution,
    Substitution,
    Text,
    Variable,
    Word,
)

# A field while it is put together: pieces of text, and whether each is quoted.
_Field = list[tuple[str, bool]]
_MOST_BRACES = 1 << 24


async def fields(shell: State, words: Iterable[Word]) -> list[str]:
    """Expands a command's words to its arguments."""
    result: list[str] = []
    held = 0
    for word in words:
        expanded = await _braces(shell, word) if shell.bash and shell.options.get("braceexpand", True) else [word]
        for each in expanded:
            for field in await _split(shell, each):
                names = await _names(shell, field) if shell.globbing else [_plain(field)]
                size = sum(map(len, names)) + 64 * len(names)
                shell.process.charge(size)
                held += size
                result += names
                await shell.process.cooperate()
    shell.process.charge(-held)
    return result


# -- braces -----------------------------------------------------------------------------------------------------------


async def _braces(shell: State, word: Word) -> list[Word]:
    """bash's `{a,b}` and `{1..3}`: a word as the words that it stands for."""
    if not any(isinstance(part, Text) and not part.quoted and "{" in part.value for part in word):
        return [word]
    # One piece per unquoted character, so that braces and commas are told from quoted ones.
    pieces: list[Part] = []
    for part in word:
        if isinstance(part, Text) and not part.quoted:
            pieces += [Text(character, False) for character in part.value]
        else:
            pieces.append(part)
    budget = [0]
    found: list[Word] = []
    for each in await _brace(shell, tuple(pieces), budget):
        found.append(_joined_text(each))
        await shell.process.cooperate()
    return found


async def _brace(shell: State, pieces: Word, budget: list[int], depth: int = 0) -> list[Word]:
    if depth > 40:
        raise ExpansionError("embedded lab: braces nest 40 levels at most in the lab's bash")
    marks = ["" if not isinstance(piece, Text) or piece.quoted else piece.value for piece in pieces]
    closing = _closing(marks)
    for start, mark in enumerate(marks):
        if mark != "{" or start not in closing:
            continue
        end, cuts = closing[start]
        choices: list[Word]
        if cuts:
            bounds = [start, *cuts, end]
            choices = []
            for a, b in pairwise(bounds):
                choices += await _brace(shell, pieces[a + 1 : b], budget, depth + 1)
        else:
            inside = "".join(marks[start + 1 : end])
            sequence = await _sequence(shell, inside) if len(inside) == end - start - 1 else None
            if sequence is None:
                continue
            choices = sequence
        after = await _brace(shell, pieces[end + 1 :], budget, depth + 1)
        before = pieces[:start]
        found: list[Word] = []
        for choice in choices:
            for rest in after:
                found.append((*before, *choice, *rest))
                budget[0] += 1
                if not budget[0] & 1023:
                    shell.process.charge(1024 * 160)
                    await shell.process.cooperate()
        shell.process.charge(-(budget[0] // 1024) * 1024 * 160)
        budget[0] &= 1023
        return found
    return [pieces]


def _closing(marks: list[str]) -> dict[int, tuple[int, list[int]]]:
    """Where each brace that opens is closed, and the commas between."""
    found: dict[int, tuple[int, list[int]]] = {}
    opened: list[tuple[int, list[int]]] = []
    for at, mark in enumerate(marks):
        if mark == "{":
            opened.append((at, []))
        elif mark == "," and opened:
            opened[-1][1].append(at)
        elif mark == "}" and opened:
            start, cuts = opened.pop()
            found[start] = (at, cuts)
    return found


_RANGE = re.compile(r"(-?\d{1,19})\.\.(-?\d{1,19})(?:\.\.(-?\d{1,19}))?")
_LETTERS = re.compile(r"([a-zA-Z])\.\.([a-zA-Z])(?:\.\.(-?\d{1,19}))?")


async def _sequence(shell: State, inside: str) -> list[Word] | None:
    numbers = _RANGE.fullmatch(inside)
    letters = _LETTERS.fullmatch(inside)
    if numbers is None and letters is None:
        return None
    match = numbers or letters
    assert match is not None
    first, last = (int(match[1]), int(match[2])) if numbers is not None else (ord(match[1]), ord(match[2]))
    step = max(abs(int(match[3] or 1)), 1)
    values = range(first, last + 1, step) if last >= first else range(first, last - 1, -step)
    if abs(last - first) // step >= _MOST_BRACES:
        raise ExpansionError(f"brace expansion: failed to allocate memory for {abs(last - first) // step + 1} elements")
    width = 0
    if numbers is not None and any(re.match(r"-?0\d", match[side]) for side in (1, 2)):
        width = max(len(match[1]), len(match[2]))
    found: list[Word] = []
    for count, value in enumerate(values):
        text = chr(value) if letters is not None else f"{value:0{width}d}" if width else str(value)
        found.append((Text(text, False),))
        if not count & 1023:
            shell.process.charge(1024 * 160)
            await shell.process.cooperate()
    shell.process.charge(-(-(-len(values) // 1024) * 1024 * 160))
    return found


def _joined_text(parts: Word) -> Word:
    """Neighbouring unquoted characters as one text again."""
    joined: list[Part] = []
    plain: list[str] = []
    for part in parts:
        if isinstance(part, Text) and not part.quoted:
            plain.append(part.value)
            continue
        if plain:
            joined.append(Text("".join(plain), False))
            plain = []
        joined.append(part)
    if plain:
        joined.append(Text("".join(plain), False))
    return tuple(joined)


# -- words ------------------------------------------------------------------------------------------------------------


async def text(shell: State, word: Word) -> str:
    """A word as one string, without splitting or file names: an assignment's value, a redirect's target."""
    return _plain(await _joined(shell, word))


async def pattern(shell: State, word: Word) -> str:
    """A word as a pattern in which quoted characters stand for themselves."""
    return "".join(glob_escaped(piece) if quoted else piece for piece, quoted in await _joined(shell, word))


async def regex(shell: State, word: Word) -> str:
    """A word as a regular expression in which quoted characters stand for themselves."""
    return "".join(
        regex_escaped(piece) if quoted else piece for piece, quoted in await _joined(shell, word, tilde=False)
    )


def compiled(shell: State, given: str) -> Glob:
    """A shell pattern; PatternError becomes the shell's own error."""
    try:
        return glob(given, extglob=shell.bash, ignore_case=shell.shopt.get("nocasematch", False))
    except PatternError as exc:
        raise ExpansionError(str(exc)) from None


def matches(shell: State, value: str, given: str) -> bool:
    try:
        return compiled(shell, given).matches(value)
    except PatternError as exc:
        raise ExpansionError(str(exc)) from None


def _plain(field: _Field) -> str:
    return "".join(piece for piece, _ in field)


async def _joined(shell: State, word: Word, *, tilde: bool = True) -> _Field:
    field: _Field = []
    for index, part in enumerate(await _defaults(shell, word)):
        if isinstance(part, Text):
            value = part.value
            if index == 0 and not part.quoted and tilde:
                value = _tilde(shell, value)
            field.append((value, part.quoted))
        else:
            values = await _values(shell, part)
            field.append((" ".join(values), part.quoted))
    return field


def _tilde(shell: State, value: str) -> str:
    if not value.startswith("~"):
        return value
    user, slash, rest = value[1:].partition("/")
    if not user:
        home = shell.value_of("HOME")
        if home is None and not shell.bash:
            return value
        return (_home(shell, uid=str(shell.process.uid)) or "/" if home is None else home) + slash + rest
    if user in ("+", "-") and shell.bash:
        return (shell.get("PWD" if user == "+" else "OLDPWD") or f"~{user}") + slash + rest
    home = _home(shell, name=user)
    return value if home is None else home + slash + rest


def _home(shell: State, *, name: str = "", uid: str = "") -> str | None:
    """The home directory of a user in /etc/passwd, by name or number."""
    lines = accounts.entries(shell.process.filesystem, accounts.PASSWD)
    return next((line[5] for line in lines if len(line) > 5 and (line[0] == name or line[2] == uid)), None)


async def _defaults(shell: State, word: Word) -> list[Part]:
    """A word with `${x:-word}` and `${x:+word}` replaced by their words, whose own quotes count."""
    parts: list[Part] = []
    for part in word:
        if isinstance(part, Variable) and part.op in (":-", "-", ":+", "+") and not part.every:
            value = shell.value_of(part.name, await _subscript(shell, part))
            absent = value is None or (part.op.startswith(":") and value == "")
            if absent == (part.op[-1] == "-"):
                inner = await _defaults(shell, part.word or ())
                parts += inner or ([Text("", True)] if part.quoted else [])
            elif not absent and part.op[-1] == "-":
                parts.append(Variable(part.name, part.quoted, index=part.index))
            elif part.quoted:
                parts.append(Text("", True))
        else:
            parts.append(part)
    return parts


async def _subscript(shell: State, part: Variable) -> str | None:
    if part.index is None or part.every:
        return None
    return await text(shell, part.index)


async def _split(shell: State, word: Word) -> list[_Field]:
    """Splits what unquoted expansions gave at IFS."""
    done: list[_Field] = []
    current: _Field = []
    started = False
    separators = shell.get("IFS", " \t\n")
    for index, part in enumerate(await _defaults(shell, word)):
        if isinstance(part, Text):
            value = _tilde(shell, part.value) if index == 0 and not part.quoted else part.value
            current.append((value, part.quoted))
            started = True
            continue
        values = await _values(shell, part)
        if part.quoted or isinstance(part, ProcessSubstitution):
            several = isinstance(part, Variable) and (part.every == "@" or part.op == "prefix") and part.op != "length"
            if several and not values:
                continue
            for number, value in enumerate(values):
                if number:
                    done.append(current)
                    current = []
                current.append((value, True))
                started = True
            continue
        for number, value in enumerate(values):
            if number and started:
                done.append(current)
                current, started = [], False
            pieces, leading, trailing = _pieces(value, separators)
            if leading and started:
                done.append(current)
                current, started = [], False
            for at, piece in enumerate(pieces):
                if at:
                    done.append(current)
                    current = []
                current.append((piece, False))
                started = True
                if not at & 1023:
                    shell.process.charge(1024 * 100)
                    await shell.process.cooperate()
            shell.process.charge(-(-(-len(pieces) // 1024) * 1024 * 100))
            if trailing and started:
                done.append(current)
                current, started = [], False
            if not number & 255:
                await shell.process.cooperate()
    if started:
        done.append(current)
    return done


def _pieces(value: str, separators: str) -> tuple[list[str], bool, bool]:
    """The fields of a value, and whether it starts and ends with a separator."""
    if not separators:
        return ([value] if value else []), False, False
    blanks = "".join(character for character in separators if character in " \t\n")
    others = "".join(character for character in separators if character not in " \t\n")
    if not others:
        blank = blanks[0]
        pieces = [piece for piece in value.translate(dict.fromkeys(map(ord, blanks), blank)).split(blank) if piece]
    else:
        pieces = split_at(value.strip(blanks) if blanks else value, blanks, others)
    return pieces, value[:1] in tuple(separators) and bool(value), value[-1:] in tuple(separators) and bool(value)


def split_at(value: str, blanks: str, others: str, most: int = 0) -> list[str]:
    """Splits at the separators of IFS; with `most`, the last piece is the rest as it is."""
    pieces: list[str] = []
    start = at = 0
    while at < len(value):
        if value[at] not in blanks and value[at] not in others:
            at += 1
            continue
        if most and len(pieces) == most - 1:
            break
        pieces.append(value[start:at])
        while at < len(value) and value[at] in blanks:
            at += 1
        if at < len(value) and value[at] in others:
            at += 1
            while at < len(value) and value[at] in blanks:
                at += 1
        start = at
    return [*pieces, value[start:]] if start < len(value) else pieces


async def _values(shell: State, part: Part) -> list[str]:
    """What an expansion gives: one string, or several for `$@` and an array's elements."""
    if isinstance(part, Substitution):
        return [await shell.substitute(part.body)]
    if isinstance(part, Arithmetic):
        return [str(evaluate(shell, await text(shell, part.word)))]
    if isinstance(part, ProcessSubstitution):
        return [await shell.process_substitution(part)]
    assert isinstance(part, Variable)
    if part.op == "prefix":
        names = sorted(name for name in shell.variables if name.startswith(part.name))
        star = part.index is not None and part.index[0] == Text("*", False)
        return [_separator(shell).join(names)] if part.quoted and star else names
    if not part.every:
        return [await _variable(shell, part)]
    values = await _several(shell, part)
    if part.op in ("length", "@A"):
        return values
    if part.every == "*" and part.quoted:
        return [_separator(shell).join(values)]
    return values


def _separator(shell: State) -> str:
    return shell.get("IFS", " \t\n")[:1]


async def _several(shell: State, part: Variable) -> list[str]:
    """Every positional parameter, or every element of an array."""
    positional = part.name in ("@", "*")
    values = list(shell.positional) if positional else shell.elements(part.name)
    op = part.op
    if not op:
        return values
    if op == "length":
        return [str(len(values))]
    if op == "keys":
        return shell.keys(part.name)
    if op in (":-", "-", ":+", "+", ":?", "?", ":=", "="):
        absent = not values or (op.startswith(":") and not any(values))
        if op[-1] == "+":
            return [] if absent else [await text(shell, part.word or ())]
        if not absent:
            return values
        given = await text(shell, part.word or ())
        if op[-1] == "?":
            raise ExpansionError(f"{part.name}: {given or 'parameter null or not set'}", 127)
        return [given]
    if op == ":":
        return await _slice(shell, part, values, positional)
    if op == "@A":
        return [shell.declaration(part.name)] if not positional else [f"set -- {' '.join(map(quoted, values))}"]
    if op in ("@K", "@k") and not positional:
        pairs = zip(shell.keys(part.name), values, strict=True)
        if op == "@k":
            return [each for pair in pairs for each in pair]
        return [" ".join(f"{key} {double_quoted(value)}" for key, value in pairs)]
    if op == "@a" and not positional:
        return [shell.flags(part.name)] * len(values)
    change = await _change(shell, part)
    out = []
    for value in values:
        out.append(await change(value))
        await shell.process.cooperate()
    return out


async def _slice(shell: State, part: Variable, values: list[str], positional: bool) -> list[str]:
    start = evaluate(shell, await text(shell, part.word or ()) or "0")
    length = evaluate(shell, await text(shell, part.word2)) if part.word2 is not None else None
    if length is not None and length < 0:
        raise ExpansionError(f"{length}: substring expression < 0")
    if positional:
        values = [shell.arg0, *values] if start == 0 else values
        start = start - 1 if start > 0 else start
    elif (keys := shell.numbers(part.name)) is not None:
        # A slice of an array with gaps counts from an index, not from a place.
        if start < 0:
            start += (keys[-1] + 1) if keys else 0
            if start < 0:
                return []
        values = [value for key, value in zip(keys, values, strict=True) if key >= start]
        return values[:length] if length is not None else values
    if start < 0:
        start += len(values)
        if start < 0:
            return []
    return values[start : start + length] if length is not None else values[start:]


async def _variable(shell: State, part: Variable) -> str:
    name, op, index = part.name, part.op, await _subscript(shell, part)
    if op == "indirect" or op.startswith("!"):
        name, index = _pointed(shell, name, index)
        if op == "indirect" and name.endswith("[@]"):
            return " ".join(shell.elements(name[:-3]))
        op = op[1:] if op != "indirect" else ""
    value = shell.value_of(name, index)
    if op == "length":
        if value is None:
            _check_set(shell, name, index)
        return str(len(value or ""))
    if op in (":-", "-", ":=", "=", ":?", "?", ":+", "+"):
        absent = value is None or (op.startswith(":") and value == "")
        kind = op[-1]
        if kind == "+":
            return "" if absent else await text(shell, part.word or ())
        if not absent:
            return value or ""
        given = await text(shell, part.word or ())
        if kind == "=":
            if name.isdigit() or name in "@*#?-$!":
                raise ExpansionError(f"${name}: cannot assign in this way")
            shell.set(name, given, index=index)
        elif kind == "?":
            default = "parameter null or not set" if op.startswith(":") else "parameter not set"
            raise ExpansionError(f"{name}: {given or default}", 127)
        return given
    if value is None:
        if op not in ("@a", "@A"):
            _check_set(shell, name, index)
        if op in ("@Q", "@K", "@k", "@A", "@P", "@E") and op != "@a":
            return shell.declaration(name) if op == "@A" else ""
        value = ""
    if not op:
        return value
    if op == ":":
        start = evaluate(shell, await text(shell, part.word or ()) or "0")
        length = evaluate(shell, await text(shell, part.word2)) if part.word2 is not None else None
        begin = len(value) + start if start < 0 else start
        if begin < 0:
            return ""
        if length is None:
            return value[begin:]
        if length < 0 and len(value) + length < begin:
            raise ExpansionError(f"{length}: substring expression < 0")
        return value[begin : begin + length] if length >= 0 else value[begin:length]
    if op == "@A":
        return shell.declaration(name)
    if op == "@a":
        return shell.flags(name)
    return await (await _change(shell, part, op))(value)


def _check_set(shell: State, name: str, index: str | None) -> None:
    if shell.options.get("nounset") and name not in ("@", "*"):
        shown = f"{name}[{index}]" if index is not None else name
        raise ExpansionError(f"{shown}: {'unbound variable' if shell.bash else 'parameter not set'}", 127)


def _pointed(shell: State, name: str, index: str | None) -> tuple[str, str | None]:
    """The name (and subscript) that `${!name}` leads to."""
    target = shell.value_of(name, index)
    if target is None:
        raise ExpansionError(f"{name}: invalid indirect expansion")
    match = re.fullmatch(r"([A-Za-z_]\w*)\[(.*)\]", target, re.DOTALL)
    if match is not None and match[2] not in ("@", "*"):
        return match[1], match[2]
    if match is None and not re.fullmatch(r"[A-Za-z_]\w*|\d{1,9}|[@*#?$!-]", target):
        raise ExpansionError(f"{target}: invalid variable name")
    return (f"{match[1]}[@]" if match is not None else target), None


async def _change(shell: State, part: Variable, op: str = "") -> Callable[[str], Awaitable[str]]:
    """What an operator such as `#`, `//` or `^^` makes of a value."""
    op = op or part.op

    def checked(work: Callable[[str], str]) -> Callable[[str], Awaitable[str]]:
        async def run(value: str) -> str:
            try:
                return work(value)
            except PatternError as exc:
                raise ExpansionError(str(exc)) from None

        return run

    if op in ("#", "##", "%", "%%"):
        found = compiled(shell, await pattern(shell, part.word or ()))
        return checked(lambda value: _trimmed(value, found, op))
    if op in ("/", "//", "/#", "/%"):
        given = await pattern(shell, part.word or ())
        replacement = await text(shell, part.word2 or ())
        if not given and op in ("/", "//"):
            return checked(lambda value: value)
        found = compiled(shell, given)
        if op in ("/#", "/%"):
            return checked(lambda value: _replaced_end(value, found, op, replacement))

        async def replace(value: str) -> str:
            out: list[str] = []
            size = 0
            try:
                for piece in found.replaced(value, replacement, every=op == "//"):
                    out.append(piece)
                    size += len(piece) + 50
                    if not len(out) & 255:
                        shell.process.charge(size)
                        shell.process.charge(-size)
                        await shell.process.cooperate()
            except PatternError as exc:
                raise ExpansionError(str(exc)) from None
            return "".join(out)

        return replace
    if op in ("^^", ",,", "^", ","):
        upper = op[0] == "^"
        given = await pattern(shell, part.word or ()) if part.word else ""
        chosen = compiled(shell, given) if given else None

        def switch(value: str) -> str:
            head = value if len(op) == 2 else value[:1]
            if chosen is None:
                changed = head.upper() if upper else head.lower()
            else:
                changed = "".join(
                    (each.upper() if upper else each.lower()) if chosen.matches(each) else each for each in head
                )
            return changed + value[len(head) :]

        return checked(switch)
    return checked(
        {
            "@Q": quoted,
            "@K": quoted,
            "@k": quoted,
            "@U": str.upper,
            "@L": str.lower,
            "@u": lambda value: value[:1].upper() + value[1:],
            "@E": lambda value: unescape(value, quote=True),
            "@P": shell.prompt,
        }[op]
    )


def _trimmed(value: str, found: Glob, op: str) -> str:
    if op[0] == "#":
        end = found.prefix(value, longest=op == "##")
        return value if end is None else value[end:]
    start = found.suffix(value, longest=op == "%%")
    return value if start is None else value[:start]


def _replaced_end(value: str, found: Glob, op: str, replacement: str) -> str:
    if op == "/#":
        end = found.prefix(value, longest=True)
        return value if end is None else replacement + value[end:]
    start = found.suffix(value, longest=True)
    return value if start is None else value[:start] + replacement


# -- file names -------------------------------------------------------------------------------------------------------


async def _names(shell: State, field: _Field) -> list[str]:
    """The files that a field's pattern matches, or the field itself when there is none."""
    given = "".join(glob_escaped(piece) if each else piece for piece, each in field)
    extended = shell.shopt.get("extglob", False)
    if not has_magic(given, extglob=extended):
        return [_plain(field)]
    try:
        found = sorted(await _match_files(shell, given))
    except PatternError as exc:
        raise ExpansionError(str(exc)) from None
    if not found and shell.shopt.get("failglob"):
        raise ExpansionError(f"no match: {_plain(field)}")
    return found or ([] if shell.shopt.get("nullglob") else [_plain(field)])


async def _match_files(shell: State, given: str) -> list[str]:
    process = shell.process
    bases = ["/" if given.startswith("/") else ""]
    components = [component for component in given.split("/") if component]
    ignore_case = shell.shopt.get("nocaseglob", False)
    extended = shell.shopt.get("extglob", False)
    for index, component in enumerate(components):
        last = index == len(components) - 1
        following: list[str] = []
        if component == "**" and shell.shopt.get("globstar"):
            for base in bases:
                following += await _below(process, base, files=last)
            bases = following
            continue
        wanted = glob(component, extglob=extended, ignore_case=ignore_case)
        hidden = component.startswith((".", "\\.")) or shell.shopt.get("dotglob", False)
        for base in bases:
            await process.cooperate()
            if not has_magic(component, extglob=extended):
                path = posixpath.join(base, unescaped(component))
                if process.exists(path) or (last and _is_link(process, path)):
                    following.append(path)
                continue
            try:
                names = process.listdir(base or ".")
            except OSError:
                continue
            if component.startswith(".") and not shell.bash:  # bash leaves them out, by its option globskipdots
                names = [".", "..", *names]
            for name in names:
                await process.cooperate()
                if (hidden or not name.startswith(".")) and wanted.matches(name):
                    path = posixpath.join(base, name)
                    if last or process.isdir(path):
                        following.append(path)
                        process.charge(len(path) + 64)
        bases = following
    return [f"{base}/" for base in bases if process.isdir(base)] if given.endswith("/") else bases


async def _below(process: Process, base: str, *, files: bool) -> list[str]:
    """A directory and everything below it, links not followed."""
    found = [base] if base or not files else []
    waiting = [base]
    while waiting:
        await process.cooperate()
        here = waiting.pop()
        try:
            names = process.listdir(here or ".")
        except OSError:
            continue
        for name in names:
            path = posixpath.join(here, name)
            if name.startswith("."):
                continue
            directory = process.isdir(path) and not _is_symlink(process, path)
            if directory or files:
                found.append(path)
                process.charge(len(path) + 64)
            if directory:
                waiting.append(path)
    return found


def _is_link(process: Process, path: str) -> bool:
    try:
        process.lstat(path)
    except OSError:
        return False
    return True


def _is_symlink(process: Process, path: str) -> bool:
    try:
        return process.lstat(path).is_symlink
    except OSError:
        return False
