"""Steps `oidc-provider` (IAM trusts the cluster's tokens) and `fluent-bit-role` (a role for one service account).

The setting `identity` says how the service account gets the role: by IRSA, with a token that IAM trusts and an
annotation, or by EKS Pod Identity, with an association and an agent on the nodes, and without an OIDC provider.
The policies are the templates in `manifests/iam/`, filled in with account, partition, region and names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.aws import answer_or_none, translated_errors
from labkit.errors import StepError
from labkit.provision.manifests import ManifestPart, manifest_parts
from labkit.provision.parts import TAG_LIST, AwsPart, Part
from labkit.provision.pod_identity import AUDIENCE as POD_IDENTITY_AUDIENCE
from labkit.provision.pod_identity import Agent, Association, FormerAssociation, association_of
from labkit.provision.pod_identity import foreign_tokens as foreign_tokens
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.show import say
from labkit.target import Target

if TYPE_CHECKING:
    from labkit.aws import Aws

AUDIENCE = "sts.amazonaws.com"
SERVICE_ACCOUNT = "fluent-bit"
POLICY_NAME = "write-falco-alerts"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


def issuer(target: Target) -> str:
    """The cluster's OIDC issuer without its scheme, as IAM names the provider. Raises `StepError` if it has none."""
    url = str(target.cluster.get("identity", {}).get("oidc", {}).get("issuer", ""))
    if not url:
        raise StepError(
            f"Cluster {target.settings.cluster} has no OIDC issuer.",
            hint="IAM roles for service accounts need one; EKS gives one to every cluster since 1.14.",
        )
    return url.removeprefix("https://")


def role_arn(target: Target) -> str:
    """ARN of Fluent Bit's role, whether or not the role is there."""
    return target.aws.arn("iam", f"role/{target.settings.role_name}")


def policy_values(target: Target) -> dict[str, Any]:
    """What templates of policies name, apart from the settings and the account."""
    return {
        "oidc_provider": partial(issuer, target),  # asked for if needed: undoing the role needs no cluster
        "namespace": target.settings.logging_namespace,
        "service_account": SERVICE_ACCOUNT,
    }


def policy(name: str, target: Target) -> dict[str, Any]:
    """A policy document: the template of that name in `manifests/iam/`, filled in. Raises `StepError`."""
    document: dict[str, Any] = template(target, f"iam/{name}", **policy_values(target))
    return document


def by_pod_identity(target: Target) -> bool:
    """Whether service accounts get their roles by EKS Pod Identity."""
    return target.settings.identity == "pod-identity"


def _form(target: Target) -> str:
    return ".pod-identity" if by_pod_identity(target) else ""


def fluent_bit_trust(target: Target) -> dict[str, Any]:
    """The trust policy of Fluent Bit's role, for the way in which its service account gets it."""
    return policy("fluent-bit-trust-pod-identity" if by_pod_identity(target) else "fluent-bit-trust", target)


_FLUENT_BIT_PERMISSIONS = partial(policy, "fluent-bit-permissions")


@dataclass(frozen=True)
class OidcProvider(AwsPart):
    name: str
    kind: str = "OIDC provider"

    def arn(self, target: Target) -> str:
        return target.aws.arn("iam", f"oidc-provider/{self.name}")

    def find(self, target: Target) -> Any:
        get = target.aws.client("iam").get_open_id_connect_provider
        return answer_or_none(get, OpenIDConnectProviderArn=self.arn(target))

    def describe(self, found: Any) -> str:
        return f"for {', '.join(found['ClientIDList'])}"

    def tags(self, target: Target, found: Any) -> Any:
        return found.get("Tags", [])

    def matches(self, target: Target, found: Any) -> bool:
        return AUDIENCE in found["ClientIDList"]

    def create(self, target: Target) -> None:
        # IAM reads the certificate chain itself; a thumbprint would become outdated.
        target.aws.client("iam").create_open_id_connect_provider(
            Url=f"https://{self.name}", ClientIDList=[AUDIENCE], Tags=TAG_LIST
        )

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found and not owned and not self.matches(target, found):
            raise StepError(
                f"The OIDC provider {self.name} was there before the lab and lacks the audience {AUDIENCE}.",
                hint="Add it, then apply this again: `aws iam add-client-id-to-open-id-connect-provider "
                f"--open-id-connect-provider-arn {self.arn(target)} --client-id {AUDIENCE}`.",
            )
        return super().apply(target, found, owned=owned)

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("iam").add_client_id_to_open_id_connect_provider(
            OpenIDConnectProviderArn=self.arn(target), ClientID=AUDIENCE
        )

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=self.arn(target))


