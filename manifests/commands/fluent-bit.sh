cd "$LABKIT_ROOT"
kubectl apply -f manifests/fluent-bit/
kubectl -n ${logging_namespace} rollout status daemonset/fluent-bit --timeout=5m
