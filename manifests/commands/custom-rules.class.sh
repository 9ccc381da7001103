kubectl apply -f - <<'RULES'
apiVersion: v1
kind: ConfigMap
metadata:
  name: falco-rules
  namespace: ${app_namespace}
  labels: {app.kubernetes.io/managed-by: labkit, app.kubernetes.io/part-of: falco-workshop}
data:
  rules.yaml: |  # the gate reads this key only
${own_rules}
RULES
kubectl -n ${app_namespace} get configmap falco-rules -o jsonpath='{.metadata.annotations.falco-workshop/verdict}'
