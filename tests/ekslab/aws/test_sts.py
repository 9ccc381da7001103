"""A service account's token becomes session credentials only when provider, audience and trust policy agree."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError

from ekslab.identity import ServiceAccountIssuer

OIDC = "oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
DENIED = ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def assume(running: Any, role: str, token: str | None = None, **kwargs: Any) -> Any:
    return running.client("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="pod", WebIdentityToken=token or running.token(), **kwargs
    )


def error_of(call: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_trusted_service_account_gets_credentials_that_work(running: Any) -> None:
    role = running.make_role(None)
    answer = assume(running, role)
    assert answer["SubjectFromWebIdentityToken"] == "system:serviceaccount:fluent-bit:fluent-bit"
    assert answer["Audience"] == "sts.amazonaws.com"
    assert answer["Provider"] == f"arn:aws:iam::111122223333:oidc-provider/{OIDC}"
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::111122223333:assumed-role/fluent-bit/pod"
    assert abs(answer["Credentials"]["Expiration"].timestamp() - time.time() - 3600) < 5
    identity = running.as_session("sts", answer["Credentials"]).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::111122223333:assumed-role/fluent-bit/pod"
    assert identity["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]


def test_without_an_oidc_provider_the_issuer_is_unknown(running: Any) -> None:
    assert error_of(assume, running, "arn:aws:iam::111122223333:role/fluent-bit") == (
        "InvalidIdentityToken",
        f"No OpenIDConnect provider found in your account for https://{OIDC}",
    )


def test_a_provider_that_was_deleted_ends_trust(running: Any) -> None:
    role = running.make_role(None)
    arn = f"arn:aws:iam::111122223333:oidc-provider/{OIDC}"
    running.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert error_of(assume, running, role)[0] == "InvalidIdentityToken"


def test_another_service_account_is_denied(running: Any) -> None:
    role = running.make_role(None)
    other = running.token("system:serviceaccount:default:default")
    assert error_of(assume, running, role, other) == DENIED


def test_a_role_that_does_not_exist_is_denied_in_the_same_words(running: Any) -> None:
    running.make_role(None)
    assert error_of(assume, running, "arn:aws:iam::111122223333:role/no-such-role") == DENIED


def test_a_token_for_another_audience_is_refused(running: Any) -> None:
    role = running.make_role(None)
    token = running.token(audience="https://kubernetes.default.svc")
    assert error_of(assume, running, role, token) == ("InvalidIdentityToken", "Incorrect token audience")


def test_a_trust_policy_may_use_wildcards_and_may_be_changed(running: Any) -> None:
    condition = {"StringLike": {f"{OIDC}:sub": "system:serviceaccount:fluent-*:*"}}
    role = running.make_role(None, condition=condition)
    assert assume(running, role)["Credentials"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::111122223333:oidc-provider/{OIDC}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {f"{OIDC}:aud": "somebody-else"}},
            }
        ],
    }
    running.client("iam").update_assume_role_policy(RoleName="fluent-bit", PolicyDocument=json.dumps(trust))
    assert error_of(assume, running, role) == DENIED


def test_a_role_for_a_service_is_not_for_a_service_account(running: Any) -> None:
    running.make_role(None)
    assert error_of(assume, running, "arn:aws:iam::111122223333:role/falco-workshop-node") == DENIED


def test_expired_forged_and_garbled_tokens_are_told_apart(running: Any) -> None:
    role = running.make_role(None)
    code, message = error_of(assume, running, role, running.token(now=time.time() - 7200))
    assert code == "ExpiredTokenException"
    assert message.startswith("Token expired: current date/time")
    forged = ServiceAccountIssuer(f"https://{OIDC}").issue(
        "fluent-bit", "fluent-bit", audience="sts.amazonaws.com", now=time.time()
    )
    code, message = error_of(assume, running, role, forged)
    assert code == "InvalidIdentityToken"
    assert message.startswith("Couldn't retrieve verification key")
    unsigned = jwt.encode({"iss": f"https://{OIDC}", "aud": "sts.amazonaws.com"}, "", algorithm="none")
    assert error_of(assume, running, role, unsigned)[0] == "InvalidIdentityToken"
    assert error_of(assume, running, role, "not.a.jwt")[0] == "InvalidIdentityToken"


def test_session_parameters_are_checked(running: Any) -> None:
    role = running.make_role(None)
    code, message = error_of(assume, running, role, DurationSeconds=7200)
    assert (code, message) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    sts = running.client("sts")
    code, message = error_of(
        sts.assume_role_with_web_identity, RoleArn=role, RoleSessionName="a b", WebIdentityToken=running.token()
    )
    assert code == "ValidationError"
    assert "'roleSessionName'" in message


def admin_trust(principal: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_assume_role_needs_trust_in_the_caller_or_in_the_account(running: Any) -> None:
    iam, sts = running.client("iam"), running.client("sts")
    for name, principal in (
        ("whole-account", "arn:aws:iam::111122223333:root"),
        ("me", "arn:aws:iam::111122223333:user/workshop"),
        ("stranger", "arn:aws:iam::999999999999:root"),
    ):
        # Another account's principals can be trusted, but nobody here is one.
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=admin_trust(principal))
    for name in ("whole-account", "me"):
        arn = f"arn:aws:iam::111122223333:role/{name}"
        answer = sts.assume_role(RoleArn=arn, RoleSessionName="session")
        assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::111122223333:assumed-role/{name}/session"
    arn = "arn:aws:iam::111122223333:role/stranger"
    assert error_of(sts.assume_role, RoleArn=arn, RoleSessionName="session") == (
        "AccessDenied",
        "User: arn:aws:iam::111122223333:user/workshop is not authorized to perform: sts:AssumeRole "
        f"on resource: {arn}",
    )


def test_a_role_may_assume_another_only_if_its_policy_says_so(running: Any) -> None:
    iam = running.client("iam")
    trust = admin_trust("arn:aws:iam::111122223333:root")
    arn = iam.create_role(RoleName="target", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    session = running.session(None)
    sts = running.as_session("sts", session)
    assert error_of(sts.assume_role, RoleArn=arn, RoleSessionName="hop")[0] == "AccessDenied"
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn}],
    }
    iam.put_role_policy(RoleName="fluent-bit", PolicyName="hop", PolicyDocument=json.dumps(policy))
    assert sts.assume_role(RoleArn=arn, RoleSessionName="hop")["Credentials"]


@pytest.mark.parametrize("limit", ["permissions boundary", "session policy"])
@pytest.mark.parametrize(
    ("trusted", "may"),
    [("arn:aws:iam::111122223333:root", False), ("role", False), ("session", True)],
)
def test_what_limits_a_session_limits_the_roles_it_may_assume(
    running: Any, limit: str, trusted: str, may: bool
) -> None:
    iam, sts = running.client("iam"), running.client("sts")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}
    logs_only = json.dumps({"Version": "2012-10-17", "Statement": [{**allowed["Statement"][0], "Action": "logs:*"}]})  # type: ignore[dict-item]
    trust = admin_trust("arn:aws:iam::111122223333:root")
    caller = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName="caller", PolicyName="any", PolicyDocument=json.dumps(allowed))
    session = "arn:aws:sts::111122223333:assumed-role/caller/some"
    principal = {"role": caller, "session": session}.get(trusted, trusted)
    arn = iam.create_role(RoleName="next", AssumeRolePolicyDocument=admin_trust(principal))["Role"]["Arn"]

    def hop(**options: str) -> Any:
        keys = sts.assume_role(RoleArn=caller, RoleSessionName="some", **options)["Credentials"]
        return running.as_session("sts", keys).assume_role(RoleArn=arn, RoleSessionName="hop")

    assert hop()["Credentials"], "without a limit"
    if limit == "permissions boundary":
        boundary = iam.create_policy(PolicyName="limit", PolicyDocument=logs_only)["Policy"]["Arn"]
        iam.put_role_permissions_boundary(RoleName="caller", PermissionsBoundary=boundary)
        options = {}
    else:
        options = {"Policy": logs_only}
    if may:
        assert hop(**options)["Credentials"]
    else:
        assert error_of(hop, **options)[0] == "AccessDenied"


def test_a_trust_policy_that_denies_the_account_denies_whom_it_names(running: Any) -> None:
    iam, sts = running.client("iam"), running.client("sts")
    trust = json.loads(admin_trust("arn:aws:iam::111122223333:user/workshop"))
    arn = iam.create_role(RoleName="torn", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    assert sts.assume_role(RoleArn=arn, RoleSessionName="some")["Credentials"]
    account = {"AWS": "arn:aws:iam::111122223333:root"}
    trust["Statement"].append({"Effect": "Deny", "Principal": account, "Action": "sts:AssumeRole"})
    iam.update_assume_role_policy(RoleName="torn", PolicyDocument=json.dumps(trust))
    assert error_of(sts.assume_role, RoleArn=arn, RoleSessionName="some")[0] == "AccessDenied"


@pytest.mark.parametrize("tag", [{"Key": "team", "Value": "*"}, {"Key": "te?m", "Value": "a"}])
def test_a_session_tag_cannot_be_a_pattern(running: Any, tag: dict[str, str]) -> None:
    """A policy may have `${aws:PrincipalTag/team}` in a resource."""
    trust = json.loads(admin_trust("arn:aws:iam::111122223333:root"))
    trust["Statement"][0]["Action"] = ["sts:AssumeRole", "sts:TagSession"]
    iam, sts = running.client("iam"), running.client("sts")
    arn = iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    assert sts.assume_role(RoleArn=arn, RoleSessionName="some", Tags=[{"Key": "team", "Value": "a b"}])["Credentials"]
    code, message = error_of(sts.assume_role, RoleArn=arn, RoleSessionName="some", Tags=[tag])
    assert code == "ValidationError"
    assert "at 'tags.1.member." in message


def test_unsupported_calls_are_refused_by_name(running: Any) -> None:
    assert error_of(running.client("sts").get_session_token) == (
        "InvalidAction",
        "sts:GetSessionToken is not supported by the embedded lab.",
    )
