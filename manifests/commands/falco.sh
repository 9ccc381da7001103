cd "$LABKIT_ROOT"
kubectl apply -f manifests/falco/namespace.yaml
${helm_upgrade}
kubectl -n ${falco_namespace} rollout status daemonset/falco --timeout=5m
