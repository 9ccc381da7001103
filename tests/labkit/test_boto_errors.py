"""What boto3 can't do, or AWS refuses, as a message and what to do: real botocore, and the lab's AWS or no service."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError

from ekslab.state import Endpoints
from labkit.aws import Aws, NoClusterError, describe_cluster
from labkit.boto_errors import translated_errors, use_profile
from labkit.errors import TargetError, UnreachableError

SSO = """\
[profile sso]
sso_session = s
sso_account_id = 111122223333
sso_role_name = Dev
[sso-session s]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_registration_scopes = sso:account:access
"""
OLD_SSO = SSO.split("[sso-session")[0].replace(
    "sso_session = s", "sso_start_url = https://x/start\nsso_region = us-east-1"
)
ROLE = "role_arn = arn:aws:iam::111122223333:role/none\n"
KEYS = "[profile q]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
NONE = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
ELSEWHERE = {"AWS_ENDPOINT_URL": "", "NO_PROXY": "", "no_proxy": "", "AWS_MAX_ATTEMPTS": "1"}

# What: (variables, ~/.aws/config, settings, what is said, what to do)
CASES: dict[str, tuple[dict[str, str], str, dict[str, str], str, str]] = {
    "SSO expired": (
        NONE,
        SSO,
        {"profile": "sso"},
        "SSO session of profile 'sso' has ended",
        "`aws sso login --profile sso`",
    ),
    "SSO of the old kind": (NONE, OLD_SSO, {"profile": "sso"}, "SSO session of profile 'sso'", "aws sso login"),
    "SSO by AWS_PROFILE": ({**NONE, "AWS_PROFILE": "sso"}, SSO, {}, "SSO session of profile 'sso'", "--profile sso`"),
    "unknown profile": (NONE, SSO, {"profile": "ssp"}, "no profile 'ssp'", "Did you mean 'sso'?"),
    "no profiles": (NONE, "", {"profile": "x"}, "no profile 'x'", "`aws configure` makes one"),
    "file is no INI": (NONE, "nonsense\n", {}, "Unable to parse config file", "Correct ~/.aws/config"),
    "source profile missing": (
        NONE,
        f"[profile p]\n{ROLE}source_profile = q\n",
        {"profile": "p"},
        '"q"',
        "Correct ~/.aws",
    ),
    "profiles in a circle": (
        *(NONE, f"[profile p]\n{ROLE}source_profile = q\n[profile q]\n{ROLE}source_profile = p\n"),
        *({"profile": "p"}, "Infinite loop", "Correct ~/.aws/config"),
    ),
    "role of a profile": (
        *(NONE, f"[profile p]\n{ROLE}source_profile = q\n{KEYS}"),
        *({"profile": "p"}, "The role can't be assumed: User: ", "trust policy has to name this identity"),
    ),
    "role of the setting": ({}, "", {"role": ROLE.split()[2]}, "The role can't be assumed", "LABKIT_ROLE"),
    "no credentials": (NONE, "", {}, "no usable AWS credentials", "aws configure"),
    "half of a key": ({"AWS_SECRET_ACCESS_KEY": ""}, "", {}, "Partial credentials", "aws configure"),
    "credential process fails": (
        *(NONE, "[profile p]\ncredential_process = false\n", {"profile": "p"}),
        *("custom-process: it failed and said nothing", "Run the command of `credential_process`"),
    ),
    "credential process missing": (
        *(NONE, "[profile p]\ncredential_process = /no/such\n", {"profile": "p"}),
        *("/no/such: No such file or directory", "Correct ~/.aws/config"),
    ),
    "token file missing": (
        *({**NONE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}, "", {}),
        *("/no/such: No such file", "Correct AWS_WEB_IDENTITY_TOKEN_FILE."),
    ),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "x"}, "", {}, "SignatureDoesNotMatch", "secret key is not the one"),
    "unknown key": ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, "", {}, "InvalidClientTokenId", "Set AWS_PROFILE"),
    "blank in the key": ({"AWS_ACCESS_KEY_ID": " x"}, "", {}, "IncompleteSignature", "blank or a line break"),
    "break in the token": ({"AWS_SESSION_TOKEN": "hunter\n2"}, "", {}, "one has a line break", "AWS_PROFILE"),
    "break in the key": ({"AWS_ACCESS_KEY_ID": "hunter\n2"}, "", {}, "one has a line break", "AWS_PROFILE"),
    "endpoint with a password": (
        {"AWS_ENDPOINT_URL": "http://bob:hunter2@127.0.0.1:9"},
        *("", {}, "http://***@127.0.0.1:9", "look there"),
    ),
    "proxy with a password": (
        {**ELSEWHERE, "HTTPS_PROXY": "http://bob:hunter2@127.0.0.1:9"},
        *("", {}, "@127.0.0.1:9", "Correct HTTPS_PROXY"),
    ),
    "endpoint is no URL": ({"AWS_ENDPOINT_URL": "foo"}, "", {}, "Invalid endpoint: foo", "Correct AWS_ENDPOINT_URL."),
    "endpoint is silent": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "", {}, "AWS does not answer", "look there"),
    "certificate": ({"AWS_ENDPOINT_URL": "{kubernetes}"}, "", {}, "certificate of AWS is not trusted", "AWS_CA_BUNDLE"),
    "no certificates": (
        *({"AWS_ENDPOINT_URL": "{kubernetes}", "AWS_CA_BUNDLE": "/no/such"}, "", {}),
        *("certificates /no/such isn't there", "Correct AWS_CA_BUNDLE"),
    ),
    "proxy is silent": (
        {**ELSEWHERE, "HTTPS_PROXY": "http://127.0.0.1:9"},
        "",
        {},
        "proxy to AWS",
        "Correct HTTPS_PROXY",
    ),
    "proxy is no URL": ({**ELSEWHERE, "HTTPS_PROXY": "a b"}, "", {}, "proxy to AWS", "Correct HTTPS_PROXY"),
    "region with a typo": (ELSEWHERE, "", {"region": "eu-cental-1"}, "no region 'eu-cental-1'", "'eu-central-1'"),
    "region that can't be": ({}, "", {"region": "eu central"}, "region_name 'eu central'", "Set LABKIT_REGION"),
}


@pytest.fixture
def variables(embedded: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a person whose endpoint is the lab's AWS."""
    for name, value in embedded.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    use_profile("")
    return monkeypatch


