cd "$LABKIT_ROOT"
kubectl apply -f manifests/falco/namespace.yaml -f manifests/canary/
kubectl -n ${falco_namespace} wait pod/canary --for=jsonpath='{.status.phase}'=Succeeded --timeout=5m
