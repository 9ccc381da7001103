"""The whole library front, on a running embedded lab over HTTP: every step, command, alert, failure and undo."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import AlertTimeoutError, ExecError, LabError, StepError, TargetError
from labkit.kube.rollout import wait_rollout
from labkit.provision.steps import STEPS

SHELL = "Terminal shell in container"
SHADOW = "Read sensitive file untrusted"


@pytest.fixture(scope="module")
def home(new_lab: Callable[..., Endpoints]) -> Path:
    return new_lab().home


@pytest.fixture(scope="module")
def lab(home: Path, workshop: Path) -> Lab:
    """A lab with every step applied."""
    lab = Lab.connect(home=home, root=workshop)
    lab.ensure()
    return lab


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab in which nothing has been applied."""
    return Lab.connect(home=new_lab().home, root=workshop)


@pytest.fixture
def without_policy(lab: Lab) -> Iterator[None]:
    lab.aws.client("iam").delete_role_policy(RoleName=lab.settings.role_name, PolicyName="write-falco-alerts")
    yield
    lab.apply("fluent-bit-role")


# Steps


@pytest.mark.parametrize("step", STEPS.ORDER)
def test_applying_a_step_again_changes_nothing(lab: Lab, step: str) -> None:
    result = lab.apply(step)
    assert {change.action for change in result.changes} == {"unchanged"}
    assert result.action == "unchanged"


def test_status_tells_that_all_is_there(lab: Lab) -> None:
    assert {(name, state) for name, state, _ in lab.status().rows} == {(name, "applied") for name in STEPS.ORDER}


@pytest.mark.parametrize("step", STEPS.ORDER)
def test_every_step_shows_commands_with_nothing_left_to_fill_in(lab: Lab, step: str) -> None:
    for shown in (lab.cli(step), STEPS[step].undo_cli(lab.target)):
        assert shown
        assert "<" not in shown
        assert "${" not in shown


def test_the_role_trusts_one_service_account_and_may_write_to_one_group(lab: Lab) -> None:
    logs = lab.as_service_account("logging", "fluent-bit").client("logs")
    logs.create_log_stream(logGroupName="falco", logStreamName="from-a-test")
    with pytest.raises(logs.exceptions.ClientError, match="AccessDenied"):
        logs.create_log_group(logGroupName="another")
    lab.aws.client("logs").delete_log_stream(logGroupName="falco", logStreamName="from-a-test")
    with pytest.raises(StepError, match="default/default has no role"):
        lab.as_service_account("default", "default")


