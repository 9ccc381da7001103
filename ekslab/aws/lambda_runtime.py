"""The runtime process of a Lambda function's execution environment: loads the handler, calls it for each event.

Started as `python -I lambda_runtime.py DESCRIPTOR` by `lambda_environment`, which it talks to over that socket in lines
of JSON. It imports only the standard library. Standard output and error are the function's log, a line for each log
event; a line feed within an event is sent as a carriage return.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import queue
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

MAX_RESPONSE = 6_291_556  # bytes

Handler = Callable[[Any, Any], Any]


class Context:
    """What a handler gets as its second argument."""

    identity = None
    client_context = None

    def __init__(self, request: dict[str, Any]) -> None:
        self.aws_request_id: str = request["request_id"]
        self.invoked_function_arn: str = request["function_arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline: float = request["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.time()) * 1000))


class LogHandler(logging.Handler):
    """Writes records as the managed runtime does: level, time, request id and message, tabs between them."""

    request_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"[{record.levelname}]\t{moment}.{int(record.msecs):03d}Z\t{self.request_id}\t{self.format(record)}"
        write_event(text)


def write_event(text: str) -> None:
    """Writes one log event, whatever lines it has."""
    print(text.rstrip("\n").replace("\n", "\r"), flush=True)


def main() -> None:
    stream = socket.socket(fileno=int(sys.argv[1])).makefile("rw", encoding="utf-8", newline="\n")
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    receiver = threading.Thread(target=_receive, args=(stream, requests), daemon=True)
    receiver.start()
    try:
        try:
            _serve(stream, requests)
        except SystemExit as error:
            sys.stdout.flush()
            code = error.code
            os._exit(code if isinstance(code, int) else int(code is not None))
    except OSError:  # the lab has ended: it takes neither output nor results
        receiver.join()


def _receive(stream: TextIO, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Puts received requests into the queue. Ends the process at the end of the stream: the lab has ended."""
    folder = ""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            message = json.loads(line)
            folder = message.get("folder", folder)
            requests.put(message)
    for _ in range(100):  # the function may still be writing, a module's compiled form for example
        if not folder or not os.path.exists(folder):
            break
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)
    os._exit(0)


def _serve(stream: TextIO, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    def answer(failed: bool, payload: Any) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        stream.write(json.dumps({"failed": failed, "payload": payload, "memory": _memory_used()}) + "\n")
        stream.flush()

    start = requests.get()
    os.environ.clear()
    os.environ.update(start["variables"])
    time.tzset()
    os.chdir(start["folder"])
    sys.path.insert(0, start["folder"])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    log = LogHandler()
    logging.getLogger().addHandler(log)
    try:
        _limit_memory(start["memory"])
        handler = _load(start["handler"])
    except _InitError as error:
        write_event(f"[ERROR] {error.kind}: {error}")
        answer(True, json.dumps(_described(error.kind, str(error), "", [])))
        return
    answer(False, "")
    while True:
        request = requests.get()
        log.request_id = request["request_id"]
        answer(*_invoke(handler, request))


class _InitError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _load(named: str) -> Handler:
    """The handler `module.function`. Raises _InitError as the managed runtime names it."""
    module_name, _, name = named.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except MemoryError:
        _killed()
    except Exception as error:
        if isinstance(error, SyntaxError):
            raise _InitError(
                "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}"
            ) from error
        message = f"Unable to import module '{module_name}': {error}"
        raise _InitError("Runtime.ImportModuleError", message) from error
    handler: Handler | None = getattr(module, name, None)
    if handler is None:
        raise _InitError("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module_name}'")
    if getattr(handler, "__module__", None) != module_name:  # what the module has imported is not its handler
        raise _InitError("Runtime.HandlerNotFound", f"Handler '{name}' is not a function of module '{module_name}'")
    return handler


def _invoke(handler: Handler, request: dict[str, Any]) -> tuple[bool, str]:
    """(whether it failed, the result or the error as JSON)."""
    request_id: str = request["request_id"]
    try:
        result = handler(json.loads(request["event"]), Context(request))
    except MemoryError:
        _killed()
    except Exception as error:
        kind, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)[1:]
        trace = traceback.format_list(frames)
        write_event(f"[ERROR] {kind}: {error}\nTraceback (most recent call last):\n{''.join(trace)}")
        return True, json.dumps(_described(kind, str(error), request_id, trace))
    try:
        text = json.dumps(result)
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        write_event(f"[ERROR] Runtime.MarshalError: {message}")
        return True, json.dumps(_described("Runtime.MarshalError", message, request_id, []))
    if len(text) > MAX_RESPONSE:
        message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
        return True, json.dumps({"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"})
    return False, text


def _described(kind: str, message: str, request_id: str, trace: list[str]) -> dict[str, Any]:
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}


def _killed() -> Any:
    """Ends as a function does that takes more memory than it may."""
    os.kill(os.getpid(), signal.SIGKILL)


def _limit_memory(mebibytes: int) -> None:
    limit = mebibytes * 1024**2
    with contextlib.suppress(OSError, ValueError):  # not everywhere, and not above a limit that is there already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _memory_used() -> int:
    """Bytes of memory that this process held at most."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):  # unlike ru_maxrss, it doesn't count what was there before exec
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
