"""What is wrong with a kubeconfig, its credential plugin or the cluster behind it: files, and the lab's API server."""

from __future__ import annotations

import base64
import datetime as dt
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.identity import ServerCertificate
from ekslab.state import Endpoints
from labkit.errors import LabError
from labkit.kube import Kube, KubernetesError
from labkit.kube import kubeconfig as kubeconfigs

CONTEXT = "falco-workshop.us-east-1.embedded"
Edit = Callable[[dict[str, Any]], object]


def of_user(**user: Any) -> Edit:
    return lambda config: config["users"][0].update(user=user)


def plugin(command: str, *arguments: str) -> Edit:
    version = "client.authentication.k8s.io/v1beta1"
    return of_user(
        exec={"apiVersion": version, "command": command, "args": list(arguments), "interactiveMode": "Never"}
    )


def shell(script: str) -> Edit:
    return plugin("sh", "-c", script)


def of_cluster(**cluster: Any) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        known = config["clusters"][0]["cluster"]
        if "certificate-authority-data" in cluster:
            known.pop("certificate-authority", None)
        known.update(cluster)

    return edit


OTHER = base64.b64encode(ServerCertificate.for_loopback().certificate).decode()
JUNK = base64.b64encode(b"junk").decode()
TOKEN = json.dumps(
    {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": {"token": "x"}}
)
LABKIT = "echo 'labkit: The role is gone.' >&2; echo '  What to do: Make it.' >&2; exit 1"

# What: (what is done to a good kubeconfig, or the file's text; what is said; what to do)
CASES: dict[str, tuple[Edit | str, str, str]] = {
    "not YAML": ("a: [", "The kubeconfig isn't YAML: while parsing", "Correct it"),
    "empty": ("", "file is empty", "kubectl"),
    "a list": ("[1]", "The kubeconfig can't be used", "`kubectl config view`"),
    "cluster missing": (lambda c: c.update(clusters=[]), "names cluster", "Correct the kubeconfig"),
    "user missing": (lambda c: c.update(users=[]), "Unauthorized", "no credentials for the user"),
    "plugin aws missing": (plugin("/none/aws", "eks"), "`/none/aws`, which isn't installed", "Install the AWS CLI"),
    "plugin of GKE missing": (plugin("/x/gke-gcloud-auth-plugin"), "isn't installed", "gcloud components install"),
    "another plugin missing": (plugin("no-such-plugin"), "`no-such-plugin`, which isn't installed", "Install it"),
    "plugin may not be run": (plugin("/etc/passwd"), "`/etc/passwd`, which may not be run", "Install it, or correct"),
    "plugin without credentials": (
        shell("echo Unable to locate credentials >&2; exit 253"),
        "failed (253)",
        "aws sso login",
    ),
    "plugin without login": (
        shell("echo run: gcloud auth login >&2; exit 1"),
        "failed (1)",
        "`gcloud auth login`, then",
    ),
    "plugin whose session ended": (
        *(shell("echo Token has expired and refresh failed >&2; exit 255"), "failed (255)"),
        "`aws sso login` with the profile",
    ),
    "plugin fails": (shell("exit 7"), "failed (7): it said nothing", "kubectl get nodes"),
    "plugin prints junk": (plugin("echo", "hello"), "answers what isn't a credential", "`exec` entry"),
    "plugin prints no credential": (plugin("echo", "{}"), "answers what isn't a credential", "`exec` entry"),
    "labkit's plugin": (shell(LABKIT), "The role is gone.", "Make it."),
    "token refused": (shell(f"echo '{TOKEN}'"), "Unauthorized", "doesn't accept these credentials"),
    "no credentials": (of_user(), "Unauthorized", "no credentials for the user"),
    "certificate file missing": (of_user(**{"client-certificate": "/no/c", "client-key": "/no/k"}), "/no/c", "kubectl"),
    "server silent": (of_cluster(server="https://127.0.0.1:9"), "does not answer", "kubectl"),
    "server's name": (
        of_cluster(server="https://a.invalid"),
        "a.invalid, can't be resolved",
        "its endpoint is private",
    ),
    "server is no URL": (of_cluster(server="foo"), "`server` is", "begins with https://"),
    "server without TLS": (of_cluster(server="{http}"), "does not answer", "kubectl"),
    "certificate of another": (of_cluster(**{"certificate-authority-data": OTHER}), "certificate of the", "made again"),
    "certificate is none": (
        of_cluster(**{"certificate-authority-data": JUNK}),
        "no certificate of the cluster",
        "again",
    ),
    "proxy silent": (of_cluster(**{"proxy-url": "http://127.0.0.1:9"}), "The proxy to", "NO_PROXY: 127.0.0.1"),
}


@pytest.fixture
def client(embedded: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kube]:
    """A client by a kubeconfig that is like the lab's but for an edit, or whose text is given."""

    def make(change: Edit | str, context: str = CONTEXT) -> Kube:
        text = change if isinstance(change, str) else ""
        if not isinstance(change, str):
            config = yaml.safe_load(Path(embedded.kubeconfig).read_text())
            change(config)
            text = json.dumps(config).replace("{http}", embedded.kubernetes_url.replace("https", "http"))
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        for name in ("NO_PROXY", "no_proxy"):  # connecting to a lab sets them
            monkeypatch.delenv(name, raising=False)
        return Kube(context=context, hint="`kubectl config get-contexts`")

    return make


@pytest.mark.parametrize("case", CASES)
def test_each_failure_is_told_in_two_lines(
    case: str, client: Callable[..., Kube], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    change, said, todo = CASES[case]
    with pytest.raises(LabError) as caught:
        client(change).request("GET", "/version")
    assert said in caught.value.message
    assert todo in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2
    assert capfd.readouterr().err == ""
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_context_with_a_typo_names_a_similar_one_and_those_there_are(client: Callable[..., Kube]) -> None:
    with pytest.raises(LabError, match=r"There is no context 'falco-workshop.us-east-1.embedde' in") as caught:
        _ = client(lambda config: None, CONTEXT[:-1]).client
    assert caught.value.hint.startswith(f"Did you mean '{CONTEXT}'? Set LABKIT_CONTEXT")


def test_a_kubeconfig_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such")
    with pytest.raises(LabError, match="There is no kubeconfig: /no/such") as caught:
        _ = Kube(context="kind-lab").client
    assert caught.value.hint.endswith("`kind export kubeconfig --name lab`.")


@pytest.mark.parametrize(
    ("context", "again", "begin"),
    [
        ("kind-lab", "`kind export kubeconfig --name lab`", "`docker start lab-control-plane`"),
        ("k3d-lab", "`k3d kubeconfig merge lab --kubeconfig-merge-default`", "`k3d cluster start lab`"),
        ("minikube", "`minikube update-context`", "`minikube start`"),
        (
            "gke_proj_europe-west1_lab",
            "`gcloud container clusters get-credentials lab --location europe-west1 --project proj`",
            "",
        ),
        ("arn:aws:eks:eu-west-1:1:cluster/lab", "`aws eks update-kubeconfig --name lab --region eu-west-1`", ""),
        ("me@lab.eu-west-1.eksctl.io", "`aws eks update-kubeconfig --name lab --region eu-west-1`", ""),
        ("docker-desktop", "Restart docker-desktop", "Start docker-desktop"),
        ("mine", "", ""),
    ],
)
def test_the_program_that_made_a_cluster_makes_its_context_again(context: str, again: str, begin: str) -> None:
    assert (kubeconfigs.renewal(context), kubeconfigs.start(context)) == (again, begin)


def test_a_cluster_of_this_computer_that_is_stopped(client: Callable[..., Kube]) -> None:
    def stopped(config: dict[str, Any]) -> None:
        of_cluster(server="https://127.0.0.1:9")(config)
        config["contexts"][0]["name"] = "kind-lab"

    with pytest.raises(LabError, match="The cluster of context kind-lab isn't running") as caught:
        client(stopped, "kind-lab").request("GET", "/version")
    assert caught.value.hint == "`docker start lab-control-plane`."


def test_a_plugin_that_does_not_answer_is_given_up(
    client: Callable[..., Kube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfigs, "PATIENCE", 0.3)
    with pytest.raises(LabError, match=r"has not answered for 0\.3 s") as caught:
        _ = client(shell("sleep 2")).client
    assert "does it wait for a login" in caught.value.hint


def test_a_token_is_replaced_before_it_ends(client: Callable[..., Kube], embedded: Endpoints, tmp_path: Path) -> None:
    good = yaml.safe_load(Path(embedded.kubeconfig).read_text())["users"][0]["user"]["token"]
    known = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential"}
    credential = json.dumps({**known, "status": {"token": good, "expirationTimestamp": "$ends"}}).replace('"', '\\"')
    count = tmp_path / "count"
    soon = "ends=$(date -u -d '+1 minute' +%Y-%m-%dT%H:%M:%SZ)"
    kube = client(shell(f'echo x >> {count}; {soon}; echo "{credential}"'))
    for _ in range(3):
        kube.request("GET", "/version")
    assert len(count.read_text().split()) >= 3  # it ends in a minute, and so is asked for again each time


def test_in_a_terminal_a_plugin_says_itself_what_is_wrong() -> None:
    error = kubeconfigs.plugin_error("'NoneType' object has no attribute 'strip'", "kind-lab")
    assert error.message == "The credential plugin of the kubeconfig context 'kind-lab' failed: what it said is above."


def test_a_caller_that_a_cluster_does_not_know_is_told_what_lets_it_in(api: Any) -> None:
    api.answers["GET /version"] = (401, {"message": "Unauthorized", "reason": "Unauthorized"})
    kube = api.kube(unauthorized=lambda: "`aws eks create-access-entry`")
    with pytest.raises(KubernetesError, match="Unauthorized") as caught:
        kube.request("GET", "/version")
    assert caught.value.hint == "`aws eks create-access-entry`"
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=20)
    api.date = f"{ahead:%a, %d %b %Y %H:%M:%S} GMT"
    with pytest.raises(KubernetesError, match="Unauthorized") as caught:
        kube.request("GET", "/version")
    assert caught.value.hint.startswith("Set this computer's clock, which is 20 min slow")


def test_a_request_without_credentials_that_is_refused(api: Any) -> None:
    api.answers["GET /api/v1/nodes"] = (403, {"message": 'nodes is forbidden: User "system:anonymous" cannot list'})
    with pytest.raises(KubernetesError, match="anonymous") as caught:
        api.kube().request("GET", "/api/v1/nodes")
    assert "gives no credentials to this context's user" in caught.value.hint


def test_that_no_certificate_is_checked_is_said_once(
    client: Callable[..., Kube], capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    def unverified(config: dict[str, Any]) -> None:
        of_cluster(**{"insecure-skip-tls-verify": True})(config)
        config["clusters"][0]["cluster"].pop("certificate-authority", None)

    for _ in range(2):
        kube = client(unverified)
        assert kube.request("GET", "/version")["major"] == "1"
        assert kube.request("GET", "/version")["major"] == "1"
    assert "".join(capsys.readouterr()).count("insecure-skip-tls-verify: the certificate of") == 1
    assert [str(warning.message) for warning in recwarn if "nverified" in str(warning.message)] == []


@pytest.mark.parametrize(("said", "told"), [("certificate has expired", "ended"), ("is not yet valid", "yet")])
def test_a_certificate_or_a_clock_that_is_wrong(said: str, told: str) -> None:
    error = ssl.SSLCertVerificationError(f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {said}")
    message, hint = kubeconfigs.silence(error, "https://x:1", "kind-lab")
    assert told in message
    assert "clock right (`date`)? Else" in hint


def test_a_certificate_that_has_ended_is_told(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    for days, said in ((1, "2026-01-03"), (365_000, "")):
        made = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=days))
        signed = made.sign(key, hashes.SHA256())
        (tmp_path / "c.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        assert kubeconfigs.certificate_ended(str(tmp_path / "c.pem")) == said
    assert kubeconfigs.certificate_ended("/no/such") == ""
