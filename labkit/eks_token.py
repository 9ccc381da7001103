"""`python -m labkit.eks_token --cluster C --region R`: a token for kubectl, helm and the Python client.

A kubeconfig names this command as its credential plugin, so a token is made when it is needed and made anew before it
runs out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json

from labkit.connect import eks_token

# EKS takes a token for 15 minutes; one minute is kept in hand, as `aws eks get-token` does.
LIFETIME = dt.timedelta(minutes=14)


def credential(cluster: str, region: str) -> dict[str, object]:
    """An `ExecCredential` as the Kubernetes client protocol has it."""
    import boto3

    expires = dt.datetime.now(dt.UTC) + LIFETIME
    return {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "spec": {},
        "status": {
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": eks_token(boto3.Session(), cluster, region),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a token for an EKS cluster.")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--region", required=True)
    arguments = parser.parse_args()
    print(json.dumps(credential(arguments.cluster, arguments.region)))


if __name__ == "__main__":
    main()
