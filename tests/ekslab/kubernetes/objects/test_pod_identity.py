"""What the pod identity webhook gives to pods of a service account with a role."""

from __future__ import annotations

from typing import Any

from ekslab.kubernetes.objects.pod_identity import give_identity

ROLE = "arn:aws:iam::111122223333:role/r"
URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"


def pod(annotations: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations or {}}, "spec": {"containers": [{"name": "a", **container}]}}


def account(**annotations: str) -> dict[str, Any]:
    known = {f"eks.amazonaws.com/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {"metadata": {"annotations": known}}


def given(one: dict[str, Any], of: dict[str, Any], *, associated: bool = False) -> dict[str, str]:
    give_identity(one, of, "eu-west-1", associated=associated)
    return {variable["name"]: variable["value"] for variable in one["spec"]["containers"][0].get("env", [])}


def test_an_account_without_a_role_changes_nothing() -> None:
    one = pod()
    assert given(one, account()) == {}
    assert one == pod()


def test_an_association_goes_before_the_role_of_an_annotation() -> None:
    one = pod()
    folder = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    assert given(one, account(role_arn=ROLE), associated=True) == {
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        URI: "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{folder}/eks-pod-identity-token",
    }
    assert one["metadata"]["labels"] == {"eks.amazonaws.com/pod-identity": "enabled"}
    token = {"audience": "pods.eks.amazonaws.com", "expirationSeconds": 86400, "path": "eks-pod-identity-token"}
    assert one["spec"]["volumes"][0]["projected"]["sources"] == [{"serviceAccountToken": token}]
    mount = {"name": "eks-pod-identity-token", "readOnly": True, "mountPath": folder}
    assert one["spec"]["containers"][0]["volumeMounts"] == [mount]


def test_what_a_container_has_already_stays() -> None:
    env = [{"name": "AWS_REGION", "value": "us-east-1"}, {"name": "AWS_ROLE_ARN", "value": "own"}]
    found = given(pod(env=env), account(role_arn=ROLE, sts_regional_endpoints="false"))
    assert found == {"AWS_REGION": "us-east-1", "AWS_ROLE_ARN": "own"}


def test_containers_may_be_left_out_and_tokens_end_when_the_annotations_say() -> None:
    skipped = pod({"eks.amazonaws.com/skip-containers": "b,a"})
    assert given(skipped, account(role_arn=ROLE)) == {}
    for own, of, seconds in (("", "7200", 7200), ("60", "7200", 600), ("999999", "", 86400), ("soon", "", 86400)):
        one = pod({"eks.amazonaws.com/token-expiration": own})
        given(one, account(role_arn=ROLE, token_expiration=of))
        token = one["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
        assert token == {"audience": "sts.amazonaws.com", "expirationSeconds": seconds, "path": "token"}
