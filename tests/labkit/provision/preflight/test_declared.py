"""What steps and chapters say that they need is what they call: nothing is missing, and nothing is spare."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from labkit import Lab
from labkit.aws import Aws
from labkit.helm import Helm
from labkit.kube import Kube
from labkit.kube.access import Access
from labkit.provision.falco import CHART_RESOURCES
from labkit.provision.parts import is_tagged
from labkit.provision.preflight import permissions
from labkit.provision.preflight.chapters import CHAPTERS, OPTIONAL, Chosen
from labkit.provision.steps import STEPS
from tests.end_to_end.test_policies import ACTIONS, FOR_MENDING, PREFIXES, WITH_OTHER_CALLS

ROOT = Path(__file__).parents[4]
# Declared for a wait that takes longer, for saying why it does, or what a server-side apply asks for besides `patch`.
NOT_ALWAYS = {"watch", "create"}
DIAGNOSIS = {
    ("get", "pods/log"),
    ("get", "nodes"),
    ("list", "nodes"),
    ("list", "events"),
    ("get", "pods"),
    ("list", "pods"),
}


def access_of(method: str, path: str, query: Any) -> Access | None:
    """What a request to the API server needs; None for discovery."""
    found = re.fullmatch(
        r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<ns>[^/]+)(?=/))?/(?P<what>[^/]+)"
        r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?",
        path,
    )
    if found is None:
        return None
    reads = "get" if found["name"] else "watch" if (query or {}).get("watch") else "list"
    verb = {"GET": reads, "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}[method]
    group, sub = (f".{found['group']}" if found["group"] else ""), (f"/{found['sub']}" if found["sub"] else "")
    return Access(verb, f"{found['what']}{group}{sub}", found["ns"] or "")


class Recorder:
    """The lab, and what a step calls in AWS and asks of the API server while it is worked with."""

    def __init__(self, lab: Lab) -> None:
        self.calls: set[str] = set()
        self.access: set[Access] = set()
        self.made: list[tuple[str, dict[str, Any]]] = []
        """Operations that take tags, with their parameters."""
        aws = Aws(lab.aws.region, hint="", endpoint=lab.aws._endpoint, keys=lab.aws._keys)
        aws.session.events.register("before-call", self._note)
        aws.session.events.register("before-parameter-build", self._note_tags)
        self.lab = Lab(replace(lab.target, aws=aws))
        request = lab.kube.request

        def noted(method: str, path: str, **more: Any) -> Any:
            access = access_of(method, path, more.get("query"))
            if access is not None:
                self.access.add(access)
            return request(method, path, **more)

        lab.kube.request = noted  # type: ignore[method-assign]
        self.end = lambda: setattr(lab.kube, "request", request)

    def _note(self, model: Any, **_: Any) -> None:
        prefix = model.service_model.signing_name
        self.calls.add(f"{PREFIXES.get(prefix, prefix)}:{ACTIONS.get(model.name, model.name)}")

    def _note_tags(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.input_shape is not None and {"tags", "Tags"} & set(model.input_shape.members):
            self.made.append((f"{model.service_model.service_name}:{model.name}", params))

    def taken(self) -> tuple[set[str], set[Access]]:
        taken = self.calls, self.access
        self.calls, self.access = set(), set()
        return taken


@pytest.fixture(scope="module")
def recorder(lab: Lab) -> Recorder:
    return Recorder(lab)


@pytest.fixture(scope="module")
def called(recorder: Recorder) -> dict[str, tuple[set[str], set[Access]]]:
    """By step, what it called when it was applied, looked at, applied again and undone."""
    return calls_of(recorder, STEPS.ORDER)


def calls_of(recorder: Recorder, names: Sequence[str]) -> dict[str, tuple[set[str], set[Access]]]:
    found: dict[str, tuple[set[str], set[Access]]] = {}
    target = recorder.lab.target
    for name in names:
        STEPS[name].apply(target)
        STEPS[name].status(target)
        STEPS[name].apply(target)
        found[name] = recorder.taken()
    target.ledger.path.unlink()  # tags and labels tell then what is the lab's
    for name in reversed(names):
        STEPS[name].undo(target)
        calls, access = recorder.taken()
        found[name] = found[name][0] | calls, found[name][1] | access
    recorder.end()
    return found


def actions(lab: Lab, sids: Any) -> set[str]:
    table = permissions.statements(lab.target)
    return {action for sid in sids for action in table[sid].actions}


# Where what is there differs from what the step makes, and where findings are to be archived.
ELSEWHERE = {
    "eks:DescribeCluster",
    "eks-auth:AssumeRoleForPodIdentity",
    "iam:UpdateAssumeRolePolicy",
    "securityhub:BatchUpdateFindings",
}


@pytest.mark.parametrize("name", STEPS.ORDER)
def test_what_a_step_calls_in_aws_is_what_its_statements_allow(lab: Lab, called: Any, name: str) -> None:
    assert_exact(lab, name, called[name][0])


@pytest.mark.parametrize("identity", ["pod-identity"])
def test_so_they_do_with_other_settings(lab: Lab, identity: str) -> None:
    other = Lab(replace(lab.target, settings=replace(lab.settings, identity=identity)))
    names = ("oidc-provider", "log-group", "fluent-bit-role", "fluent-bit")
    recorder = Recorder(other)
    for name, (calls, _) in calls_of(recorder, names).items():
        assert_exact(other, name, calls)
    assert_tagged(recorder)


def assert_exact(lab: Lab, name: str, calls: set[str]) -> None:
    allowed = actions(lab, STEPS[name].statements(lab.target))
    needed = actions(lab, {sid for step in STEPS.with_needs([name]) for sid in step.statements(lab.target)})
    assert calls - {"sts:GetCallerIdentity"} - needed == set(), name
    assert allowed - calls - FOR_MENDING - WITH_OTHER_CALLS - ELSEWHERE == set(), name


def assert_tagged(recorder: Recorder) -> None:
    untagged = [name for name, p in recorder.made if not is_tagged(p.get("tags") or p.get("Tags") or {})]
    assert untagged == []


def test_everything_that_can_have_tags_is_made_with_the_workshops(called: Any, recorder: Recorder) -> None:
    assert_tagged(recorder)
    assert {name for name, _ in recorder.made} == {
        *("iam:CreateOpenIDConnectProvider", "iam:CreateRole", "logs:CreateLogGroup", "cloudwatch:PutMetricAlarm"),
        "cloudwatch:PutDashboard",
        *("sns:CreateTopic", "sqs:CreateQueue", "lambda:CreateFunction", "securityhub:EnableSecurityHub"),
    }


@pytest.mark.parametrize("name", STEPS.ORDER)
def test_what_a_step_asks_of_the_cluster_is_what_its_parts_declare(lab: Lab, called: Any, name: str) -> None:
    declared = {access for part in STEPS[name].parts(lab.target) for access in part.access(lab.target)}
    asked = called[name][1]
    if name == "fluent-bit":  # it looks whether its account has its role, which the step before has made
        asked = asked - {Access("get", "serviceaccounts", "logging")}
    assert asked - declared == set()
    of_helm = {*CHART_RESOURCES, "secrets"} if name in ("falco", "custom-rules") else set()
    spare = {
        access
        for access in declared - asked
        if access.verb not in NOT_ALWAYS
        and (access.verb, access.resource) not in DIAGNOSIS
        and access.resource not in of_helm
        # A namespace that another step needs, too, is deleted by the last of them.
        and not (access.resource == "namespaces" or (access.verb == "list" and name == "canary"))
    }
    assert spare <= {
        Access("list", "deployments.apps", "default"),
        Access("delete", "pods", "falco"),
        *_lists(declared),
    }


def _lists(declared: set[Access]) -> set[Access]:
    """Lists of what is waited for to go: asked for if it isn't gone at once."""
    return {access for access in declared if access.verb == "list"}


