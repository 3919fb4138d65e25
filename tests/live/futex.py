# SPDX-License-Identifier: BSD-2-Clause
"""Futexes that processes share, and what the C library builds on them, against the facts."""
import lib
from facts import register
from lib import PYTHON, check, check_equal, pick, test

ONLY = ["-m", "futex"]  # the memory that they are in is a channel, too
MEMORY = ["memory=" + kind for kind in ("anon", "zero", "file", "posixshm", "memfd", "shm")]

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "futex-pingpong": MEMORY + ["offset=1023 rounds=200"],
    "futex-elsewhere": MEMORY,
    "futex-wake": ["", "by=all procs=20"],
    "futex-bitset": ["", "procs=30 memory=file"],
    "futex-requeue": ["", "op=plain memory=memfd"],
    "futex-mutex": ["", "procs=10 rounds=1000"],
    "futex-ring": ["", "slots=1 memory=shm", "rounds=20000"],
    "futex-wake2": ["", "memory=memfd rounds=200"],
    "futex-waitv": ["", "words=1", "words=128 rounds=50", "memory=shm words=2"],
    "futex-requeue2": ["", "procs=20 memory=file"],
    "futex-changing": ["", "rounds=2000"],
    "futex-sem": ["", "kind=unnamed", "kind=unnamed memory=file"],
    "futex-pmutex": ["", "kind=robust", "kind=pi"],
    "futex-pbarrier": ["", "procs=10"],
    "futex-prwlock": ["", "waits=writer"],
}

register("futex-", VARIANTS, ONLY)

# A program that executes itself has a new map of memory, which may lie where one before it did and
# have changed as often.
EXECUTES_ITSELF = """
import ctypes, mmap, os, sys
AT, WAKE, SYS_FUTEX, FIXED = 0x200000000000, 1, 202, 0x10
round, path = int(sys.argv[1]), sys.argv[2]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p] + [ctypes.c_long] * 5
with open("%s/%d" % (path, round), "w+b") as f:
    f.truncate(4096)
    assert libc.mmap(AT, 4096, mmap.PROT_READ, mmap.MAP_SHARED | FIXED, f.fileno(), 0) == AT
if round % 2:
    for _ in range(round):
        libc.syscall(SYS_FUTEX, ctypes.c_void_p(AT), WAKE, 1, None, None, 0)
if round < 9:
    os.execv(sys.executable, [sys.executable, sys.argv[0], str(round + 1), path])
"""


@test("words of programs that a process executes one after another")
def executed_again(t):
    script = t.write("self.py", EXECUTES_ITSELF)
    graph = t.trace([PYTHON, script, "1", t.dir], ONLY)
    woken = {graph.chans[e["channel"]]["name"]: e["ops"] for e in graph.edges_of(role="wake")}
    check_equal({int(name.rpartition("/")[2].partition("+")[0]): n for name, n in woken.items()},
                {n: n for n in (1, 3, 5, 7, 9)}, "calls on the word of each file")


@test("a word in a mapping that another thread splits again and again")
def split(t):
    """No call is ever on another word. Where memory is not watched, too, one may be lost, and told."""
    rounds = pick(100000, 2000)
    for memory, options, may_be_lost in (
            ("shm", ONLY, True), ("file", ONLY, True),
            ("shm", ["-m", "futex,shm"], False), ("file", ["-m", "futex,mmap"], False)):
        graph = t.trace([lib.WORKLOAD, "--facts", "/dev/null", "futex-changing", "changes=same",
                         "rounds=%d" % rounds, "memory=" + memory], options, lossless=False)
        woken = [(graph.chans[e["channel"]]["name"].rpartition("+")[2], e["ops"])
                 for e in graph.edges_of(role="wake")]
        lost = graph.lost["by_cause"]["futex"]
        check_equal(woken, [(str(3 * 4096 + 16), rounds - lost)], "calls by word")
        check(lost <= rounds / 100 if may_be_lost else not lost,
              "%d of %d calls are lost" % (lost, rounds))
