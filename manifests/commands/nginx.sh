cd "$LABKIT_ROOT"
kubectl -n ${app_namespace} apply -f manifests/nginx/
kubectl -n ${app_namespace} rollout status deployment/nginx --timeout=5m