def test_every_statement_belongs_to_a_step_or_a_chapter(lab: Lab) -> None:
    used = {sid for step in STEPS for sids in (step.allowed, *step.allowed_by_form.values()) for sid in sids}
    used |= {sid for chapter in CHAPTERS.values() for sid in chapter.allowed}
    assert set(permissions.statements(lab.target)) == used | set(OPTIONAL)
    sids = [
        s["Sid"]
        for f in (ROOT / "manifests/iam").glob("workshop-*.json")
        for s in json.loads(f.read_text())["Statement"]
    ]
    assert len(sids) == len(set(sids))


def test_what_a_notebook_calls_itself_its_chapter_allows(lab: Lab) -> None:
    services = {"servicequotas": "service-quotas"}
    methods: dict[str, set[str]] = {}
    for service in {action.partition(":")[0] for action in actions(lab, permissions.statements(lab.target))}:
        client = boto3.client(services.get(service, service), region_name="us-east-1")
        for method, operation in client.meta.method_to_api_mapping.items():
            methods.setdefault(method, set()).add(f"{service}:{ACTIONS.get(operation, operation)}")
    seen = 0
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        allowed = actions(lab, Chosen.of(lab.target, [path.name[:2]]).allowed)
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] != "code" or source.startswith("%%"):
                continue
            for call in ast.walk(ast.parse(source)):
                name = getattr(call.func, "attr", "") if isinstance(call, ast.Call) else ""
                if name in methods and name != "get_caller_identity":
                    seen += 1
                    assert methods[name] & allowed, f"{path.name}: {name}"
    assert seen > 5


