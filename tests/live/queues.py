# SPDX-License-Identifier: BSD-2-Clause
"""For tests of message queues: their calls, in Python, for traced programs and for the tests."""

CALLS = """
import ctypes, errno, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
for name in ("msgrcv", "mq_receive"):
    getattr(libc, name).restype = ctypes.c_ssize_t
IPC_PRIVATE, IPC_RMID, IPC_CREAT, IPC_NOWAIT, MSG_NOERROR = 0, 0, 0o1000, 0o4000, 0o10000

class Message(ctypes.Structure):
    _fields_ = [("type", ctypes.c_long), ("text", ctypes.c_char * 8192)]

def call(name, *args):
    ret = getattr(libc, name)(*args)
    return ret if ret >= 0 else -ctypes.get_errno()

def must(ret):
    assert ret >= 0, os.strerror(-ret)
    return ret

def make():
    return must(call("msgget", IPC_PRIVATE, IPC_CREAT | 0o600))

def remove(q):
    must(call("msgctl", q, IPC_RMID, None))

def send(q, size, tag=1, flags=0):
    return call("msgsnd", q, ctypes.byref(Message(tag)), ctypes.c_size_t(size), flags)

def receive(q, tag=0, flags=0, room=8192):
    return call("msgrcv", q, ctypes.byref(Message()), ctypes.c_size_t(room), ctypes.c_long(tag),
                flags)

def mq_open(name, flags=os.O_RDWR | os.O_CREAT):
    return must(call("mq_open", name.encode(), flags, 0o600, None))

def mq_send(q, size, priority=0):
    return call("mq_send", q, b"x" * size, ctypes.c_size_t(size), priority)

def mq_receive(q):  # without asking for the priority
    return call("mq_receive", q, ctypes.create_string_buffer(8192), ctypes.c_size_t(8192), None)

def child(function, *args):
    pid = os.fork()
    if not pid:
        os._exit(0 if function(*args) is not False else 1)
    assert os.waitpid(pid, 0)[1] == 0
    print(pid, flush=True)
"""


def calls():
    """The same for the test itself."""
    scope = {}
    exec(CALLS, scope)
    return scope