def test_a_service_account_without_its_annotation_is_mended_and_pods_get_the_role(lab: Lab) -> None:
    path = lab.kube.path("v1", "ServiceAccount", "logging", "fluent-bit")
    removed = {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": None}}}
    lab.kube.request("PATCH", path, body=removed, content_type="application/merge-patch+json")
    lab.kube.restart("DaemonSet", "fluent-bit", "logging")
    with pytest.raises(StepError, match="AWS_REGION"):  # EKS sets it only for accounts that have a role
        wait_rollout(lab.kube, "DaemonSet", "fluent-bit", "logging", timeout=30, patience=1)
    assert [c.action for c in lab.apply("fluent-bit-role").changes if c.kind == "ServiceAccount"] == ["updated"]
    assert lab.apply("fluent-bit").action == "updated"
    assert lab.apply("fluent-bit").action == "unchanged"
    for pod in lab.kube.list("Pod", "logging"):
        names = [variable["name"] for variable in pod["spec"]["containers"][0]["env"]]
        assert "AWS_ROLE_ARN" in names


def test_a_policy_that_was_widened_is_put_back(lab: Lab) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    lab.aws.client("iam").put_role_policy(
        RoleName=lab.settings.role_name, PolicyName="write-falco-alerts", PolicyDocument=json.dumps(everything)
    )
    assert ("inline policy", "updated") in [(c.kind, c.action) for c in lab.apply("fluent-bit-role").changes]


def test_applying_falco_again_keeps_the_rules_that_were_shipped(lab: Lab) -> None:
    lab.apply("falco")
    assert list(lab.helm.get_values("falco", "falco")["customRules"]) == ["whoami.yaml"]


def test_a_bad_image_is_said_in_kubernetes_words(lab: Lab, workshop: Path) -> None:
    deployment = yaml.safe_load((workshop / "manifests/nginx/deployment.yaml").read_text())
    deployment["metadata"] |= {"name": "broken", "namespace": "default"}
    labels = {"app": "broken"}
    deployment["spec"]["selector"] = {"matchLabels": labels}
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:no-such-tag"
    lab.kube.apply([deployment])
    try:
        with pytest.raises(StepError, match=r"(?s)did not roll out.*(ImagePullBackOff|ErrImagePull).*no-such-tag"):
            wait_rollout(lab.kube, "Deployment", "broken", "default", timeout=20, patience=0.5)
    finally:
        lab.kube.delete([deployment])
    assert lab.kube.list("Pod", "default", labels="app=broken") == []


def test_a_rule_with_a_typo_is_refused_by_falco_and_the_right_one_mends_it(lab: Lab, tmp_path: Path) -> None:
    typo = tmp_path / "typo.yaml"
    text = (lab.settings.root / "custom-rules/whoami.yaml").read_text()
    typo.write_text(text.replace("proc.name = whoami", "proc.nmae = whoami"))
    with pytest.raises(StepError, match=r"(?s)DaemonSet falco/falco did not roll out.*proc\.nmae"):
        lab.apply("custom-rules", files=[typo], timeout=5)
    lab.apply("custom-rules", files=["custom-rules/whoami.yaml"])
    lab.exec("deploy/nginx", "whoami")
    assert lab.wait_for_alert("Whoami run in container")["proc.name"] == "whoami"


def test_helm_refuses_values_that_are_a_list(lab: Lab) -> None:
    with pytest.raises(StepError, match="a list at its top"):
        lab.apply("custom-rules", files=["custom-rules/broken/2-indented.yaml"])


# Commands in pods


def test_a_command_returns_what_it_printed_and_its_exit_code(lab: Lab) -> None:
    assert lab.exec("deploy/nginx", "whoami").stdout == "root\n"
    assert lab.exec("nginx", "cat", "/no/such/file").exit_code == 1
    assert "No such file" in lab.exec("deploy/nginx", "cat /no/such/file").stderr
    assert lab.exec("deploy/nginx", "cat", stdin="one\ntwo").stdout == "one\ntwo"
    assert lab.exec("deploy/nginx", "echo a && echo b | cat").stdout == "a\nb\n"


def test_a_terminal_is_allocated_though_there_is_none_here(lab: Lab) -> None:
    session = lab.exec("deploy/nginx", "bash", tty=True, stdin="exit 3\n")
    assert session.exit_code == 3
    assert session.stderr == ""


@pytest.mark.parametrize(
    ("target", "argv", "said"),
    [
        ("deploy/apache", ["id"], "has no apache"),
        ("falco/nginx", ["id"], "Namespace falco has no nginx"),
        ("deploy/nginx", ["no-such-program"], "no-such-program"),
    ],
)
def test_a_command_that_cannot_be_run_is_explained(lab: Lab, target: str, argv: list[str], said: str) -> None:
    with pytest.raises(ExecError, match=said) as caught:
        lab.exec(target, *argv)
    assert caught.value.hint


# Alerts


def test_a_shell_with_a_terminal_alerts_and_the_alert_is_found(lab: Lab) -> None:
    lab.exec("deploy/nginx", "bash", tty=True, stdin="id\n")
    alert = lab.wait_for_alert(SHELL, where={"proc.name": "bash"})
    assert alert["rule"] == SHELL
    assert alert["k8s.ns.name"] == "default"
    assert not alert.isna().any()


def test_alerts_can_be_followed(lab: Lab) -> None:
    with lab.follow(timeout=10) as stream:
        lab.exec("deploy/nginx", "cat /etc/shadow")
        assert next(stream)["rule"] == SHADOW


def test_falco_lists_the_rules_it_has_loaded(lab: Lab) -> None:
    rules = lab.falco_rules()
    assert {SHELL, SHADOW, "Whoami run in container"} <= set(rules["rule"])
    assert set(rules["priority"]) <= {"Critical", "Warning", "Notice", "Informational", "Error"}


def test_no_terminal_no_alert_and_the_event_is_named(lab: Lab) -> None:
    lab.exec("deploy/nginx", "bash", "-c", "id")
    with pytest.raises(AlertTimeoutError, match="Broken link: event") as caught:
        lab.wait_for_alert(SHELL, timeout=1)
    assert "tty=True" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda lab: lab.alerts(rule="Terminal shell"), "Did you mean 'Terminal shell in container'"),
        (lambda lab: lab.exec("deploy/ngnix", "id"), "Did you mean 'nginx'"),
        (lambda lab: lab.exec("ngnix", "id"), "Did you mean 'nginx'"),
        (lambda lab: lab.exec("flaco/falco", "id"), "Did you mean 'falco'"),
        (lambda lab: lab.exec("deploy/nginx", "id", container="ngnix"), "Did you mean 'nginx'"),
        (lambda lab: lab.exec("../kube-system/x", "id"), "Write deploy/NAME"),
        (lambda lab: lab.exec("deploy/nginx\n", "id"), "Write deploy/NAME"),
        (lambda lab: lab.apply("custom-rules", files="whoami.yml"), "Paths count from here"),
        (lambda lab: lab.apply("custom-rules", files=[5]), "a list of paths"),
        (lambda lab: lab.apply("custom-rules", files=5), "a list of paths"),
        (lambda lab: lab.aws.client("lgs"), "Did you mean 'logs'"),
        (lambda lab: lab.aws.client(None), "such as logs"),
        (lambda lab: lab.exec("svc/nginx", "ls"), "Write deploy/NAME"),
        (lambda lab: lab.apply("nginx", fiels=[]), "`files` (one or a list)"),
    ],
)
def test_a_wrong_name_is_answered_with_a_similar_one(lab: Lab, wrong: Callable[[Lab], object], said: str) -> None:
    with pytest.raises(LabError) as caught:
        wrong(lab)
    assert said in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


