# SPDX-License-Identifier: BSD-2-Clause
"""Sockets with several writers and several readers: who got what of whom."""
import glob
import json
import os

import lib
from facts import compare
from lib import PYTHON, Graph, Skip, check, check_equal, pick, read_text, test, wait_for

KINDS = ("stream", "seqpacket", "dgram")
# Before Linux 6.5 nobody can tell who sent what lies in pages of its own, as big messages do.
KNOWS_PAGES = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 5)


def follows(tracer):
    """Does the tracer follow what is allocated for sockets? It does if two processes read from one."""
    def told(path):
        try:
            return "kmem_cache_alloc" in read_text(path)
        except OSError:
            return False
    return any(told(path) for path in glob.glob("/proc/%d/fdinfo/*" % tracer.pid))


def trace_held(t, command, options=("-m", "unix")):
    """Trace a command that waits for a line before it sends, until its readers are followed."""
    out = t.path("graph.json")
    here, there = os.pipe()
    try:
        tracer = t.tracer(["-o", out] + list(options), command, stdin=here)
        wait_for(lambda: follows(tracer) or not tracer.running(), "the readers to be followed")
        os.write(there, b"\n")
    finally:
        os.close(here)
        os.close(there)
    tracer.wait(60)
    check_equal(tracer.status, 0, "exit status (%s)" % lib.last_line(tracer.stderr))
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    return graph


def held_workload(params):
    def run(t):
        path = t.path("facts")
        graph = trace_held(t, [lib.WORKLOAD, "--facts", path, "unix-many-many", "hold=1"] + params)
        compare(graph, json.loads(read_text(path)))
    return run


for kind in KINDS:
    for more in ("turns=1 count=20", "writers=2 readers=2 count=%d" % pick(5000, 300),
                 "writers=8 readers=8 size=100 count=%d" % pick(1000, 100)):
        test("exact from the first message on: type=%s %s" % (kind, more))(
            held_workload(["type=" + kind] + more.split()))
for more in ("piece=77", "piece=4096 size=100"):
    test("exact from the first message on: " + more)(
        held_workload(["count=%d" % pick(1000, 100)] + more.split()))


@test("exact from the first message on: size=4096 piece=1000")
def in_pages(t):
    if not KNOWS_PAGES:
        raise Skip("before Linux 6.5 nobody can tell who sent what lies in pages of its own")
    held_workload(["count=%d" % pick(1000, 100), "size=4096", "piece=1000"])(t)


