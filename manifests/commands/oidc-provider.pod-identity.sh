# EKS Pod Identity needs no OIDC provider.