def test_a_rule_without_alerts_is_no_mistake_and_says_so(lab: Lab) -> None:
    found = lab.alerts("0s", rule=SHELL)
    assert repr(found) == f"No alerts of the rule '{SHELL}' since 0s in log group falco."


def test_one_file_of_rules_may_be_given_without_a_list(lab: Lab, workshop: Path) -> None:
    assert lab.apply("custom-rules", files=workshop / "custom-rules/whoami.yaml").action == "unchanged"


def test_an_unknown_rule_is_named(lab: Lab) -> None:
    with pytest.raises(AlertTimeoutError, match=r"Broken link: rule\. Falco has loaded no rule 'Terminal shell'"):
        lab.wait_for_alert("Terminal shell", timeout=0.5)


def test_an_unknown_rule_is_not_waited_for_to_the_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.alerts.arrival._DOUBT", 0)
    with pytest.raises(
        LabError, match=r"Falco has loaded no rule 'Terminal shell'\. Did you mean 'Terminal shell in con"
    ):
        lab.wait_for_alert("Terminal shell", timeout=600)


def test_fields_that_do_not_fit_are_told_from_no_alert(lab: Lab) -> None:
    lab.exec("deploy/nginx", "cat /etc/shadow")
    with pytest.raises(AlertTimeoutError, match="1 of its alerts arrived, but none has the fields"):
        lab.wait_for_alert(SHADOW, where={"proc.name": "tac"}, timeout=2)


