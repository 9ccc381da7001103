"""Pod Security levels refuse what they should, in the words of the admission controller."""

from __future__ import annotations

from ekslab.kubernetes.objects.pod_security import violations

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
