"""Container logs: all of them, the end of them, and as they grow."""

from __future__ import annotations

import re

import pytest
from kubernetes.client.exceptions import ApiException


@pytest.fixture
def counter(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("counter", "count", "5"))
    eventually(lambda: core.read_namespaced_pod("counter", namespace).status.phase == "Running")
    eventually(lambda: "line 5" in core.read_namespaced_pod_log("counter", namespace))
    return "counter"


def test_all_lines_and_the_last_ones(core, namespace, counter):
    assert core.read_namespaced_pod_log(counter, namespace).splitlines() == [f"line {n}" for n in range(1, 6)]
    assert core.read_namespaced_pod_log(counter, namespace, tail_lines=2) == "line 4\nline 5\n"
    assert core.read_namespaced_pod_log(counter, namespace, tail_lines=0) == ""
    assert core.read_namespaced_pod_log(counter, namespace, limit_bytes=6) == "line 1"
    assert len(core.read_namespaced_pod_log(counter, namespace, since_seconds=60).splitlines()) == 5


def test_timestamps(core, namespace, counter):
    line = core.read_namespaced_pod_log(counter, namespace, timestamps=True, tail_lines=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 5\n", line)


def test_following_ends_with_the_container(core, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("f", "count", "3"))
    eventually(lambda: core.read_namespaced_pod("f", namespace).status.phase == "Running")
    response = core.read_namespaced_pod_log("f", namespace, follow=True, _preload_content=False)
    lines = []
    for chunk in response.stream():
        lines += chunk.decode().splitlines()
        if "line 3" in lines:
            core.delete_namespaced_pod("f", namespace)
    assert lines == ["line 1", "line 2", "line 3"]


def test_refusals(core, namespace, pod_manifest, counter, eventually):
    def refused(name, **options):
        with pytest.raises(ApiException) as error:
            core.read_namespaced_pod_log(name, namespace, **options)
        return error.value.body

    assert 'previous terminated container \\"main\\" in pod \\"counter\\" not found' in refused(counter, previous=True)
    assert "container other is not valid for pod counter" in refused(counter, container="other")
    pod = pod_manifest("two")
    pod["spec"]["containers"].append({"name": "side", "image": "nosuch:9"})
    core.create_namespaced_pod(namespace, pod)
    assert "a container name must be specified for pod two, choose one of: [main side]" in refused("two")
    eventually(lambda: "trying and failing to pull image" in refused("two", container="side"))