def test_without_its_policy_shipping_is_the_broken_link_and_nothing_is_lost(lab: Lab, without_policy: None) -> None:
    since = lab.kube.now()
    lab.exec("deploy/nginx", "cat /etc/shadow")
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping\..*AccessDenied"):
        lab.wait_for_alert(SHADOW, timeout=3)
    lab.apply("fluent-bit-role")
    assert lab.wait_for_alert(SHADOW, since=since, timeout=30)["proc.name"] == "cat"


def test_a_line_s_own_chain_is_diagnosed_whatever_falco_does(lab: Lab, without_policy: None) -> None:
    lab.undo("canary")
    lab.apply("canary")
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping\. Pod falco/canary printed .*AccessDenied"):
        lab.wait_for_log('"canary"', since="10s", timeout=2)
    lab.apply("fluent-bit-role")
    uid = lab.kube.get("Pod", "canary", "falco")["metadata"]["uid"]
    assert uid in lab.wait_for_log('"canary"', timeout=30)["message"]
    lab.undo("canary")
    with pytest.raises(
        AlertTimeoutError, match=r"Broken link: pod log\. No pod in namespace falco has printed"
    ) as caught:
        lab.wait_for_log('"no such canary"', since="1s", timeout=0.2)
    assert "tty" not in caught.value.hint
    lab.apply("canary")


def test_the_alerts_of_a_command_are_its_own(lab: Lab) -> None:
    lab.exec("deploy/nginx", "cat /etc/shadow")  # the same rule, just before
    result = lab.exec("deploy/nginx", "sh", "-c", "cat /etc/shadow; find / -xdev -name id_rsa")
    lab.exec("deploy/nginx", "cat /etc/shadow")  # and just after
    found = lab.alerts_of(result)
    assert list(found["rule"]) == [SHADOW, "Search Private Keys or Passwords"]
    assert list(found["proc.cmdline"]) == ["cat /etc/shadow", "find / -xdev -name id_rsa"]


def test_that_a_command_raised_no_alert_is_known_without_a_timeout(lab: Lab) -> None:
    result = lab.exec("deploy/nginx", "cat /etc/hostname && ls /etc/shadow")
    found = lab.alerts_of(result, timeout=30)
    assert len(found) == 0
    assert found["rule"].tolist() == []
    said = "No alert of `sh -c cat /etc/hostname && ls /etc/shadow`. (A marker, an alert raised after it"
    assert repr(found).startswith(said)
    assert "No alert of <code>sh -c cat /etc/hostname &amp;&amp;" in str(found._repr_html_())


def test_where_no_marker_can_be_raised_no_absence_is_claimed(lab: Lab, without_policy: None) -> None:
    result = lab.exec("deploy/nginx", "id")
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping\..*AccessDenied"):
        lab.alerts_of(result, timeout=2)
    assert result.ran is not None
    with pytest.raises(ExecError, match="No marker can be raised in pod"):
        lab.alerts_of(replace(result, ran=replace(result.ran, container="nowhere")))
    lab.kube.request("DELETE", lab.kube.path("v1", "Pod", "default", result.ran.pod))
    wait_rollout(lab.kube, "Deployment", "nginx", "default", timeout=30)
    with pytest.raises(ExecError, match="is gone, so no marker") as caught:
        lab.alerts_of(result)
    assert "run the command again" in caught.value.hint


