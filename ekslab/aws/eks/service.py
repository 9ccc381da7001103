"""EKS: the lab's cluster and its node group, which are read-only but for tags, and what EKS keeps beside them.

The cluster can be neither created nor deleted: it is the lab's Kubernetes.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

import orjson

from ekslab import names, versions
from ekslab.aws.eks.access import AccessEntries
from ekslab.aws.eks.addons import Addons
from ekslab.aws.eks.pod_identity import PodIdentity
from ekslab.aws.iam_authorization import Principal
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.http import HttpResponse

# (version, released, end of standard support, end of extended support), from the EKS release calendar.
_CALENDAR = (
    ("1.30", "2024-05-23", "2025-07-23", "2026-07-23"),
    ("1.31", "2024-09-26", "2025-11-26", "2026-11-26"),
    ("1.32", "2025-01-23", "2026-03-23", "2027-03-23"),
    ("1.33", "2025-05-29", "2026-07-29", "2027-07-29"),
    ("1.34", "2025-10-02", "2026-12-02", "2027-12-02"),
    ("1.35", "2026-01-27", "2027-03-27", "2028-03-27"),
)
# The day for which the lab answers, so that answers don't change over the years. The pinned versions match it.
_AS_OF = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
_DEFAULT_VERSION = "1.34"
_NODEGROUP = "workshop"


class Eks:
    """The service, with one cluster in one region."""

    def __init__(
        self,
        *,
        account_id: str,
        region: str,
        cluster: str,
        endpoint: str,
        certificate_authority: bytes,
        issuer: str,
        creator: str,
        principal_exists: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        """`creator` is the ARN of who made the cluster; `principal_exists` says whether IAM has a role or user."""
        self._region = region
        self._name = cluster
        self._clock = clock
        self._created = clock()
        self._arn = f"arn:aws:eks:{region}:{account_id}:cluster/{cluster}"
        self._nodegroup_arn = (
            f"arn:aws:eks:{region}:{account_id}:nodegroup/{cluster}/{_NODEGROUP}/{names.uid(self._arn, _NODEGROUP)}"
        )
        self._tags: dict[str, dict[str, str]] = {self._arn: {}, self._nodegroup_arn: {}}
        kept: dict[str, Any] = {"account_id": account_id, "region": region, "cluster": cluster, "tags": self._tags}
        self.pod_identity = PodIdentity(**kept, clock=clock, role_exists=principal_exists)
        self.addons = Addons(**kept, clock=clock)
        self._roles = {part: f"arn:aws:iam::{account_id}:role/{cluster}-{part}" for part in ("cluster", "node")}
        self.access = AccessEntries(
            cluster=cluster,
            cluster_arn=self._arn,
            creator=creator,
            node_role=self._roles["node"],
            principal_exists=principal_exists,
            clock=clock,
        )
        self._subnets = [f"subnet-{names.hex_id(17, self._arn, 'subnet', zone)}" for zone in "ab"]
        self._cluster: dict[str, Any] = {
            "name": cluster,
            "arn": self._arn,
            "createdAt": self._created,
            "version": versions.EKS,
            "endpoint": endpoint,
            "roleArn": self._roles["cluster"],
            "resourcesVpcConfig": {
                "subnetIds": self._subnets,
                "securityGroupIds": [],
                "clusterSecurityGroupId": f"sg-{names.hex_id(17, self._arn, 'security group')}",
                "vpcId": f"vpc-{names.hex_id(17, self._arn, 'vpc')}",
                "endpointPublicAccess": True,
                "endpointPrivateAccess": False,
                "publicAccessCidrs": ["127.0.0.1/32"],
            },
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.100.0.0/16", "ipFamily": "ipv4"},
            "logging": {
                "clusterLogging": [
                    {
                        "types": ["api", "audit", "authenticator", "controllerManager", "scheduler"],
                        "enabled": False,
                    }
                ]
            },
            "identity": {"oidc": {"issuer": issuer}},
            "status": "ACTIVE",
            "certificateAuthority": {"data": base64.b64encode(certificate_authority).decode()},
            "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        }

    @property
    def roles(self) -> dict[str, str]:
        """The ARNs of the roles that the cluster uses: `cluster` for its control plane, `node` for its nodes."""
        return self._roles

    def handle(self, call: Call, caller: Principal | None = None) -> HttpResponse:
        """Answers a call. Raises AwsError."""
        operations = {
            "ListClusters": self._list_clusters,
            "DescribeCluster": self._describe_cluster,
            "ListNodegroups": self._list_nodegroups,
            "DescribeNodegroup": self._describe_nodegroup,
            "DescribeClusterVersions": self._describe_cluster_versions,
            "ListTagsForResource": self._list_tags,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListFargateProfiles": self._list_none("fargateProfileNames"),
            **self._in_cluster(
                ListAddons=self.addons.list,
                DescribeAddon=self.addons.describe,
                CreateAddon=self.addons.create,
                DeleteAddon=self.addons.delete,
                ListPodIdentityAssociations=self.pod_identity.list,
                DescribePodIdentityAssociation=self.pod_identity.describe,
                CreatePodIdentityAssociation=lambda call: self.pod_identity.create(call, caller),
                UpdatePodIdentityAssociation=lambda call: self.pod_identity.update(call, caller),
                DeletePodIdentityAssociation=self.pod_identity.delete,
            ),
        }
        operation = operations.get(call.operation)
        if (entries := self.access.operations().get(call.operation)) is not None:
            if call.operation != "ListAccessPolicies":
                self._require_cluster(call)
            operation = entries
        if operation is None:
            raise unsupported(call)
        return HttpResponse(200, {"Content-Type": "application/json"}, orjson.dumps(operation(call)))

    def _in_cluster(
        self, **operations: Callable[[Call], dict[str, Any]]
    ) -> dict[str, Callable[[Call], dict[str, Any]]]:
        """Operations that need the cluster to be there."""

        def checked(operation: Callable[[Call], dict[str, Any]]) -> Callable[[Call], dict[str, Any]]:
            def answer(call: Call) -> dict[str, Any]:
                self._require_cluster(call)
                return operation(call)

            return answer

        return {name: checked(operation) for name, operation in operations.items()}

    def _require_cluster(self, call: Call) -> None:
        name = call.path_parameters.get("clusterName") or call.path_parameters.get("name", "")
        if call.region != self._region or name != self._name:
            message = f"No cluster found for name: {name}."
            raise AwsError("ResourceNotFoundException", message, 404, members={"clusterName": name})

    def _list_clusters(self, call: Call) -> dict[str, Any]:
        return {"clusters": [self._name] if call.region == self._region else [], "nextToken": None}

    def _describe_cluster(self, call: Call) -> dict[str, Any]:
        self._require_cluster(call)
        return {"cluster": {**self._cluster, "tags": self._tags[self._arn]}}

    def _list_nodegroups(self, call: Call) -> dict[str, Any]:
        self._require_cluster(call)
        return {"nodegroups": [_NODEGROUP], "nextToken": None}

    def _describe_nodegroup(self, call: Call) -> dict[str, Any]:
        self._require_cluster(call)
        name = call.path_parameters.get("nodegroupName", "")
        if name != _NODEGROUP:
            message = f"No node group found for name: {name}."
            raise AwsError("ResourceNotFoundException", message, 404, members={"nodegroupName": name})
        return {
            "nodegroup": {
                "nodegroupName": _NODEGROUP,
                "nodegroupArn": self._nodegroup_arn,
                "clusterName": self._name,
                "version": self._cluster["version"],
                "createdAt": self._created,
                "modifiedAt": self._created,
                "status": "ACTIVE",
                "capacityType": "ON_DEMAND",
                "instanceTypes": ["m5.large"],
                "amiType": "AL2023_x86_64_STANDARD",
                "subnets": self._subnets,
                "nodeRole": self._roles["node"],
                "health": {"issues": []},
                "tags": self._tags[self._nodegroup_arn],
            }
        }

    def _list_none(self, member: str) -> Callable[[Call], dict[str, Any]]:
        def answer(call: Call) -> dict[str, Any]:
            self._require_cluster(call)
            return {member: []}

        return answer

    def _describe_cluster_versions(self, call: Call) -> dict[str, Any]:
        known = {"maxResults", "nextToken", "includeAll", "clusterVersions", "status", "versionStatus", "defaultOnly"}
        if unknown := set(call.parameters) - known:
            raise unsupported(call, ", ".join(sorted(unknown)))
        p = call.parameters
        wanted = p.get("clusterVersions")
        wanted = [wanted] if isinstance(wanted, str) else wanted
        described = []
        for version, *days in reversed(_CALENDAR):
            released, standard, extended = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in days)
            status = (
                "STANDARD_SUPPORT" if standard > _AS_OF else "EXTENDED_SUPPORT" if extended > _AS_OF else "UNSUPPORTED"
            )
            if (
                released > _AS_OF
                or (wanted and version not in wanted)
                or (status == "UNSUPPORTED" and not wanted and p.get("includeAll") != "true")
                or p.get("versionStatus", status) != status
                or p.get("status", status.lower()) != status.lower()
                or (p.get("defaultOnly") == "true" and version != _DEFAULT_VERSION)
            ):
                continue
            described.append(
                {
                    "clusterVersion": version,
                    "clusterType": "eks",
                    "defaultVersion": version == _DEFAULT_VERSION,
                    "releaseDate": released.timestamp(),
                    "endOfStandardSupportDate": standard.timestamp(),
                    "endOfExtendedSupportDate": extended.timestamp(),
                    "status": status.lower(),
                    "versionStatus": status,
                }
            )
        return {"clusterVersions": described}

    def _resource_tags(self, call: Call) -> dict[str, str]:
        arn = call.path_parameters.get("resourceArn", "")
        if arn not in self._tags:
            raise AwsError("NotFoundException", f"No resource found for ARN: {arn}.", 404)
        return self._tags[arn]

    def _list_tags(self, call: Call) -> dict[str, Any]:
        return {"tags": self._resource_tags(call)}

    def _tag(self, call: Call) -> dict[str, Any]:
        self._resource_tags(call).update(call.parameters.get("tags", {}))
        return {}

    def _untag(self, call: Call) -> dict[str, Any]:
        tags = self._resource_tags(call)
        keys = call.parameters.get("tagKeys", [])
        for key in [keys] if isinstance(keys, str) else keys:
            tags.pop(key, None)
        return {}
