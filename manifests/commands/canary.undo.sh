cd "$LABKIT_ROOT"
kubectl delete -f manifests/canary/ --ignore-not-found
