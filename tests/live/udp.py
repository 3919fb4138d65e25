# SPDX-License-Identifier: BSD-2-Clause
"""UDP, multicast and broadcast: every workload against its facts."""
from facts import register
from lib import PYTHON, check_equal, need, test

VARIANTS = {
    "udp-echo": ["", "connected=1 family=v6 how=rw", "how=msg family=mapped",
                 "how=mmsg family=dual connected=1", "clients=20 rounds=10"],
    "udp-drop": ["", "senders=3 count=1", "family=v6 count=1000 size=100"],
    "udp-nobody": ["", "family=v6"],
    "udp-odd": ["", "connected=1 peeks=0 family=v6"],
    "udp-batch": ["", "batch=64 family=v6"],
    "udp-chat": ["", "senders=3", "broadcast=1", "members=20 rounds=3", "family=v6",
                 "family=v6 senders=4 size=1"],
    "udp-reuseport": ["", "workers=2"],
    "udp-two-ns": [""],
    "udp-many-many": ["", "senders=1", "readers=1 family=v6", "how=recv",
                      "senders=8 readers=8 count=500", "family=v6 senders=8", "family=dual"],
    "udp-daytime": ["", "family=v6 clients=10"],
    "udp-orphans": ["", "family=dual"],
    "udp-fan-out": ["", "family=v6 receivers=10"],
}

register("udp-", VARIANTS)

RECONNECTED = """
import socket, subprocess
subprocess.run("ip link set lo up; ip addr add fd00::1/128 dev lo nodad", shell=True, check=True)
boxes = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2)]
boxes[0].bind(("::1", 7301))
boxes[1].bind(("fd00::1", 7301))
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.bind(("::", 7302))
for round in range(3):
    for size, box in enumerate(boxes, 1):
        sender.connect(box.getsockname())
        sender.send(b"x" * size)
        box.recv(10)
"""


@test("a socket that is connected in turn to two addresses of the same port")
def reconnected(t):
    need("ip", "unshare")
    graph = t.trace(["unshare", "-n", PYTHON, "-c", RECONNECTED])
    for role in ("write", "read"):
        moved = {graph.chans[e["channel"]]["name"]: e["bytes"] for e in graph.used_edges()
                 if e["role"] == role and graph.chans[e["channel"]]["mechanism"] == "udp"}
        check_equal(moved, {"[::1]:7301": 3, "[fd00::1]:7301": 6}, role + " of each address")

TAKEN_OVER = """
import socket
def box(at=("127.0.0.1", 0)):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(at)
    return s
receiver = box()
at = receiver.getsockname()
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(at)
for size in (1, 10, 100):
    sender.send(b"x" * size)
    receiver.recv(1000)
    receiver.close()
    receiver = box(at)
"""


@test("a connected sender goes on when its port is taken over by another socket")
def taken_over(t):
    graph = t.trace([PYTHON, "-c", TAKEN_OVER], options=["-m", "udp"])
    for chan in graph.chans.values():
        graph.check_balance(chan)
    check_equal(sorted(f["bytes"] for f in graph.flows if f["certainty"] == "exact"),
                [1, 10, 100], "bytes to each socket")
