"""EKS Pod Identity: associations of service accounts with roles; EKS Auth, which its agent asks for credentials."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jwt

from ekslab import names
from ekslab.aws.iam_authorization import Principal, authorize
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.sts import Sts
from ekslab.identity import POD_IDENTITY_AUDIENCE, ServiceAccountIssuer

SERVICE = "pods.eks.amazonaws.com"
"""The principal that a role has to trust."""
_SECONDS = 6 * 3600  # of the credentials
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


@dataclass
class Association:
    """The role of one service account."""

    id: str
    arn: str
    namespace: str
    service_account: str
    role_arn: str
    created: float
    modified: float
    tags: dict[str, str] = field(default_factory=dict)
    session_tags: bool = True

    def described(self, cluster: str) -> dict[str, Any]:
        return {
            **self.summary(cluster),
            "roleArn": self.role_arn,
            "tags": self.tags,
            "createdAt": self.created,
            "modifiedAt": self.modified,
            "disableSessionTags": not self.session_tags,
        }

    def summary(self, cluster: str) -> dict[str, Any]:
        return {
            "clusterName": cluster,
            "namespace": self.namespace,
            "serviceAccount": self.service_account,
            "associationArn": self.arn,
            "associationId": self.id,
        }


class PodIdentity:
    """The associations of the lab's cluster."""

    def __init__(
        self,
        *,
        account_id: str,
        region: str,
        cluster: str,
        clock: Callable[[], float],
        tags: dict[str, dict[str, str]],
        role_exists: Callable[[str], bool],
    ) -> None:
        self._account_id = account_id
        self._region = region
        self._cluster = cluster
        self._cluster_arn = f"arn:aws:eks:{region}:{account_id}:cluster/{cluster}"
        self._clock = clock
        self._tags = tags
        self._role_exists = role_exists
        self._made = 0
        self._associations: dict[str, Association] = {}

    def find(self, namespace: str, service_account: str) -> Association | None:
        """The association of a service account."""
        wanted = (namespace, service_account)
        return next((a for a in self._associations.values() if (a.namespace, a.service_account) == wanted), None)

    def has_association(self, namespace: str, service_account: str) -> bool:
        return self.find(namespace, service_account) is not None

    # -- the API of EKS

    def create(self, call: Call, caller: Principal | None) -> dict[str, Any]:
        p = call.parameters
        namespace, account, role = (_required(p, name) for name in ("namespace", "serviceAccount", "roleArn"))
        if any(p.get(name) for name in ("targetRoleArn", "policy")):
            raise unsupported(call, "a target role and a session policy")
        for name, value in (("namespace", namespace), ("serviceAccount", account)):
            if not re.fullmatch(_NAME, value):
                raise AwsError("InvalidParameterException", f"{name} is not a valid Kubernetes name: {value}")
        self._check_role(caller, role)
        if found := self.find(namespace, account):
            raise AwsError("ResourceInUseException", f"Association already exists: {found.id}", 409)
        self._made += 1
        id_ = "a-" + names.suffix(17, self._cluster_arn, namespace, account, self._made)
        now = self._clock()
        arn = f"arn:aws:eks:{self._region}:{self._account_id}:podidentityassociation/{self._cluster}/{id_}"
        tags = self._tags[arn] = dict(p.get("tags") or {})
        enabled = not p.get("disableSessionTags")
        self._associations[id_] = made = Association(id_, arn, namespace, account, role, now, now, tags, enabled)
        return {"association": made.described(self._cluster)}

    def describe(self, call: Call) -> dict[str, Any]:
        return {"association": self._named(call).described(self._cluster)}

    def update(self, call: Call, caller: Principal | None) -> dict[str, Any]:
        found, p = self._named(call), call.parameters
        if role := p.get("roleArn"):
            self._check_role(caller, role)
            found.role_arn = role
        if "disableSessionTags" in p:
            found.session_tags = not p["disableSessionTags"]
        found.modified = self._clock()
        return {"association": found.described(self._cluster)}

    def delete(self, call: Call) -> dict[str, Any]:
        found = self._named(call)
        del self._associations[found.id]
        self._tags.pop(found.arn, None)
        return {"association": found.described(self._cluster)}

    def list(self, call: Call) -> dict[str, Any]:
        p = call.parameters
        found: Iterable[Association] = self._associations.values()
        for key, name in (("namespace", "namespace"), ("serviceAccount", "service_account")):
            if wanted := p.get(key):
                found = [a for a in found if getattr(a, name) == wanted]
        ordered = sorted(found, key=lambda a: (a.namespace, a.service_account))
        return {"associations": [a.summary(self._cluster) for a in ordered], "nextToken": None}

    def _named(self, call: Call) -> Association:
        id_ = call.path_parameters.get("associationId", "")
        if id_ not in self._associations:
            message = f"No association found with associationId: {id_}"
            raise AwsError("ResourceNotFoundException", message, 404, members={"clusterName": self._cluster})
        return self._associations[id_]

    def _check_role(self, caller: Principal | None, role: str) -> None:
        if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", role):
            raise AwsError("InvalidParameterException", f"Role ARN is not valid: {role}")
        if caller is not None:
            authorize(caller, "iam:PassRole", [role], {"iam:PassedToService": "eks.amazonaws.com"})
        if not self._role_exists(role):
            raise AwsError("InvalidParameterException", "Role provided in the request does not exist.")

    # -- EKS Auth

    def assume_role(self, call: Call, issuer: ServiceAccountIssuer, sts: Sts) -> dict[str, Any]:
        """Answers AssumeRoleForPodIdentity: credentials of the role of the service account that a token is for."""
        claims = self._claims(str(call.parameters.get("token", "")), issuer)
        bound = claims.get("kubernetes.io", {})
        namespace = str(bound.get("namespace", ""))
        account = str(bound.get("serviceaccount", {}).get("name", ""))
        found = self.find(namespace, account)
        if found is None:
            message = f"No association found for service account {namespace}/{account} in cluster {self._cluster}."
            raise AwsError("ResourceNotFoundException", message, 404)
        pod = bound.get("pod", {})
        tags = {
            "eks-cluster-arn": self._cluster_arn,
            "eks-cluster-name": self._cluster,
            "kubernetes-namespace": namespace,
            "kubernetes-service-account": account,
            "kubernetes-pod-name": str(pod.get("name", "")),
            "kubernetes-pod-uid": str(pod.get("uid", "")),
        }
        name = f"eks-{self._cluster}-{pod.get('name', '')}"[:27] + "-" + names.uid(pod, self._clock())
        session = sts.session_for_service(
            SERVICE,
            found.role_arn,
            re.sub(r"[^\w+=,.@-]", "-", name),
            seconds=_SECONDS,
            tags=tags if found.session_tags else {},
            source_arn=self._cluster_arn,
        )
        if session is None:
            message = "Unauthorized Exception! EKS does not have permissions to assume the associated role."
            raise AwsError("AccessDeniedException", message, 403)
        return {
            "subject": {"namespace": namespace, "serviceAccount": account},
            "audience": POD_IDENTITY_AUDIENCE,
            "podIdentityAssociation": {"associationArn": found.arn, "associationId": found.id},
            "assumedRoleUser": {"arn": session.arn, "assumeRoleId": f"{session.role_id}:{session.name}"},
            "credentials": {
                "accessKeyId": session.access_key_id,
                "secretAccessKey": session.secret,
                "sessionToken": session.token,
                "expiration": int(session.expires),
            },
        }

    @staticmethod
    def _claims(token: str, issuer: ServiceAccountIssuer) -> dict[str, Any]:
        try:
            return issuer.verify(token, audience=POD_IDENTITY_AUDIENCE)
        except jwt.ExpiredSignatureError as error:
            raise AwsError("ExpiredTokenException", "The service account token has expired.") from error
        except jwt.InvalidAudienceError as error:
            raise AwsError("InvalidTokenException", "The audience of the token is invalid.") from error
        except jwt.InvalidTokenError as error:
            raise AwsError("InvalidTokenException", "The service account token is invalid.") from error


def _required(p: dict[str, Any], name: str) -> str:
    value = p.get(name)
    if not isinstance(value, str) or not value:
        raise AwsError("InvalidParameterException", f"{name} is required.")
    return value
