"""Settings: where each value comes from, and what is said about one that can't be used."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from labkit.errors import SettingsError
from labkit.settings import Settings, attendee_settings, derived, workshop_root


def test_defaults_need_nothing(workshop: Path) -> None:
    settings = Settings.load(environ={}, root=workshop)
    assert (settings.target, settings.cluster, settings.log_group) == ("embedded", "falco-workshop", "falco")
    assert settings.home == workshop / ".labkit"


def test_environment_then_keyword_arguments() -> None:
    environ = {"LABKIT_REGION": "eu-central-1", "LABKIT_CLUSTER": "mine", "LABKIT_ALERT_TIMEOUT": "5"}
    settings = Settings.load(environ=environ, cluster="theirs")
    assert (settings.region, settings.cluster, settings.alert_timeout) == ("eu-central-1", "theirs", 5.0)


def test_none_means_not_given() -> None:
    assert Settings.load(environ={"LABKIT_CLUSTER": "mine"}, cluster=None, region=None).cluster == "mine"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clutser": "x"}, "no setting called 'clutser'"),
        ({"target": "gke"}, "'gke'"),
        ({"retention_days": "soon"}, "retention_days is 'soon', which is not a whole number"),
    ],
)
def test_what_cannot_be_used_is_said_with_a_way_out(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.load(environ={}, **settings)
    assert caught.value.hint


def test_the_environment_variable_is_named_in_the_complaint() -> None:
    with pytest.raises(SettingsError, match="LABKIT_TIMEOUT is 'long'"):
        Settings.load(environ={"LABKIT_TIMEOUT": "long"})


def test_the_workshop_is_found_from_a_folder_inside_it(workshop: Path, tmp_path: Path) -> None:
    assert workshop_root(workshop / "manifests" / "falco") == workshop
    assert workshop_root(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("name", "lowest", "highest", "default"),
    [
        ("retention_days", 1, 3653, 7),
        ("timeout", 0, 604_800, 300),
        ("alert_timeout", 0, 604_800, 60),
        ("nodes", 1, 5, 2),
        ("idle_minutes", 0.001, 527_040, 240),
        ("aws_port", 0, 65_535, 0),
        ("kubernetes_port", 0, 65_535, 0),
    ],
)
def test_a_number_is_taken_from_its_lowest_to_its_highest(
    name: str, lowest: float, highest: float, default: float
) -> None:
    assert getattr(Settings.load({}), name) == default
    for good in (lowest, highest):
        assert getattr(Settings.load({}, **{name: good}), name) == good
    for bad in (lowest - 1, highest + 1):
        with pytest.raises(SettingsError, match=f"{name} is {bad}, which is not a"):
            Settings.load({}, **{name: bad})


def test_a_number_may_be_text_with_a_sign_and_blanks_but_nothing_else() -> None:
    assert Settings.load({}, nodes=" +3 ").nodes == 3
    assert Settings.load({}, idle_minutes="1.5").idle_minutes == 1.5
    assert (Settings.load({}, timeout="5m").timeout, Settings.load({}, alert_timeout="90s").alert_timeout) == (300, 90)
    for wrong in ("1e3", "nan", "", "3 nodes", True, [3]):
        with pytest.raises(SettingsError, match=r"^nodes is .*, which is not a whole number from 1 to 5\.") as caught:
            Settings.load({}, nodes=wrong)
        assert caught.value.hint == "Give it a value such as 2."
    with pytest.raises(SettingsError, match=r"which is not a number from 0\.001 to 527040\."):
        Settings.load({}, idle_minutes="soon")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("target", ["embedded", "eks"], ["EKS", "embedded ", ""]),
        ("region", ["us-east-1", "us-gov-west-1", "ap-southeast-12"], ["useast1", "us-east-", "us-east-1\n"]),
        ("cluster", ["a", "A_-9", "a" * 100], ["", "-a", "a b", "a" * 101]),
        ("context", ["", "arn:aws:eks:x", "a" * 253], ["é", "a\n", "a" * 254]),
        ("profile", ["", "work", "me@example.com (dev)", "a" * 128], ["a]", "a\n", "é", "a" * 129]),
        (
            "role",
            ["", "arn:aws:iam::111122223333:role/a", "arn:aws-us-gov:iam::111122223333:role/path/to/a+b@c"],
            ["a", "arn:aws:iam::1:role/a", "arn:aws:iam::111122223333:user/a", "arn:aws:iam::111122223333:role/"],
        ),
        ("identity", ["irsa", "pod-identity"], ["", "IRSA", "pod_identity"]),
        ("log_group", ["/aws/falco#1", "a" * 512], ["", "a b", "a" * 513]),
        ("log_stream", ["any text é", "a" * 512], ["", "a:b", "a*b", "a\n", "a" * 513]),
        ("falco_namespace", ["a", "a-9", "a" * 63], ["", "A", "-a", "a-", "a" * 64]),
        ("role_name", ["a+=,.@-_", "a" * 64], ["", "a b", "a" * 65]),
        ("attendee", ["", "07", "a" * 12], ["A", "a-b", "a" * 13, "07\n"]),
        ("rule_tiers", ["", "incubating", "sandbox", "incubating,sandbox"], ["stable", "sandbox,incubating", "a"]),
        ("falco_privileges", ["all", "least"], ["", "none"]),
        ("prefix", ["a", "a" * 64], ["", "-a", "a" * 65]),
    ],
)
def test_a_text_has_to_match_as_a_whole(name: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert getattr(Settings.load({}, **{name: value}), name) == value
    for value in bad:
        with pytest.raises(SettingsError, match=f"^{name} is ") as caught:
            Settings.load({}, **{name: value})
        assert caught.value.hint.startswith("It has to be ")


def test_only_the_embedded_lab_has_to_be_told_its_region() -> None:
    assert Settings.load({}, target="eks", region="").region == ""
    with pytest.raises(SettingsError, match="region is ''") as caught:
        Settings.load({}, region="")
    assert "us-east-1" in caught.value.hint


def test_a_folder_may_begin_with_the_home_folder_and_the_state_folder_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({"LABKIT_HOME": "lab", "LABKIT_ROOT": "~/workshop"})
    assert (settings.home, settings.root) == (tmp_path / "lab", tmp_path / "workshop")
    assert Settings.load({}, root=Path("here")).root == Path("here")
    assert Settings.load({}).home == tmp_path / ".labkit"
    for wrong in ("", " ", "\udcff", 5, "~nobody-of-that-name/x", "a\0b"):
        with pytest.raises(SettingsError, match=r"^home is .*, which names no folder") as caught:
            Settings.load({}, home=wrong)
        assert "path of a folder" in caught.value.hint


def test_a_folder_with_one_half_of_the_workshop_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "notebooks").mkdir()
    assert workshop_root(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "a" / "manifests").mkdir()
    assert workshop_root(tmp_path / "a" / "b") == tmp_path / "a"
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert workshop_root() == tmp_path / "a"


def test_an_attendees_names_are_derived_and_what_is_shared_is_as_of_one_alone(tmp_path: Path) -> None:
    alone = Settings.load({}, home=tmp_path)
    one = Settings.load({"LABKIT_ATTENDEE": "07"}, home=tmp_path)
    changed = {f.name for f in fields(Settings) if getattr(one, f.name) != getattr(alone, f.name)}
    assert changed == {"attendee", *derived("07")}
    assert (one.app_namespace, one.prefix) == ("attendee-07", "falco-workshop-07")
    assert (alone.state, one.state) == (tmp_path, tmp_path / "attendee-07")
    assert derived("") == {}


def test_a_name_that_is_given_wins_over_the_derived_one() -> None:
    settings = Settings.load({"LABKIT_PREFIX": "mine"}, attendee="07", app_namespace="web")
    assert (settings.prefix, settings.app_namespace) == ("mine", "web")


def test_an_attendees_settings_are_made_of_the_instructors() -> None:
    instructor = Settings.load({}, prefix="spring", log_group="shared")
    one = attendee_settings(instructor, "07")
    assert (one.app_namespace, one.prefix, one.log_group) == ("attendee-07", "spring-07", "shared")
    assert (instructor.scope, one.scope) == ("", "attendee-07")
    assert (instructor.class_prefix, one.class_prefix) == ("spring", "spring")
    with pytest.raises(SettingsError, match="attendee is 'A'"):
        attendee_settings(instructor, "A")