# Each byte says who wrote it. Who reads says so on standard output.
SCRIPT = """
import ctypes, errno, json, os, signal, socket, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
class msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.c_void_p),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p),
                ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]
class mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]
def mmsg(buffers):
    msgs, parts = (mmsghdr * len(buffers))(), (iovec * len(buffers))()
    for i, buf in enumerate(buffers):
        parts[i] = iovec(ctypes.addressof(buf), len(buf))
        msgs[i].hdr.iov, msgs[i].hdr.iovlen = ctypes.addressof(parts[i]), 1
    return msgs, parts
def must(ret):
    if ret < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return ret
def send(s, data):
    s.sendall(data)
def sendmmsg(s, data):
    half = len(data) // 2 or 1
    bufs = [ctypes.create_string_buffer(part, len(part)) for part in (data[:half], data[half:])
            if part]
    msgs, parts = mmsg(bufs)
    must(libc.sendmmsg(s.fileno(), msgs, len(bufs), 0))
def sendfile(s, data):
    with tempfile.TemporaryFile(dir=".") as f:
        f.write(data)
        f.flush()
        done = 0
        while done < len(data):
            done += os.sendfile(s.fileno(), f.fileno(), done, len(data) - done)
def splice(s, data):
    r, w = os.pipe()
    os.write(w, data)
    left = len(data)
    while left:
        left -= os.splice(r, s.fileno(), left)
    os.close(r)
    os.close(w)
def recv(s, size):
    return s.recv(size)
def peek(s, size):
    s.recv(size, socket.MSG_PEEK)
    return s.recv(size)
def peek_often(s, size):
    for i in range(3):
        try:
            s.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
    return s.recv(size)
def readv(s, size):
    parts = [bytearray(size // 3 + 1), bytearray(size)]
    n = os.readv(s.fileno(), parts)
    return (bytes(parts[0]) + bytes(parts[1]))[:n]
def waitall(s, size):
    return s.recv(size * 3, socket.MSG_WAITALL)
def recvmmsg(s, size):
    bufs = [ctypes.create_string_buffer(size) for i in range(3)]
    msgs, parts = mmsg(bufs)
    n = must(libc.recvmmsg(s.fileno(), msgs, 3, 0x10000, None))
    return b"".join(buf.raw[:msg.len] for msg, buf in zip(msgs[:n], bufs))
def splice_out(s, size):
    r, w = os.pipe()
    n = os.splice(s.fileno(), w, size)
    data = os.read(r, n) if n else b""
    os.close(r)
    os.close(w)
    return data
def fault(s, size):
    # The second part has no memory: what is copied so far is all, or nothing.
    buf = ctypes.create_string_buffer(size)
    iov = (iovec * 2)(iovec(ctypes.addressof(buf), size // 2), iovec(8, size))
    while True:
        n = libc.readv(s.fileno(), iov, 2)
        if n >= 0:
            return buf.raw[:n]
        assert ctypes.get_errno() == errno.EFAULT
        if KIND != "stream":
            continue # that message is lost
        data = s.recv(size // 2)
        return data
def writer(me, s, put):
    for i in range(COUNT):
        put(s, bytes([me]) * SIZES[i % len(SIZES)])
def reader(s, take, log):
    got = {}
    while True:
        data = take(s, SIZES[0])
        for byte in set(data):
            got[byte] = got.get(byte, 0) + data.count(byte)
        if not data or 255 in data:
            break
    os.write(log, (json.dumps([os.getpid(), got]) + chr(10)).encode())
def spawn(function, *args):
    pid = os.fork()
    if not pid:
        try:
            function(*args)
        except BaseException as e:
            sys.stderr.write(repr(e) + chr(10))
            os._exit(1)
        os._exit(0)
    return pid
def pair():
    return socket.socketpair(socket.AF_UNIX, getattr(socket, "SOCK_" + KIND.upper()))
def run():
    a, b = pair()
    hold, go = os.pipe()
    pids, writers, readers = {}, [], []
    def held(me, put):
        b.close()
        os.close(go)
        os.read(hold, 1)
        writer(me, a, put)
    def reads(take):
        a.close()
        os.close(go)
        reader(b, take, 1)
    for me in range(1, WRITERS + 1):
        pids[me] = spawn(held, me, PUT[me % len(PUT)])
    for i in range(READERS):
        readers.append(spawn(reads, TAKE[i % len(TAKE)]))
    b.close()
    sys.stdin.readline()
    os.close(hold)
    os.close(go)
    for pid in pids.values():
        assert os.waitpid(pid, 0)[1] in OK, "a writer"
    pids[255] = os.getpid()
    for pid in readers:
        if KIND == "dgram":
            a.send(bytes([255])) # for one of them
        else:
            a.close()
        assert not os.wait()[1], "a reader"
    os.write(1, (json.dumps(pids) + chr(10)).encode())
OK = [0]
"""


def script(kind, put="send", take="recv", sizes=(100,), count=200, writers=3, readers=3, more=""):
    settings = "KIND, SIZES, COUNT, WRITERS, READERS = %r, %r, %d, %d, %d\nPUT, TAKE = [%s], [%s]\n" % (
        kind, list(sizes), count, writers, readers, put, take)
    return [PYTHON, "-c", SCRIPT + settings + more + "\nrun()"]


def truths(tracer_output):
    """{(writer, reader): bytes}, by pids, as the readers say."""
    *said, pids = [json.loads(line) for line in tracer_output.splitlines()]
    return {(pids[who], reader): size for reader, got in said for who, size in got.items()}


def hold_against(graph, truth, exact):
    """How many of the bytes have a known sender, none a wrong one."""
    found, known = {}, 0
    for flow in graph.flows:
        if not flow["bytes"] and not flow.get("shared_bytes"):
            continue
        key = tuple(graph.procs[flow[end]]["pid"] if flow[end] in graph.procs else flow[end]
                    for end in ("from", "to"))
        sure, maybe = found.get(key, (0, 0))
        found[key] = (sure + flow["bytes"], maybe + flow.get("shared_bytes", 0))
        known += flow["bytes"]
    for key in sorted(set(found) | set(truth), key=str):
        sure, maybe = found.get(key, (0, 0))
        size = truth.get(key, 0)
        check(sure <= size <= sure + maybe, "%s: truth is %d, the graph says %d and up to %d more" %
              (key, size, sure, maybe))
        check(not exact or sure == size, "%s: %d of %d bytes are known" % (key, sure, size))
    return known


