"""Programs that compare files: diff and cmp."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator

from ekslab.node.dates import formatted
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import Options, parse, usage
from ekslab.node.userland.show import emit, kind_text, whole

_LARGEST = 256 << 10  # bytes of both files together that diff compares line by line


@program("cmp")
async def cmp(p: Process) -> int:
    options = parse(p, "bli:n:sv", {"print-bytes": "b", "verbose": "l", "quiet": "s", "silent": "s", "bytes": "n"})
    for letter in "bi":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab", 2)
    if not 1 <= len(options.operands) <= 2:
        usage(p, "missing operand after 'cmp'" if not options.operands else "extra operand", 2)
    names = [*options.operands, "-"][:2]
    limit = int(options.values["n"]) if options.values.get("n", "").isdigit() else None
    try:
        one, two = [(await whole(p, name))[:limit] for name in names]
    except OSError as exc:
        return p.fail(f"{exc.filename}: {exc.strerror}", 2)
    different = [index for index, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
    shorter = names[0] if len(one) < len(two) else names[1]
    if "l" in options and "s" not in options:
        width = len(str(max(len(one), len(two))))
        for index in different:
            p.print(f"{index + 1:>{width}} {one[index]:>3o} {two[index]:>3o}")
    elif different and "s" not in options:
        at = different[0]
        p.print(f"{names[0]} {names[1]} differ: byte {at + 1}, line {one[:at].count(10) + 1}")
    if len(one) != len(two) and "s" not in options and (not different or "l" in options):
        least = min(len(one), len(two))
        inside = not one[:least].endswith(b"\n")
        line = f"{'in ' if inside else ''}line {one[:least].count(10) + inside}"
        text = f"after byte {least}, {line}" if least else "which is empty"
        p.stderr.write(f"cmp: EOF on {shorter} {text}\n")
    return 1 if different or len(one) != len(two) else 0


_LONG = {
    "unified": "u1",
    "context": "c1",
    "brief": "q",
    "report-identical-files": "s",
    "recursive": "r",
    "new-file": "N",
    "ignore-case": "i",
    "ignore-space-change": "b",
    "ignore-all-space": "w",
    "ignore-blank-lines": "B",
    "text": "a",
    "side-by-side": "y",
    "label": "label=",
    "color": "color",
    "exclude": "x",
}


@program("diff")
async def diff(p: Process) -> int:
    options = parse(p, "abBcC:dEiNqrsuU:twx:yZ0123456789eny", _LONG, status=2)
    for letter in ("B", "C", "c", "c1", "e", "n", "y"):
        if letter in options:
            return p.fail(f"option -{letter[0]} is not simulated in this lab", 2)
    if len(options.operands) != 2:
        what = f"extra operand '{options.operands[2]}'" if len(options.operands) > 2 else "missing operand after "
        usage(p, what if len(options.operands) > 2 else f"{what}'{(options.operands or p.argv)[-1]}'", 2)
    one, two = options.operands
    try:
        if p.isdir(one) and p.isdir(two):
            return await _directories(p, one, two, options)
        if p.isdir(one) != p.isdir(two) and "-" not in (one, two):
            if p.isdir(one):
                one = posixpath.join(one, posixpath.basename(two))
            else:
                two = posixpath.join(two, posixpath.basename(one))
        return await _files(p, one, two, options, "")
    except OSError as exc:
        return p.fail(f"{exc.filename}: {exc.strerror}", 2)


async def _directories(p: Process, one: str, two: str, options: Options) -> int:
    status = 0
    names = {path: set(p.listdir(path)) for path in (one, two)}
    for name in sorted(names[one] | names[two]):
        await p.cooperate()
        first, second = posixpath.join(one, name), posixpath.join(two, name)
        missing = next((path for path in (one, two) if name not in names[path]), None)
        if missing is not None and "N" not in options:
            p.print(f"Only in {two if missing == one else one}: {name}")
            status = max(status, 1)
        elif p.isdir(first) and p.isdir(second):
            if "r" in options:
                status = max(status, await _directories(p, first, second, options))
            else:
                p.print(f"Common subdirectories: {first} and {second}")
        elif missing is None and p.isdir(first) != p.isdir(second):
            kinds = [kind_text(p.stat(path)) for path in (first, second)]
            p.print(f"File {first} is a {kinds[0]} while file {second} is a {kinds[1]}")
            status = max(status, 1)
        else:
            words = [word for word in p.argv[1:] if word.startswith("-")]
            status = max(status, await _files(p, first, second, options, " ".join(["diff", *words, first, second])))
    return status


async def _files(p: Process, one: str, two: str, options: Options, title: str) -> int:
    texts = []
    for name in (one, two):
        if "N" in options and name != "-" and not p.exists(name):
            texts.append(b"")
        else:
            texts.append(await whole(p, name))
    lines = [text.decode("utf-8", "surrogateescape").splitlines(keepends=True) for text in texts]
    keys = [[_key(line, options) for line in part] for part in lines]
    if texts[0] == texts[1] or keys[0] == keys[1]:
        if "s" in options:
            p.print(f"Files {one} and {two} are identical")
        return 0
    if "q" in options or (b"\0" in texts[0] + texts[1] and "a" not in options):
        kind = "Files" if "q" in options else "Binary files"
        p.print(f"{kind} {one} and {two} differ")
        return 1
    if sum(map(len, texts)) > _LARGEST:
        return p.fail(f"embedded lab: the lab's diff compares {_LARGEST >> 10} KiB at most", 2)
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1])
    await p.cooperate()
    if title:
        p.print(title)
    wanted = options.values.get("U", "3")
    digits = "".join(flag for flag in options.flags if flag.isdigit())
    context = int(digits or wanted) if (digits or wanted).isdigit() else 3
    if "u" in options or "u1" in options or "U" in options:
        labels = options.all("label")
        heads = [labels[i] if i < len(labels) else f"{name}\t{_time(p, name)}" for i, name in enumerate((one, two))]
        out = [f"--- {heads[0]}\n", f"+++ {heads[1]}\n", *_unified(matcher, lines, context)]
    else:
        out = list(_normal(matcher, lines))
    await emit(p, "".join(out).encode("utf-8", "surrogateescape"))
    return 1


def _key(line: str, options: Options) -> str:
    line = line.rstrip("\n")
    if "i" in options:
        line = line.lower()
    if "w" in options:
        return "".join(line.split())
    return " ".join(line.split()) if "b" in options else line


def _time(p: Process, name: str) -> str:
    moment = p.stat(name).mtime if name != "-" and p.exists(name) else p.kernel.now()
    return formatted(moment, "%Y-%m-%d %H:%M:%S") + f".{moment % 1_000_000_000:09d} +0000"


def _marked(mark: str, line: str) -> str:
    return f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _range(start: int, end: int) -> str:
    return f"{start + 1},{end}" if end - start > 1 else str(end if end > start else start)


def _normal(matcher: difflib.SequenceMatcher[str], lines: list[list[str]]) -> Iterator[str]:
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        yield f"{_range(a, b)}{ {'replace': 'c', 'delete': 'd', 'insert': 'a'}[kind] }{_range(c, d)}\n"
        yield from (_marked("< ", line) for line in lines[0][a:b])
        if kind == "replace":
            yield "---\n"
        yield from (_marked("> ", line) for line in lines[1][c:d])


def _span(start: int, end: int) -> str:
    size = end - start
    return str(start + 1) if size == 1 else f"{start + 1 if size else start},{size}"


def _unified(matcher: difflib.SequenceMatcher[str], lines: list[list[str]], context: int) -> Iterator[str]:
    for group in matcher.get_grouped_opcodes(context):
        yield f"@@ -{_span(group[0][1], group[-1][2])} +{_span(group[0][3], group[-1][4])} @@\n"
        for kind, a, b, c, d in group:
            if kind == "equal":
                yield from (_marked(" ", line) for line in lines[0][a:b])
                continue
            yield from (_marked("-", line) for line in lines[0][a:b])
            yield from (_marked("+", line) for line in lines[1][c:d])
