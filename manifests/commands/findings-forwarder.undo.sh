aws logs delete-subscription-filter --log-group-name ${log_group} --filter-name ${prefix}-forwarder
aws lambda delete-function --function-name ${prefix}-forwarder  # and its permission and settings
aws iam delete-role-policy --role-name ${prefix}-forwarder --policy-name forward-falco-alerts
aws iam delete-role --role-name ${prefix}-forwarder
aws logs delete-log-group --log-group-name /aws/lambda/${prefix}-forwarder
aws sqs delete-queue --queue-url ${dead_letter_queue_url}
