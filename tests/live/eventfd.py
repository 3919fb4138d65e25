# SPDX-License-Identifier: BSD-2-Clause
"""eventfd, terminals, netlink, vsock: workloads against their facts, and numbers used again."""
import os

from facts import register
from lib import PYTHON, Skip, check_equal, test

register("eventfd-", {
    "eventfd-count": ["", "writers=5 count=20", "kind=semaphore readers=3 reads=5",
                      "kind=semaphore writers=2 readers=2 reads=20", "call=readv"],
    "eventfd-pair": ["", "call=readv rounds=100"],
    "eventfd-wait": [""],
    "eventfd-nonblock": ["", "start=1 count=10"],
})
register("pty-", {
    "pty-raw": ["", "open=tty", "request=1 reply=2000 rounds=50"],
    "pty-echo": ["", "open=tty lines=100"],
    "pty-print": ["", "lines=50"],
})
register("netlink-", {"netlink-route": [""]})
register("vsock-", {"vsock-local": [""]})

AGAIN = """
import os
def child(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
for i in range(3):
    %s
"""


def made_again(t, mechanism, body):
    graph = t.trace([PYTHON, "-c", AGAIN % body.strip().replace("\n", "\n    ")],
                    options=["-m", mechanism])
    check_equal(len(graph.chans), 3, "number of channels")
    check_equal(len({c["ino"] for c in graph.chans.values()}), 1, "number of numbers")
    for chan in graph.chans.values():
        writers = {e["process"] for e in graph.edges_of(role="write", chan=chan)}
        check_equal(len(writers), 1, "writers of " + chan["name"])


@test("a counter of a number that is used again is another one")
def counter_again(t):
    made_again(t, "eventfd", """
e = os.eventfd(0)
child(lambda: os.eventfd_write(e, 5))
assert os.eventfd_read(e) == 5
os.close(e)
""")


@test("a terminal of a number that is used again is another one")
def terminal_again(t):
    made_again(t, "pty", """
m, s = os.openpty()
child(lambda: os.write(s, b"x"))
assert os.read(m, 1) == b"x"
os.close(m)
os.close(s)
""")

TWO_WRITE = """
import os, sys
m, s = os.openpty()
for size in (5, 7):
    pid = os.fork()
    if not pid:
        os.write(s, b"x" * size)
        os._exit(0)
    os.waitpid(pid, 0)
left = int(sys.argv[1])
while left:
    left -= len(os.read(m, left))
"""


@test("what each of several wrote to a terminal is known, if one reader has read all of it")
def terminal_shared(t):
    for size, certainty, known in ((12, "inferred", [5, 7]), (11, "shared", [0, 0])):
        graph = t.trace([PYTHON, "-c", TWO_WRITE, str(size)], options=["-m", "pty"])
        check_equal(sorted(f["bytes"] for f in graph.flows), known, "bytes known of %d" % size)
        check_equal({f["certainty"] for f in graph.flows}, {certainty}, "certainty of %d" % size)


SAME_PORTS = """
import socket
def vsock(port):
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.bind((socket.VMADDR_CID_ANY, port))
    return s
server = vsock(7001)
server.listen(1)
for size in (1, 10, 100):
    client = vsock(7002)
    client.connect((1, 7001)) # VMADDR_CID_LOCAL
    conn = server.accept()[0]
    client.sendall(b"x" * size)
    conn.recv(1000)
    conn.close()
    client.recv(1)
    client.close()
"""


@test("vsock connections one after another between the same ports")
def same_ports(t):
    if not os.access("/sys/module/vsock_loopback", os.F_OK):
        raise Skip("vsock_loopback is not loaded")
    graph = t.trace([PYTHON, "-c", SAME_PORTS], options=["-m", "vsock"])
    check_equal(sorted(e["bytes"] for e in graph.edges_of(role="write")), [1, 10, 100],
                "bytes of each connection")
    for chan in graph.chans.values():
        graph.check_balance(chan)
