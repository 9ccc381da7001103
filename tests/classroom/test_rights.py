"""What an attendee may do on a shared cluster, and what is refused: by RBAC, by PodSecurity and by IAM."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from labkit import Lab
from tests.classroom.conftest import Attendee

RBAC = "/apis/rbac.authorization.k8s.io/v1"
OWN, OTHER = "attendee-07", "attendee-08"
_POD = {"containers": [{"name": "main", "image": "docker.io/library/nginx:1.29.3"}]}


def pod(name: str = "x", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**_POD, **spec}}


def container(**context: Any) -> dict[str, Any]:
    return pod(containers=[{**_POD["containers"][0], "securityContext": context}])


def config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


def role(*rules: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    return {"apiVersion": RBAC.removeprefix("/apis/"), "kind": kind, "metadata": {"name": "mine"}, "rules": list(rules)}


def binding(to: str, kind: str = "RoleBinding") -> dict[str, Any]:
    return {
        "apiVersion": RBAC.removeprefix("/apis/"),
        "kind": kind,
        "metadata": {"name": "mine"},
        "subjects": [{"kind": "Group", "name": "falco-workshop:attendee-07", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": to},
    }


def there(namespace: str, what: str) -> str:
    return f"/api/v1/namespaces/{namespace}/{what}"


EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}

# What an attendee asks of the cluster, and may not: method, path, body.
REFUSED: dict[str, tuple[str, str, Any]] = {
    "another attendee's pods": ("GET", there(OTHER, "pods"), None),
    "a pod for another attendee": ("POST", there(OTHER, "pods"), pod()),
    "another attendee's log": ("GET", there(OTHER, "pods/web/log"), None),
    "a command in another attendee's pod": ("POST", there(OTHER, "pods/web/exec?command=id&stdout=1"), None),
    "another attendee's rules": ("GET", there(OTHER, "configmaps/falco-rules"), None),
    "rules for another attendee": ("POST", there(OTHER, "configmaps"), config("falco-rules")),
    "another attendee's namespace": ("DELETE", f"/api/v1/namespaces/{OTHER}", None),
    "all pods of the cluster": ("GET", "/api/v1/pods", None),
    "the default namespace": ("GET", there("default", "pods"), None),
    "kube-system": ("GET", there("kube-system", "configmaps"), None),
    "rules past the gate": ("POST", there("falco", "configmaps"), config("falco-attendees")),
    "Falco's configuration": ("DELETE", there("falco", "configmaps/falco"), None),
    "Fluent Bit's configuration": ("DELETE", there("logging", "configmaps/fluent-bit"), None),
    "the values of Falco's release": ("GET", there("falco", "secrets"), None),
    "Secrets of Fluent Bit": ("GET", there("logging", "secrets"), None),
    "Secrets of one's namespace": ("GET", there(OWN, "secrets"), None),
    "a command in Falco's pod": ("POST", there("falco", "pods/falco/exec?command=id&stdout=1"), None),
    "a command in Fluent Bit's pod": ("POST", there("logging", "pods/fluent-bit/exec?command=id&stdout=1"), None),
    "a debugger in Falco's pod": ("PATCH", there("falco", "pods/falco/ephemeralcontainers"), {}),
    "Falco's pods": ("DELETE", there("falco", "pods/falco"), None),
    "a pod beside Falco": ("POST", there("falco", "pods"), pod()),
    "the canary": ("DELETE", there("falco", "pods/canary"), None),
    "a pod with Fluent Bit's account": ("POST", there("logging", "pods"), pod(serviceAccountName="fluent-bit")),
    "Fluent Bit's token": ("POST", there("logging", "serviceaccounts/fluent-bit/token"), TOKEN),
    "a token of the default account": ("POST", there(OWN, "serviceaccounts/default/token"), TOKEN),
    "an account with a role": (
        "POST",
        there(OWN, "serviceaccounts"),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "fluent-bit"}},
    ),
    "a role for the default account": ("PATCH", there(OWN, "serviceaccounts/default"), {"metadata": {}}),
    "the level of one's namespace": (
        "PATCH",
        f"/api/v1/namespaces/{OWN}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
    ),
    "one's namespace itself": ("DELETE", f"/api/v1/namespaces/{OWN}", None),
    "a namespace": ("POST", "/api/v1/namespaces", {"metadata": {"name": "mine"}}),
    "the quota": ("DELETE", there(OWN, "resourcequotas/attendee"), None),
    "the network policy": (
        "DELETE",
        f"/apis/networking.k8s.io/v1/namespaces/{OWN}/networkpolicies/attendee",
        None,
    ),
    "a role": ("POST", f"{RBAC}/namespaces/{OWN}/roles", role(EVERYTHING)),
    "a role for the cluster": ("POST", f"{RBAC}/clusterroles", role(EVERYTHING, kind="ClusterRole")),
    "a binding": ("POST", f"{RBAC}/namespaces/{OWN}/rolebindings", binding("admin")),
    "a binding for the cluster": (
        "POST",
        f"{RBAC}/clusterrolebindings",
        binding("cluster-admin", "ClusterRoleBinding"),
    ),
    "a binding beside Falco": ("POST", f"{RBAC}/namespaces/falco/rolebindings", binding("admin")),
    "one's rights": ("PATCH", f"{RBAC}/clusterroles/falco-workshop-attendee", role(EVERYTHING, kind="ClusterRole")),
    "a node's kubelet": ("GET", "/api/v1/nodes/ip-10-0-1-23.ec2.internal/proxy/pods", None),
    "a node": ("PATCH", "/api/v1/nodes/ip-10-0-1-23.ec2.internal", {"spec": {"unschedulable": True}}),
    "a tunnel to another attendee": ("POST", there(OTHER, "pods/web/portforward?ports=80"), None),
    "a service of another attendee, by the API server": ("GET", there(OTHER, "services/nginx/proxy/"), None),
    "a pod of another attendee, by the API server": ("GET", there(OTHER, "pods/web/proxy/"), None),
    "a DaemonSet": (
        "POST",
        f"/apis/apps/v1/namespaces/{OWN}/daemonsets",
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}},
    ),
    "a kind of one's own": ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {}),
    "a webhook": ("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {}),
    "a certificate": ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", {}),
    "a volume of the cluster": ("POST", "/api/v1/persistentvolumes", {}),
    "a priority class": ("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_cluster_refuses(what: str, seven: Attendee) -> None:
    method, path, body = REFUSED[what]
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    status, said = seven.ask(method, path, body, kind)
    assert (status, "is forbidden" in said) == (403, True), said


NODE = {
    "hostPath": pod(volumes=[{"name": "node", "hostPath": {"path": "/"}}]),
    "privileged": container(privileged=True),
    "capabilities": container(capabilities={"add": ["SYS_ADMIN"]}),
    "no seccomp": container(seccompProfile={"type": "Unconfined"}),
    "hostNetwork": pod(hostNetwork=True),
    "hostPID": pod(hostPID=True),
    "hostIPC": pod(hostIPC=True),
    "a port of the node": pod(containers=[{**_POD["containers"][0], "ports": [{"containerPort": 80, "hostPort": 80}]}]),
}


@pytest.mark.parametrize("what", NODE)
def test_a_pod_gets_nothing_of_its_node(what: str, seven: Attendee) -> None:
    status, said = seven.ask("POST", there(OWN, "pods"), NODE[what])
    assert (status, "violates PodSecurity" in said) == (403, True), said


@pytest.mark.parametrize(
    "headers",
    [
        {"Impersonate-User": "kubernetes-admin"},
        {"Impersonate-User": "arn:aws:sts::111122223333:assumed-role/falco-workshop-attendee-08/attendee-08"},
        {"Impersonate-User": "system:serviceaccount:logging:fluent-bit"},
        {"Impersonate-User": "x", "Impersonate-Group": "system:masters"},
    ],
    ids=lambda headers: headers["Impersonate-User"][-20:],
)
def test_no_attendee_acts_as_another(headers: dict[str, str], seven: Attendee) -> None:
    status, said = seven.ask("GET", there(OWN, "pods"), headers=headers)
    assert (status, "cannot impersonate" in said) == (403, True), said


ACCOUNT = "111122223333"
ALARM: dict[str, Any] = {
    "AlarmName": "falco-workshop-07-mine",
    "Namespace": "falco-workshop",
    "MetricName": "Alerts",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:falco-workshop-0"
GROUP = {"logGroupName": "falco"}
CLUSTER = {"clusterName": "falco-workshop"}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/falco-workshop-attendee-0"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def datum(namespace: str) -> dict[str, Any]:
    return {"Namespace": namespace, "MetricData": [{"MetricName": "Lag", "Value": 1.0}]}


# What an attendee asks of AWS, and may not: service, operation, parameters.
DENIED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "delete the log group": ("logs", "delete_log_group", GROUP),
    "keep alerts for a day only": ("logs", "put_retention_policy", {**GROUP, "retentionInDays": 1}),
    "delete the stream of alerts": ("logs", "delete_log_stream", {**GROUP, "logStreamName": "alerts"}),
    "write alerts": (
        "logs",
        "put_log_events",
        {**GROUP, "logStreamName": "alerts", "logEvents": [{"timestamp": 1, "message": "x"}]},
    ),
    "make a metric filter": (
        "logs",
        "put_metric_filter",
        {
            **GROUP,
            "filterName": "falco-workshop-07-mine",
            "filterPattern": "",
            "metricTransformations": [{"metricName": "x", "metricNamespace": "x", "metricValue": "1"}],
        },
    ),
    "delete a metric filter of all": (
        "logs",
        "delete_metric_filter",
        {**GROUP, "filterName": "falco-workshop-class-alerts"},
    ),
    "delete the subscription of all": (
        "logs",
        "delete_subscription_filter",
        {**GROUP, "filterName": "falco-workshop-forwarder"},
    ),
    "read another log group": ("logs", "filter_log_events", {"logGroupName": "payroll"}),
    "query another log group": (
        "logs",
        "start_query",
        {"logGroupName": "payroll", "startTime": 0, "endTime": 1, "queryString": "limit 1"},
    ),
    "read the log of the forwarder": (
        "logs",
        "filter_log_events",
        {"logGroupName": "/aws/lambda/falco-workshop-forwarder"},
    ),
    "put values to the class's metrics": ("cloudwatch", "put_metric_data", datum("falco-workshop")),
    "put values to another attendee's metrics": ("cloudwatch", "put_metric_data", datum("falco-workshop-08")),
    "make another attendee's alarm": (
        "cloudwatch",
        "put_metric_alarm",
        {**ALARM, "AlarmName": "falco-workshop-08-mine"},
    ),
    "make an alarm of the class": ("cloudwatch", "put_metric_alarm", {**ALARM, "AlarmName": "falco-workshop-mine"}),
    "make an alarm that stops a node": (
        "cloudwatch",
        "put_metric_alarm",
        {**ALARM, "AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]},
    ),
    "make an alarm that stops a node once it is over": (
        "cloudwatch",
        "put_metric_alarm",
        {**ALARM, "OKActions": ["arn:aws:automate:us-east-1:ec2:stop"]},
    ),
    "make an alarm that notifies another": (
        "cloudwatch",
        "put_metric_alarm",
        {**ALARM, "AlarmActions": [f"{TOPIC}7-alarms", f"{TOPIC}8-alarms"]},
    ),
    "delete another attendee's alarm": ("cloudwatch", "delete_alarms", {"AlarmNames": ["falco-workshop-08-mine"]}),
    "delete several alarms, one of them another's": (
        "cloudwatch",
        "delete_alarms",
        {"AlarmNames": ["falco-workshop-07-mine", "falco-workshop-08-mine"]},
    ),
    "ring another attendee's alarm": (
        "cloudwatch",
        "set_alarm_state",
        {"AlarmName": "falco-workshop-08-mine", "StateValue": "ALARM", "StateReason": "x"},
    ),
    "replace another attendee's dashboard": (
        "cloudwatch",
        "put_dashboard",
        {"DashboardName": "falco-workshop-08", "DashboardBody": '{"widgets": []}'},
    ),
    "delete the class's dashboard": ("cloudwatch", "delete_dashboards", {"DashboardNames": ["falco-workshop"]}),
    "delete another attendee's topic": ("sns", "delete_topic", {"TopicArn": f"{TOPIC}8-alarms"}),
    "publish to the own topic": ("sns", "publish", {"TopicArn": f"{TOPIC}7-alarms", "Message": "x"}),
    "subscribe to another attendee's topic": (
        "sns",
        "subscribe",
        {"TopicArn": f"{TOPIC}8-alarms", "Protocol": "sqs", "Endpoint": "arn:aws:sqs:us-east-1:111122223333:q"},
    ),
    "send notifications out by mail": (
        "sns",
        "subscribe",
        {"TopicArn": f"{TOPIC}7-alarms", "Protocol": "email", "Endpoint": "anna@example.com"},
    ),
    "end a subscription": (
        "sns",
        "unsubscribe",
        {"SubscriptionArn": f"{TOPIC}8-alarms:00000000-0000-0000-0000-000000000000"},
    ),
    "make a queue of another name": ("sqs", "create_queue", {"QueueName": "falco-workshop-08-notifications"}),
    "make a role": (
        "iam",
        "create_role",
        {"RoleName": "falco-workshop-07-forwarder", "AssumeRolePolicyDocument": TRUST},
    ),
    "have more rights": (
        "iam",
        "put_role_policy",
        {"RoleName": "falco-workshop-attendee-07", "PolicyName": "more", "PolicyDocument": TRUST},
    ),
    "trust others": (
        "iam",
        "update_assume_role_policy",
        {"RoleName": "falco-workshop-attendee-07", "PolicyDocument": TRUST},
    ),
    "be another attendee": ("sts", "assume_role", {"RoleArn": f"{ROLE}8", "RoleSessionName": "x1"}),
    "make the own session longer": ("sts", "assume_role", {"RoleArn": f"{ROLE}7", "RoleSessionName": "x1"}),
    "let somebody in": ("eks", "create_access_entry", {**CLUSTER, "principalArn": f"arn:aws:iam::{ACCOUNT}:role/x"}),
    "be in another group": (
        "eks",
        "update_access_entry",
        {**CLUSTER, "principalArn": f"{ROLE}7", "kubernetesGroups": ["falco-workshop:attendee-08"]},
    ),
    "be the cluster's administrator": (
        "eks",
        "associate_access_policy",
        {
            **CLUSTER,
            "principalArn": f"{ROLE}7",
            "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            "accessScope": {"type": "cluster"},
        },
    ),
    "give a role to pods": (
        "eks",
        "create_pod_identity_association",
        {**CLUSTER, "namespace": OWN, "serviceAccount": "default", "roleArn": f"{ROLE}8"},
    ),
    "see who may enter": ("eks", "list_access_entries", CLUSTER),
    "look at another cluster": ("eks", "describe_cluster", {"name": "production"}),
    "call the forwarder": ("lambda", "invoke", {"FunctionName": "falco-workshop-forwarder"}),
    "turn Security Hub off": ("securityhub", "disable_security_hub", {}),
}


@pytest.mark.parametrize("what", DENIED)
def test_aws_denies_to(what: str, seven: Attendee) -> None:
    service, operation, parameters = DENIED[what]
    client = seven.client("sts") if service == "sts" else seven.lab.aws.client(service)
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**parameters)
    assert caught.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"), caught.value


def test_a_handout_holds_nothing_of_the_instructor_s(seven: Attendee, instructor: Lab) -> None:
    admin = instructor.aws.session.get_credentials().get_frozen_credentials()
    text = json.dumps(seven.variables)
    assert admin.access_key not in text
    assert admin.secret_key not in text
    assert instructor.kube.authorization()["authorization"].split()[1] not in text
    for file in seven.lab.settings.home.rglob("*"):
        if file.is_file():
            assert admin.secret_key not in file.read_text(errors="replace")
            assert instructor.kube.authorization()["authorization"].split()[1] not in file.read_text(errors="replace")
    assert seven.lab.aws.identity.arn.endswith(":assumed-role/falco-workshop-attendee-07/attendee-07")


def test_a_token_of_a_pod_takes_on_no_role_and_is_nobody_in_the_cluster(seven: Attendee, instructor: Lab) -> None:
    """A pod may have a token for STS, of its own account: no role trusts that account."""
    token = {"serviceAccountToken": {"path": "token", "audience": "sts.amazonaws.com"}}
    spec = pod("with-token", volumes=[{"name": "aws", "projected": {"sources": [token]}}])
    spec["spec"]["containers"] = [{**_POD["containers"][0], "volumeMounts": [{"name": "aws", "mountPath": "/aws"}]}]
    assert seven.ask("POST", there(OWN, "pods"), spec)[0] == 201
    kube = seven.lab.kube
    seven.lab.wait_until(
        lambda: (kube.get("Pod", "with-token", OWN) or {})["status"].get("phase") == "Running" or None, "pod"
    )
    sent = seven.lab.exec("with-token", "cat", "/aws/token").stdout
    arn = f"arn:aws:iam::{ACCOUNT}:role/{instructor.settings.role_name}"
    with pytest.raises(ClientError) as caught:
        seven.client("sts").assume_role_with_web_identity(RoleArn=arn, RoleSessionName="x1", WebIdentityToken=sent)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    own = seven.lab.exec("with-token", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token").stdout
    for path in (there(OWN, "pods"), there("falco", "pods"), there(OTHER, "pods"), "/api/v1/nodes"):
        status, said = seven.ask("GET", path, headers={"authorization": f"Bearer {own}"})
        assert (status, "system:serviceaccount:attendee-07:default" in said) == (403, True)
    asked = "https://kubernetes.default.svc/api/v1/namespaces/attendee-08/pods"
    inside = seven.lab.exec("with-token", "curl", "-sk", "-H", f"Authorization: Bearer {own}", asked)
    assert "is forbidden" in inside.stdout
    kube.request("DELETE", there(OWN, "pods/with-token"))


def test_who_has_left_is_in_neither_the_account_nor_the_cluster(
    attend: Callable[[str], Attendee], instructor: Lab
) -> None:
    from classroom.down import remove
    from classroom.up import up

    up(instructor.target, ["left"])
    gone = attend("left")
    assert gone.ask("GET", "/api/v1/namespaces/attendee-left/pods")[0] == 200
    remove(instructor.target, ["left"])
    assert gone.ask("GET", "/api/v1/namespaces/attendee-left/pods")[0] == 401
    with pytest.raises(ClientError) as caught:
        gone.lab.aws.client("logs").filter_log_events(logGroupName="falco")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


def test_a_pod_reaches_its_own_namespace_and_the_outside_but_no_other_attendee_s(
    attend: Callable[[str], Attendee],
) -> None:
    seven, eight = attend("07").lab, attend("08").lab
    for lab in (seven, eight):
        lab.apply("nginx")

    def get(lab: Lab, url: str) -> int:
        return lab.exec("deploy/nginx", "curl", "-s", "-o", "/dev/null", "--connect-timeout", "1", url).exit_code

    assert get(seven, "http://nginx/") == 0
    assert get(seven, "http://nginx.attendee-07.svc.cluster.local/") == 0
    name = "nginx.attendee-08.svc.cluster.local"
    assert seven.exec("deploy/nginx", "getent", "hosts", name).exit_code == 0  # names are no secret
    address = eight.kube.list("Pod", "attendee-08", labels="app=nginx")[0]["status"]["podIP"]
    timed_out = 28
    for other in (f"http://{name}/", f"http://{address}/"):
        assert get(seven, other) == timed_out
    assert get(seven, "http://169.254.169.254/latest/meta-data/iam/security-credentials/") == timed_out
    assert get(eight, "http://nginx/") == 0
    assert seven.exec("deploy/nginx", "curl", "-sk", "https://kubernetes.default.svc/version").exit_code == 0
    for lab in (seven, eight):
        lab.undo("nginx")