def test_a_person_with_what_is_declared_and_no_more_can_do_all_of_it(lab: Lab, tmp_path: Path) -> None:
    person = restricted(lab, tmp_path, Chosen.of(lab.target).access)
    person.ensure()
    assert {state for _, state, _ in person.status().rows} == {"applied"}
    assert person.exec("deploy/nginx", "whoami").stdout == "root\n"
    assert person.pods("default")
    assert not person.falco_rules().empty
    (finding,) = permissions.in_cluster(Chosen.of(person.target))
    assert (finding.result, finding.found.endswith("is granted")) == ("ok", True)
    person.teardown()
    assert person.audit().clean


def test_what_is_not_granted_is_told(lab: Lab, tmp_path: Path) -> None:
    missing = {access for access in Chosen.of(lab.target).access if access.resource == "pods/exec"}
    person = restricted(lab, tmp_path, Chosen.of(lab.target).access - missing)
    (finding,) = permissions.in_cluster(Chosen.of(person.target))
    assert (finding.result, finding.found) == (
        "blocker",
        "may not create, get pods/exec in default, create, get pods/exec in falco",
    )


def restricted(lab: Lab, folder: Path, granted: set[Access]) -> Lab:
    """The lab for a service account that has been granted some access, in all namespaces."""
    rules = [
        {
            "apiGroups": [access.attributes["group"]],
            "resources": [
                access.attributes["resource"]
                + "/" * bool(access.attributes["subresource"])
                + access.attributes["subresource"]
            ],
            "verbs": [access.verb],
        }
        for access in sorted(granted)
    ]
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": "kube-system"}
    rbac = "rbac.authorization.k8s.io"
    lab.kube.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "person", "namespace": "kube-system"}},
            {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "person"}, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "person"},
                "roleRef": {"kind": "ClusterRole", "name": "person", "apiGroup": rbac},
                "subjects": [subject],
            },
        ]
    )
    path = "/api/v1/namespaces/kube-system/serviceaccounts/person/token"
    token = lab.kube.request("POST", path, body={"spec": {"expirationSeconds": 3600}})["status"]["token"]
    assert lab.kube.kubeconfig is not None
    config = yaml.safe_load(lab.kube.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    helm = Helm(program=lab.helm._program, kubeconfig=file, notes=folder / "helm.lock", shared=False)
    return Lab(replace(lab.target, kube=Kube(kubeconfig=file), helm=helm))
