kubectl -n ${logging_namespace} delete daemonset/fluent-bit configmap/fluent-bit --ignore-not-found
