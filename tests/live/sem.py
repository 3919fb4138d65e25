# SPDX-License-Identifier: BSD-2-Clause
"""System V semaphores: every workload against its facts, and sets that were there before."""
import time

from facts import register
from lib import PYTHON, check, check_equal, pick, test

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "sem-pingpong": ["", "rounds=200 key=key"],
    "sem-release": ["by=up", "by=ups", "by=setval", "by=setall procs=30", "by=zero"],
    "sem-undo": ["", "end=kill"],
    "sem-many-ops": ["", "ops=1", "ops=250 rounds=3"],
    "sem-bounded-buffer": ["", "producers=1 consumers=1 slots=1", "producers=4 consumers=7"],
    "sem-philosophers": ["", "philosophers=2 rounds=200"],
}

register("sem-", VARIANTS)

UP = """
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.semop(int(sys.argv[1]), struct.pack("Hhh", 0, 1, 0), 1):
    sys.exit(ctypes.get_errno())
"""


@test("a set that was there before the trace")
def before(t):
    made = t.run(["ipcmk", "-S", "1"])
    ident = made.stdout.split()[-1]
    try:
        second = int(time.time())
        while int(time.time()) == second:  # the kernel counts in seconds
            time.sleep(0.01)
        graph = t.trace([PYTHON, "-c", UP, ident], options=["-m", "sem"])
        check_equal([(c["ino"], c["preexisting"]) for c in graph.chans.values()],
                    [(int(ident), True)], "sets, and whether they were there before")
        check_equal([(e["role"], e["ops"]) for e in graph.edges], [("wake", 1)], "calls")
    finally:
        t.run(["ipcrm", "-s", ident])


MANY = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
for i in range(int(sys.argv[1])):
    if not os.fork():
        ident = libc.semget(0, 1, 0o600)
        for op in (1, -1):
            libc.semop(ident, struct.pack("Hhh", 0, op, 0), 1)
        os._exit(libc.semctl(ident, 0, 0))
    if os.wait()[1]:
        sys.exit(1)
"""


@test("sets of processes that are gone make room for others")
def room(t):
    rounds = pick(1200, 700)  # more than there is room for: half as many as edges
    graph = t.trace([PYTHON, "-c", MANY, str(rounds)],
                    options=["-m", "sem", "--max-edges", "1024"])
    check(graph.lost["complete"], "data was lost: %s" % graph.lost)
    for role in ("wait", "wake"):
        check_equal(sum(e["ops"] for e in graph.edges if e["role"] == role), rounds, role)
    check_equal(sum(c["count"] for c in graph.chans.values()), rounds, "sets")