@dataclass(frozen=True)
class Role(AwsPart):
    """A role; by default Fluent Bit's. `trust` makes its trust policy."""

    name: str
    trust: Callable[[Target], dict[str, Any]] = fluent_bit_trust
    description: str = "Fluent Bit writes Falco's alerts to CloudWatch Logs"
    kind: str = "IAM role"

    def find(self, target: Target) -> Any:
        answer = answer_or_none(target.aws.client("iam").get_role, RoleName=self.name)
        return answer and answer["Role"]

    def tags(self, target: Target, found: Any) -> Any:
        return found.get("Tags", [])

    def matches(self, target: Target, found: Any) -> bool:
        return _document(found["AssumeRolePolicyDocument"]) == self.trust(target)

    def create(self, target: Target) -> None:
        target.aws.client("iam").create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(self.trust(target)),
            Description=self.description,
            Tags=TAG_LIST,
        )

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("iam").update_assume_role_policy(
            RoleName=self.name, PolicyDocument=json.dumps(self.trust(target))
        )

    def delete(self, target: Target, found: Any) -> None:
        iam = target.aws.client("iam")
        # A role can't be deleted while it has policies. The lab made the role, so what was attached since goes, too.
        inline = iam.get_paginator("list_role_policies").paginate(RoleName=self.name)
        for name in inline.search("PolicyNames[]"):
            iam.delete_role_policy(RoleName=self.name, PolicyName=name)
        attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName=self.name)
        for arn in attached.search("AttachedPolicies[].PolicyArn"):
            iam.detach_role_policy(RoleName=self.name, PolicyArn=arn)
        iam.delete_role(RoleName=self.name)


@dataclass(frozen=True)
class RolePolicy(AwsPart):
    role: str
    name: str = POLICY_NAME
    document: Callable[[Target], dict[str, Any]] = _FLUENT_BIT_PERMISSIONS
    kind: str = "inline policy"

    def find(self, target: Target) -> Any:
        get = target.aws.client("iam").get_role_policy
        answer = answer_or_none(get, RoleName=self.role, PolicyName=self.name)
        return answer and _document(answer["PolicyDocument"])

    def matches(self, target: Target, found: Any) -> bool:
        return bool(found == self.document(target))

    def create(self, target: Target) -> None:
        target.aws.client("iam").put_role_policy(
            RoleName=self.role, PolicyName=self.name, PolicyDocument=json.dumps(self.document(target))
        )

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("iam").delete_role_policy(RoleName=self.role, PolicyName=self.name)


