"""The report under a file's lines: what is marked, in which words, and at which characters."""

from __future__ import annotations

import re
from random import Random

import pytest

import falcorules
from falcorules import Annotated, RuleError, annotate
from falcorules.report import ERRORS
from tests.falcorules import fuzz

NAME, TEXT = falcorules.default_rules()
# Its lists and macros, and two of its rules: with all of them each test takes twice as long.
KEPT = ("Terminal shell in container", "Read sensitive file untrusted")
DEFAULT = (
    NAME,
    "".join(
        item
        for item in re.split(r"^(?=- )", TEXT, flags=re.M)
        if not item.startswith("- rule:") or item.split("\n")[0].removeprefix("- rule: ") in KEPT
    ),
)
RULE = """\
- list: programs
  items: [cat, head]
- rule: Accounts
  desc: A program
  condition: {condition}
  output: {output}
  priority: {priority}
"""

EXCEPTION = """\
- rule: Terminal shell in container
  exceptions:
    - name: mine
      fields: [proc.name, user.name]
      values: [[cat, root]]
  override: {exceptions: append}
"""


def draft(text: str, *before: tuple[str, str]) -> Annotated:
    return annotate([DEFAULT, *before, ("draft.yaml", text)], "draft.yaml")


def rule(condition: str = "open_read and proc.name in (programs)", output: str = "o", priority: str = "INFO") -> str:
    return RULE.format(condition=condition, output=output, priority=priority)


def marked(page: Annotated) -> dict[str, str]:
    """What is marked -> what is said of it."""
    lines = page.text.split("\n")
    return {lines[mark.line][mark.start : mark.end]: mark.words for mark in page.marks if mark.line >= 0}


def test_a_file_that_falco_loads_has_no_marks() -> None:
    page = draft(rule())
    assert page.marks == ()
    assert page.report.successful
    assert page.rules == ("Accounts",)
    assert repr(page) == "draft.yaml: Falco would load it."
    assert "would load it" in page._repr_html_()


@pytest.mark.parametrize(
    ("written", "instead", "words"),
    [
        ("desc: ", "desc:", "In the line above, a space is missing after `desc:`"),
        ("- rule:", "-rule:", "In the line above, a space is missing after the dash"),
        ("  output:", "\u00a0 output:", "A no-break space is in the indentation"),
        ("condition: ", "condition: >-\n  ", "The text of `condition` has to be indented more than `condition` itself"),
    ],
)
def test_what_stands_above_a_key_that_cannot_be_there(written: str, instead: str, words: str) -> None:
    page = draft(re.sub(f"^( *){re.escape(written)}", rf"\g<1>{instead}", rule(), flags=re.M))
    assert words in page.errors[0].words, page.errors[0]


@pytest.mark.parametrize("key", ["desc", "condition", "output", "priority"])
@pytest.mark.parametrize("more", [1, 2, 4])
def test_a_key_that_is_indented_more_than_the_one_above_it(key: str, more: int) -> None:
    page = draft(re.sub(f"^  {key}:", " " * (2 + more) + f"{key}:", rule(), flags=re.M))
    (error,) = page.errors
    assert page.text.split("\n")[error.line].lstrip().startswith(f"{key}:")
    assert "This line is indented more than the one above it" in error.words