@pytest.mark.parametrize("case", CASES)
def test_each_failure_is_told_in_two_lines(
    case: str, variables: pytest.MonkeyPatch, embedded: Endpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment, config, settings, said, todo = CASES[case]
    for name, value in environment.items():
        value = value.format(kubernetes=embedded.kubernetes_url)
        variables.setenv(name, value) if value else variables.delenv(name, raising=False)
    (tmp_path / "config").write_text(config.format(key=embedded.access_key_id, secret=embedded.secret_access_key))
    with pytest.raises(TargetError) as caught:
        _ = Aws(**{"region": "us-east-1", "hint": "look there", **settings}).identity
    assert said in caught.value.message
    assert todo in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2
    assert not {"hunter", "bob"} & {*re.findall(r"[a-z]+", str(caught.value))}
    assert caplog.records == []


def test_a_clock_that_is_wrong_is_told_from_a_wrong_secret(variables: pytest.MonkeyPatch) -> None:
    late = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    variables.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: late.replace(tzinfo=None))
    with pytest.raises(TargetError, match="Signature expired") as caught:
        _ = Aws("us-east-1", hint="").identity
    assert caught.value.hint.startswith("Set this computer's clock")


def refused(code: str, message: str, date: dt.datetime | None = None) -> ClientError:
    headers = {"date": f"{date:%a, %d %b %Y %H:%M:%S} GMT"} if date else {}
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPHeaders": headers}}
    return ClientError(response, "GetRole")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "todo"),
    [
        (refused("ExpiredTokenException", "expired"), "get new credentials"),
        (refused("RequestExpired", "x", dt.datetime.now(dt.UTC) + dt.timedelta(minutes=30)), " min slow, then"),
        (
            refused("InvalidSignatureException", "Signature not yet current: x is later than y"),
            "Set this computer's clock",
        ),
        (
            refused("AccessDenied", "no, with an explicit deny in a service control policy"),
            "service control policy of the",
        ),
        (refused("AccessDeniedException", "no identity-based policy allows"), "ask for the permission"),
        (refused("OptInRequired", "x"), "Switch the region on"),
        (refused("ThrottlingException", "x"), "wait a minute"),
        (boto.UnauthorizedSSOTokenError(), "aws sso login"),
        (boto.TokenRetrievalError(provider="sso", error_msg="expired"), "aws sso login"),
    ],
)
def test_a_refusal_says_what_helps(error: Exception, todo: str) -> None:
    with pytest.raises(TargetError) as caught, translated_errors():
        raise error
    assert todo in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        *(refused(code, "x") for code in ("InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken")),
        boto.NoCredentialsError(),
    ],
)
def test_an_attendee_asks_for_what_the_instructor_hands_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_ATTENDEE", "07")
    with pytest.raises(TargetError) as caught, translated_errors():
        raise error
    assert "`labkit class env 07`" in caught.value.hint
    assert "aws configure" not in caught.value.hint
    monkeypatch.setenv("LABKIT_ROLE", "arn:aws:iam::111122223333:role/x")  # assumed with credentials of their own
    with pytest.raises(TargetError) as caught, translated_errors():
        raise error
    assert "labkit class env" not in caught.value.hint


def test_the_canonical_request_of_a_wrong_signature_is_left_out() -> None:
    said = "The request signature we calculated does not match.\n\nThe Canonical String should have been\n'POST\n/\n'"
    with pytest.raises(TargetError) as caught, translated_errors():
        raise refused("SignatureDoesNotMatch", said)
    assert caught.value.message.endswith("does not match.")


def test_a_fault_of_labkit_in_a_call_of_botocore_stays_one(variables: pytest.MonkeyPatch) -> None:
    def before() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _ = Aws("us-east-1", hint="", before=before).identity


def test_a_cluster_with_a_typo_names_a_similar_one(variables: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoClusterError, match="Clusters there: falco-workshop") as caught:
        describe_cluster(Aws("us-east-1", hint=""), "falco-workshp")
    assert caught.value.hint.startswith("Did you mean 'falco-workshop'?")
    assert not isinstance(caught.value, UnreachableError)


def test_a_client_alone_knows_the_lab_that_has_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of alerts take a client, not the lab: what to do is the same as for the cluster."""
    import boto3

    from labkit import alerts
    from labkit.errors import UnreachableError

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client("logs", "us-east-1", endpoint_url="http://127.0.0.1:9", **keys)
    with pytest.raises(UnreachableError, match="The embedded lab has ended: start it again with `labkit up`"):
        alerts.read(client)
