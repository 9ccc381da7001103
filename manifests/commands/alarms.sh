aws sns create-topic --name ${prefix}-alarms --tags Key=workshop,Value=falco-eks \
    --attributes ${topic_attributes}
aws sqs create-queue --queue-name ${prefix}-notifications --tags workshop=falco-eks \
    --attributes ${queue_attributes}
aws sns subscribe --topic-arn arn:${partition}:sns:${region}:${account_id}:${prefix}-alarms --protocol sqs \
    --notification-endpoint arn:${partition}:sqs:${region}:${account_id}:${prefix}-notifications
aws cloudwatch put-metric-alarm --tags Key=workshop,Value=falco-eks --cli-input-json \
    ${cloudwatch/alarms[*]}