def test_a_log_group_that_is_not_the_one_looked_at_is_named(lab: Lab) -> None:
    lab.aws.client("logs").create_log_group(logGroupName="elsewhere")
    path = lab.kube.path("v1", "ConfigMap", "logging", "fluent-bit")
    text = lab.kube.request("GET", path)["data"]["fluent-bit.yaml"]
    role = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]}
    lab.aws.client("iam").put_role_policy(
        RoleName=lab.settings.role_name, PolicyName="elsewhere", PolicyDocument=json.dumps(role)
    )
    changed = {"data": {"fluent-bit.yaml": text.replace("log_group_name: falco", "log_group_name: elsewhere")}}
    lab.kube.request("PATCH", path, body=changed, content_type="application/merge-patch+json")
    lab.kube.restart("DaemonSet", "fluent-bit", "logging")
    wait_rollout(lab.kube, "DaemonSet", "fluent-bit", "logging", timeout=30)
    try:
        lab.exec("deploy/nginx", "cat /etc/shadow")
        with pytest.raises(AlertTimeoutError, match=r"Broken link: log group.*writes to 'elsewhere'"):
            lab.wait_for_alert(SHADOW, timeout=2)
    finally:
        lab.aws.client("iam").delete_role_policy(RoleName=lab.settings.role_name, PolicyName="elsewhere")
        lab.aws.client("logs").delete_log_group(logGroupName="elsewhere")
        mended = lab.apply("fluent-bit")
    assert [(c.kind, c.action) for c in mended.changes] == [("ConfigMap", "updated"), ("DaemonSet", "updated")]


def test_without_falco_the_event_is_the_broken_link(fresh: Lab) -> None:
    fresh.ensure("nginx", "log-group")
    fresh.exec("deploy/nginx", "cat /etc/shadow")
    with pytest.raises(AlertTimeoutError, match="No Falco is running") as caught:
        fresh.wait_for_alert(SHADOW, timeout=0.2)
    assert 'lab.apply("falco")' in caught.value.hint
    fresh.aws.client("logs").delete_log_group(logGroupName="falco")
    with pytest.raises(AlertTimeoutError, match="Broken link: log group"):
        fresh.wait_for_alert(SHADOW, timeout=0.2)


# Undoing


def test_teardown_takes_everything_and_twice_is_no_mistake(fresh: Lab) -> None:
    fresh.ensure()
    assert not fresh.audit().clean
    assert len(fresh.teardown().rows) >= len(STEPS.ORDER)
    audit = fresh.audit()
    assert audit.clean, audit
    assert fresh.teardown().rows == ()
    assert fresh.ledger.records() == []
    assert {state for _, state, _ in fresh.status().rows} == {"absent"}


def test_what_was_there_before_stays(fresh: Lab) -> None:
    issuer = fresh.cluster["identity"]["oidc"]["issuer"]
    fresh.aws.client("iam").create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
    fresh.aws.client("logs").create_log_group(logGroupName="falco")
    fresh.ensure("fluent-bit-role")
    fresh.teardown()
    assert len(fresh.aws.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]) == 1
    (group,) = fresh.aws.client("logs").describe_log_groups()["logGroups"]
    assert "retentionInDays" not in group
    assert fresh.audit().clean


def test_without_a_ledger_the_marks_are_enough(fresh: Lab) -> None:
    fresh.ensure("fluent-bit", "nginx")
    fresh.ledger.path.unlink()
    fresh.teardown()
    assert fresh.audit().clean


def test_the_audit_finds_what_was_made_by_hand(fresh: Lab, workshop: Path) -> None:
    fresh.kube.apply([yaml.safe_load((workshop / "manifests/nginx/service.yaml").read_text())])
    (left,) = fresh.audit().left
    assert (left.kind, left.name, left.why) == ("Service", "default/nginx", "has the workshop's name")


# Targets


def test_preflight_passes_and_shows_what_it_found(fresh: Lab) -> None:
    checks = fresh.preflight()
    assert checks.passed, checks.failures
    found = {finding.what: finding.found for finding in checks.findings}
    assert "containerd://" in found["container runtime"]
    assert found["identity"].startswith("arn:aws:iam::111122223333:")


def test_a_cluster_that_does_not_exist_is_answered_with_those_that_do(home: Path, workshop: Path) -> None:
    lab = Lab.connect(home=home, root=workshop, cluster="falco-wrkshop")
    with pytest.raises(TargetError, match="Clusters there: falco-workshop"):
        lab.apply("oidc-provider")


def test_a_region_without_the_cluster_is_said(home: Path, workshop: Path) -> None:
    lab = Lab.connect(home=home, root=workshop, region="eu-west-1")
    with pytest.raises(TargetError, match="no EKS cluster 'falco-workshop' in region eu-west-1"):
        lab.apply("oidc-provider")


