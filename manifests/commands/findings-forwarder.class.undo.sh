aws sqs delete-queue --queue-url ${dead_letter_queue_url}
