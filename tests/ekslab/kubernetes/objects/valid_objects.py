"""Objects that the API server takes: for each kind a plain one, and what else may be in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_LABELS = {"app": "web"}
_CONTAINER = {"name": "main", "image": "toolbox:1"}
_POD = {"containers": [_CONTAINER]}
_TEMPLATE = {"metadata": {"labels": _LABELS}, "spec": _POD}
_SELECTOR = {"matchLabels": _LABELS}
_HTTP = {"httpGet": {"port": 80}}
_EXIT_CODES = {"operator": "In", "values": [1, 2], "containerName": "main"}
_SECURITY = "pod-security.kubernetes.io/"
_BACKEND = {"service": {"name": "web", "port": {"number": 80}}}

BASES: dict[str, Object] = {
    "Pod": {"apiVersion": "v1", "spec": _POD},
    "Deployment": {"apiVersion": "apps/v1", "spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "ReplicaSet": {"apiVersion": "apps/v1", "spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "DaemonSet": {"apiVersion": "apps/v1", "spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "Job": {"apiVersion": "batch/v1", "spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
    "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}},
    "ConfigMap": {"apiVersion": "v1"},
    "Secret": {"apiVersion": "v1"},
    "ServiceAccount": {"apiVersion": "v1"},
    "Namespace": {"apiVersion": "v1"},
    "PersistentVolumeClaim": {
        "apiVersion": "v1",
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "Role": {"apiVersion": f"{_RBAC}/v1"},
    "ClusterRole": {"apiVersion": f"{_RBAC}/v1"},
    "RoleBinding": {"apiVersion": f"{_RBAC}/v1", "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": "r"}},
    "ClusterRoleBinding": {
        "apiVersion": f"{_RBAC}/v1",
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "r"},
    },
    "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
    "Ingress": {"apiVersion": "networking.k8s.io/v1", "spec": {"defaultBackend": _BACKEND}},
    "PodDisruptionBudget": {"apiVersion": "policy/v1", "spec": {"selector": _SELECTOR, "minAvailable": 1}},
    "PriorityClass": {"apiVersion": "scheduling.k8s.io/v1", "value": 1000},
}
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass")

_NAMES = ["a", "a1", "a-b", "web-7d4b9c6f5-x2x7k", "n" * 63]
_NAMES_WITH_DOTS = ["1a", "0", "a.b", "a--b.c", f"{'n' * 63}.{'m' * 63}.example.com", "n" * 253]
_METADATA: list[Object] = [
    {"labels": {key: "v"}}
    for key in ("a", "A", "1", "a.b_c-d", "example.com/a", "a.b.c/D_e.f", "x" * 63, f"{'p' * 63}.com/{'x' * 63}")
]
_METADATA += [{"labels": {"a": value}} for value in ("", "v", "V1.2_3-4", "1", "true", "x" * 63, "0.0", "a--b", "a..b")]
_METADATA += [{"labels": {f"l{number}": "v" for number in range(count)}} for count in (2, 10, 100)]
_METADATA += [{"annotations": {"a": "x" * length}, "labels": {"a": "x" * min(length, 63)}} for length in range(1, 20)]
_METADATA += [{"annotations": {f"example.com/{key}": "v"}} for key in ("a", "a.b", "a_b", "A-B", "1", "x" * 63)]
_METADATA += [
    {"annotations": {key: value}}
    for key, value in (
        ("a", ""), ("A.b/C", "text"), ("example.com/UPPER", "{\"json\": [1]}"), ("note", "two\nlines, é, <&>"),
        ("big", "x" * 200_000), ("kubernetes.io/change-cause", "kubectl apply"),
    )
]  # fmt: skip
_METADATA += [
    {"finalizers": ["example.com/keep"]},
    {"finalizers": ["foregroundDeletion"]},
    {"finalizers": ["orphan", "example.com/a"]},
    {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]},
    {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}]},
    {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name} for name in "ab"]},
    {"generateName": "prefix-", "name": None},
    {"generateName": "a.b-", "name": None},
    {"labels": {}, "annotations": {}},
    {"creationTimestamp": None},
    {"managedFields": []},
]  # fmt: skip

_CONTAINER_VARIANTS: list[Object] = [
    {"livenessProbe": probe}
    for probe in (
        {**_HTTP, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1},
        {
            "httpGet": {
                "port": "http",
                "path": "/healthz",
                "scheme": "HTTPS",
                "httpHeaders": [{"name": "X-A", "value": ""}],
            }
        },
        {"tcpSocket": {"port": 65535}, "successThreshold": 1, "terminationGracePeriodSeconds": 1},
        {"exec": {"command": ["cat", "/tmp/ok"]}},
        {"grpc": {"port": 9000, "service": "x"}},
    )
]
_CONTAINER_VARIANTS += [
    {"readinessProbe": {**_HTTP, "successThreshold": 3}},
    {"startupProbe": {**_HTTP, "failureThreshold": 100}},
    {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}},
    {"lifecycle": {"postStart": _HTTP, "preStop": {"sleep": {"seconds": 5}}}},
    {"ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 80, "name": "http-2", "protocol": "UDP"}]},
    {"ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080, "protocol": "UDP"}]},
    {"ports": [{"containerPort": 53, "protocol": "SCTP"}]},
    {"env": [{"name": "A"}, {"name": "a.b-C_1", "value": "x"}, {"name": "1", "value": "$(A)"}, {"name": "with space"}]},
    *(
        {"env": [{"name": "A", "valueFrom": source}]}
        for source in (
            {"fieldRef": {"fieldPath": "metadata.name"}},
            {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
            {"fieldRef": {"fieldPath": "metadata.labels['a.b/c']"}},
            {"fieldRef": {"fieldPath": "metadata.annotations['A']"}},
            {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}},
            {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}},
            {"configMapKeyRef": {"name": "c", "key": "a.b_c-D", "optional": True}},
            {"secretKeyRef": {"name": "s", "key": ".key"}},
        )
    ),
    {"envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "P_", "secretRef": {"name": "s", "optional": True}}]},
    *(
        {"resources": resources}
        for resources in (
            {},
            {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "64Mi"}},
            {"requests": {"cpu": 0.5, "ephemeral-storage": "1Gi"}},
            {"limits": {"cpu": "0"}},
            {"limits": {"example.com/gpu": "2"}},
            {"requests": {"example.com/gpu": 2}, "limits": {"example.com/gpu": 2}},
            {"limits": {"hugepages-2Mi": "4Mi", "memory": "1e9"}},
        )
    ),
    {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]},
    {"imagePullPolicy": "Never", "command": ["sh"], "args": ["-c", ""], "workingDir": "/", "tty": True, "stdin": True},
    {"image": "registry.example.com:5000/team/app@sha256:" + "0" * 64},
    {"terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": "/tmp/log"},
    {"restartPolicy": "Always"},
    *(
        {"securityContext": context}
        for context in (
            {},
            {"privileged": True},
            {"privileged": False, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            {"runAsUser": 0, "runAsGroup": 2147483647, "runAsNonRoot": False, "readOnlyRootFilesystem": True},
            {"seccompProfile": {"type": "RuntimeDefault"}, "procMount": "Default"},
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
            {"appArmorProfile": {"type": "Unconfined"}, "seLinuxOptions": {"level": "s0"}},
        )
    ),
]
_VOLUMES: list[Object] = [
    {},
    {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"hostPath": {"path": "/var/run/x.sock", "type": "Socket"}},
    {"hostPath": {"path": "/a..b"}},
    {"configMap": {"name": "c", "items": [{"key": "k", "path": "a/b", "mode": 0}], "defaultMode": 511}},
    {"configMap": {"name": "c", "items": [{"key": "k", "path": "a..b/.c"}], "optional": True}},
    {"secret": {"secretName": "s", "defaultMode": 256}},
    {"persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {
        "downwardAPI": {
            "items": [{"path": "c", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}]
        }
    },
    {"projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}},
    {"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}], "defaultMode": 420}},
    {"nfs": {"server": "s", "path": "/"}},
    {"csi": {"driver": "Secrets-Store.csi.k8s.io", "readOnly": True}},
    {"ephemeral": {"volumeClaimTemplate": {"spec": BASES["PersistentVolumeClaim"]["spec"]}}},
    {"image": {"reference": "example.com/data:1"}},
]
_MOUNTS: list[Object] = [
    {"readOnly": True, "subPath": "a/b"},
    {"subPathExpr": "$(POD)"},
    {"mountPropagation": "HostToContainer"},
    {"mountPath": "relative"},
]
_POD_VARIANTS: list[Object] = [
    {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": 1},
    {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.2", "fd00::1"]}},
    {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
    {"dnsConfig": {"searches": ["_x.example.com.", "."], "options": [{"name": "ndots", "value": "2"}]}},
    {"hostNetwork": True, "hostPID": True, "hostIPC": True},
    {"hostNetwork": True, "containers": [{**_CONTAINER, "ports": [{"containerPort": 80}]}]},
    {"hostUsers": False, "containers": [{**_CONTAINER, "securityContext": {"procMount": "Unmasked"}}]},
    {"shareProcessNamespace": True, "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": True},
    {"nodeSelector": {"kubernetes.io/os": "linux"}, "schedulerName": "mine", "enableServiceLinks": False},
    {"serviceAccountName": "default", "automountServiceAccountToken": False, "imagePullSecrets": [{"name": "s"}]},
    {"securityContext": {"fsGroup": 0, "supplementalGroups": [1, 2], "fsGroupChangePolicy": "Always"}},
    {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}, {"name": "kernel/msgmax"}]}},
    {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}},
    {"initContainers": [{"name": "i", "image": "n", "command": ["true"]}, {**_CONTAINER, "name": "j"}]},
    {"initContainers": [{"name": "i", "image": "n", "restartPolicy": "Always", "startupProbe": _HTTP}]},
    {"containers": [_CONTAINER, {**_CONTAINER, "name": "side-car-2"}]},
    *(
        {"tolerations": [toleration]}
        for toleration in (
            {"operator": "Exists"},
            {"key": "a"},
            {"key": "example.com/a", "operator": "Equal", "value": "v", "effect": "NoSchedule"},
            {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1},
        )
    ),
    *(
        {"affinity": affinity}
        for affinity in (
            {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", ""]}]},
                {"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["1"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-1"]}]},
            ]}}},
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}},
            ]}},
            {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": _SELECTOR, "namespaces": ["default"], "matchLabelKeys": ["x"]},
            ]}},
            {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}},
            ]}},
        )
    ),
    {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2},
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "nodeTaintsPolicy": "Honor"},
    ]},
    {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b.example.com"]}, {"ip": "::1"}]},
    {"readinessGates": [{"conditionType": "example.com/ready"}], "schedulingGates": [{"name": "example.com/wait"}]},
    {"os": {"name": "linux"}, "preemptionPolicy": "PreemptLowerPriority"},
]  # fmt: skip


def _pods() -> Iterator[Object]:
    yield from _POD_VARIANTS
    for variant in _CONTAINER_VARIANTS:
        yield {"containers": [{**_CONTAINER, **variant}]}
    for source in _VOLUMES:
        yield {"volumes": [{"name": "v-1", **source}]}
    for mount in _MOUNTS:
        mounted = {**_CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}
        yield {"containers": [mounted], "volumes": [{"name": "v", "emptyDir": {}}]}


def _templated(kind: str) -> Iterator[Object]:
    """Variants of what has a pod template."""
    base = BASES[kind]["spec"]
    for variant in _pods():
        if kind != "Job" and variant.keys() & {"activeDeadlineSeconds"}:
            continue
        spec = {**base["template"]["spec"], **variant}
        yield {"spec": {**base, "template": {**base["template"], "spec": spec}}}


_OWN: dict[str, list[Object]] = {
    "Deployment": [
        {"replicas": 0}, {"paused": True, "revisionHistoryLimit": 0}, {"strategy": {"type": "Recreate"}},
        {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}, {"progressDeadlineSeconds": 1},
        {"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "0%"}}}, {"minReadySeconds": 5},
        {"strategy": {"rollingUpdate": {"maxSurge": "500%"}}},
        {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}},
    ],
    "ReplicaSet": [{"replicas": 0}, {"minReadySeconds": 1}],
    "DaemonSet": [
        {"updateStrategy": {"type": "OnDelete"}}, {"revisionHistoryLimit": 0}, {"minReadySeconds": 1},
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}}},
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "50%"}}},
    ],
    "Job": [
        {"parallelism": 0}, {"parallelism": 2}, {"completions": 3, "parallelism": 2}, {"backoffLimit": 0},
        {"ttlSecondsAfterFinished": 0}, {"activeDeadlineSeconds": 1}, {"suspend": True},
        {"managedBy": "example.com/me"},
        {"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1, "maxFailedIndexes": 1},
        {"podReplacementPolicy": "Failed"},
        {"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}},
        {"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": _EXIT_CODES}]}},
    ],
    "Service": [
        {"type": "NodePort"}, {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, {"clusterIP": "None"},
        {"type": "LoadBalancer", "loadBalancerClass": "service.k8s.aws/nlb"}, {"clusterIP": "None", "ports": []},
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", " 192.168.0.0/16 "]},
        {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
        {"type": "ExternalName", "externalName": "db.example.com.", "ports": []},
        {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}]},
        {"ports": [{"port": 65535, "targetPort": "http"}]}, {"ports": [{"port": 1, "targetPort": 8080}]},
        {"ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]}, {"selector": {"a": "b", "c": ""}},
        {"sessionAffinity": "ClientIP"}, {"internalTrafficPolicy": "Local"}, {"trafficDistribution": "PreferClose"},
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
        {"externalIPs": ["203.0.113.1"]}, {"type": "NodePort", "externalTrafficPolicy": "Local"},
        {"publishNotReadyAddresses": True}, {"ipFamilyPolicy": "PreferDualStack"}, {"ipFamilies": ["IPv4"]},
        {"clusterIP": "10.100.77.77"},
    ],
    "PersistentVolumeClaim": [
        {"accessModes": ["ReadWriteOncePod"]}, {"accessModes": ["ReadOnlyMany", "ReadWriteMany"]},
        {"storageClassName": "gp3"}, {"storageClassName": ""}, {"volumeMode": "Block"}, {"volumeName": "pv-1"},
        {"selector": {"matchLabels": {"a": "b"}}}, {"resources": {"requests": {"storage": "1"}}},
        {"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}},
    ],
    "NetworkPolicy": [
        {"policyTypes": ["Ingress"]}, {"policyTypes": ["Egress", "Ingress"]}, {"podSelector": _SELECTOR},
        {"ingress": []}, {"ingress": [{}]}, {"egress": [{}]}, {"ingress": [{"from": [{"podSelector": {}}]}]},
        {"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": _SELECTOR}]}]},
        {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]},
        {"egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": "dns"}, {"port": 1, "endPort": 2}]}]},
        {"egress": [{"ports": [{"protocol": "SCTP"}]}]},
    ],
    "Ingress": [
        {"defaultBackend": {"service": {"name": "web", "port": {"name": "http"}}}}, {"ingressClassName": "alb"},
        {"defaultBackend": {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "b"}}},
        {"rules": [{"host": "example.com"}]}, {"rules": [{"host": "*.example.com"}]}, {"rules": [{}]},
        *(
            {"rules": [{"http": {"paths": [{"path": path, "pathType": kind, "backend": _BACKEND}]}}]}
            for path, kind in (("/", "Prefix"), ("/a/b", "Exact"), ("", "ImplementationSpecific"), ("/a*", "Prefix"))
        ),
        {"tls": [{"hosts": ["example.com", "*.example.com"], "secretName": "s"}]}, {"tls": [{}]},
    ],
    "PodDisruptionBudget": [
        {"minAvailable": 0}, {"minAvailable": "50%"}, {"selector": {}},
        {"minAvailable": None, "maxUnavailable": "100%"},
        {"minAvailable": None}, {"unhealthyPodEvictionPolicy": "AlwaysAllow"},
    ],
}  # fmt: skip
_RULES: list[Object] = [
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["update"], "resourceNames": ["web"]},
    {"apiGroups": ["example.com"], "resources": ["Anything"], "verbs": ["use"]},
]
_SUBJECTS: list[Object] = [
    {"kind": "User", "name": "a@example.com", "apiGroup": _RBAC},
    {"kind": "Group", "name": "system:masters"},
    {"kind": "ServiceAccount", "name": "robot.a", "namespace": "default"},
]
_TOP: dict[str, list[Object]] = {
    "ConfigMap": [
        {"data": {key: "v"}} for key in ("a", "A.b", "_x", "-", ".hidden", "k" * 253, "1", "a..b")
    ]
    + [
        {"data": {"empty": "", "unicode": "é\n", "yaml": "a: [1]\n"}}, {"immutable": True, "data": {"a": "b"}},
        {"binaryData": {"a": "AAEC", "empty": ""}}, {"data": {"a": "x"}, "binaryData": {"b": "eA=="}}, {"data": {}},
        {"data": {"big": "x" * (1024 * 1024)}}, {"data": None},
    ],
    "Secret": [
        {"data": {"a": "eA==", ".b": ""}}, {"stringData": {"a": "plain"}}, {"immutable": True}, {"type": "Opaque"},
        {"type": "example.com/mine", "data": {"x": "eA=="}},
        {"type": "kubernetes.io/tls", "stringData": {"tls.crt": "", "tls.key": ""}},
        {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": '{"auths": {}}'}},
        {"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{}"}},
        {"type": "kubernetes.io/basic-auth", "stringData": {"password": ""}},
        {"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": "k"}},
        {"type": "bootstrap.kubernetes.io/token", "data": {"token-id": "eA=="}},
    ],
    "ServiceAccount": [
        {"automountServiceAccountToken": False}, {"imagePullSecrets": [{"name": "s"}]}, {"secrets": [{"name": "t"}]},
    ],
    "Namespace": [
        {"spec": {"finalizers": ["kubernetes"]}}, {"spec": {"finalizers": ["example.com/x"]}}, {"spec": {}},
        *(
            {"labels": {f"{_SECURITY}{mode}": level, f"{_SECURITY}{mode}-version": version}}
            for mode, level, version in (("enforce", "privileged", "latest"), ("warn", "baseline", "v1.0"),
                                         ("audit", "restricted", "v1.35"))
        ),
    ],
    "Role": [{"rules": [rule]} for rule in _RULES] + [{"rules": _RULES}, {"rules": None}],
    "ClusterRole": [{"rules": [rule]} for rule in _RULES]
    + [
        {"rules": [{"nonResourceURLs": ["/healthz", "*"], "verbs": ["get"]}]},
        {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}, {}]}},
    ],
    "RoleBinding": [{"subjects": [subject]} for subject in _SUBJECTS]
    + [
        {"subjects": _SUBJECTS}, {"subjects": [{"kind": "ServiceAccount", "name": "default"}]}, {"subjects": None},
        {"roleRef": {"kind": "ClusterRole", "name": "system:node"}},
    ],
    "ClusterRoleBinding": [{"subjects": [subject]} for subject in _SUBJECTS] + [{"subjects": _SUBJECTS}],
    "PriorityClass": [
        {"value": 0}, {"value": -5}, {"value": 1000000000}, {"preemptionPolicy": "Never"}, {"description": "d"},
    ],
}  # fmt: skip


def valid_objects(kind: str) -> Iterator[Object]:
    """All valid objects of a kind."""

    def made(change: Object, **metadata: Any) -> Object:
        about = {"name": "thing", **({} if kind in CLUSTER_WIDE else {"namespace": "default"}), **metadata}
        about = {key: value for key, value in about.items() if key != "name" or value is not None}
        return copy.deepcopy({**BASES[kind], "kind": kind, **change, "metadata": about})

    yield made({})
    has_dots = kind not in ("Service", "Namespace")
    for name in (*_NAMES, *(_NAMES_WITH_DOTS if has_dots else ())):
        # A pod's name is a label of what a Job makes.
        if kind != "Job" or len(name) <= 63:
            yield made({}, name=name)
    if kind.endswith(("Role", "RoleBinding")):
        yield made({}, name="system:Any_thing at:all")
    for metadata in _METADATA:
        if has_dots or "." not in metadata.get("generateName", ""):
            yield made({}, **metadata)
    for change in _TOP.get(kind, ()):
        yield made({key: value for key, value in change.items() if key != "labels"}, labels=change.get("labels", {}))
    for change in _OWN.get(kind, ()):
        yield made({"spec": {**BASES[kind]["spec"], **change}})
    if kind == "Pod":
        for change in _pods():
            yield made({"spec": {**_POD, **change}})
    elif kind in ("Deployment", "ReplicaSet", "DaemonSet", "Job"):
        for change in _templated(kind):
            yield made(change)
