cd "$LABKIT_ROOT"
aws eks create-addon --cluster-name ${cluster} --addon-name eks-pod-identity-agent --tags workshop=falco-eks
aws iam create-role --role-name ${role_name} --tags Key=workshop,Value=falco-eks \
    --assume-role-policy-document ${iam/fluent-bit-trust-pod-identity}
aws iam put-role-policy --role-name ${role_name} --policy-name write-falco-alerts \
    --policy-document ${iam/fluent-bit-permissions}
kubectl apply -f manifests/fluent-bit/00-namespace.yaml -f manifests/fluent-bit/10-serviceaccount.yaml
aws eks create-pod-identity-association --cluster-name ${cluster} \
    --namespace ${logging_namespace} --service-account fluent-bit \
    --role-arn arn:${partition}:iam::${account_id}:role/${role_name} --tags workshop=falco-eks
