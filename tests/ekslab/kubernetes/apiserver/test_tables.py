"""The cells that `kubectl get` prints of each kind."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.apiserver.tables import pod_status, table
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Resource
from ekslab.kubernetes.objects.timestamps import parse

BORN = "2026-11-23T04:00:00Z"
NOW = parse("2026-11-23T04:05:00Z")
META = {"name": "x", "creationTimestamp": BORN}
TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}


def printed(resource: Resource, obj: dict[str, Any]) -> dict[str, str]:
    """The row of an object, by the headers of its columns."""
    made = table(resource, [{"metadata": META, **obj}], NOW, include="None", revision="7")
    (row,) = made["rows"]
    return dict(zip((column["name"] for column in made["columnDefinitions"]), row["cells"], strict=True))


WIDE = {"Containers": "a,b", "Images": "i:1,j:2", "Selector": "app=web"}


@pytest.mark.parametrize(
    ("resource", "obj", "cells"),
    [
        (
            r.DEPLOYMENTS,
            {
                "spec": {"replicas": 3, "template": TEMPLATE, "selector": SELECTOR},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 0},
            },
            {"Name": "x", "Ready": "1/3", "Up-to-date": "2", "Available": "0", "Age": "5m", **WIDE},
        ),
        (
            r.REPLICA_SETS,
            {
                "spec": {"replicas": 3, "template": TEMPLATE, "selector": SELECTOR},
                "status": {"replicas": 2, "readyReplicas": 1},
            },
            {"Name": "x", "Desired": "3", "Current": "2", "Ready": "1", "Age": "5m", **WIDE},
        ),
        (
            r.DAEMON_SETS,
            {
                "spec": {
                    "template": {"spec": {**TEMPLATE["spec"], "nodeSelector": {"b": "2", "a": "1"}}},
                    "selector": SELECTOR,
                },
                "status": {
                    "desiredNumberScheduled": 5,
                    "currentNumberScheduled": 4,
                    "numberReady": 3,
                    "updatedNumberScheduled": 2,
                    "numberAvailable": 1,
                },
            },
            {
                "Name": "x", "Desired": "5", "Current": "4", "Ready": "3", "Up-to-date": "2", "Available": "1",
                "Node Selector": "a=1,b=2", "Age": "5m", **WIDE,
            },
        ),
        (
            r.JOBS,
            {
                "spec": {"completions": 2, "template": TEMPLATE, "selector": SELECTOR},
                "status": {
                    "startTime": BORN, "completionTime": "2026-11-23T04:01:05Z", "succeeded": 2,
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            {"Name": "x", "Status": "Complete", "Completions": "2/2", "Duration": "65s", "Age": "5m", **WIDE},
        ),
        (
            r.JOBS,
            {"spec": {"template": TEMPLATE, "selector": SELECTOR},
             "status": {"startTime": BORN, "conditions": [{"type": "Failed", "status": "True"}]}},
            {"Name": "x", "Status": "Failed", "Completions": "0/1", "Duration": "5m", "Age": "5m", **WIDE},
        ),
        (
            r.JOBS,
            {"spec": {"template": TEMPLATE, "selector": SELECTOR}, "status": {}},
            {"Name": "x", "Status": "Running", "Completions": "0/1", "Duration": "", "Age": "5m", **WIDE},
        ),
        (
            r.SERVICES,
            {"spec": {"type": "NodePort", "clusterIP": "10.100.0.9", "selector": {"b": "2", "a": "1"},
                      "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}},
            {"Name": "x", "Type": "NodePort", "Cluster-IP": "10.100.0.9", "External-IP": "<none>",
             "Port(s)": "80:30080/TCP,53/UDP", "Age": "5m", "Selector": "a=1,b=2"},
        ),
        (
            r.SERVICES,
            {"spec": {"type": "LoadBalancer", "clusterIP": "10.100.0.9"}},
            {"Name": "x", "Type": "LoadBalancer", "Cluster-IP": "10.100.0.9", "External-IP": "<pending>",
             "Port(s)": "<none>", "Age": "5m", "Selector": "<none>"},
        ),
        (
            r.SERVICES,
            {"spec": {"type": "ExternalName", "externalName": "example.com"}},
            {"Name": "x", "Type": "ExternalName", "Cluster-IP": "<none>", "External-IP": "example.com",
             "Port(s)": "<none>", "Age": "5m", "Selector": "<none>"},
        ),
        (
            r.NODES,
            {
                "metadata": {**META, "labels": {"node-role.kubernetes.io/b": "", "node-role.kubernetes.io/a": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "False"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.1.23"}],
                    "nodeInfo": {"kubeletVersion": "v1", "osImage": "os", "kernelVersion": "6",
                                 "containerRuntimeVersion": "c"},
                },
            },
            {"Name": "x", "Status": "NotReady,SchedulingDisabled", "Roles": "a,b", "Age": "5m", "Version": "v1",
             "Internal-IP": "10.0.1.23", "External-IP": "<none>", "OS-Image": "os", "Kernel-Version": "6",
             "Container-Runtime": "c"},
        ),
        (
            r.EVENTS,
            {
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"},
                "source": {"component": "kubelet", "host": "n1"}, "type": "Normal", "reason": "Pulled",
                "message": " said\n", "count": 3, "firstTimestamp": BORN, "lastTimestamp": "2026-11-23T04:04:00Z",
            },
            {"Last Seen": "60s (x3 over 5m)", "Type": "Normal", "Reason": "Pulled", "Object": "pod/p",
             "Subobject": "spec", "Source": "kubelet, n1", "Message": "said", "First Seen": "5m", "Count": "3",
             "Name": "x"},
        ),
        (
            r.EVENTS,
            {"involvedObject": {}, "reportingComponent": "me", "eventTime": BORN, "count": 1},
            {"Last Seen": "5m", "Type": "", "Reason": "", "Object": "/", "Subobject": "", "Source": "me",
             "Message": "", "First Seen": "5m", "Count": "1", "Name": "x"},
        ),
        (r.NAMESPACES, {"status": {"phase": "Active"}}, {"Name": "x", "Status": "Active", "Age": "5m"}),
        (r.CONFIG_MAPS, {"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}, {"Name": "x", "Data": "3", "Age": "5m"}),
        (r.SECRETS, {"type": "Opaque", "data": {"a": ""}}, {"Name": "x", "Type": "Opaque", "Data": "1", "Age": "5m"}),
        (r.SERVICE_ACCOUNTS, {"secrets": [{}]}, {"Name": "x", "Secrets": "1", "Age": "5m"}),
        (
            r.ENDPOINTS,
            {"subsets": [{"ports": [{"port": 80}], "addresses": [{"ip": f"10.0.0.{n}"} for n in range(5)]}]},
            {"Name": "x", "Endpoints": "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more...", "Age": "5m"},
        ),
        (r.ENDPOINTS, {}, {"Name": "x", "Endpoints": "<none>", "Age": "5m"}),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv4", "ports": [{"port": 80}, {"port": 81}],
             "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(4)]},
            {"Name": "x", "AddressType": "IPv4", "Ports": "80,81",
             "Endpoints": "10.0.0.0,10.0.0.1,10.0.0.2 + 1 more...", "Age": "5m"},
        ),
        (
            r.ENDPOINT_SLICES,
            {"addressType": "IPv4"},
            {"Name": "x", "AddressType": "IPv4", "Ports": "<unset>", "Endpoints": "<unset>", "Age": "5m"},
        ),
        (
            r.ROLE_BINDINGS,
            {"roleRef": {"kind": "Role", "name": "reader"},
             "subjects": [{"kind": "User", "name": "bob"}, {"kind": "Group", "name": "g"},
                          {"kind": "ServiceAccount", "name": "robot", "namespace": "n"}]},
            {"Name": "x", "Role": "Role/reader", "Age": "5m", "Users": "bob", "Groups": "g",
             "ServiceAccounts": "n/robot"},
        ),
        (r.ROLES, {}, {"Name": "x", "Created At": BORN}),
        (
            r.CONTROLLER_REVISIONS,
            {"metadata": {**META, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d"}]},
             "revision": 4},
            {"Name": "x", "Controller": "daemonset.apps/d", "Revision": "4", "Age": "5m"},
        ),
        (r.LEASES, {"spec": {"holderIdentity": "me"}}, {"Name": "x", "Holder": "me", "Age": "5m"}),
        (
            r.NETWORK_POLICIES,
            {"spec": {"podSelector": SELECTOR}},
            {"Name": "x", "Pod-Selector": "app=web", "Age": "5m"},
        ),
        (
            r.POD_DISRUPTION_BUDGETS,
            {"spec": {"minAvailable": 1}, "status": {"disruptionsAllowed": 2}},
            {"Name": "x", "Min Available": "1", "Max Unavailable": "N/A", "Allowed Disruptions": "2", "Age": "5m"},
        ),
        (
            r.INGRESSES,
            {"spec": {"ingressClassName": "alb", "rules": [{"host": "a.example"}, {}], "tls": [{}]}},
            {"Name": "x", "Class": "alb", "Hosts": "a.example,*", "Address": "", "Ports": "80, 443", "Age": "5m"},
        ),
        (
            r.INGRESSES,
            {"spec": {}},
            {"Name": "x", "Class": "<none>", "Hosts": "*", "Address": "", "Ports": "80", "Age": "5m"},
        ),
        (
            r.PRIORITY_CLASSES,
            {"value": 5, "globalDefault": True},
            {"Name": "x", "Value": "5", "Global-Default": "true", "Age": "5m",
             "PreemptionPolicy": "PreemptLowerPriority"},
        ),
        (
            r.PERSISTENT_VOLUME_CLAIMS,
            {"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}, "status": {"phase": "Pending"}},
            {"Name": "x", "Status": "Pending", "Volume": "", "Capacity": "", "Access Modes": "", "StorageClass": "",
             "VolumeAttributesClass": "<unset>", "Age": "5m", "VolumeMode": "Filesystem"},
        ),
    ],
)  # fmt: skip
def test_cells(resource: Resource, obj: dict[str, Any], cells: dict[str, str]) -> None:
    assert printed(resource, obj) == cells


def test_columns_of_wide_tables_have_a_lower_priority() -> None:
    columns = table(r.PODS, [], NOW, include="None", revision="7")["columnDefinitions"]
    assert {column["name"]: column["priority"] for column in columns} == {
        "Name": 0, "Ready": 0, "Status": 0, "Restarts": 0, "Age": 0, "IP": 1, "Node": 1, "Nominated Node": 1,
        "Readiness Gates": 1,
    }  # fmt: skip


def test_what_goes_with_each_row() -> None:
    obj = {"metadata": META, "data": {}}
    rows = [
        table(r.CONFIG_MAPS, [obj], NOW, include=which, revision="7")["rows"][0] for which in ("Object", "Metadata")
    ]
    assert rows[0]["object"] == obj
    assert rows[1]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": META,
    }
    assert "object" not in table(r.CONFIG_MAPS, [obj], NOW, include="None", revision="7")["rows"][0]


def container(state: dict[str, Any], *, ready: bool = False, restarts: int = 0, ended: str = "") -> dict[str, Any]:
    last = {"terminated": {"finishedAt": ended}} if ended else {}
    return {"state": state, "ready": ready, "restartCount": restarts, "lastState": last}


CRASHING = {"waiting": {"reason": "CrashLoopBackOff"}}
UP = {"running": {"startedAt": BORN}}
RUNNING = container(UP, ready=True)
READY = [{"type": "Ready", "status": "True"}]


def ended(code: int, reason: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **({"reason": reason} if reason else {})}}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Pending"}, ("Pending", 0, 0)),
        ({"phase": "Failed", "reason": "Evicted"}, ("Evicted", 0, 0)),
        ({"phase": "Running", "containerStatuses": [RUNNING, RUNNING]}, ("Running", 2, 0)),
        (
            {"phase": "Running", "containerStatuses": [container(CRASHING, restarts=2), RUNNING]},
            ("CrashLoopBackOff", 1, 2),
        ),
        ({"phase": "Failed", "containerStatuses": [container(ended(3))]}, ("ExitCode:3", 0, 0)),
        ({"phase": "Failed", "containerStatuses": [container(ended(3, "Error"))]}, ("Error", 0, 0)),
        (
            {"phase": "Running", "conditions": READY, "containerStatuses": [container(ended(0, "Completed")), RUNNING]},
            ("Running", 1, 0),
        ),
        (
            {"phase": "Running", "containerStatuses": [container(ended(0, "Completed")), RUNNING]},
            ("NotReady", 1, 0),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container(ended(0), restarts=1), container(UP)]},
            ("Init:1/2", 0, 1),
        ),
        ({"phase": "Pending", "initContainerStatuses": [container(ended(1, "Error"))]}, ("Init:Error", 0, 0)),
        ({"phase": "Pending", "initContainerStatuses": [container(ended(1))]}, ("Init:ExitCode:1", 0, 0)),
        (
            {"phase": "Pending", "initContainerStatuses": [container({"waiting": {"reason": "ImagePullBackOff"}})]},
            ("Init:ImagePullBackOff", 0, 0),
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container({"waiting": {"reason": "PodInitializing"}})]},
            ("Init:0/2", 0, 0),
        ),
    ],
)  # fmt: skip
def test_the_status_word_of_a_pod(status: dict[str, Any], shown: tuple[str, int, int]) -> None:
    spec = {"containers": [{}, {}], "initContainers": [{}, {}]}
    word, ready, total, restarts, _ = pod_status({"metadata": {}, "spec": spec, "status": status})
    assert (word, ready, restarts) == shown
    assert total == 2
    dying = {"deletionTimestamp": BORN}
    over = status.get("phase") in ("Succeeded", "Failed")
    assert pod_status({"metadata": dying, "spec": spec, "status": status})[0] == (word if over else "Terminating")


@pytest.mark.parametrize(
    ("started", "ready", "main", "shown"),
    [
        (False, False, {"waiting": {"reason": "PodInitializing"}}, ("Init:1/3", 0, 5, "2026-11-23T04:02:00Z")),
        (True, False, {"waiting": {"reason": "PodInitializing"}}, ("Init:2/3", 0, 5, "2026-11-23T04:02:00Z")),
        (True, True, {"running": {}}, ("Running", 2, 3, "2026-11-23T04:01:00Z")),
        (True, False, {"running": {}}, ("Running", 1, 3, "2026-11-23T04:01:00Z")),
    ],
)
def test_sidecars_count_among_the_containers(started, ready, main, shown):
    names = ("first", "side", "last")
    spec = {"containers": [{"name": "main"}], "initContainers": [{"name": name} for name in names]}
    spec["initContainers"][1]["restartPolicy"] = "Always"
    over = {"terminated": {"exitCode": 0, "reason": "Completed"}}

    def once(time: str) -> dict[str, Any]:
        return {"lastState": {"terminated": {"finishedAt": time}}}

    initialized = "running" in main
    status = {
        "phase": "Running" if initialized else "Pending",
        "initContainerStatuses": [
            {"name": "first", "restartCount": 2, "state": over, **once("2026-11-23T04:02:00Z")},
            {"name": "side", "restartCount": 3, "started": started, "ready": ready, "state": {"running": {}},
             **once("2026-11-23T04:01:00Z")},
            {"name": "last", "restartCount": 0, "state": over if initialized else {"running": {}}},
        ],
        "containerStatuses": [{"name": "main", "restartCount": 0, "ready": initialized, "state": main}],
    }  # fmt: skip
    word, count, total, restarts, last = pod_status({"metadata": {}, "spec": spec, "status": status})
    assert (word, count, restarts, last) == shown
    assert total == 2


def test_restarts_are_shown_with_the_time_of_the_last() -> None:
    statuses = [
        container(UP, ready=True, restarts=1, ended="2026-11-23T04:02:00Z"),
        container(UP, ready=True, restarts=2, ended="2026-11-23T04:04:00Z"),
    ]
    spec = {"containers": [{}, {}], "nodeName": "n1", "readinessGates": [{}]}
    pod = {"spec": spec, "status": {"phase": "Running", "podIP": "10.0.1.5", "containerStatuses": statuses}}
    assert printed(r.PODS, pod) == {
        "Name": "x", "Ready": "2/2", "Status": "Running", "Restarts": "3 (60s ago)", "Age": "5m", "IP": "10.0.1.5",
        "Node": "n1", "Nominated Node": "<none>", "Readiness Gates": "0/1",
    }  # fmt: skip
