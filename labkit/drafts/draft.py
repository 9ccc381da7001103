"""A draft: the rules of a `%%rule` cell, Falco's report on them, and what they match of a recording.

Drafts are kept in the state folder, in `drafts/`: `NAME.json` has the text as it was written last, with its options and
its last try; `NAME.yaml` is a values file for the Falco chart with the last text that Falco would load. (Steps apply
that file again later, when the draft may be half written.)
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.calls import is_text, near, short_repr
from labkit.drafts.show import Card
from labkit.drafts.stub import placeholders
from labkit.drafts.trial import Trial, matches_of, recording_key, tried
from labkit.errors import LabError
from labkit.files import make_private
from labkit.settings import Settings
from labkit.target import Target

if TYPE_CHECKING:
    from falcorules import Annotated, Engine, Event, Mark, Replay, Report, Verdict

RECORDING = Path("custom-rules", "recorded", "visit.jsonl.gz")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LONGEST = 1 << 19  # characters: a ConfigMap, which holds Falco's custom rules, has room for 1 MiB

RuleFile = tuple[str, str]
"""Name and text of a rule file."""


class DraftError(LabError):
    """A draft isn't there, or isn't one that Falco would load."""


@dataclass(frozen=True, repr=False)
class Draft(os.PathLike[str]):
    """What a `%%rule` cell holds. `files` are all rule files in the order in which Falco loads them, this one among
    them; `path` is the values file for the chart; `recording` is what the draft is tried on.

    `lab.apply("custom-rules", files=[draft])` takes it, as everything does that takes a path.
    """

    name: str
    text: str
    files: tuple[RuleFile, ...]
    path: Path
    recording: Path
    annotated: Annotated = field(compare=False)
    placeholders: tuple[Mark, ...] = field(default=(), compare=False)
    before: dict[str, list[tuple[str, int]]] = field(default_factory=dict, compare=False)
    """What the draft matched in its last try, by recording: names of rules, and numbers of events."""

    @property
    def rules(self) -> list[RuleFile]:
        """The draft as a rule file: `rules.load([lab.default_rules(), *draft.rules])`."""
        return [(self._file, self.text)]

    @property
    def report(self) -> Report:
        """Falco's report on the files."""
        return self.annotated.report

    @property
    def state(self) -> str:
        """`untouched` (a placeholder is still in it), `broken` (Falco would refuse it) or `ready`."""
        if self.placeholders:
            return "untouched"
        return "ready" if self.report.successful else "broken"

    @property
    def untouched(self) -> bool:
        """Whether a placeholder is left in it."""
        return self.state == "untouched"

    @property
    def ready(self) -> bool:
        """Whether Falco would load it, and no placeholder is left in it."""
        return self.state == "ready"

    @cached_property
    def engine(self) -> Engine:
        """An engine with all files loaded, to try the draft on other events. Raises `DraftError` unless it is ready."""
        import falcorules

        self.demand()
        return falcorules.load(list(self.files))

    @cached_property
    def trial(self) -> Trial:
        """What the draft matches of its recording, and what changed. Raises `DraftError` unless it is ready."""
        self.demand()
        others = tuple(file for file in self.files if file[0] != self._file)
        return tried(
            self.files, others, self.annotated.rules, self.recording, self.before.get(recording_key(self.recording))
        )

    @property
    def replay(self) -> Replay:
        """The alerts that Falco would raise on the recording: of the draft's rules and of all others."""
        return self.trial.replay

    def why(self, event: Event | None = None, *, rule: str | None = None) -> Verdict:
        """Why a rule of the draft (the first) matches an event or doesn't; without one, that which came closest.

        Raises `DraftError` unless the draft is ready and has a rule.
        """
        names = self.annotated.rules if rule is None else (rule,)
        if not names:
            raise DraftError(f"The draft {self.name} has no rule.", hint="Lists and macros alone raise no alert.")
        return self.engine.why(names[0], self.recording if event is None else event)

    def demand(self) -> None:
        """Raises `DraftError` unless the draft is ready."""
        if self.state == "untouched":
            line = self.placeholders[0].line + 1
            raise DraftError(
                f"Your turn: the draft {self.name} still has a placeholder in line {line}.",
                hint=f"Finish the rule in the cell that begins with %%rule {self.name}, and run that cell.",
            )
        if self.state == "broken":
            mark = next(mark for mark in self.annotated.marks if mark.severity == "error")
            where = f" in line {mark.line + 1}" if mark.line >= 0 else ""
            raise DraftError(
                f"Falco would refuse the draft {self.name}: an error{where}. {mark.words}",
                hint=f"Correct it in the cell that begins with %%rule {self.name}, and run that cell.",
            )

    def __fspath__(self) -> str:
        self.demand()
        return str(self.path)

    @property
    def _file(self) -> str:
        return f"{self.name}.yaml"

    def __repr__(self) -> str:
        return repr(self._card)

    def _repr_html_(self) -> str:
        return self._card._repr_html_()

    @property
    def _card(self) -> Card:
        loaded = tuple(name for name, _ in self.files if name != self._file)
        trial = self.trial if self.ready else None
        return Card(self.name, self.state, self.annotated, loaded, self.recording.name, trial)


