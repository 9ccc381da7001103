aws iam delete-open-id-connect-provider --open-id-connect-provider-arn arn:${partition}:iam::${account_id}:oidc-provider/${oidc_provider}
