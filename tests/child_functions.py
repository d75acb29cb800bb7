"""What a bounded child is asked to do in tests: each takes bytes and returns bytes, if it ever returns."""

import os
import signal
import sys
import time

KEPT = []


def echo(question):
    return question


def process(_):
    return str(os.getpid()).encode()


def spin(_):
    while True:
        pass


def hash_without_end(_):
    """In C, where no signal of Python's is looked at."""
    key = (1, 2)
    for _ in range(60):
        key = (key, key)
    return str(hash(key)).encode()


def sleep(question):
    time.sleep(float(question))
    return b""


def allocate(question):
    return str(len(bytearray(int(question)))).encode()


def keep(question):
    KEPT.append(bytearray(int(question)))
    return str(os.getpid()).encode()


def crash(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(_):
    os._exit(0)


def fail(_):
    raise ValueError("a patient's name")


def chatter(question):
    print("a library's words", flush=True)
    os.write(1, b"more of them")
    print("and these", file=sys.stderr, flush=True)
    return question


def read_input(_):
    return sys.stdin.buffer.read(1)


def core_limit(_):
    import resource

    return str(resource.getrlimit(resource.RLIMIT_CORE)[0]).encode()


def write_much(question):
    path, size = question.split(b"\0")
    with open(os.fsdecode(path), "wb") as file:  # noqa: PTH123
        file.writelines(bytes(2**20) for _ in range(int(size) // 2**20))
    return b""


def imported(_):
    return " ".join(sorted(sys.modules)).encode()