def held_script(exact=True, least=0, **kwargs):
    def run(t):
        graph = trace_held(t, script(**kwargs))
        truth = truths(read_text(t.path("tracer0.stdout")))
        known = hold_against(graph, truth, exact)
        check(known >= least * sum(truth.values()), "%d of %d bytes are known" % (
            known, sum(truth.values())))
    return run


for kind in KINDS:
    test("senders of equal sizes, receivers that look first: " + kind)(
        held_script(kind=kind, take="peek, peek_often, recv"))
    test("several messages in a call: " + kind)(
        held_script(kind=kind, put="sendmmsg, send", take="recvmmsg, recv, readv", sizes=(90, 40)))
test("parts of messages, and several at once")(
    held_script(exact=KNOWS_PAGES, kind="stream", take="recv, waitall, readv",
                sizes=(70, 300, 5000, 1)))

# What nobody can tell stays open, and what is known is right.
test("files that are sent, and pipes")(
    held_script(exact=False, kind="stream", put="sendfile, splice, send", sizes=(100,)))
test("a receiver that splices has no known sender, the others have")(
    held_script(exact=False, least=0.5, kind="stream", take="splice_out, recv, recv",
                count=pick(1000, 200)))
for kind in ("stream", "seqpacket"):
    test("a receiver whose memory ends too soon: " + kind)(
        held_script(exact=False, least=0.3, kind=kind, take="fault, recv, recv",
                    count=pick(1000, 200)))


@test("senders that are killed while they send")
def killed(t):
    more = """
OK = [signal.SIGKILL]
def send_and_die(s, data):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    s.sendall(data)
left = COUNT
"""
    kwargs = dict(kind="stream", put="lambda s, data: send_and_die(s, data)", take="recv, peek")
    held_script(more=more, **kwargs)(t)


# What a second sender by a socket sends first is received before the kernel tells of it, often.
NEW_SENDER = """
import json, mmap, os, socket
pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for i in range(%d)]
turn = mmap.mmap(-1, 4096)
def wait(now):
    while turn[0] != now:
        pass
def receive(s):
    while True:
        try:
            return s.recv(100, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
def sender():
    for a, b in pairs:
        wait(1)
        a.send(bytes([2]) * 7)
        wait(2)
        a.send(bytes([2]) * 7)
        turn[0] = 0
def reader():
    count([b.recv(100) for i in range(3) for a, b in pairs])
def count(got):
    data = b"".join(got)
    print(json.dumps([os.getpid(), {byte: data.count(byte) for byte in set(data)}]), flush=True)
def spawn(function):
    pid = os.fork()
    if not pid:
        function()
        os._exit(0)
    return pid
pids = {1: os.getpid(), 2: spawn(sender)}
got = []
for a, b in pairs:
    a.send(bytes([1]) * 10)
    got.append(b.recv(100))
    turn[0] = 1
    got.append(receive(b))
    turn[0] = 2
    wait(0)
    a.send(bytes([1]) * 10)
    a.send(bytes([1]) * 10)
count(got)
assert not os.wait()[1]
spawn(reader)
assert not os.wait()[1]
print(json.dumps(pids))
"""


@test("the first datagram of a second sender is nobody else's")
def new_sender(t):
    rounds = pick(300, 60)
    graph = t.trace([PYTHON, "-c", NEW_SENDER % rounds], ("-m", "unix"))
    truth = truths(graph.tracer.stdout)
    check_equal(sorted(truth.values()), [rounds * n for n in (7, 7, 10, 20)], "bytes")
    # Whose the first one was is certain, as nothing else had been sent.
    check(hold_against(graph, truth, False) >= rounds * 10, "too few bytes are known")


@test("soon each message is followed")
def soon(t):
    for kind in KINDS:
        graph = t.trace([lib.WORKLOAD, "unix-many-many", "type=" + kind,
                         "count=%d" % pick(30000, 3000)], ("-m", "unix"))
        known, moved = sum(f["bytes"] for f in graph.flows), graph.totals("unix")["read_bytes"]
        check(known > moved / 4, "%s: only %d of %d bytes are known" % (kind, known, moved))


