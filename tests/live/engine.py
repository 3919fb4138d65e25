# SPDX-License-Identifier: BSD-2-Clause
"""The engine: identity, scale, loss, and what is left behind when the tracer goes."""
import ctypes
import os
import signal
import time

from facts import trace_workload
from lib import (PYTHON, SLOW, VM, Graph, Skip, check, check_equal, need, pick,
                 read_text, role_sum, test, wait_for)


def forks_so_far():
    with open("/proc/stat") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("processes "))


def resident_kb(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            return next((int(line.split()[1]) for line in f if line.startswith("VmRSS:")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def memory_samples(tracer, seconds):
    """(processes forked on this machine, kB of the tracer), until it ends."""
    samples, first = [], forks_so_far()
    deadline = time.monotonic() + seconds * SLOW
    while tracer.running() and time.monotonic() < deadline:
        samples.append((forks_so_far() - first, resident_kb(tracer.pid)))
        time.sleep(0.02)
    return [s for s in samples if s[1]]


@test("short-lived processes: no edge lost, memory flat")
def short_lived(t):
    rounds = pick(50000, 1000)
    script = "i=0; while [ $i -lt %d ]; do (echo x) | { read a; }; i=$((i+1)); done" % rounds
    out = t.path("storm.json")
    tracer = t.tracer(["-o", out], ["/bin/dash", "-c", script])
    samples = memory_samples(tracer, 120)
    tracer.wait(30)
    check_equal(tracer.status, 0, "exit status")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    # Each child sends one, and two at once are taken as one.
    sent = [e for e in graph.edges if e["role"] == "send-signal"]
    taken = [f["ops"] for f in graph.flows
             if graph.chans[f["channel"]]["mechanism"] == "signal"]
    check_equal(sum(e["ops"] for e in sent), 2 * rounds, "SIGCHLD sent")
    check_equal(sum(taken), sum(e["ops"] - e["merged_ops"] - e["ignored_ops"] for e in sent),
                "SIGCHLD taken")
    graph.drop_signals()
    check_equal(graph.processes_seen(), 2 * rounds + 1, "number of processes")
    check_equal(sum(c["count"] for c in graph.chans.values()), rounds, "number of pipes")
    check_equal(graph.totals(), {
        "write_ops": rounds, "write_bytes": 2 * rounds,
        "read_ops": 2 * rounds, "read_bytes": 2 * rounds}, "totals")
    check_equal(sum(f["bytes"] for f in graph.flows), 2 * rounds, "bytes of all flows")
    graph.none_outside()
    last = samples[-1][0]
    early = [kb for n, kb in samples if last * 0.1 <= n <= last * 0.15]
    late = [kb for n, kb in samples if n >= last * 0.9]
    # What it takes at the end to write the graph out is not growth over time.
    check(VM or (early and late and min(late) <= 1.1 * max(early)),
          "the tracer grew from %s kB to %s kB" % (early[-1:], late[:1]))


def one_byte_calls(options, complete):
    def run(t):
        count = pick(2000000, 50000)
        params = ["count=%d" % count, "size=1"]
        graph = trace_workload(t, "pipe-ops", params, options, 120, complete)
        check_equal(graph.totals()["write_ops"], count, "number of writes")
        others = {k: n for k, n in graph.lost["by_cause"].items() if k != "ring_operation" and n}
        check_equal(others, {}, "losses of anything but operation records")
        graph.balanced()
    return run


test("2 million 1-byte writes and reads, smallest ring")(
    one_byte_calls(["--ring-size", "4096"], True))
test("2 million 1-byte writes and reads, smallest ring, a record each")(
    one_byte_calls(["--ring-size", "4096", "--ops"], False))


@test("a pipe per descriptor number reused: never the one before")
def descriptor_reuse(t):
    rounds = pick(3000, 300)
    graph = t.trace([PYTHON, "-c", """
import os
for i in range(%d):
    r, w = os.pipe()
    os.write(w, b"x" * (i %% 7 + 1))
    os.read(r, 100)
    os.close(r)
    os.close(w)
""" % rounds], options=["-m", "pipe"])
    want = sum(i % 7 + 1 for i in range(rounds))
    check_equal(graph.totals(), {"write_ops": rounds, "write_bytes": want,
                                 "read_ops": rounds, "read_bytes": want}, "totals")
    check_equal(sum(c["count"] for c in graph.chans.values()), rounds, "number of pipes")
    for edge in graph.edges:
        if graph.chans[edge["channel"]]["count"] == 1:
            check_equal(edge["ops"], 1, "calls on one of the pipes")
    graph.balanced()


@test("a pid used again is another process")
def pid_reuse(t):
    script = t.write("reuse.py", """
import os, sys
def child(size):
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(w, b"x" * size)
        os._exit(0)
    os.waitpid(pid, 0)
    os.read(r, 100)
    os.close(r)
    os.close(w)
    return pid
def last_pid(pid):
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(pid))
first = child(5)
for attempt in range(200):
    last_pid(first - 1)
    if child(7) == first:
        print(first)
        sys.exit(0)
sys.exit(77)
""")
    # A pid namespace of its own would do, but the numbers that count are the outer ones.
    out = t.path("reuse.json")
    tracer = t.tracer(["-o", out], [PYTHON, script])
    tracer.wait(60)
    if tracer.status == 77:
        raise Skip("no pid could be had twice on so busy a machine")
    check_equal(tracer.status, 0, "exit status: %s" % tracer.stderr)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    pid = int(tracer.stdout)
    both = [p for p in graph.procs.values() if p["pid"] == pid]
    check_equal(len(both), 2, "processes of pid %d" % pid)
    check(both[0]["start_ns"] != both[1]["start_ns"], "both started at the same time")
    check_equal(sorted(role_sum(graph.edges_of(p), "write", "bytes") for p in both), [5, 7],
                "bytes that they wrote")


@test("threads are one process, also when one of them execs")
def thread_exec(t):
    script = t.write("threads.py", """
import os, sys, threading
r, w = os.pipe()
os.set_inheritable(w, True)
def write():
    os.write(w, b"xy")
threads = [threading.Thread(target=write) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.set_inheritable(r, True)
def replace():
    os.dup2(w, 1)
    os.execv("/bin/sh", ["sh", "-c", "echo z; exec head -c 18 <&%d >/dev/null" % r])
threading.Thread(target=replace).start()
threading.Event().wait()
""")
    graph = t.trace([PYTHON, script])
    check_equal(len(graph.used_edges()), 2, "number of edges")
    process = {e["process"] for e in graph.edges}
    check_equal(len(process), 1, "number of processes")
    check_equal(graph.totals(), {"write_ops": 9, "write_bytes": 18, "read_ops":
                                 graph.totals()["read_ops"], "read_bytes": 18}, "totals")
    check_equal(graph.procs[process.pop()]["comm"], "head", "its last name")


@test("starting takes less than a second")
def start_up(t):
    best = None
    for i in range(3):
        before = time.time_ns()
        child = t.tracer(["-o", t.path("start%d.json" % i)], ["date", "+%s%N"])
        child.wait(20)
        check_equal(child.status, 0, "exit status")
        took = int(child.stdout) - before
        best = took if best is None else min(best, took)
    check(best < 1e9 * SLOW, "the command began %.3f s after the tracer" % (best / 1e9))


# What is left in the kernel. Others may trace here too: only what our tracer holds counts.

def held_objects(pid):
    """(kind, id) of what a process has open."""
    found, folder = set(), "/proc/%d/fdinfo" % pid
    for name in os.listdir(folder):
        try:
            text = read_text(os.path.join(folder, name))
        except FileNotFoundError:
            continue  # one that it opened for a moment, such as an iterator
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key in ("prog_id", "map_id", "link_id"):
                found.add((key[:-3], int(value)))
    return found


BPF = 321  # the system call, on x86-64
NEXT_ID = {"prog": 11, "map": 12, "link": 31}


def is_there(kind, number):
    """Without opening it: a map that is opened while its owner ends can stay for ever."""
    attributes = (ctypes.c_uint32 * 32)(number - 1)
    done = ctypes.CDLL(None, use_errno=True).syscall(BPF, NEXT_ID[kind], attributes, 128)
    return done == 0 and attributes[1] == number


def leaves_nothing(t, number, status):
    target = t.start([PYTHON, "-c", "import signal; signal.pause()"])
    tracer = t.tracer(["-o", t.path("x.json"), "-p", str(target.pid)])
    t.ready(tracer)
    mine = held_objects(tracer.pid)
    check({kind for kind, _ in mine} == set(NEXT_ID), "the tracer holds no more than %s" % mine)
    check(all(is_there(*each) for each in mine), "the kernel does not know all of %s" % mine)
    tracer.signal(number)
    tracer.wait(20)
    check_equal(tracer.status, status, "exit status")
    # The kernel frees them after a grace period.
    for each in sorted(mine):
        wait_for(lambda each=each: not is_there(*each), "%s %d to go" % each)
    check(target.running(), "the traced process went with the tracer")


@test("Ctrl-C leaves nothing in the kernel")
def nothing_after_interrupt(t):
    leaves_nothing(t, signal.SIGINT, 0)
    Graph.load(t.path("x.json")).check_sane()


@test("SIGTERM leaves nothing in the kernel")
def nothing_after_term(t):
    leaves_nothing(t, signal.SIGTERM, 0)
    Graph.load(t.path("x.json")).check_sane()


@test("kill -9 leaves nothing in the kernel")
def nothing_after_kill(t):
    leaves_nothing(t, signal.SIGKILL, -signal.SIGKILL)
    check(not os.path.exists(t.path("x.json")), "half an output was left under its name")


@test("kill -9 of the tracer lets the command live, as strace's")
def command_survives(t):
    t.write("go", "")
    done = t.path("done")
    tracer = t.tracer(["-o", t.path("x.json")], ["/bin/sh", "-c", (
        "echo $$ >{0}/pid; while [ -e {0}/go ]; do echo x | cat >/dev/null; done; "
        "echo fine >{0}/done").format(t.dir)])
    pid = int(wait_for(lambda: os.path.exists(t.path("pid")) and read_text(t.path("pid")).strip(),
                       "the command"))
    tracer.signal(signal.SIGKILL)
    tracer.wait(20)
    check(os.path.exists("/proc/%d" % pid), "the command died with the tracer")
    os.unlink(t.path("go"))
    wait_for(lambda: os.path.exists(done) and read_text(done) == "fine\n", "the command's end")


@test("a reader asleep when tracing ends is told as such")
def asleep_at_end(t):
    target = t.start([PYTHON, t.write("asleep.py", """
import os, time
r, w = os.pipe()
os.write(w, b"abc")
while not os.path.exists("go"):
    time.sleep(0.01)
os.read(r, 2)
os.read(r, 100)
open("reading", "w").close()
os.read(r, 100)
""")])
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(target.pid)])
    t.ready(tracer)
    t.write("go", "")
    wait_for(lambda: os.path.exists(t.path("reading")), "the target")
    wait_for(lambda: read_text("/proc/%d/syscall" % target.pid).startswith("0 "),
             "the target to sleep in read()")
    t.stop(tracer)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    edges = graph.edges_of(graph.pid(target.pid), "read")
    check_equal([(e["ops"], e["bytes"], e["blocked_now"]) for e in edges], [(2, 3, 1)], "reads")
    check_equal(graph.lost["unfinished"], 1, "unfinished calls")
    chan = graph.chans[edges[0]["channel"]]
    check_equal((chan["preexisting"], chan["found_bytes"], chan["left_bytes"]), (True, 3, 0),
                "the pipe")


@test("the whole machine: everything but the tracer")
def whole_machine(t):
    if not VM:
        raise Skip("other people's processes run here; only a VM is ours")
    out = t.path("all.json")
    tracer = t.tracer(["-o", out])
    t.ready(tracer)
    child = t.run(["/bin/sh", "-c", "seq 1 1000 | cat | wc -c"])
    t.stop(tracer)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    check_equal(child.stdout.strip(), "3893", "output")
    graph.exact_flow(graph.one("seq"), graph.one("cat"), 3893)
    graph.exact_flow(graph.one("cat"), graph.one("wc"), 3893)


@test("a duration ends the trace by itself")
def duration(t):
    target = t.start([PYTHON, "-c", "import signal; signal.pause()"])
    tracer = t.tracer(["-o", t.path("x.json"), "-d", "0.3", "-p", str(target.pid)])
    tracer.wait(20)
    check_equal(tracer.status, 0, "exit status: " + tracer.stderr)
    took = Graph.load(t.path("x.json")).data["ipctrace"]["duration_ns"]
    check(took >= 0.3e9, "it lasted %d ns" % took)


@test("two tracers at once do not see each other's")
def two_tracers(t):
    first = t.tracer(["-o", t.path("1.json")], ["/bin/sh", "-c", "seq 1 100 | wc -c"])
    second = t.tracer(["-o", t.path("2.json")], ["/bin/sh", "-c", "seq 1 200 | wc -c"])
    for tracer, name, size in ((first, "1.json", 292), (second, "2.json", 692)):
        tracer.wait(30)
        check_equal(tracer.status, 0, "exit status")
        graph = Graph.load(t.path(name))
        graph.check_sane(tracer.pid)
        graph.drop_signals()
        graph.exact_flow(graph.one("seq"), graph.one("wc"), size)
        check_equal(len(graph.flows), 1, "number of flows")


COMPAT = r"""
static int call(int nr, int a, void *b, int c)
{
	int ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return ret;
}

void _start(void)
{
	int p[2], bad;
	char x[4] = "abc";

	bad = call(42, (int)p, 0, 0) || call(4, p[1], x, 3) != 3 || call(3, p[0], x, 3) != 3;
	call(1, bad, 0, 0);
}
"""


@test("calls of 32-bit programs are counted as not seen")
def compat_calls(t):
    need("cc")
    built = t.run(["cc", "-m32", "-O1", "-nostdlib", "-static", "-ffreestanding", "-no-pie",
                   "-fno-pie", "-fno-stack-protector", "-o", t.path("compat"),
                   t.write("compat.c", COMPAT)])
    check_equal(built.status, 0, "cc: " + built.stderr)
    try:
        plain = t.run([t.path("compat")])
    except OSError:
        raise Skip("this kernel runs no 32-bit programs")
    check_equal(plain.status, 0, "exit status, untraced")
    graph = t.trace([t.path("compat")], lossless=False)
    check(graph.lost["by_cause"]["compat"] > 0 and not graph.lost["complete"],
          "unseen calls are not told: %s" % graph.lost)
