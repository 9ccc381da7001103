kubectl delete namespace ${logging_namespace} --ignore-not-found
aws iam delete-role-policy --role-name ${role_name} --policy-name write-falco-alerts
aws iam delete-role --role-name ${role_name}
