"""IAM, by moto: loaded on first use, limited to the operations that moto answers as AWS does."""

from __future__ import annotations

import json
import os
import re
import threading
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from ekslab import names
from ekslab.aws import wire
from ekslab.aws.iam_authorization import Document, parse_document
from ekslab.aws.protocols import AwsError, Call, decoded_body, unsupported
from ekslab.aws.validation import validate
from ekslab.http import HttpResponse

_NAME = re.compile(r"[\w+=,.@-]*", re.ASCII)
# The roles of the workshop's cluster, and the AWS managed policies that EKS wants on them.
_CLUSTER_ROLES = {
    "cluster": ("eks.amazonaws.com", ("AmazonEKSClusterPolicy",)),
    "node": (
        "ec2.amazonaws.com",
        ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"),
    ),
}


@cache
def supported() -> frozenset[str]:
    """The operations of IAM that moto answers as AWS does: `supported.toml`."""
    text = resources.files("ekslab.aws").joinpath("supported.toml").read_text(encoding="utf-8")
    return frozenset(tomllib.loads(text)["iam"])


@dataclass(frozen=True)
class Administrator:
    """The IAM user that the lab's own key belongs to."""

    name: str
    arn: str
    user_id: str
    access_key_id: str


class Account:
    """The moto back ends of one account. Only `load` is thread-safe."""

    def __init__(
        self, *, account_id: str, region: str, administrator: Administrator, cluster_roles: Mapping[str, str]
    ) -> None:
        self.account_id = account_id
        self.region = region
        self.administrator = administrator
        self._cluster_roles = cluster_roles
        self._application: Any = None
        self._made: Counter[str] = Counter()
        self._loading = threading.Lock()

    @property
    def loaded(self) -> bool:
        return self._application is not None

    def load(self) -> None:
        """Imports moto; creates the administrator and the cluster's roles. Takes half a second; thread-safe."""
        with self._loading:
            if self._application is not None:
                return
            os.environ.setdefault("MOTO_ACCOUNT_ID", self.account_id)
            # moto would parse AWS's policies for each account, and again whenever it is emptied.
            os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "false"
            from moto.backends import get_backend
            from moto.moto_api._internal import mock_random
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

            back_ends = get_backend("iam")[self.account_id]
            back_ends.reset()  # moto's state may come from another lab in this process
            iam = back_ends["aws"]
            iam.aws_managed_policies = list(_aws_policies(self.account_id))
            iam.managed_policies = {policy.arn: policy for policy in iam.aws_managed_policies}
            for policy in iam.aws_managed_policies:
                _reset(policy)
            mock_random.seed(self.account_id)
            self._seed(iam)
            self._application = DomainDispatcherApplication(create_backend_app)

    def _seed(self, iam: Any) -> None:
        user = iam.create_user(self.region, self.administrator.name)
        user.id = self.administrator.user_id
        iam.create_access_key(user.name).access_key_id = self.administrator.access_key_id
        iam.attach_user_policy("arn:aws:iam::aws:policy/AdministratorAccess", user.name)
        for part, (principal, policies) in _CLUSTER_ROLES.items():
            statement = {"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"}
            role = iam.create_role(
                role_name=self._cluster_roles[part].rpartition("/")[2],
                assume_role_policy_document=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
                path="/",
                permissions_boundary=None,
                description=f"The workshop's cluster: {part}",
                tags=[],
                max_session_duration="3600",
            )
            for policy in policies:
                iam.attach_role_policy(f"arn:aws:iam::aws:policy/{policy}", role.name)

    def handle(self, call: Call) -> HttpResponse:
        """moto's response to a supported call. Raises AwsError for others, and for faults that moto doesn't notice."""
        if call.operation not in supported():
            raise unsupported(call)
        self.load()
        self._refuse_what_iam_refuses(call)
        self._make_ids_reproducible(call)
        response = self._dispatch(call)
        if call.operation.startswith("Attach"):
            self._recount_attachments(call.parameters.get("PolicyArn", ""))
        return response

    def _dispatch(self, call: Call) -> HttpResponse:
        from werkzeug.datastructures import Headers
        from werkzeug.test import EnvironBuilder, run_wsgi_app

        scope = call.scope
        assert scope is not None
        url = urlsplit(call.request.url)
        environ = EnvironBuilder(
            method=call.request.method,
            path=url.path or "/",
            query_string=url.query,
            base_url=f"http://iam.{call.region}.amazonaws.com",
            content_type=call.request.header("content-type"),
            data=decoded_body(call),
            headers=Headers(
                {
                    "X-Moto-Account-Id": self.account_id,
                    # moto reads the service and the region from here, for presigned requests, too.
                    "Authorization": (
                        f"AWS4-HMAC-SHA256 Credential={scope.access_key_id}/{scope.date}/{scope.region}/{scope.service}"
                        "/aws4_request, SignedHeaders=host, Signature=verified"
                    ),
                }
            ),
        ).get_environ()
        chunks, status, headers = run_wsgi_app(self._application, environ, buffered=True)
        dropped = ("access-control", "content-length")
        kept = {name: value for name, value in headers.items() if not name.lower().startswith(dropped)}
        return HttpResponse(int(status.split()[0]), kept, b"".join(chunks))

    # -- for other services

    def _iam(self) -> Any:
        self.load()
        from moto.iam.models import iam_backends

        return iam_backends[self.account_id]["aws"]

    def _refuse_what_iam_refuses(self, call: Call) -> None:
        """Raises the errors of IAM that moto doesn't raise, or words differently."""
        from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator

        _check(call)
        iam, p = self._iam(), call.parameters
        roles = {role.name for role in iam.roles.values()}
        if call.operation != "CreateRole" and p.get("RoleName", "") not in roles | {""}:
            raise AwsError("NoSuchEntity", f"The role with name {p['RoleName']} cannot be found.", 404)
        match call.operation:
            case "CreateRole":
                if p.get("RoleName") in roles:
                    raise AwsError("EntityAlreadyExists", f"Role with name {p['RoleName']} already exists.", 409)
                try:
                    IAMTrustPolicyDocumentValidator(p.get("AssumeRolePolicyDocument", "")).validate()
                except Exception as error:
                    message = getattr(error, "message", "This policy contains invalid Json")
                    raise AwsError("MalformedPolicyDocument", message) from error
            case "GetUser":
                scope = call.scope
                if not p.get("UserName") and scope and scope.access_key_id != self.administrator.access_key_id:
                    raise AwsError("ValidationError", "Must specify userName when calling with non-User credentials")
            case "PutRolePermissionsBoundary":
                arn = p.get("PermissionsBoundary", "")
                if arn not in iam.managed_policies:
                    raise AwsError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", 404)
            case "DeletePolicy":
                policy = iam.managed_policies.get(p.get("PolicyArn"))
                if policy is not None and policy.attachment_count > 0:
                    raise AwsError("DeleteConflict", "Cannot delete a policy attached to entities.", 409)
                if policy is not None and len(policy.versions) > 1:
                    message = (
                        "This policy has more than one version. Before you delete a policy, you must delete the "
                        "policy's versions. The default version is deleted with the policy."
                    )
                    raise AwsError("DeleteConflict", message, 409)
            case "CreateOpenIDConnectProvider":
                url = p.get("Url", "")
                if self.oidc_provider(url) is not None:
                    raise AwsError("EntityAlreadyExists", f"Provider with url {url} already exists.", 409)
            case "DeleteOpenIDConnectProvider":
                arn = p.get("OpenIDConnectProviderArn", "")
                if arn not in iam.open_id_providers:
                    raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", 404)

    def _make_ids_reproducible(self, call: Call) -> None:
        """Seeds moto's ids with the request and the number of equal requests before it: runs are reproducible."""
        from moto.moto_api._internal import mock_random

        what = names.hex_id(32, call.action, call.request.body)
        self._made[what] += 1
        mock_random.seed(f"{what} {self._made[what]}")

    def _recount_attachments(self, arn: str) -> None:
        """Corrects AttachmentCount: moto counts a policy that a role got twice as two."""
        iam = self._iam()
        entities = [*iam.roles.values(), *iam.users.values(), *iam.groups.values()]
        if arn in iam.managed_policies:
            iam.managed_policies[arn].attachment_count = sum(arn in entity.managed_policies for entity in entities)

    def role(self, arn: str) -> Any | None:
        """moto's role with this ARN, or None."""
        return next((role for role in self._iam().roles.values() if role.arn == arn), None)

    def role_policies(self, role: Any) -> list[Document]:
        """A role's inline and attached policies, parsed."""
        inline = [parse_document(text) for text in role.policies.values()]
        return inline + [_default_version(policy) for policy in role.managed_policies.values()]

    def policy(self, arn: str) -> Document | None:
        """The default version of a managed policy, or None."""
        policy = self._iam().managed_policies.get(arn)
        return _default_version(policy) if policy is not None else None

    def policies_of(self, arn: str) -> tuple[dict[str, Document], list[Document]] | None:
        """(policies by name, permissions boundary) of the role or user with this ARN; None if there is none."""
        iam = self._iam()
        entity = next((e for e in [*iam.roles.values(), *iam.users.values()] if e.arn == arn), None)
        if entity is None:
            return None
        policies = {name: parse_document(text) for name, text in entity.policies.items()}
        policies |= {policy.name: _default_version(policy) for policy in entity.managed_policies.values()}
        boundary = self.policy(getattr(entity, "permissions_boundary_arn", None) or "")
        return policies, [boundary] if boundary is not None else []

    def oidc_provider(self, issuer: str) -> tuple[str, list[str]] | None:
        """(ARN, client ids) of the IAM OIDC provider for an issuer URL, or None."""
        wanted = issuer.removeprefix("https://").rstrip("/")
        for arn, provider in self._iam().open_id_providers.items():
            if provider.url.rstrip("/") == wanted:
                return arn, list(provider.client_id_list)
        return None