@test("crowds of each kind, followed only as long as there are several readers")
def only_then(t):
    size = dict(count=pick(50, 20), writers=pick(3, 2), readers=pick(3, 2))
    crowds = [script("stream", take="recv, peek", **size),
              script("dgram", put="send, sendmmsg", take="recvmmsg, peek_often", **size)]
    if not lib.VM:
        crowds.append(script("seqpacket", take="readv, recv", **size))
    commands = ["%s %s" % (PYTHON, t.write("crowd%d.py" % i, crowd[2]))
                for i, crowd in enumerate(crowds)]
    here, there = os.pipe()
    out = t.path("graph.json")
    tracer = t.tracer(["-o", out, "-m", "unix"],
                      ["/bin/sh", "-c", "; read line; ".join(commands)], stdin=here)

    def go_on_if(followed):
        wait_for(lambda: follows(tracer) == followed or not tracer.running(),
                 "the readers to be followed" if followed else "nothing to be followed any more")
        os.write(there, b"\n")
    try:
        for followed in [True, False] * (len(crowds) - 1) + [True]:
            go_on_if(followed)
    finally:
        os.close(here)
        os.close(there)
    tracer.wait(60)
    check_equal(tracer.status, 0, "exit status (%s)" % lib.last_line(tracer.stderr))
    lines, truth, ended = [], {}, 0
    for line in read_text(t.path("tracer0.stdout")).splitlines():
        lines.append(line)
        if isinstance(json.loads(line), dict):  # the last one of a crowd
            truth.update(truths("\n".join(lines)))
            lines, ended = [], ended + 1
    check_equal(ended, len(crowds), "crowds that have ended")
    hold_against(Graph.load(out), truth, True)


# Datagrams of one byte, which says who sent it. Readers end with a datagram of two.
UDP = """
import json, os, socket, time
READERS, HOST, NAMED = %d, "127.0.0.1", %r
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
box.bind((HOST, 0))
at = box.getsockname()
def receive(i):
    if NAMED and i %% 2:
        return box.recvmsg(10)[0]
    return box.recvfrom(10)[0] if NAMED else box.recv(10)
def reader(i):
    got = {}
    while True:
        data = receive(i)
        got[data[0]] = got.get(data[0], 0) + len(data)
        if len(data) == 2:
            break
    os.write(1, (json.dumps([os.getpid(), got]) + chr(10)).encode())
def spawn(function, *args):
    pid = os.fork()
    if not pid:
        function(*args)
        os._exit(0)
    return pid
def done(pid):
    assert not os.waitpid(pid, 0)[1]
def own(port=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((HOST, port))
    return s
pids = {255: os.getpid()}
def start_readers():
    return [spawn(reader, i) for i in range(READERS)]
def end_readers(readers):
    s = own()
    for i in readers:
        s.sendto(bytes([255, 255]), at)
        ended = os.waitpid(-1, os.WNOHANG)
        while not ended[0]:
            time.sleep(0.01)
            s.sendto(bytes([255, 255]), at) # there may have been no room
            ended = os.waitpid(-1, os.WNOHANG)
        assert not ended[1]
    print(json.dumps(pids))
"""


def udp(name, text, exact, readers=3, named=True):
    @test(name)
    def run(t):
        graph = t.trace([PYTHON, "-c", UDP % (readers, named) + text], ("-m", "udp"))
        hold_against(graph, truths(graph.tracer.stdout), exact)


udp("UDP: each sender has a socket of its own", """
def sender(me):
    s = own()
    for i in range(200):
        s.sendto(bytes([me]), at)
        if i % 20 == 0:
            s.connect(at)
readers = start_readers()
for me in range(1, 6):
    pids[me] = spawn(sender, me)
    done(pids[me])
end_readers(readers)
""", True)

udp("UDP: several send by one socket, and one by its own", """
shared = own()
def sender(me):
    s = shared if me < 3 else own()
    for i in range(20):
        s.sendto(bytes([me]), at)
readers = start_readers()
for me in range(1, 4):
    pids[me] = spawn(sender, me)
    done(pids[me])
end_readers(readers)
""", False)

udp("UDP: the same port is used by one sender after the other", """
port = own().getsockname()[1]
def sender(me):
    s = own(port)
    for i in range(30):
        s.sendto(bytes([me]), at)
for me in range(1, 4):
    pids[me] = spawn(sender, me)
    done(pids[me])
end_readers(start_readers())
""", False)

udp("UDP: what finds no room is nobody's", """
box.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
def sender(me):
    s = own()
    for i in range(50):
        s.sendto(bytes([me]), at)
for me in range(1, 4):
    pids[me] = spawn(sender, me)
    done(pids[me])
readers = start_readers()
end_readers(readers)
""", False)

udp("UDP: who does not ask is not told", """
def sender(me):
    s = own()
    for i in range(50):
        s.sendto(bytes([me]), at)
readers = start_readers()
for me in range(1, 4):
    pids[me] = spawn(sender, me)
    done(pids[me])
end_readers(readers)
""", False, named=False)
