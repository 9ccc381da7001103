cd "$LABKIT_ROOT"
aws iam create-role --role-name ${role_name} --tags Key=workshop,Value=falco-eks \
    --assume-role-policy-document ${iam/fluent-bit-trust}
aws iam put-role-policy --role-name ${role_name} --policy-name write-falco-alerts \
    --policy-document ${iam/fluent-bit-permissions}
kubectl apply -f manifests/fluent-bit/00-namespace.yaml -f manifests/fluent-bit/10-serviceaccount.yaml
kubectl -n ${logging_namespace} annotate --overwrite serviceaccount fluent-bit \
    eks.amazonaws.com/role-arn=arn:${partition}:iam::${account_id}:role/${role_name}
