"""Chapter 01's exercises on the embedded lab: what answers are told, and every fault of the pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import AlertTimeoutError
from labkit.exercises import NotYet, fluent_bit_role, pipeline_faults
from labkit.exercises.chapter01 import LINKS
from labkit.provision.iam import POLICY_NAME, ROLE_ANNOTATION, policy

RIGHT = {name: call.needed for name, call in fluent_bit_role.CALLS.items()}
PREDICTION, MENDING = "01-what-it-may-do", "01-mend-the-pipeline"


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Any) -> Lab:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.ensure("fluent-bit", "canary")
    return lab


def said(lab: Lab, exercise: str, answer: Any) -> str:
    with pytest.raises(NotYet) as caught:
        lab.check(exercise, answer)
    return caught.value.feedback.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({**RIGHT, "read the lines back": True}, "5 of 6 .* You allow something that the policy doesn't list"),
        ({**RIGHT, "write to another log group": True}, "5 of 6 .* the action is in the list. What else"),
        ({**RIGHT, "create a stream in it": False}, "5 of 6 .* You rule out something that the policy lists"),
        (dict.fromkeys(RIGHT, True), "2 of 6 .* doesn't list.* in the list"),
        (dict.fromkeys(RIGHT, False), "4 of 6 .* You rule out"),
        (dict.fromkeys(RIGHT, "yes"), "`True` or `False` for each. For “write lines to the log group” it is `'yes'`"),
        ({"write": True}, "Nothing was asked of `write`. Did you mean .*The keys are: write lines to the log group, "),
        (dict(list(RIGHT.items())[:4]), "It says nothing of `create the log group`, `write to another log group`"),
        (RIGHT | {"delete a stream": ...}, "Nothing stands at `delete a stream` yet"),
        ([True, False], r"has to be a dict, .*'create a stream in it': .*It is `\[True, False\]`"),
    ],
)
def test_a_wrong_prediction_is_told_where_to_look(lab: Lab, answer: Any, told: str) -> None:
    text = said(lab, PREDICTION, answer)
    assert re.search(told, text), text


def test_a_right_prediction_is_told_what_aws_says(lab: Lab) -> None:
    for answer in (RIGHT, dict(reversed(RIGHT.items()))):
        text = lab.check(PREDICTION, answer).text
        assert "write lines to the log group: allowed (`logs:PutLogEvents`)" in text
        assert text.count("AccessDeniedException") == 4


def test_a_prediction_about_a_role_that_cannot_ship_is_not_judged(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.exercises.chapter01.PATIENCE", 0.1)
    lab.aws.client("iam").delete_role_policy(RoleName=lab.settings.role_name, PolicyName=POLICY_NAME)
    try:
        assert 'run `lab.apply("fluent-bit")`' in said(lab, PREDICTION, RIGHT)
    finally:
        lab.apply("fluent-bit-role")


def test_nothing_can_be_mended_before_it_is_broken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_faults, "_made", [])
    assert "Nothing has been broken yet" in said(lab, MENDING, "permissions")


MENDED_BY = {
    "permissions": "fluent-bit-role",
    "configuration": "fluent-bit",
    "trust policy": "fluent-bit-role",
    "service account": "fluent-bit",
    "daemonset": "fluent-bit",
}
DIAGNOSED = {
    "permissions": "CloudWatch Logs refuses .*PutLogEvents",
    "configuration": "Fluent Bit reports no error",
    "trust policy": "STS refuses Fluent Bit's service account",
    "service account": "EKS gave the pod neither role nor region",
    "daemonset": "No Fluent Bit is running",
}


def break_link(lab: Lab, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """Breaks this link and sends a canary, as the chapter does."""
    at = [fault.link for fault in pipeline_faults.FAULTS].index(link)
    monkeypatch.setattr(pipeline_faults, "_made", list(pipeline_faults.FAULTS[:at]))
    assert "Send a new canary" in pipeline_faults.break_a_link(lab.target).text
    lab.undo("canary")
    lab.apply("canary")


@pytest.mark.parametrize("link", MENDED_BY)
def test_each_fault_keeps_the_canary_back_until_its_step_is_applied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    break_link(lab, monkeypatch, link)
    with pytest.raises(AlertTimeoutError, match=DIAGNOSED[link]):
        lab.wait_for_log('"canary"', timeout=4)
    for other in LINKS.keys() - {link}:
        assert said(lab, MENDING, other) == LINKS[other]
    assert said(lab, MENDING, link) == f"Right, it is the {link}. It isn't mended yet."
    lab.apply(MENDED_BY[link])  # type: ignore[arg-type]
    assert "The canary's line has arrived" in lab.check(MENDING, f" {link.upper()} ").text


def put_policy(lab: Lab, document: Any) -> None:
    lab.aws.client("iam").put_role_policy(
        RoleName=lab.settings.role_name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(document)
    )


def test_a_role_mended_with_too_much_is_told_what_it_can_do_now(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    break_link(lab, monkeypatch, "permissions")
    put_policy(lab, {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}})
    text = said(lab, MENDING, "permissions")
    assert "it can read the lines back; it can delete a stream; it can create the log group; it can write to" in text
    document = policy("fluent-bit-permissions", lab.target)  # another right answer than the step
    document["Statement"][0]["Action"] = ["logs:Put*Events", "logs:CreateLogStream"]
    put_policy(lab, document)
    assert lab.check(MENDING, "permissions").right
    lab.apply("fluent-bit-role")


def test_a_role_that_trusts_all_accounts_is_too_much(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    break_link(lab, monkeypatch, "trust policy")
    trust = policy("fluent-bit-trust", lab.target)
    condition = trust["Statement"][0]["Condition"]["StringEquals"]
    del condition[next(key for key in condition if key.endswith(":sub"))]
    iam = lab.aws.client("iam")
    iam.update_assume_role_policy(RoleName=lab.settings.role_name, PolicyDocument=json.dumps(trust))
    assert "another service account can take it on" in said(lab, MENDING, "trust policy")
    lab.apply("fluent-bit-role")


def test_pods_that_are_older_than_what_mended_them_are_diagnosed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.exercises.chapter01.PATIENCE", 3.0)
    break_link(lab, monkeypatch, "service account")
    annotations = {ROLE_ANNOTATION: lab.aws.arn("iam", f"role/{lab.settings.role_name}")}
    lab.kube.core.patch_namespaced_service_account(
        "fluent-bit", lab.settings.logging_namespace, {"metadata": {"annotations": annotations}}
    )
    assert 'lab.apply("fluent-bit") for pods that have it' in said(lab, MENDING, "service account")
    lab.apply("fluent-bit")
    assert lab.check(MENDING, "service account").right


@pytest.mark.parametrize("answer", [3, ["permissions"], "permission", "the role", {"permissions": 1}])
def test_an_answer_that_is_no_link_is_told_those_there_are(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(pipeline_faults, "_made", [pipeline_faults.FAULTS[0]])
    text = said(lab, MENDING, answer)
    assert "is none of the links" in text
    assert "There are: canary, daemonset, configuration" in text
