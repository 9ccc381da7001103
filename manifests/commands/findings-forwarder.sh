cd "$LABKIT_ROOT"
aws sqs create-queue --queue-name ${prefix}-dead-letters --tags workshop=falco-eks \
    --attributes ${queue_attributes}
aws logs create-log-group --log-group-name /aws/lambda/${prefix}-forwarder --tags workshop=falco-eks
aws logs put-retention-policy --log-group-name /aws/lambda/${prefix}-forwarder --retention-in-days ${retention_days}
aws iam create-role --role-name ${prefix}-forwarder --tags Key=workshop,Value=falco-eks \
    --assume-role-policy-document ${iam/forwarder-trust}
aws iam put-role-policy --role-name ${prefix}-forwarder --policy-name forward-falco-alerts \
    --policy-document ${iam/forwarder-permissions}
python3 -m zipfile -c forwarder.zip labkit/respond/forwarder.py
aws lambda create-function --zip-file fileb://forwarder.zip --tags workshop=falco-eks \
    --cli-input-json ${security-hub/function}
rm forwarder.zip
aws lambda wait function-active-v2 --function-name ${prefix}-forwarder
aws lambda put-function-event-invoke-config \
    --cli-input-json ${security-hub/event-invoke-config}
aws lambda add-permission --cli-input-json ${security-hub/permission}
aws logs put-subscription-filter \
    --cli-input-json ${security-hub/subscription-filter}
