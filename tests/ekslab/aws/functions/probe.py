"""A function for tests of the execution environment: does what its event asks for."""

import logging
import os
import signal
import sys
import time

import boto3

print("module loaded")
calls = 0


def handler(event, context):
    global calls
    calls += 1
    match event.get("do"):
        case "environ":
            return dict(os.environ)
        case "context":
            names = ("aws_request_id", "function_name", "invoked_function_arn", "memory_limit_in_mb", "log_group_name")
            return {name: getattr(context, name) for name in names} | {
                "left": context.get_remaining_time_in_millis(),
                "calls": calls,
                "pid": os.getpid(),
            }
        case "print":
            print(event["text"])
            print("to stderr", file=sys.stderr)
            logging.getLogger().warning("logged")
        case "raise":
            raise ValueError(event.get("text", "no"))
        case "sleep":
            print("going to sleep", flush=True)
            time.sleep(event["seconds"])
        case "print on":
            while True:
                print("on", flush=True)
        case "exit on EPIPE":
            try:
                while True:
                    print("on", flush=True)
            except BrokenPipeError:
                sys.exit(3)
        case "exit":
            sys.exit(event["code"])
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            return len(bytearray(event["mebibytes"] * 1024**2))
        case "unserializable":
            return {1, 2}
        case "whoami":
            return boto3.client("sts").get_caller_identity()["Arn"]
        case "send":
            boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=event["body"])
        case "fail until":
            with open("/".join([os.environ["HOME"], "marks"]), "a+") as file:
                file.write("x")
                file.seek(0)
                tried = len(file.read())
            if tried < event["attempts"]:
                raise RuntimeError(f"attempt {tried}")
            boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=f"attempt {tried}")
    return event
