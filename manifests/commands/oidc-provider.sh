aws iam create-open-id-connect-provider --url https://${oidc_provider} \
    --client-id-list sts.amazonaws.com --tags Key=workshop,Value=falco-eks