def _check(call: Call) -> None:
    """Raises IAM's errors of names and values that its description of the call doesn't allow."""
    p = wire.parameters(call)
    for name, value in p.items():
        if name.endswith("Name") and isinstance(value, str) and _NAME.fullmatch(value) is None:
            raise AwsError(
                "ValidationError",
                f"The specified value for {name[0].lower()}{name[1:]} is invalid. It must contain only alphanumeric "
                "characters and/or the following: +=,.@_-",
            )
    try:
        validate("iam", call.operation, p)
    except AwsError as error:
        code = "ValidationError" if error.code == "InvalidParameterException" else error.code
        raise AwsError(code, error.message) from error


@cache
def _aws_policies(account_id: str) -> tuple[Any, ...]:
    """AWS's managed policies, as moto's objects. There are about 1,600, so they are parsed once in a process."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data
    from moto.iam.models import AWSManagedPolicy
    from moto.moto_api._internal import mock_random

    mock_random.seed("aws managed policies")
    return tuple(
        AWSManagedPolicy.from_data(name, account_id, "aws", data)
        for name, data in json.loads(aws_managed_policies_data).items()
    )


def _reset(policy: Any) -> None:
    """Undoes what an earlier account did with one of AWS's policies."""
    first = policy.versions[0]
    first.is_default, policy.versions, policy.default_version_id = True, [first], first.version_id
    policy.attachment_count, policy.tags = 0, {}


def _default_version(policy: Any) -> Document:
    return next(parse_document(v.document) for v in policy.versions if v.version_id == policy.default_version_id)
