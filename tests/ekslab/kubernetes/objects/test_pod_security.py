"""Pod Security levels refuse what they should, in the words of the admission controller."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.objects.pod_security import is_tighter, level, violating, violations, wrong_labels

HARMLESS = {"containers": [{"name": "c", "image": "i"}]}
CAREFUL = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def test_privileged_allows_everything():
    assert violations({"hostPID": True, **HARMLESS}, "privileged") == []


def test_baseline_names_each_thing():
    spec = {
        "hostNetwork": True,
        "hostPID": True,
        "volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/var"}}],
        "containers": [
            {"name": "c", "securityContext": {"privileged": True, "capabilities": {"add": ["SYS_ADMIN"]}}},
            {"name": "d", "securityContext": {"privileged": True}},
        ],
    }
    assert violations(spec, "baseline") == [
        'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        "host namespaces (hostNetwork=true, hostPID=true)",
        'hostPath volumes (volumes "a", "b")',
        'privileged (containers "c", "d" must not set securityContext.privileged=true)',
    ]


def test_baseline_allows_an_ordinary_pod():
    assert violations(HARMLESS, "baseline") == []


def test_restricted_says_what_an_ordinary_pod_lacks():
    assert violations(HARMLESS, "restricted") == [
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")',
    ]


def test_restricted_allows_a_careful_pod():
    assert violations(CAREFUL, "restricted") == []


def careful(container: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that is allowed at every level, changed."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} | (container or {})
    base = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"securityContext": base | (pod or {}), "containers": [{"name": "c", "securityContext": security}], **spec}


UNCONFINED = {"seccompProfile": {"type": "Unconfined"}}
FORBIDDEN_OPTIONS = "set forbidden securityContext.seLinuxOptions"
MUST_SECCOMP = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
NOT_UNCONFINED = 'must not set securityContext.seccompProfile.type to "Unconfined"'


@pytest.mark.parametrize(
    ("spec", "wanted", "said"),
    [
        (careful(hostIPC=True), "baseline", "host namespaces (hostIPC=true)"),
        (careful(UNCONFINED), "baseline", f'seccompProfile (container "c" {NOT_UNCONFINED})'),
        (careful(pod=UNCONFINED), "baseline", f"seccompProfile (pod {NOT_UNCONFINED})"),
        (careful(UNCONFINED, UNCONFINED), "baseline", f'seccompProfile (pod and container "c" {NOT_UNCONFINED})'),
        (careful(UNCONFINED), "restricted", f'seccompProfile (container "c" {NOT_UNCONFINED})'),
        (careful(pod={"seccompProfile": None}), "restricted", f'seccompProfile (pod or container "c" {MUST_SECCOMP})'),
        (
            careful({"allowPrivilegeEscalation": True}), "restricted",
            'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
        ),
        (
            careful({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "CHOWN"]}}), "restricted",
            'unrestricted capabilities (container "c" must not include "CHOWN", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            careful({"capabilities": {"add": ["BPF"]}}), "restricted",
            'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; '
            'container "c" must not include "BPF" in securityContext.capabilities.add)',
        ),
        (
            careful({"runAsNonRoot": False}), "restricted",
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            careful(pod={"runAsNonRoot": False}), "restricted",
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        (
            careful({"appArmorProfile": {"type": "Unconfined"}}), "restricted",
            'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            careful({"seLinuxOptions": {"type": "t", "role": "u"}}), "baseline",
            f'seLinuxOptions (container "c" {FORBIDDEN_OPTIONS}: type "t"; role may not be set)',
        ),
        (
            careful(pod={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "a"}]}),
            "baseline", "forbidden sysctls (kernel.msgmax, a)",
        ),
        (
            careful({"procMount": "Unmasked", "runAsUser": 0, "runAsNonRoot": False}, hostUsers=False), "restricted",
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (careful({"runAsUser": 0}), "restricted", 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            careful({"runAsUser": 0}, {"runAsUser": 0}), "restricted",
            'runAsUser=0 (pod and container "c" must not set runAsUser=0)',
        ),
        (
            careful(volumes=[{"name": "a", "nfs": {}}]), "restricted",
            'restricted volume types (volume "a" uses restricted volume type "nfs")',
        ),
        (
            careful(volumes=[{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "d", "emptyDir": {}}]),
            "restricted",
            'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")',
        ),
    ],
)  # fmt: skip
def test_each_rule_alone(spec: dict[str, Any], wanted: str, said: str) -> None:
    assert violations(spec, wanted) == [said]


def test_host_ports_are_counted() -> None:
    ports = [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81}]
    one = careful(containers=[{"name": "c", "ports": ports}])
    assert violations(one, "baseline") == ['hostPort (container "c" uses hostPort 80)']
    two = careful(containers=[{"name": "c", "ports": ports}, {"name": "d", "ports": ports}])
    assert violations(two, "baseline") == ['hostPort (containers "c", "d" use hostPort 80)']
    two["containers"][1]["ports"] = [{"containerPort": 80, "hostPort": 81}]
    assert violations(two, "baseline") == ['hostPorts (containers "c", "d" use hostPorts 80, 81)']


@pytest.mark.parametrize(
    "spec",
    [
        careful({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        careful({"runAsNonRoot": True}, {"runAsNonRoot": None}),
        careful({"seccompProfile": {"type": "Localhost"}}, {"seccompProfile": None}),
        careful({"runAsUser": 1000}),
        careful(volumes=[{"name": "a", "configMap": {}}, {"name": "b", "projected": {}}, {"name": "c", "secret": {}}]),
    ],
)
def test_what_restricted_allows(spec: dict[str, Any]) -> None:
    assert violations(spec, "restricted") == []


def test_init_containers_count() -> None:
    spec = careful(initContainers=[{"name": "i", "securityContext": {"privileged": True}}])
    assert violations(spec, "baseline") == ['privileged (container "i" must not set securityContext.privileged=true)']


def test_the_level_of_a_namespace() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.35"}
    assert level(labels, "enforce") == ("baseline", "v1.35")
    assert level(labels, "warn") == ("privileged", "latest")
    assert level({"pod-security.kubernetes.io/enforce": "typo"}, "enforce") == ("restricted", "latest")
    assert level({"pod-security.kubernetes.io/warn": "typo"}, "warn") == ("privileged", "latest")


def test_a_tightened_namespace_is_told_of_its_pods() -> None:
    spec = {"containers": [{"name": "c", "securityContext": {"privileged": True}}]}
    pods = [{"metadata": {"name": name}, "spec": spec} for name in ("b", "a", "d")]
    pods.append({"metadata": {"name": "e"}, "spec": {**spec, "hostPID": True}})
    assert violating("n", ("baseline", "latest"), pods) == [
        'existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): privileged",
        "e: host namespaces, privileged",
    ]
    assert violating("n", ("privileged", "latest"), pods) == []


@pytest.mark.parametrize(
    ("new", "old", "tighter"),
    [
        (("baseline", "latest"), ("privileged", "latest"), True),
        (("restricted", "latest"), ("baseline", "latest"), True),
        (("baseline", "v1.30"), ("baseline", "latest"), True),
        (("baseline", "latest"), ("restricted", "latest"), False),
        (("baseline", "latest"), ("baseline", "latest"), False),
        (("privileged", "v1.30"), ("privileged", "latest"), False),
    ],
)
def test_when_a_namespace_is_tightened(new: tuple[str, str], old: tuple[str, str], tighter: bool) -> None:
    assert is_tighter(new, old) is tighter


def test_labels_that_name_no_level_are_wrong() -> None:
    prefix = "pod-security.kubernetes.io/"
    labels = {f"{prefix}enforce": "foo", f"{prefix}warn": "baseline", f"{prefix}audit-version": "v2", "x": "y"}
    assert [(cause.field, cause.detail) for cause in wrong_labels(labels)] == [
        (f"metadata.labels[{prefix}enforce]", 'Invalid value: "foo": must be one of privileged, baseline, restricted'),
        (f"metadata.labels[{prefix}audit-version]", 'Invalid value: "v2": must be "latest" or "v1.x"'),
    ]


ANNOTATION = "container.apparmor.security.beta.kubernetes.io/c"


@pytest.mark.parametrize(
    ("is_pod", "said"),
    [
        # As kube-apiserver 1.35 answers for a pod, whose annotation it copies into the spec, and for a template.
        (True, 'profiles (container "c" and annotation must not set AppArmor profile type to "Unconfined", "'),
        (False, 'profile (annotation must not set AppArmor profile type to "'),
    ],
)
def test_an_app_armor_profile_can_be_in_an_annotation(is_pod: bool, said: str):
    found = violations(HARMLESS, "baseline", {ANNOTATION: "unconfined"}, is_pod=is_pod)
    assert found == [f'forbidden AppArmor {said}{ANNOTATION}="unconfined"")']


@pytest.mark.parametrize("profile", ["runtime/default", "localhost/falco"])
def test_other_app_armor_profiles_are_allowed(profile: str):
    assert violations(HARMLESS, "baseline", {ANNOTATION: profile}) == []
