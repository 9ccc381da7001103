"""Settings: where each value comes from, and what is said about one that can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import SettingsError
from labkit.settings import Settings, workshop_root


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
