"""The commands of a step: what its file in `manifests/commands` becomes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.aws import Aws, Identity
from labkit.errors import StepError
from labkit.provision.templates import commands, fill, placeholders
from labkit.settings import Settings

TOPICS = [{"Name": "${prefix}-one's", "Tags": {"a": "b"}}, {"Name": "two", "Tags": {}}]


@pytest.fixture
def target(tmp_path: Path) -> Any:
    aws = Aws("eu-west-1", hint="")
    aws.__dict__["identity"] = Identity("444455556666", "arn:aws:iam::444455556666:user/me")
    for folder in ("commands", "sns"):
        (tmp_path / "manifests" / folder).mkdir(parents=True)
    (tmp_path / "manifests/sns/topics.json").write_text(json.dumps(TOPICS))
    return SimpleNamespace(settings=Settings.load(environ={}, root=tmp_path, prefix="mine"), aws=aws)


def filled_in(target: Any, text: str, **values: Any) -> str:
    (target.settings.root / "manifests/commands/topics.sh").write_text(text)
    return commands(target, "topics", **values)


def test_names_and_values_are_filled_in_and_the_shells_own_dollars_stay(target: Any) -> None:
    text = 'cd "$LABKIT_ROOT"\necho $(pwd) {.status.phase} ${prefix} ${account_id} ${token} ${document}\n'
    assert filled_in(target, text, token="x y", document={"a": "it's"}) == (
        'cd "$LABKIT_ROOT"\necho $(pwd) {.status.phase} mine 444455556666 x y ' + shlex.quote('{"a": "it\'s"}')
    )


def test_a_template_is_one_word_with_its_own_names_filled_in(target: Any) -> None:
    (word,) = shlex.split(filled_in(target, "${sns/topics}"))
    assert json.loads(word) == [{"Name": "mine-one's", "Tags": {"a": "b"}}, TOPICS[1]]


def test_a_command_is_repeated_for_each_item_and_others_are_not(target: Any) -> None:
    text = "first\ncreate --name ${sns/topics[*].Name} \\\n    --tags ${sns/topics[*].Tags}\nlast\n"
    assert filled_in(target, text).splitlines() == [
        "first",
        "create --name 'mine-one'\"'\"'s' \\",
        """    --tags '{"a": "b"}'""",
        "create --name two \\",
        "    --tags '{}'",
        "last",
    ]


@pytest.mark.parametrize(
    ("text", "said"), [("${prefx}", "topics.sh has a placeholder"), ("${sns/topic}", "topic.json")]
)
def test_a_reference_to_nothing_is_named(target: Any, text: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        filled_in(target, text)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (None, r"a\.json can't be read: No such file", "LABKIT_ROOT"),
        ('"${nope}"', r"a\.json has a placeholder \$\{nope\} that nothing fills in\.", "account_id, partition, x."),
        ('{"a": }', r"a\.json is not a valid template: ", "Correct the file."),
        ("[" * 100_000, r"a\.json is not a valid template: ", "Correct the file."),
    ],
)
def test_a_template_that_can_not_be_filled_in_is_told(tmp_path: Path, text: str | None, said: str, hint: str) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(StepError, match=said) as caught:
        fill(tmp_path / "a.json", {"x": "1"})
    assert hint in caught.value.hint


def test_placeholders_are_listed_with_their_meaning_and_value(target: Any) -> None:
    text = "${prefix}-${account_id} ${prefix} ${namespace} ${dead_letter_queue_url} ${AWS_REGION} $.rule"
    rows = placeholders(target, text, namespace=lambda: "logs")
    assert [(name, value) for name, _, value in rows] == [
        ("${prefix}", "mine"),
        ("${account_id}", "444455556666"),
        ("${namespace}", "logs"),
        ("${dead_letter_queue_url}", ""),
    ]
    assert rows[1][1] == "the account's number"


def test_every_placeholder_of_a_policy_has_a_meaning(target: Any, workshop: Path) -> None:
    files = list((workshop / "manifests/iam").glob("*.json"))
    assert files
    for file in files:
        names = set(re.findall(r"\$\{\w+\}", file.read_text()))
        assert names == {name for name, _, _ in placeholders(target, file.read_text())}
