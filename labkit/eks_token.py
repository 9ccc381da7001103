"""`python -m labkit.eks_token --cluster C --region R`: a token for kubectl, helm and the Python client.

It is the credential plugin that the kubeconfig of `labkit.connect` names: clients run it before a token expires.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

from labkit.aws import Aws, translated_errors
from labkit.errors import LabError

if TYPE_CHECKING:
    import boto3

# EKS takes a token for 15 minutes; one minute is kept in hand, as `aws eks get-token` does.
LIFETIME = dt.timedelta(minutes=14)


def credential(cluster: str, region: str, *, profile: str = "", role: str = "") -> dict[str, object]:
    """An `ExecCredential` object, which a credential plugin prints."""
    session = Aws(region, hint="", profile=profile, role=role).session
    expires = dt.datetime.now(dt.UTC) + LIFETIME
    return {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "spec": {},
        "status": {
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": eks_token(session, cluster, region),
        },
    }


def eks_token(session: boto3.Session, cluster: str, region: str) -> str:
    """A bearer token for an EKS cluster, good for 15 minutes: a presigned call of STS GetCallerIdentity.

    What `aws eks get-token` prints; EKS makes the call to learn who is asking.
    """
    sts = session.client("sts", region_name=region)
    header = "x-k8s-aws-id"

    def name_cluster(request: Any, **_: Any) -> None:
        request.headers.add_header(header, cluster)

    sts.meta.events.register("before-sign.sts.GetCallerIdentity", name_cluster)
    url = sts.generate_presigned_url("get_caller_identity", Params={}, ExpiresIn=60, HttpMethod="GET")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a token for an EKS cluster.")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--profile", default="")
    parser.add_argument("--role", default="")
    arguments = vars(parser.parse_args())
    try:
        with translated_errors():
            found = credential(**arguments)
    except LabError as error:
        sys.exit(f"labkit: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
