# SPDX-License-Identifier: BSD-2-Clause
"""io_uring: its requests count as the calls do that they stand for."""
from facts import register
from lib import PYTHON, check, check_equal, test

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "uring-stream": [
        "", "mode=async", "mode=async depth=8", "mode=sqpoll", "mode=sqpoll depth=8",
        "mode=defer", "mode=defer depth=8 side=reader", "depth=32 chunk=100", "op=vec",
        "op=registered", "files=fixed", "files=fixed mode=sqpoll op=vec", "over=fifo",
        "over=fifo mode=async depth=4", "side=writer", "side=reader", "over=fifo bytes=0",
        "bytes=1M chunk=64K rchunk=64K"],
    "uring-cancel": ["", "count=100"],
    "uring-link": ["", "count=100"],
    "uring-nonblock": ["", "op=vec"],
    "uring-splice": ["", "files=fixed"],
    "uring-many-writers": ["", "mode=async", "mode=sqpoll", "writers=20 records=20"],
    "uring-inherited": ["", "rounds=10"],
    "uring-sock": [
        "", "how=msg", "how=rw", "how=vec", "how=waitall reply=100000", "how=peek", "how=dontwait",
        "mode=async", "mode=sqpoll", "mode=defer", "files=fixed", "over=seqpacket how=msg",
        "over=dgram", "over=dgram how=msg mode=sqpoll", "over=tcp", "over=tcp how=zc",
        "over=tcp how=msg mode=async", "over=tcp how=vec mode=sqpoll files=fixed",
        "over=tcp how=waitall reply=300000 rounds=5", "over=tcp how=peek mode=defer"],
    "uring-dgram": [
        "", "mode=async", "mode=sqpoll name=abstract", "mode=defer name=autobind", "how=to",
        "how=to mode=async name=abstract", "boxes=1 senders=5", "boxes=1 senders=20 late=1 count=2",
        "boxes=1 senders=20 late=1 count=2 how=to mode=async",
        "senders=1 boxes=16 count=100",
        "over=udp", "over=udp how=to family=v6", "over=udp how=zc family=dual",
        "over=udp mode=async family=mapped", "over=udp how=to mode=sqpoll",
        "over=udp mode=defer boxes=16 senders=10"],
    "uring-multishot": [
        "", "how=msg", "over=seqpacket how=msg", "over=seqpacket", "over=tcp", "over=tcp how=msg",
        "over=pipe", "count=1000", "over=pipe count=1000 chunk=5000"],
}

register("uring-", VARIANTS)


AIO = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_ulong(0)
if libc.syscall(206, 8, ctypes.byref(context)):  # io_setup
    raise OSError(ctypes.get_errno(), "io_setup")
r, w = os.pipe()
buf = ctypes.create_string_buffer(b"0123456789")
def request(op, fd, size):
    return ctypes.create_string_buffer(struct.pack(
        "=QIIHhIQQqQII", 0, 0, 0, op, 0, fd, ctypes.addressof(buf), size, 0, 0, 0, 0))
plain = os.open("plain", os.O_RDWR | os.O_CREAT)
requests = [request(1, w, 10), request(1, plain, 10), request(0, r, 4)]
pointers = (ctypes.c_void_p * 3)(*[ctypes.addressof(x) for x in requests])
print(libc.syscall(209, context, 3, pointers))  # io_submit
os.write(w, os.read(r, 6))
os.read(r, 6)
"""


@test("requests of io_submit() on channels are counted as not seen")
def aio(t):
    graph = t.trace([PYTHON, t.write("aio.py", AIO)], lossless=False)
    check_equal(graph.tracer.stdout.strip(), "3", "requests submitted")
    check_equal(graph.lost["by_cause"]["aio"], 2, "requests counted as lost")
    check(not graph.lost["complete"], "the graph calls itself complete")
