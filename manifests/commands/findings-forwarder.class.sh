aws sqs create-queue --queue-name ${prefix}-dead-letters --tags workshop=falco-eks \
    --attributes ${queue_attributes}
