"""Credentials: the lab's access key and token, the API server's certificate, service account tokens (JWT).

The cluster is the OIDC issuer of its service account tokens. The signing key ends with the lab's process; key, token
and certificate are kept in the state folder.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The audiences of service account tokens: for the API server, and for roles of AWS by IRSA and by EKS Pod Identity.
API_AUDIENCE = "https://kubernetes.default.svc"
STS_AUDIENCE = "sts.amazonaws.com"
POD_IDENTITY_AUDIENCE = "pods.eks.amazonaws.com"
_LIFETIME = dt.timedelta(days=60)  # of the certificate


@dataclass(frozen=True)
class Credentials:
    """The access key for AWS and the bearer token for Kubernetes: random for each state folder."""

    access_key_id: str = field(default_factory=lambda: "LKIA" + secrets.token_hex(8).upper())
    secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)
    kubernetes_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


class ServiceAccountIssuer:
    """Issues and verifies service account tokens, as the API server of an EKS cluster does."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def issue(
        self,
        namespace: str,
        service_account: str,
        *,
        audience: str,
        now: float,
        lifetime: int = 3600,
        pod: str | None = None,
        pod_uid: str | None = None,
        service_account_uid: str = "",
    ) -> str:
        """A signed JWT for a service account. `now` is in seconds since the epoch, `lifetime` in seconds."""
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": service_account, "uid": service_account_uid},
        }
        if pod is not None:
            bound["pod"] = {"name": pod, "uid": pod_uid or ""}
        claims = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{namespace}:{service_account}",
            "aud": [audience],
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + lifetime,
            "kubernetes.io": bound,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "embedded-lab"})

    def verify(self, token: str, *, audience: str | None = None) -> dict[str, Any]:
        """The claims of a valid token. Raises `jwt.InvalidTokenError` (expired, wrong signature or audience...)."""
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key.public_key(),
            algorithms=["RS256"],
            issuer=self.issuer,
            audience=audience,
            options={"verify_aud": audience is not None},
        )
        return claims


@dataclass(frozen=True)
class ServerCertificate:
    """A self-signed certificate for loopback, PEM encoded; it is its own CA."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @property
    def expires_soon(self) -> bool:
        """Whether a lab that starts now could outlive it."""
        left = x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc - dt.datetime.now(dt.UTC)
        return left < _LIFETIME / 2

    @classmethod
    def for_loopback(cls) -> ServerCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ekslab embedded cluster")])
        now = dt.datetime.now(dt.UTC)
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        return cls(
            cert.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
