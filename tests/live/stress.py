# SPDX-License-Identifier: BSD-2-Clause
"""Attempts to make the tracer wrong: calls in random order, full tables, namespaces, races."""
import json
import os

import lib
from lib import (CALL_CAUSES, OUTSIDE, PYTHON, ROOT, Graph, check, check_equal, need, pick,
                 read_text, test, wait_for)

MATRIX = os.path.join(ROOT, "build", "tests", "live", "matrix")


class Truth:
    """What matrix says of one channel: bytes of each writer to each reader."""

    def __init__(self, line):
        told = json.loads(line)
        self.ino = told["ino"]
        self.writers = set(told["writers"])
        self.readers = {reader for _, reader, _ in told["flows"]}
        self.flows = {(writer, reader): size for writer, reader, size in told["flows"]}

    def told(self, graph):
        """{(writer, reader): [sure, shared]} of the graph; writer 0 is outside."""
        found = {}
        for flow in graph.flows:
            if graph.chans[flow["channel"]]["ino"] != self.ino:
                continue
            source, target = (graph.procs[flow[k]]["pid"] if flow[k] != OUTSIDE else 0
                              for k in ("from", "to"))
            if source in self.writers or (source == 0 and target in self.readers):
                sums = found.setdefault((source, target), [0, 0])
                sums[0] += flow["bytes"]
                sums[1] += flow["shared_bytes"]
        return found

    def compare(self, graph, exact, seed):
        told = self.told(graph)
        for pair in sorted(set(told) | set(self.flows)):
            true, (sure, shared) = self.flows.get(pair, 0), told.get(pair, (0, 0))
            what = "seed %d, pipe %d, %d -> %d: %d bytes sure and %d shared of %d" % (
                (seed, self.ino) + pair + (sure, shared, true))
            check(sure <= true <= sure + shared, what)
            check(not exact or sure == true, what)


def compare_all(lines, graph, exact, seed):
    truths = [Truth(line) for line in lines.splitlines()]
    check(truths, "matrix printed nothing")
    for truth in truths:
        truth.compare(graph, exact, seed)


def matrix(seed, rounds, mode):
    def run(t):
        check(os.access(MATRIX, os.X_OK), "matrix is not built: make tests")
        for s in range(seed, seed + pick(4, 2)):
            graph = t.trace([MATRIX, str(s), str(rounds), mode])
            compare_all(graph.tracer.stdout, graph, mode == "strict", s)
    return run


def children_of(pid):
    return read_text("/proc/%d/task/%d/children" % (pid, pid)).split()


test("writers and readers at random: never the wrong one")(matrix(100, pick(40, 8), "free"))
test("writers and readers at random, a call at a time: all exact")(
    matrix(200, pick(20, 8), "strict"))


@test("what lay in a pipe before is from outside, whoever writes to it then")
def found_bytes(t):
    for seed in range(300, 300 + pick(8, 2)):
        name = t.path("hold%d" % seed)
        target = t.start([MATRIX, str(seed), "1", "hold", name], name="matrix%d" % seed)
        wait_for(lambda: os.path.exists(name + ".ready"), "the first half")
        out = name + ".json"
        options = sum((["-p", pid] for pid in [str(target.pid)] + children_of(target.pid)), [])
        tracer = t.tracer(["-q", "-o", out] + options)
        t.ready(tracer)
        t.write(os.path.basename(name) + ".go", "")
        target.wait()
        tracer.wait()
        graph = Graph.load(out)
        graph.check_sane(tracer.pid)
        compare_all(target.stdout, graph, True, seed)


@test("tables full: what is lost is counted by cause")
def tables_full(t):
    graph = t.trace([PYTHON, "-c", """
import os
for i in range(%d):
    pipes = [os.pipe() for _ in range(200)]
    for r, w in pipes:
        os.write(w, b"x")
        os.read(r, 1)
    for r, w in pipes:
        os.close(r)
        os.close(w)
gate, opener = os.pipe()
children = []
for i in range(%d):
    pid = os.fork()
    if not pid:
        os.close(opener)
        r, w = os.pipe()
        os.write(w, b"abc")
        os.read(r, 2)
        os.read(gate, 1)
        os._exit(0)
    children.append(pid)
os.close(opener)
for pid in children:
    os.waitpid(pid, 0)
""" % (pick(30, 6), pick(400, 300))], ["--max-edges", "1024"], lossless=False)
    causes = graph.lost["by_cause"]
    check(causes["no_process"] and sum(causes[k] for k in CALL_CAUSES),
          "nothing was lost in tables this small: %s" % causes)
    check(not graph.lost["complete"], "complete, though there was no room")


@test("pipes of two writers, one after another: ledgers are used again")
def many_ledgers(t):
    rounds = pick(3000, 100)
    script = "i=0; while [ $i -lt %d ]; do (echo a; (echo bb); echo c) | while read x; do :; " \
        "done; i=$((i+1)); done" % rounds
    graph = t.shell(script, shell="/bin/dash")
    check_equal(sum(c["count"] for c in graph.chans.values()), rounds, "number of pipes")
    check_equal(sum(f["bytes"] for f in graph.flows), 7 * rounds, "bytes of all flows")


@test("threads that take descriptors from under each other")
def stolen_descriptors(t):
    t.trace([PYTHON, "-c", """
import os, random, threading, time
ends = [os.pipe() for _ in range(8)]
end = time.monotonic() + %f
def work(read):
    mine = random.Random(read)
    while time.monotonic() < end:
        r, w = mine.choice(ends)
        try:
            if read:
                os.read(r, mine.randint(1, 99))
            else:
                os.write(w, b"x" * mine.randint(1, 99))
        except OSError:
            pass
for i in range(8):
    threading.Thread(target=work, args=(i %% 2,), daemon=True).start()
while time.monotonic() < end:
    r, w = os.pipe()
    old = random.choice(ends)
    os.dup2(r, old[0])
    os.dup2(w, old[1])
    os.close(r)
    os.close(w)
os._exit(0)
""" % pick(1, 4)], lossless=False)


