association=$(aws eks list-pod-identity-associations --cluster-name ${cluster} --namespace ${logging_namespace} \
    --service-account fluent-bit --query 'associations[0].associationId' --output text)
aws eks delete-pod-identity-association --cluster-name ${cluster} --association-id "$association"
kubectl delete namespace ${logging_namespace} --ignore-not-found
aws iam delete-role-policy --role-name ${role_name} --policy-name write-falco-alerts
aws iam delete-role --role-name ${role_name}
# Only if no other service account has an association:
aws eks delete-addon --cluster-name ${cluster} --addon-name eks-pod-identity-agent