@pytest.mark.parametrize(
    ("condition", "place", "words"),
    [
        ("open_read and fd.nmae = /etc/passwd", "fd.nmae", "There is no field `fd.nmae`. Did you mean 'fd.name'?"),
        ("open_reed and fd.name = /x", "open_reed", "There is no macro `open_reed`.* Did you mean 'open_read'"),
        (
            "open_read and programs",
            "programs",
            r"`programs` is a list: compare a field with it, as in `proc.name in \(programs\)`",
        ),
        ("open_read and procname = x", "procname", "is no field: .* Did you mean 'proc.name'?"),
        ("open_read and fd.name contans x", "contans", "`contans` is no operator. Did you mean 'contains'?"),
        ("open_read and fd.name ~ x", "~", "Did you mean 'regex' or 'glob'?"),
        ("open_read adn fd.name = x", "adn", "Did you mean 'and'?"),
        ("open_read && fd.name = x", "&&", "Did you mean 'and'?"),
        ("open_read AND fd.name = x", "AND", "Did you mean 'and'?"),
        ("open_read and fd.name = x)", ")", r"This `\)` has no `\(` before it."),
        ("open_read and (fd.name = x", "x", r"A `\(` is never closed"),
        ("open_read and proc.name in (cat head)", "head", r"A `\)` is missing before `head` .*commas"),
        ("open_read and proc.cmdline = cat /etc/passwd", "/etc/passwd", "has to be in quotes"),
        ("open_read and proc.name in programs", "programs", r"has to be in parentheses, after `in`: `in \(programs\)`"),
        ("open_read and proc.name = programs", "programs", r"has to be in parentheses, after `in`"),
        ("open_read and /etc/passwd", "/etc/passwd", "`/etc/passwd` is a value: compare a field with it"),
        ("open_read and fd.name = '/etc/passwd", "'", "This quote is never closed"),
        ("open_read and fd.name in /etc/passwd", "/etc/passwd", r"a list, as in `\(a, b\)`, has to follow"),
        ("open_read and fd.name = /a, /b", ",", "A comma separates the values of a list"),
        ("open_read and fd.name startswith'/etc'", "startswith", "A space is missing after `startswith`"),
        ("open_read and proc.name = oneof(cat, id)", "(", "`oneof` has to have a space on both sides"),
        ("open_read and proc.name regex '(?i)cat'", "proc.name", "Falco can't read this regular expression: no arg"),
        ("open_read and fd.ip glob anyof (a)", "glob", "`glob` can't be used on `fd.ip`"),
        ("open_read and not", "not", "ends too early"),
        ("open_read and fd.name: /etc/passwd", ":", "In a condition, `=` compares"),
        ("open_read and", "and", "The condition ends too early"),
        ("open_read and and container", "container", "Before this `and` a comparison or a macro is missing"),
        ("open_read and or container", "container", "Before this `or` a comparison or a macro is missing"),
        ("open_read and proc.name", "proc.name", "ends after a field"),
        ("open_read and proc.name =", "=", "a value has to follow, and nothing does"),
        ("evt.type = cat and container", "cat", "system calls, .* For the program, write `proc.name = cat`"),
        ("evt.type = /bin/cat", "/bin/cat", "For the program, write `proc.exepath = /bin/cat`"),
        ("evt.type = spawned_process", "spawned_process", "it is a macro"),
        ("container.id and open_read", "and", "as in `container.id = x`, or the macro `container` alone was meant"),
        ("open_read and (proc.name)", ")", "After the field `proc.name` an operator and a value have to follow"),
        ("evt.type = opn", "opn", "There is no event type `opn`. Did you mean 'open'?"),
        ("open_read and proc.pid = cat", "cat", "`proc.pid` is a number"),
        ("open_read and proc.pid contains 1", "contains", "`contains` can't be used on `proc.pid`"),
        ("open_read and proc.name[1] = x", "proc.name", "The field `proc.name` takes no such argument"),
    ],
)
def test_an_error_in_a_condition_is_marked_where_it_is(condition: str, place: str, words: str) -> None:
    page = draft(rule(condition))
    error = page.errors[0]
    line = page.text.split("\n")[error.line]
    assert line[error.start :].startswith(place)
    assert line.startswith("  condition:")
    assert re.search(words, error.words), error.words
    assert error.said == page.report.errors[0].message
    assert error.code in ERRORS


@pytest.mark.parametrize(
    "condition",
    [
        ">-\n    open_read and\n      container and\n    fd.nmae = /x",
        "|\n    open_read\n    and fd.nmae = /x\n",
        "open_read and proc.name in (programs)\n    and fd.nmae = /x",
        '"open_read and proc.args contains \\"ü\\" and fd.nmae = /x"',
        "'open_read and proc.args = ''a b'' and fd.nmae = /x'",
        "open_read and proc.args = 'äöü…' and fd.nmae = /x",
    ],
)
def test_folded_quoted_and_other_letters_dont_move_the_mark(condition: str) -> None:
    assert "fd.nmae" in marked(draft(rule(condition)))


