"""What a container's security context becomes in the runtime's specification."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.kubelet.container_spec import container_spec
from ekslab.kubernetes.objects.store import Store


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, (False, False)),
        ({"readOnlyRootFilesystem": True}, (True, False)),
        ({"privileged": True}, (False, True)),
    ],
)
def test_a_security_context_reaches_the_runtime(context: dict[str, Any], expected: tuple[bool, bool]) -> None:
    container = {"name": "c", "image": "nginx", "securityContext": context}
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [container]},
        "status": {"podIP": "10.0.1.5"},
    }
    spec = container_spec(pod, container, sandbox_id="s", mounts=(), restarts=0, node_name="node", store=Store())
    assert (spec.read_only_root, spec.privileged) == expected
