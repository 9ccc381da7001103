"""The emulated account's IAM, EKS and CloudWatch: moto's back ends, loaded on first use and corrected where they differ from AWS.

A Call goes in, the service's HTTP response comes out; only operations that moto answers truthfully are let through.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from typing import Any
from urllib.parse import urlsplit

from labkit import versions
from labkit.embedded import names
from labkit.embedded.aws.iam_authorization import Document, parse_document
from labkit.embedded.aws.protocols import AwsError, Call, decoded_body, unsupported
from labkit.embedded.http import HttpResponse

# What moto answers as AWS does. Everything else is refused by name.
SUPPORTED = {
    "iam": frozenset(
        """AddClientIDToOpenIDConnectProvider AttachRolePolicy AttachUserPolicy CreateAccountAlias
        CreateOpenIDConnectProvider CreatePolicy CreatePolicyVersion CreateRole CreateUser DeleteAccountAlias
        DeleteOpenIDConnectProvider DeletePolicy DeletePolicyVersion DeleteRole DeleteRolePermissionsBoundary
        DeleteRolePolicy DeleteUser DeleteUserPolicy DetachRolePolicy DetachUserPolicy GetOpenIDConnectProvider
        GetPolicy GetPolicyVersion GetRole GetRolePolicy GetUser GetUserPolicy ListAccountAliases
        ListAttachedRolePolicies ListAttachedUserPolicies ListEntitiesForPolicy ListOpenIDConnectProviderTags
        ListOpenIDConnectProviders ListPolicies ListPolicyTags ListPolicyVersions ListRolePolicies ListRoleTags
        ListRoles ListUserPolicies ListUsers PutRolePermissionsBoundary PutRolePolicy PutUserPolicy
        RemoveClientIDFromOpenIDConnectProvider SetDefaultPolicyVersion TagOpenIDConnectProvider TagPolicy TagRole
        UntagOpenIDConnectProvider UntagPolicy UntagRole UpdateAssumeRolePolicy
        UpdateOpenIDConnectProviderThumbprint UpdateRole UpdateRoleDescription""".split()
    ),
    "eks": frozenset(
        """DescribeCluster DescribeNodegroup ListClusters ListNodegroups ListTagsForResource TagResource
        UntagResource""".split()
    ),
    "monitoring": frozenset("GetMetricStatistics ListMetrics PutMetricData".split()),
}


class Account:
    """One account's back ends. Not thread-safe except where it says so: calls come from the event loop's thread."""

    def __init__(
        self,
        *,
        account_id: str,
        region: str,
        cluster_name: str,
        cluster_endpoint: str,
        cluster_ca: bytes,
        issuer: str,
        admin_user: str,
    ) -> None:
        self.account_id = account_id
        self.region = region
        self._cluster = cluster_name
        self._endpoint = cluster_endpoint
        self._ca = cluster_ca
        self._issuer = issuer
        self._admin_user = admin_user
        self._application: Any = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Imports moto and makes what the account holds from the start. Takes about a second; safe from any thread."""
        with self._loading:
            if self._application is not None:
                return
            os.environ.setdefault("MOTO_ACCOUNT_ID", self.account_id)
            os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            from moto.backends import get_backend
            from moto.moto_api._internal import mock_random
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

            mock_random.seed(f"labkit {self.account_id}")
            for service in ("iam", "eks", "cloudwatch"):
                # A lab starts empty, also when another one lived in this process before.
                get_backend(service)[self.account_id].reset()
            self._seed(get_backend)
            self._application = DomainDispatcherApplication(create_backend_app)

    def _seed(self, get_backend: Any) -> None:
        iam = get_backend("iam")[self.account_id]["aws"]
        iam.create_user(self.region, self._admin_user)
        iam.attach_user_policy("arn:aws:iam::aws:policy/AdministratorAccess", self._admin_user)
        cluster_role, node_role = (
            iam.create_role(
                role_name=name,
                assume_role_policy_document=(
                    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "%s"}, '
                    '"Action": "sts:AssumeRole"}]}' % principal
                ),
                path="/",
                permissions_boundary=None,
                description=description,
                tags=[],
                max_session_duration="3600",
            )
            for name, principal, description in (
                (f"{self._cluster}-cluster", "eks.amazonaws.com", "The control plane of the workshop's cluster"),
                (f"{self._cluster}-node", "ec2.amazonaws.com", "The nodes of the workshop's cluster"),
            )
        )
        iam.attach_role_policy("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy", cluster_role.name)
        for policy in ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"):
            iam.attach_role_policy(f"arn:aws:iam::aws:policy/{policy}", node_role.name)
        eks = get_backend("eks")[self.account_id][self.region]
        cluster = eks.create_cluster(
            name=self._cluster,
            role_arn=cluster_role.arn,
            resources_vpc_config={
                "subnetIds": [f"subnet-{names.hex_id(17, self._cluster, 'subnet', zone)}" for zone in "ab"],
                "vpcId": f"vpc-{names.hex_id(17, self._cluster, 'vpc')}",
                "endpointPublicAccess": True,
            },
            version=versions.pinned()["kubernetes"]["eks"],
        )
        cluster.identity = {"oidc": {"issuer": self._issuer}}
        cluster.endpoint = self._endpoint
        cluster.certificate_authority = {"data": base64.b64encode(self._ca).decode()}
        eks.create_nodegroup(
            cluster_name=self._cluster,
            node_role=node_role.arn,
            nodegroup_name="workshop",
            subnets=list(cluster.resources_vpc_config["subnetIds"]),
            scaling_config={"minSize": 1, "maxSize": 1, "desiredSize": 1},
            instance_types=["m5.large"],
            ami_type="AL2023_x86_64_STANDARD",
        )

    def handle(self, call: Call) -> HttpResponse:
        """moto's answer to a supported call. Raises AwsError for any other, and where moto would be too lenient."""
        if call.operation not in SUPPORTED.get(call.service, frozenset()):
            raise unsupported(call)
        self.load()
        if call.service == "iam":
            self._refuse_what_iam_refuses(call)
        return self._dispatch(call)

    def _dispatch(self, call: Call) -> HttpResponse:
        request = call.request
        url = urlsplit(request.url)
        body = decoded_body(request)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": url.path or "/",
            "QUERY_STRING": url.query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": request.header("content-type"),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        dropped = ("content-length", "content-type", "content-encoding", "transfer-encoding", "connection")
        for name, value in request.headers.items():
            if name.lower() not in dropped and not name.lower().startswith("x-moto"):
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        scope = call.scope
        assert scope is not None
        environ |= {
            "HTTP_HOST": f"{call.service}.{call.region}.amazonaws.com",
            "HTTP_X_MOTO_ACCOUNT_ID": self.account_id,
            # moto takes the service and region from here, for presigned requests too.
            "HTTP_AUTHORIZATION": (
                f"AWS4-HMAC-SHA256 Credential={scope.access_key_id}/{scope.date}/{scope.region}/{scope.service}"
                "/aws4_request, SignedHeaders=host, Signature=verified"
            ),
        }
        status = 500
        headers: dict[str, str] = {}

        def start_response(line: str, received: list[tuple[str, str]], exc_info: Any = None) -> None:
            nonlocal status
            status = int(line.split()[0])
            headers.update(received)

        chunks = self._application(environ, start_response)
        try:
            payload = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        kept = {k: v for k, v in headers.items() if not k.lower().startswith(("access-control", "content-length"))}
        return HttpResponse(status, kept, payload)

    # -- IAM, as the lab's own services read it --

    def _iam(self) -> Any:
        self.load()
        from moto.iam.models import iam_backends

        return iam_backends[self.account_id]["aws"]

    def _refuse_what_iam_refuses(self, call: Call) -> None:
        """The conflicts moto doesn't see."""
        iam, p = self._iam(), call.parameters
        match call.operation:
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
            case "DeleteOpenIDConnectProvider":
                arn = p.get("OpenIDConnectProviderArn", "")
                if arn not in iam.open_id_providers:
                    raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", 404)

    def role(self, arn: str) -> Any | None:
        """moto's role with this ARN, or None."""
        return next((role for role in self._iam().roles.values() if role.arn == arn), None)

    def role_policies(self, role: Any) -> list[Document]:
        """A role's inline and attached policies, parsed."""
        texts = list(role.policies.values())
        texts += [policy.document for policy in role.managed_policies.values()]
        return [parse_document(text) if isinstance(text, str) else text for text in texts]

    def policy(self, arn: str) -> Document | None:
        """The default version of a managed policy, or None."""
        policy = self._iam().managed_policies.get(arn)
        return parse_document(policy.document) if policy is not None else None

    def oidc_provider(self, issuer: str) -> tuple[str, list[str]] | None:
        """(ARN, client ids) of the IAM OIDC provider for an issuer URL, or None."""
        wanted = issuer.removeprefix("https://").rstrip("/")
        for arn, provider in self._iam().open_id_providers.items():
            if provider.url.rstrip("/") == wanted:
                return arn, list(provider.client_id_list)
        return None
