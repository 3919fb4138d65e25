# SPDX-License-Identifier: BSD-2-Clause
"""Real programs that wait for each other, held against what strace sees in the same run."""
import os
import re
import shutil

from lib import PYTHON, Skip, check, check_equal, errors, pick, test
from straces import joined

# On a word that is not the threads' own: the word, the operation, the value, and what came of it.
FUTEX = re.compile(r"^futex\((0x[0-9a-f]+), FUTEX_(\w+)(?:\|FUTEX_CLOCK_REALTIME)?, (\d+)"
                   r".*\)\s+= (-?\d+|\?)(?: (E\w+))?")


def futexes_of(log):
    """role -> [calls that ended well, errors], of all processes together."""
    sums = {"wait": [0, 0], "wake": [0, 0]}
    for _, text in joined(log):
        found = FUTEX.match(text)
        if not found or found.group(2).endswith("_PRIVATE"):
            continue
        _, op, value, result, error = found.groups()
        if result == "?" and not error:
            continue  # killed in it
        if op.startswith("WAIT") and value != "0":
            continue  # for a thread to end: a semaphore's word is 0 when one waits for it
        sums["wait" if op.startswith("WAIT") else "wake"][1 if error else 0] += 1
    return sums


def traced(graph, mechanism):
    sums = {"wait": [0, 0], "wake": [0, 0]}
    for edge in graph.edges:
        if graph.chans[edge["channel"]]["mechanism"] == mechanism:
            sums[edge["role"]][0] += edge["ops"]
            sums[edge["role"]][1] += sum(errors(edge).values())
    return sums


def beside_strace(t, calls, argv, options):
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    log = t.path("strace.log")
    graph = t.trace(["strace", "-f", "-s", "32", "-o", log, "-e", "trace=" + calls, "--"] + argv,
                    options=options)
    check(os.path.exists(log), "strace wrote nothing")
    return graph, log


@test("Python's multiprocessing: its semaphores, call by call as strace sees them")
def multiprocessing(t):
    script = t.write("mp.py", """
import multiprocessing as mp

def work(queue, lock, total, done):
    while queue.get() is not None:
        with lock:
            total.value += 1
    done.release()

if __name__ == "__main__":
    queue, lock, total, done = mp.Queue(4), mp.Lock(), mp.Value("i", 0), mp.Semaphore(0)
    workers = [mp.Process(target=work, args=(queue, lock, total, done)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for i in range(%d):
        queue.put(i)
    for worker in workers:
        queue.put(None)
    for worker in workers:
        done.acquire()
    for worker in workers:
        worker.join()
    print(total.value)
""" % pick(200, 30))
    graph, log = beside_strace(t, "futex", [PYTHON, script], ["-m", "futex"])
    check_equal(graph.tracer.stdout.strip(), str(pick(200, 30)), "items counted")
    check_equal(traced(graph, "futex"), futexes_of(log), "calls, and calls that failed")
    check(graph.flows, "nobody woke anybody")


@test("System V semaphores of Perl: every call as strace sees it")
def perl(t):
    if not shutil.which("perl"):
        raise Skip("there is no perl")
    script = t.write("sem.pl", """
use IPC::SysV qw(IPC_PRIVATE IPC_RMID S_IRUSR S_IWUSR);
use IPC::Semaphore;
my $s = IPC::Semaphore->new(IPC_PRIVATE, 2, S_IRUSR | S_IWUSR);
$s->setall(0, 0);
my $pid = fork();
for my $i (1..%d) {
    if ($pid) { $s->op(0, 1, 0); $s->op(1, -1, 0); }
    else { $s->op(0, -1, 0); $s->op(1, 1, 0); }
}
exit 0 unless $pid;
wait();
$s->remove();
""" % pick(100, 20))
    graph, log = beside_strace(t, "semop,semtimedop", ["perl", script], ["-m", "sem"])
    seen = {"wait": 0, "wake": 0}
    for _, text in joined(log):
        found = re.match(r"sem(?:timed)?op\(\d+, \[\{(?:sem_num=)?\d+, (?:sem_op=)?(-?\d+)", text)
        if found:
            seen["wait" if int(found.group(1)) <= 0 else "wake"] += 1
    ours = traced(graph, "sem")
    check_equal(ours["wait"][0], seen["wait"], "downs")
    check_equal(ours["wake"][0] - 1, seen["wake"], "ups, without the one SETALL")
    check_equal(seen["wait"], pick(200, 40), "downs that strace saw")


# Somebody else holds it for so long, then another one for longer; says how long each wait took.
HELD = """
import fcntl, multiprocessing, os, sys, time
lock = multiprocessing.Lock()
def by_file():
    f = open(sys.argv[2], "w")
    return lambda: fcntl.flock(f, fcntl.LOCK_EX), f.close
def by_semaphore():
    return lock.acquire, lock.release
ways = {"file": by_file, "futex": by_semaphore}
for seconds in (0.2, 0.6):
    here, there = os.pipe()
    pid = os.fork()
    take, give = ways[sys.argv[1]]()
    if not pid:
        take()
        os.write(there, b"x")
        time.sleep(seconds)
        give()
        os._exit(0)
    os.read(here, 1)
    began = time.monotonic_ns()
    take()
    print(pid, time.monotonic_ns() - began)
    give()
    os.wait()
"""


def held(mechanism):
    def run(t):
        graph = t.trace([PYTHON, "-c", HELD, mechanism, t.path("lock")], ["-m", mechanism])
        took = [tuple(map(int, line.split())) for line in graph.tracer.stdout.splitlines()]
        check_equal(len(took), 2, "waits")
        flows = {graph.procs[f["from"]]["pid"]: f.get("blocked_ns", 0) for f in graph.flows
                 if graph.chans[f["channel"]]["mechanism"] == mechanism}
        for (pid, longest), least in zip(took, (0.15e9, 0.5e9)):
            check(least <= flows.get(pid, 0) <= longest,
                  "it waited %d ns for process %d, of the %d ns that it took" % (
                      flows.get(pid, 0), pid, longest))
        check_equal(sum(flows.values()), sum(e["blocked_ns"] for e in graph.edges),
                    "time asleep, by whom it waited for")
    return run


test("how long for whom: a locked file")(held("file"))
test("how long for whom: a semaphore in shared memory")(held("futex"))
