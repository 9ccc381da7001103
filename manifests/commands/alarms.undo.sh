aws cloudwatch delete-alarms --alarm-names ${alarm_names}
aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name ${prefix}-notifications --output text)"
aws sns delete-topic --topic-arn arn:${partition}:sns:${region}:${account_id}:${prefix}-alarms  # and its subscriptions