def save(target: Target, name: str, text: str, *, values: Sequence[str] = (), events: str = "") -> Draft:
    """Saves a draft, checks it after the default rules and the rules in `values`, and tries it on `events`.

    `values` are values files with rules that are loaded, too; `events` is a recording (default: the workshop's visit).
    Raises `DraftError` for a name or a text that can't be a file's, `LabError` for a file that can't be read.
    """
    name = _checked_name(name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    if not is_text(text) or len(text) > _LONGEST:
        raise DraftError("This text can't be kept as a rule file.", hint="It has to be UTF-8, and at most 512 KiB.")
    files = [str(_found(target.settings, file)) for file in values]
    recording = _found(target.settings, events) if events else target.settings.root / RECORDING
    old = _notes(target.settings, name)
    notes = {"text": text, "values": files, "events": str(recording), "tries": old.get("tries", {})}
    draft = _draft(target, name, notes)
    if draft.untouched:
        notes["tries"] = {}  # the exercise begins again
    elif draft.ready:
        notes["tries"] = {**notes["tries"], recording_key(recording): matches_of(draft.trial)}
        _write(draft.path, _as_values(draft.rules[0]))
    _write(_notes_file(target.settings, name), json.dumps(notes, indent=1, ensure_ascii=False))
    return draft


def load(target: Target, name: str) -> Draft:
    """The draft as it was tried last. Raises `DraftError` if there is none of that name."""
    name = _checked_name(name)
    notes = _notes(target.settings, name)
    if not notes:
        there = sorted(file.stem for file in _folder(target.settings).glob("*.json"))
        raise DraftError(
            f"There is no draft called {name}.",
            hint=f"{near(name, there)}Write the rule in a cell that begins with %%rule {name}, and run it.",
        )
    return _draft(target, name, notes)


def _draft(target: Target, name: str, notes: dict[str, Any]) -> Draft:
    from falcorules import FalcoRulesError, annotate, from_values

    file = f"{name}.yaml"
    custom: dict[str, str] = {}
    try:
        for path in notes["values"]:
            custom.update(from_values(path))
    except FalcoRulesError as error:
        raise LabError(error.message, hint=error.hint) from error
    custom[file] = notes["text"]
    files = (_default_rules(target), *sorted(custom.items()))
    marks = placeholders(notes["text"])
    annotated = annotate(list(files), file)
    if marks:
        unfinished = {_item(notes["text"], mark.line) for mark in marks}
        broken = [mark for mark in annotated.errors if _item(notes["text"], mark.line) not in unfinished]
        annotated = replace(annotated, marks=tuple(sorted([*marks, *broken], key=lambda mark: mark.line)))
    before = {recording: [(rule, number) for rule, number in found] for recording, found in notes["tries"].items()}
    path = _folder(target.settings) / file
    return Draft(name, notes["text"], files, path, Path(notes["events"]), annotated, marks, before)


def _item(text: str, line: int) -> int:
    """Which item a line is in, by the `-` before each."""
    return sum(one.startswith("-") for one in text.split("\n")[: line + 1])


def _default_rules(target: Target) -> RuleFile:
    """The default rules of the running Falco; the stable rules of `falcorules` if none is running."""
    from falcorules import default_rules as stable_rules
    from labkit.alerts.falco_rules import default_rules

    try:
        return default_rules(target)
    except LabError:
        return stable_rules()


def _checked_name(name: str) -> str:
    name = name.removesuffix(".yaml")
    if not _NAME.fullmatch(name):
        raise DraftError(
            f"{short_repr(name)} can't be the name of a draft.",
            hint="Use letters, digits, hyphens, underscores and dots, as in passwd-lookup; at most 63.",
        )
    return name


def _found(settings: Settings, file: str) -> Path:
    for candidate in (Path(file), settings.root / file):
        if candidate.is_file():
            return candidate.resolve()
    raise DraftError(
        f"There is no file {short_repr(file, 200)}.", hint=f"Paths count from here or from {settings.root}."
    )


def _folder(settings: Settings) -> Path:
    """Where the attendee's progress is kept, too; a run of the chapters, which writes the solutions, has its own."""
    progress = os.environ.get("LABKIT_PROGRESS")
    return (Path(progress).parent if progress else settings.home) / "drafts"


def _notes_file(settings: Settings, name: str) -> Path:
    return _folder(settings) / f"{name}.json"


def _notes(settings: Settings, name: str) -> dict[str, Any]:
    try:
        notes = json.loads(_notes_file(settings, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    kinds = {"text": str, "values": list, "events": str, "tries": dict}
    whole = isinstance(notes, dict) and all(isinstance(notes.get(key), kind) for key, kind in kinds.items())
    return notes if whole else {}


def _as_values(file: RuleFile) -> str:
    """A values file for the Falco chart with one rule file in it, as a block of text where YAML allows that."""
    import yaml

    name, text = file
    block = f"customRules:\n  {name}: |\n{textwrap.indent(text, '    ')}"
    try:
        if yaml.safe_load(block) == {"customRules": {name: text}}:
            return block
    except yaml.YAMLError:
        pass
    return yaml.safe_dump({"customRules": {name: text}}, allow_unicode=True)


def _write(path: Path, text: str) -> None:
    try:
        make_private(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise DraftError(f"The draft can't be saved in {path}: {error.strerror}.", hint="Is the disk full?") from error