@test("blocked reads that signals interrupt, and SIGSTOP")
def interrupted(t):
    rounds = pick(2000, 300)
    graph = t.trace([PYTHON, "-c", """
import os, random, signal
for number, interrupt in ((signal.SIGUSR1, False), (signal.SIGUSR2, True)):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, interrupt)
r, w = os.pipe()
children = []
for i in range(8):
    pid = os.fork()
    if not pid:
        os.close(w)
        while os.read(r, 10):
            pass
        os._exit(0)
    children.append(pid)
choice = random.Random(1).choice
size = 0
for i in range(%d):
    pid = choice(children)
    os.kill(pid, choice([signal.SIGUSR1, signal.SIGUSR2]))
    if i %% 3 == 0:
        size += os.write(w, b"x" * (i %% 40 + 1))
    if i %% 50 == 0:
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
os.close(w)
for pid in children:
    os.waitpid(pid, 0)
print(os.getpid(), size)
""" % rounds])
    pid, size = map(int, graph.tracer.stdout.split())
    writer = graph.pid(pid)
    sent = graph.flows_between(source=writer)
    check_equal(sum(f["bytes"] for f in sent if f["to"] != writer["id"]), size, "bytes sent")
    check(all(f["certainty"] == "exact" for f in sent), "one writer, and not exact")


@test("many processes asleep in read() at the end are told as unfinished")
def many_asleep(t):
    count = pick(300, 60)
    target = t.start([PYTHON, t.write("sleepers.py", """
import os, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
wait("go")
r, w = os.pipe()
for i in range(%d):
    if not os.fork():
        os.read(r, 1)
        os._exit(0)
wait("end")
os.write(w, b"x" * %d)
""" % (count, count))])
    out = t.path("x.json")
    tracer = t.tracer(["-q", "-o", out, "-p", str(target.pid)])
    t.ready(tracer)
    t.write("go", "")

    def asleep():
        pids = children_of(target.pid)
        return len(pids) == count and all(
            read_text("/proc/%s/syscall" % pid).startswith("0 ") for pid in pids)
    wait_for(asleep, "all readers to sleep")
    t.stop(tracer)
    t.write("end", "")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    check_equal(graph.lost["unfinished"], count, "unfinished calls")
    check_equal(sum(e["blocked_now"] for e in graph.edges), count, "readers asleep")
    target.wait()


def own_pids(t, script):
    """Run a shell script in a pid namespace of its own."""
    need("unshare")
    done = t.run(["unshare", "-pfm", "--mount-proc", "/bin/sh", "-c", script])
    check_equal(done.status, 0, "exit status (%s)" % lib.last_line(done.stderr))
    return done


@test("in a pid namespace: a command, by the numbers that are used there")
def command_in_namespace(t):
    done = own_pids(t, "%s -q -o x.json -- /bin/sh -c 'echo $$; echo abc | cat >&2'" % lib.IPCTRACE)
    graph = Graph.load(t.path("x.json"))
    graph.check_sane()
    shell = graph.pid(int(done.stdout))
    echo, = [p for p in graph.procs.values() if p["parent"] == shell["id"] and p["comm"] == "sh"]
    graph.exact_flow(echo, graph.one("cat"), 4)
    check(0 < echo["pid"] < 100 and 0 < graph.one("cat")["pid"] < 100, "numbers of another namespace")


@test("in a pid namespace: -p")
def pid_in_namespace(t):
    t.write("target.sh", "until [ -e go ]; do sleep 0.05; done; seq 1 1000 | wc -c; echo >end")
    own_pids(t, "sh target.sh & pid=$!; %s -q -o x.json -p $pid & tracer=$!; "
             "until grep -q '^%s ' /proc/$tracer/syscall; do sleep 0.05; done; "
             "echo $pid >pid; echo >go; wait $tracer" % (lib.IPCTRACE, r"\(7\|271\)"))
    graph = Graph.load(t.path("x.json"))
    graph.check_sane()
    check_equal(graph.pid(int(read_text(t.path("pid"))))["comm"], "sh", "name of the target")
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 3893)


@test("in a pid namespace without its own /proc: -p says so")
def foreign_proc(t):
    need("unshare")
    done = t.run(["unshare", "-pf", lib.IPCTRACE, "-p", "1"])
    check_equal(done.status, 2, "exit status")
    check("namespace" in done.stderr, "it says only: " + done.stderr)


@test("under strace, and strace under it")
def with_strace(t):
    need("strace")
    graph = t.trace(["strace", "-f", "-o", t.path("log"), "/bin/sh", "-c", "seq 1 1000 | wc -c"])
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 3893)
    out = t.path("x.json")
    done = t.run(["strace", "-f", "-o", t.path("log2"), lib.IPCTRACE, "-q", "-o", out, "--",
                  "/bin/sh", "-c", "seq 1 1000 | wc -c"], seconds=60)
    check_equal(done.status, 0, "exit status under strace (%s)" % lib.last_line(done.stderr))
    graph = Graph.load(out)
    graph.check_sane()
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 3893)


@test("no room for an output: one line, its status, and the other output whole")
def no_room(t):
    out = t.path("x.json")
    tracer = t.tracer(["-q", "-o", "json:/dev/full", "-o", out], ["/bin/sh", "-c", "echo a | cat"])
    tracer.wait()
    check_equal(tracer.status, 1, "exit status")
    check_equal(len(tracer.stderr.strip().splitlines()), 1, "lines on stderr")
    Graph.load(out).check_sane()