class Account(ManifestPart):
    """Fluent Bit's service account. Where its tokens are no use in AWS, applying says so."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        action = super().apply(target, found, owned=owned)
        if action != "unchanged" and (why := foreign_tokens(target)):
            say(why)
        return action


def _document(found: Any) -> dict[str, Any]:
    """The policy document, which boto3 decodes only if the service URL-encodes it."""
    document: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return document


def _provider_parts(target: Target) -> list[OidcProvider]:
    if not by_pod_identity(target):
        return [OidcProvider(issuer(target))]
    # Made with the other setting, it is still the lab's, and taken away in the end; but it isn't made again.
    return [provider for provider in _provider_without_cluster(target) if provider.find(target)]


def _provider_without_cluster(target: Target) -> list[OidcProvider]:
    """The provider of a cluster that is gone, if the ledger has it."""
    return [OidcProvider(record.name) for record in target.ledger.records("oidc-provider")]


def _role_parts(target: Target) -> list[Part]:
    role, account = target.settings.role_name, f"{target.settings.logging_namespace}/{SERVICE_ACCOUNT}"
    made: list[Part] = [Role(role), RolePolicy(role), *service_account_parts(target)]
    if by_pod_identity(target):
        return [Agent(), *made, Association(account, role)]
    return [*made, FormerAssociation(account, role)]


def service_account_parts(target: Target) -> list[ManifestPart]:
    """Namespace and service account of Fluent Bit, the account annotated with the role: `eksctl` makes both too."""
    parts = [
        Account(part.item) if part.kind == "ServiceAccount" else part
        for part in manifest_parts(target, "fluent-bit", kinds=("Namespace", "ServiceAccount"))
    ]
    for part in parts:
        if part.item["kind"] == "ServiceAccount" and not by_pod_identity(target):
            part.item["metadata"].setdefault("annotations", {})[ROLE_ANNOTATION] = role_arn(target)
    return parts


def assume_role_of(target: Target, namespace: str, name: str) -> Aws:
    """See `Lab.as_service_account`."""
    if by_pod_identity(target) and association_of(target, namespace, name):
        return assume_associated_role(target, namespace, name)
    account = target.kube.get("ServiceAccount", name, namespace)
    annotations = (account or {}).get("metadata", {}).get("annotations") or {}
    if ROLE_ANNOTATION not in annotations:
        what = "has no role" if account else "isn't there"
        raise StepError(
            f"Service account {namespace}/{name} {what}.",
            hint='lab.apply("fluent-bit-role") makes it and gives it one.',
        )
    return assume_role(target, namespace, name, annotations[ROLE_ANNOTATION])


def assume_role(target: Target, namespace: str, name: str, arn: str) -> Aws:
    """AWS with a role's credentials, by a token of the cluster for a service account.

    Raises `TargetError` if STS refuses, `KubernetesError` if there is no such account.
    """
    token = _token(target, namespace, name, AUDIENCE)
    with translated_errors(target.aws.hint):
        answer = target.aws.client("sts").assume_role_with_web_identity(
            RoleArn=arn, RoleSessionName=f"{namespace}-{name}", WebIdentityToken=token
        )
    return target.aws.with_keys(answer["Credentials"])


def assume_associated_role(target: Target, namespace: str, name: str) -> Aws:
    """AWS with the credentials that the agent of EKS Pod Identity gives to pods of a service account.

    The token is bound to one of its pods, if there is one: EKS puts the pod's name into the session. Raises
    `TargetError` if EKS refuses, `KubernetesError` if there is no such account.
    """
    pods = target.kube.list("Pod", namespace)
    bound = next((pod["metadata"] for pod in pods if pod["spec"].get("serviceAccountName") == name), None)
    token = _token(target, namespace, name, POD_IDENTITY_AUDIENCE, bound)
    with translated_errors(target.aws.hint):
        answer = target.aws.client("eks-auth").assume_role_for_pod_identity(
            clusterName=target.settings.cluster, token=token
        )
    found = answer["credentials"]
    keys = {name[0].upper() + name[1:]: found[name] for name in ("accessKeyId", "secretAccessKey", "sessionToken")}
    return target.aws.with_keys(keys)


def _token(target: Target, namespace: str, name: str, audience: str, pod: dict[str, Any] | None = None) -> str:
    """A token of the cluster for a service account, for an hour."""
    spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": 3600}
    if pod is not None:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "uid": pod["uid"]}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = target.kube.path("v1", "ServiceAccount", namespace, name) + "/token"
    return str(target.kube.request("POST", path, body=request)["status"]["token"])


STEPS = [
    Step(
        "oidc-provider",
        "IAM trusts the cluster's tokens",
        (),
        _provider_parts,
        policy_values,
        _provider_without_cluster,
        _form,
        allowed=("Cluster",),
        allowed_by_form={"": ("OidcProviderOfAnEksCluster",)},
    ),
    Step(
        "fluent-bit-role",
        "A role that may write to one log group, for one service account",
        ("oidc-provider", "log-group"),
        _role_parts,
        policy_values,
        form=_form,
        allowed=("AssociationsOfTheCluster", "Cluster", "RoleOfFluentBit"),
        allowed_by_form={
            ".pod-identity": ("Agent", "AgentAndAssociationsOfTheCluster", "Associations", "RoleOfFluentBitOnly")
        },
    ),
]
