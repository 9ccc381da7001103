"""`labkit apply`, `teardown` and `audit`, as typed in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labkit.cli import main
from labkit.embedded.state import Endpoints


@pytest.fixture
def labkit(new_lab: Callable[..., Endpoints], workshop: Path) -> Callable[..., Result]:
    environment = {"LABKIT_HOME": str(new_lab().home), "LABKIT_ROOT": str(workshop)}
    return lambda *arguments: CliRunner().invoke(main, arguments, env=environment)


def test_apply_audit_and_teardown_in_a_shell(labkit: Callable[..., Result]) -> None:
    assert labkit("audit").exit_code == 0
    applied = labkit("apply", "fluent-bit-role")
    assert applied.exit_code == 0, applied.output
    assert "oidc-provider: created" in applied.output  # what it needs comes first
    assert "aws iam create-role --role-name falco-workshop-fluent-bit" in applied.output
    assert "created" not in labkit("apply", "fluent-bit-role").output

    left = labkit("audit")
    assert left.exit_code == 1
    assert "IAM role" in left.output

    assert "removed  IAM role" in labkit("teardown", "fluent-bit-role").output
    assert labkit("teardown").exit_code == 0
    assert labkit("audit").output.strip() == "Nothing is left"
    assert labkit("teardown").output.strip() == "Nothing to take down"


def test_commands_can_be_shown_without_doing_anything(labkit: Callable[..., Result]) -> None:
    shown = labkit("apply", "--cli", "nginx")
    assert shown.output.splitlines()[0] == "kubectl -n default apply -f manifests/nginx/"
    assert labkit("audit").exit_code == 0


def test_a_typo_in_a_step_is_answered_with_the_steps(labkit: Callable[..., Result]) -> None:
    result = labkit("apply", "fluentbit")
    assert result.exit_code == 2
    assert "fluent-bit-role" in result.output


def test_an_error_is_two_plain_sentences(labkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CLUSTER", "mine")
    result = labkit("apply", "oidc-provider")
    assert result.exit_code == 1
    assert "labkit: There is no EKS cluster 'mine'" in result.output
    assert "What to do:" in result.output
    assert "Traceback" not in result.output
