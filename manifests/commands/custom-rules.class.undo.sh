kubectl -n ${app_namespace} delete configmap falco-rules