def test_every_error_is_marked_though_falco_stops_at_the_first() -> None:
    first, second = rule("open_reed and fd.nmae = /x and evt.type = opn"), rule(priority="INFFO")
    page = draft(first + second.replace("Accounts", "Second"))
    assert list(marked(page)) == ["open_reed", "fd.nmae", "opn", "INFFO"]
    assert len(page.report.errors) == 1
    assert [mark.line for mark in page.errors] == [4, 4, 4, 13]


def test_a_fault_of_a_macro_is_marked_in_the_macro() -> None:
    macro = "- macro: mine\n  condition: proc.nme = x\n"
    assert list(marked(draft(macro + rule("open_read and mine and proc.name in (programs)")))) == ["proc.nme"]


def test_what_only_follows_from_an_error_is_not_said() -> None:
    macro = "- macro: mine\n  condition: proc.name\n"
    assert list(marked(draft(macro + rule("open_read and mine and proc.name in (programs)")))) == ["proc.name"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (rule(output="x %proc.nmae y"), "proc.nmae", "for an output. Did you mean 'proc.name'?"),
        (rule(priority="INFFO"), "INFFO", "`INFFO` is no priority"),
        (rule(priority="Warn1ng"), "Warn1ng", "Did you mean 'Warning'?"),
        (rule().replace("condition", "condtion"), "condtion", "There is no key `condtion`. Did you mean 'condition'?"),
        (rule().replace("  desc: A program\n", ""), "Accounts", "The key `desc` is missing"),
        (rule().replace("A program", '"A program'), '"', "This quote is never closed"),
        (rule().replace("A program", ""), "", "`desc` has no value"),
        (rule(output="Hi: there"), ":", "A value with a colon and a space in it has to be in quotes"),
        (rule(output="%proc.name"), "%proc.name", "A value can't begin with `%`: put it in quotes"),
        (rule().replace("  desc", "\tdesc"), "\t", "YAML is indented with spaces"),
        (rule().replace("  desc", "    desc"), ":", "indented more than the one above it"),
        (rule().replace("  desc", " desc"), "desc:", "indentation of this line fits nothing above it"),
        (rule().replace("[cat, head]", "[cat, head"), ":", "never closed, or a comma is missing"),
        ("hello", "hello", "A rules file is a list of items"),
        ("rule: A\ndesc: x\n", "rule: A", "A rules file is a list of items"),
        ("customRules:\n  a.yaml: |-\n    - rule: A\n", "customRules:", "This is a values file for Helm"),
        ("- hello\n", "hello", "A rules file is a list of items"),
        (
            EXCEPTION.partition("  override")[0],
            "Terminal shell in container",
            "There is a rule of this name already.* `override:` in the same column as `rule`",
        ),
        (
            EXCEPTION.partition("  override")[0].replace("Terminal shell in container", "Of mine"),
            "Of mine",
            "^The keys `condition`, `desc`, `output` and `priority` are missing",
        ),
        (EXCEPTION.replace("[[cat, root]]", "[cat, root]"), "name:", "`values` is a list of lists"),
        (EXCEPTION.replace("append", "replace"), "name:", "To add an exception, use `exceptions: append`"),
        (EXCEPTION.replace("proc.name", "proc.nmae"), "name:", "no field `proc.nmae`. Did you mean 'proc.name'"),
        (
            "- rule: Terminal shell in contaner\n  condition: and x\n  override: {condition: append}\n",
            "Terminal shell in contaner",
            "There is no rule .* to change. Did you mean 'Terminal shell in container'?",
        ),
        (
            "- list: shell_binariez\n  items: [a]\n  override: {items: append}\n",
            "shell_binariez",
            "mean 'shell_binaries'",
        ),
        (
            "- rule: Terminal shell in contaner\n  enabled: false\n",
            "Terminal shell in contaner",
            "There is no rule .* to change",
        ),
        ("- macro: containr\n  condition: or x\n  override: {condition: append}\n", "containr", "mean 'container'"),
        (
            "- rule: Terminal shell in container\n  condition: and proc.name != a\n  override: {conditon: append}\n",
            "conditon",
            "Did you mean 'condition'?",
        ),
        (
            "- rule: Terminal shell in container\n  condition: and proc.nmae != a\n  override: {condition: append}\n",
            "proc.nmae",
            "Did you mean 'proc.name'?",
        ),
    ],
)
def test_an_error_elsewhere_is_marked_where_it_is(text: str, place: str, words: str) -> None:
    page = draft(text)
    error = page.errors[0]
    assert page.text.split("\n")[error.line][error.start : error.end].startswith(place)
    assert re.search(words, error.words), error.words
    assert (error.said, error.code) == (page.report.errors[0].message, page.report.errors[0].code)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (rule() + "  tagz: [a]\n", "tagz", "Falco ignores it. Did you mean 'tags'?"),
        (rule().replace("- rule", "- rul"), "rul:", "no rule, macro or list.* Did you mean 'rule'?"),
        (rule("open_read"), "programs", "No rule or macro uses this list"),
        (rule("proc.name in (programs)"), "Accounts", "doesn't say which system calls it is about"),
        (rule("open_read and evt.dir = < and proc.name in (programs)"), "evt.dir", "says nothing since Falco 0.42"),
        (rule(output="x %container.info"), "container.info", "Falco replaces `%container.info` by nothing"),
        (rule("open_read and proc.name in (programs) and fd.name = fd.name"), "fd.name", r"write `val\(fd.name\)`"),
    ],
)
def test_a_warning_is_marked_where_it_is(text: str, place: str, words: str) -> None:
    page = draft(text)
    assert page.report.successful
    said = {text.split("\n")[m.line][m.start : m.end]: m.words for m in page.marks if m.severity == "warning"}
    assert place in said
    assert re.search(words, said[place]), said[place]


