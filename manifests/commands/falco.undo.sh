helm uninstall falco --namespace ${falco_namespace} --wait --ignore-not-found
kubectl delete namespace ${falco_namespace} --ignore-not-found
