cd "$LABKIT_ROOT"
kubectl -n ${app_namespace} delete -f manifests/nginx/ --ignore-not-found