@pytest.mark.parametrize(
    ("condition", "noted"),
    [
        ("fd.net in (10.0.0.0/8, 11.0.0.0/8)", True),
        ("fd.net in (10.0.0.0/8)", False),
        ("fd.snet in (10.0.0.0/8, 11.0.0.0/8)", False),
        ("fd.ip = oneof (1.2.3.4, 1.2.3.5)", True),
        ("fd.ip in (1.2.3.4, 1.2.3.5)", False),
        ("proc.aname = anyof (bash, sh)", True),
        ("proc.aname[1] = anyof (bash, sh)", False),
        ("evt.rawarg.flags = anyof (1, 2)", True),
    ],
)
def test_a_comparison_that_overlooks_values_is_noted(condition: str, noted: bool) -> None:
    page = draft(rule(f"open_read and {condition}"))
    assert list(page.errors) == []
    notes = [mark for mark in page.marks if "with the first value only" in mark.words]
    assert len(notes) == noted


@pytest.mark.parametrize(
    "condition", ["open_read and proc.name in (program)", "open_read and proc.name in shell_binarys"]
)
def test_a_list_that_isnt_there_is_only_a_text_to_falco(condition: str) -> None:
    notes = [mark for mark in draft(rule(condition)).marks if mark.severity == "warning" and not mark.code]
    assert len(notes) == 1
    assert "Falco compares with that text. Did you mean '" in notes[0].words
    assert notes[0].code == ""


@pytest.mark.parametrize("name", ["scripts_and_programs", "my_binaries", "shells"])
def test_what_is_called_like_a_list_and_is_none_is_a_warning(name: str) -> None:
    page = draft(rule(f"open_read and proc.name in ({name}) and fd.name in (programs)"))
    assert page.report.successful
    words = f"There is no list `{name}`, so that Falco compares with that text."
    assert [mark.words for mark in page.marks if words in mark.words] == [words]


@pytest.mark.parametrize("value", ["cat", "mysql_upgrade", "users", "dpkg-preconfigu", "/etc/files"])
def test_a_plain_value_is_no_list_that_is_missing(value: str) -> None:
    page = draft(rule(f"open_read and proc.name in ({value}) and proc.pname in (programs)"))
    assert page.marks == ()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("proc.name = cat or head or tail", {"head", "tail"}),
        ("open_read and (proc.name = cat or head or tail) and container", {"head", "tail"}),
        ("open_read and (proc.name = cat or head or tail or proc.name = less)", {"head", "tail"}),
    ],
)
def test_values_that_are_joined_by_or_are_shown_as_a_list(condition: str, said: set[str]) -> None:
    found = {word: words for word, words in marked(draft(rule(condition))).items() if "neither" in words}
    assert set(found) == said
    for word, words in found.items():
        assert words == (
            f"`{word}` is neither a field nor a macro. For several values write `proc.name in (cat, head, tail)`."
        )


