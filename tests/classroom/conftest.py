"""A class of three on one embedded lab, its instructor, and its attendees with credentials of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from classroom import handout
from classroom.up import up
from ekslab.state import Endpoints
from labkit import Lab

NAMES = ("07", "08", "anna")


@dataclass
class Attendee:
    """An attendee, who has what `labkit class env` prints and nothing else."""

    name: str
    variables: dict[str, str]
    lab: Lab

    def client(self, service: str) -> Any:
        """A boto3 client with the attendee's credentials."""
        return boto3.client(service, region_name="us-east-1", **self._keys())

    def _keys(self) -> dict[str, str]:
        v = self.variables
        return {
            "aws_access_key_id": v["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": v["AWS_SECRET_ACCESS_KEY"],
            "aws_session_token": v["AWS_SESSION_TOKEN"],
            "endpoint_url": v["AWS_ENDPOINT_URL"],
        }

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Status and message of a request to the cluster."""
        import urllib3

        kube = self.lab.kube
        response = kube.client.rest_client.pool_manager.request(
            method,
            kube.client.configuration.host + path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": kind, **kube.authorization(), **(headers or {})},
            timeout=urllib3.Timeout(10),
            retries=False,
        )
        try:
            said = json.loads(response.data).get("message", "")
        except ValueError:
            said = response.data.decode()
        return response.status, said


@pytest.fixture(scope="session")
def instructor(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """The instructor of a class that is up."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    up(lab.target, NAMES, findings=True)
    return lab


@pytest.fixture(scope="session")
def attend(instructor: Lab, workshop: Path) -> Callable[[str], Attendee]:
    """An attendee by name. Labs are connected one after the other: each takes its variables from the process."""
    known: dict[str, Attendee] = {}
    before = dict(os.environ)

    def attendee(name: str) -> Attendee:
        if name not in known:
            variables = handout.handout(instructor.target, name).variables
            with pytest.MonkeyPatch.context() as patch:
                for key in [key for key in before if key.startswith(("AWS_", "LABKIT_", "KUBE"))]:
                    patch.delenv(key, raising=False)
                for key, value in variables.items():
                    patch.setenv(key, value)
                lab = Lab.connect(root=workshop)
                for service in ("cloudwatch", "eks", "logs", "securityhub", "sns", "sqs", "iam", "lambda"):
                    lab.aws.client(service)
                lab.kube.request("GET", "/version")
            known[name] = Attendee(name, variables, lab)
        return known[name]

    return attendee


@pytest.fixture
def seven(attend: Callable[[str], Attendee]) -> Attendee:
    return attend("07")