def test_after_a_kill_the_error_says_labkit_up(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    import os
    import signal

    endpoints = new_lab()
    lab = Lab.connect(home=endpoints.home, root=workshop)
    os.kill(endpoints.pid, signal.SIGKILL)
    for call in (lambda: lab.apply("log-group"), lambda: lab.exec("deploy/nginx", "id"), lambda: lab.alerts()):
        with pytest.raises(TargetError, match=r"does not answer|can't be reached") as caught:
            call()
        assert "labkit" in caught.value.hint
    new_lab(home=endpoints.home)
    lab.ensure("nginx")
    assert lab.exec("deploy/nginx", "whoami").stdout == "root\n"


def _shown(value: Any) -> str:
    return f"{value!r}{value._repr_html_()}"


def test_results_look_the_same_on_two_labs(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    labs = [Lab.connect(home=new_lab().home, root=workshop) for _ in range(2)]
    shown = [
        [_shown(lab.preflight()), _shown(lab.apply("oidc-provider")), _shown(lab.ensure("nginx")), _shown(lab.status())]
        for lab in labs
    ]
    assert shown[0] == shown[1]


def test_after_the_log_group_was_made_again_alerts_arrive_and_after_its_stream_was_deleted_one_is_lost(
    fresh: Lab,
) -> None:
    fresh.ensure("falco", "fluent-bit", "nginx")
    fresh.exec("deploy/nginx", "cat /etc/shadow")
    fresh.wait_for_alert(SHADOW, timeout=30)
    fresh.aws.client("logs").delete_log_group(logGroupName="falco")
    with pytest.raises(AlertTimeoutError, match="Broken link: log group") as missing:
        fresh.wait_for_alert(SHADOW, timeout=0.2)
    assert 'lab.apply("log-group")' in missing.value.hint
    assert "What Fluent Bit had in hand" in missing.value.hint
    fresh.apply("log-group")
    fresh.exec("deploy/nginx", "cat /etc/shadow")
    fresh.wait_for_alert(SHADOW, timeout=30)
    fresh.aws.client("logs").delete_log_stream(logGroupName="falco", logStreamName="alerts")
    fresh.exec("deploy/nginx", "cat /etc/shadow")
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping\..* The log stream was deleted\.") as lost:
        fresh.wait_for_alert(SHADOW, timeout=3)
    assert lost.value.hint == "It won't arrive: trigger it again."
    since = fresh.kube.now()
    fresh.exec("deploy/nginx", "cat /etc/shadow")
    assert fresh.wait_for_alert(SHADOW, since=since, timeout=30)["proc.name"] == "cat"


def test_another_setting_gives_fluent_bits_pods_another_checksum_and_replaces_them_once(
    fresh: Lab, workshop: Path
) -> None:
    def shipper(lab: Lab) -> Any:
        return lab.kube.get("DaemonSet", "fluent-bit", "logging")

    def checksums(lab: Lab) -> set[str]:
        pods = lab.kube.list("Pod", "logging", labels="app.kubernetes.io/name=fluent-bit")
        return {pod["metadata"]["annotations"]["checksum/config"] for pod in pods}

    fresh.ensure("fluent-bit")
    before = shipper(fresh)
    by_hand = yaml.safe_load((workshop / "manifests/fluent-bit/30-daemonset.yaml").read_text())
    assert checksums(fresh) == {by_hand["spec"]["template"]["metadata"]["annotations"]["checksum/config"]}
    other = Lab.connect(home=fresh.target.settings.home, root=workshop, log_stream="others")
    assert other.apply("fluent-bit").action == "updated"
    assert shipper(other)["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert len(checksums(other)) == 1
    assert checksums(other) != {by_hand["spec"]["template"]["metadata"]["annotations"]["checksum/config"]}
    assert other.apply("fluent-bit").action == "unchanged"