def test_a_misspelt_macro_after_a_comparison_is_no_value() -> None:
    for condition in ("proc.name = cat or open_reed", "proc.name = cat or open_read", "proc.name = cat or nothing.at"):
        assert not [words for words in marked(draft(rule(condition))).values() if "several values" in words]


def test_an_error_in_another_file_is_said_without_a_place() -> None:
    page = draft(rule(), ("before.yaml", rule("open_reed").replace("Accounts", "Before")))
    assert [mark.line for mark in page.errors] == [-1]
    assert "before.yaml, line 3: There is no macro `open_reed`" in repr(page)
    assert "before.yaml, line 3: There is no macro" in page._repr_html_()


def test_an_error_that_a_changed_macro_makes_elsewhere_is_said_without_a_place() -> None:
    page = draft("- macro: open_read\n  condition: open_reed\n")
    assert [mark.words for mark in page.errors if mark.line >= 0] == [
        "There is no macro `open_reed`, and a field would have a dot in its name. Did you mean 'open_read'?"
    ]
    page = draft("- list: shell_binaries\n  items: ['(']\n")
    assert [mark.line for mark in page.errors] == [-1]
    assert page.errors[0].words.startswith("falco_rules.yaml, line ")


def test_as_text_a_caret_is_under_the_place_and_the_words_under_that() -> None:
    lines = repr(draft(rule("open_read and fd.nmae = /x and proc.name in (programs)"))).split("\n")
    at = next(n for n, line in enumerate(lines) if "fd.nmae" in line)
    assert lines[at + 1].index("^^^^^^^") == lines[at].index("fd.nmae")
    assert lines[at + 2].strip() == "|   error: There is no field `fd.nmae`. Did you mean 'fd.name'?"
    assert lines[at + 3].strip().startswith("|   Falco: filter_check called with nonexistent field fd.nmae (LOAD_ERR_")


def test_a_long_line_is_cut_around_its_mark() -> None:
    page = draft(rule(f"open_read and proc.name in ({', '.join(['abcdef'] * 60)}) and fd.nmae = /x"))
    lines = repr(page).split("\n")
    at = next(n for n, line in enumerate(lines) if "fd.nmae" in line)
    assert len(lines[at]) < 120
    assert lines[at + 1].index("^") == lines[at].index("fd.nmae")


def test_of_a_long_file_the_lines_around_a_mark_are_shown() -> None:
    page = draft("# one\n" * 60 + rule("open_reed and proc.name in (programs)"))
    assert "# one" not in repr(page)
    assert repr(page).startswith(" ⋯\n63 | - rule: Accounts\n")
    assert "# one" not in page._repr_html_()


def test_html_escapes_the_text_and_shows_no_backquotes() -> None:
    page = draft(rule("open_read and fd.name = <script>x</script> and fd.nmae = `a`"))
    assert "<script>" not in page._repr_html_()
    assert "&lt;script&gt;" in page._repr_html_()
    assert "<code>fd.nmae</code>" in page._repr_html_()


def test_a_file_that_isnt_among_them_is_refused() -> None:
    with pytest.raises(RuleError, match=r"There is no file 'other.yaml'"):
        annotate([DEFAULT], "other.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# only\n",
        "\t",
        "- \n",
        "-\n  rule: x\n",
        "[]",
        "{}",
        "\ufeff- list: a\n  items: [a]\n",
        "\0",
        "a: &a [*a]",
    ],
)
def test_odd_files_are_no_trouble(text: str) -> None:
    page = draft(text)
    assert bool(page.errors) is not page.report.successful
    assert repr(page)
    assert page._repr_html_()


def test_whatever_a_file_holds_its_report_has_places_in_it() -> None:
    """Random and damaged files, as `tests.falcorules.fuzz` makes them."""
    for number in range(300):
        text = fuzz.generated(Random(number)).decode("utf-8", "replace")
        page = annotate([("draft.yaml", text)], "draft.yaml")
        assert bool(page.errors) is not page.report.successful, number
        lines = text.split("\n")
        for mark in page.marks:
            assert mark.words, number
            assert mark.line == -1 or 0 <= mark.start <= mark.end <= len(lines[mark.line]), number
        assert repr(page)
        assert page._repr_html_()
