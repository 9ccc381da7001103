"""What others made in the cluster or the account: never overwritten, and used where that does no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import AlertTimeoutError, StepError
from labkit.kube import KubernetesError, Object
from labkit.kube.rollout import wait_rollout
from labkit.versions import pinned

FOREIGN = "A Falco release that the workshop did not install is in namespace falco"


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab in which nothing has been applied."""
    return Lab.connect(home=new_lab().home, root=workshop)


def install_falco(lab: Lab, values: Path) -> None:
    chart = pinned()["falco"]["chart"]
    lab.helm.upgrade_install(
        "falco",
        chart["name"],
        version=chart["version"],
        namespace="falco",
        values=[values],
        wait=False,
    )


def test_a_falco_of_others_is_left_alone(fresh: Lab, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("customRules: {theirs.yaml: '- macro: theirs\\n  condition: evt.type = open\\n'}\n")
    install_falco(fresh, values)
    before = fresh.helm.get_values("falco", "falco")
    for step in ("falco", "custom-rules"):
        with pytest.raises(StepError, match=FOREIGN) as caught:
            fresh.apply(step)
        assert "LABKIT_FALCO_NAMESPACE" in caught.value.hint
    checks = fresh.preflight()
    assert not checks.passed
    assert FOREIGN in checks.failures
    fresh.teardown()
    assert fresh.helm.get_values("falco", "falco") == before
    release = fresh.helm.status("falco", "falco")
    assert release is not None
    assert release.revision == 1


def test_a_falco_installed_by_hand_as_the_step_shows_it_is_used_and_kept(fresh: Lab, workshop: Path) -> None:
    fresh.kube.apply([yaml.safe_load((workshop / "manifests/falco/namespace.yaml").read_text())])
    install_falco(fresh, workshop / "manifests/falco/values.yaml")
    assert fresh.preflight().passed
    assert fresh.apply("falco").action == "unchanged"
    fresh.apply("custom-rules")
    fresh.teardown()
    assert fresh.helm.status("falco", "falco") is not None
    assert "customRules" not in fresh.helm.get_values("falco", "falco")


def nginx(workshop: Path) -> tuple[Object, Object]:
    folder = workshop / "manifests/nginx"
    return (
        yaml.safe_load((folder / "deployment.yaml").read_text()),
        yaml.safe_load((folder / "service.yaml").read_text()),
    )


def test_objects_of_others_are_not_overwritten(fresh: Lab, workshop: Path) -> None:
    deployment, service = nginx(workshop)
    deployment["metadata"]["labels"] = {"app": "nginx"}
    deployment["spec"]["replicas"] = 2
    service["metadata"].pop("labels")
    fresh.kube.apply([deployment, service])
    with pytest.raises(StepError, match="Deployment default/nginx is there already and isn't the workshop's") as caught:
        fresh.apply("nginx")
    assert "LABKIT_APP_NAMESPACE" in caught.value.hint
    fresh.undo("nginx")
    found = fresh.kube.find(deployment)
    assert found is not None
    assert found["spec"]["replicas"] == 2
    service_found = fresh.kube.find(service)
    assert service_found is not None
    assert "labels" not in service_found["metadata"]  # it is what was wanted, so it is used as it is


def test_a_selector_that_cannot_be_changed_is_no_obstacle_to_saying_so(fresh: Lab, workshop: Path) -> None:
    deployment, _ = nginx(workshop)
    deployment["metadata"].pop("labels")
    deployment["spec"]["selector"] = {"matchLabels": {"run": "web"}}
    deployment["spec"]["template"]["metadata"]["labels"] = {"run": "web"}
    fresh.kube.apply([deployment])
    with pytest.raises(StepError, match="isn't the workshop's"):
        fresh.apply("nginx")


def test_what_a_person_made_from_the_manifests_is_used_mended_and_kept(fresh: Lab, workshop: Path) -> None:
    deployment, service = nginx(workshop)
    fresh.kube.apply([{**deployment, "spec": {**deployment["spec"], "replicas": 2}}, service])
    assert fresh.apply("nginx").action == "updated"
    assert {change.action for change in fresh.undo("nginx").changes} == {"kept"}
    found = fresh.kube.find(deployment)
    assert found is not None
    assert found["spec"]["replicas"] == 1


def test_a_namespace_of_others_is_only_used(fresh: Lab) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "logging", "labels": {"team": "a"}}}
    fresh.kube.apply([namespace])
    before = fresh.kube.find(namespace)
    fresh.ensure("fluent-bit")
    assert fresh.kube.find(namespace) == before
    fresh.teardown()
    assert fresh.kube.find(namespace) == before


def test_a_provider_of_others_without_the_audience_is_left_and_the_command_told(fresh: Lab) -> None:
    iam = fresh.aws.client("iam")
    arn = iam.create_open_id_connect_provider(
        Url=fresh.cluster["identity"]["oidc"]["issuer"], ClientIDList=["another"]
    )["OpenIDConnectProviderArn"]
    with pytest.raises(StepError, match="lacks the audience sts") as caught:
        fresh.apply("oidc-provider")
    assert f"add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {arn}" in caught.value.hint
    fresh.undo("oidc-provider")
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["another"]


def test_a_service_account_that_lost_its_role_gets_it_back_with_fluent_bit(fresh: Lab) -> None:
    fresh.ensure("fluent-bit")
    path = fresh.kube.path("v1", "ServiceAccount", "logging", "fluent-bit")
    removed = {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": None}}}
    fresh.kube.request("PATCH", path, body=removed, content_type="application/merge-patch+json")
    fresh.kube.restart("DaemonSet", "fluent-bit", "logging")
    with pytest.raises(StepError, match="DaemonSet logging/fluent-bit did not roll out: "):
        wait_rollout(fresh.kube, "DaemonSet", "fluent-bit", "logging", timeout=30, patience=1)
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping\. EKS gave the pod neither role nor region"):
        fresh.wait_for_log("{ $.canary = * }", timeout=0.2)  # no Falco yet: shipping is looked at first
    assert fresh.apply("fluent-bit").action == "updated"
    fresh.ensure("canary")
    assert fresh.wait_for_log("{ $.canary = * }", timeout=20)
    fresh.undo("fluent-bit-role")
    again = fresh.apply("fluent-bit")
    assert [result.step for result in again.needed] == ["fluent-bit-role"]
    assert "fluent-bit-role: created" in repr(again)
    assert fresh.status().rows[3][:2] == ("fluent-bit", "applied")


def test_a_retention_that_aws_does_not_know_is_refused_before_anything_is_made(
    new_lab: Callable[..., Endpoints], workshop: Path
) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop, retention_days=8)
    with pytest.raises(StepError, match="can't keep logs for 8 days") as caught:
        lab.apply("log-group")
    assert "5, 7, 14" in caught.value.hint
    assert lab.aws.client("logs").describe_log_groups()["logGroups"] == []
    assert lab.ledger.records() == []


def test_an_object_that_is_not_there_points_to_the_steps(fresh: Lab) -> None:
    with pytest.raises(KubernetesError, match='pods "nobody" not found') as caught:
        fresh.kube.request("GET", fresh.kube.path("v1", "Pod", "default", "nobody"))
    assert "lab.status()" in caught.value.hint
