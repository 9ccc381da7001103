"""A function for tests of subscriptions: sends each event that it gets to a queue, as it is."""

import json
import os

import boto3

sqs = boto3.client("sqs")


def handler(event, context):
    body = json.dumps(event)
    sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=body)
