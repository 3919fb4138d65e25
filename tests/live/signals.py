# SPDX-License-Identifier: BSD-2-Clause
"""Signals: every workload against its facts."""
from facts import register
from lib import PYTHON, Graph, check, check_equal, pick, read_text, test

VARIANTS = {
    "signal-kill": ["", "how=tkill", "how=tgkill take=wait", "how=queue sig=rt", "how=tgqueue",
                    "how=pidfd take=fd", "how=queue take=fd sig=rt count=50",
                    "how=queue take=wait sig=rt", "sig=urg take=wait", "count=1 how=queue"],
    "signal-queue": ["", "take=wait senders=10", "take=fd", "how=tgqueue senders=2 count=16",
                     "how=kill take=wait senders=1 count=100"],
    "signal-group": ["", "members=1", "members=10 count=20"],
    "signal-self": ["", "how=kill", "how=queue", "how=tgkill count=100"],
    "signal-ignored": ["", "by=default sig=urg", "sig=rt"],
    "signal-blocked": ["", "sig=rt", "then=exit", "then=ignore", "then=ignore sig=rt",
                       "sig=rt then=exit"],
    "signal-fatal": ["", "sig=kill", "sig=abrt", "sig=quit threads=3", "sig=rt",
                     "sig=term threads=5", "sig=kill threads=5"],
    "signal-child": ["", "rounds=10"],
    "signal-pipe": ["", "mode=ignore"],
    "signal-fault": [""],
    "signal-timer": ["", "how=setitimer"],
}


register("signal-", VARIANTS)


@test("SIGCHLD of children is in JSON; it is drawn only if signals were asked for")
def not_drawn(t):
    children, itself = "/bin/echo a | cat > /dev/null", "; kill -CHLD $$; true"
    cases = [((), children, False), (("-m", "signal"), children, True),
             ((), children + itself, True)]
    for i, (options, script, drawn) in enumerate(cases):
        names = [t.path("x%d%s" % (i, suffix)) for suffix in (".json", ".dot", ".txt")]
        child = t.tracer(list(options) + [w for name in names for w in ("-o", name)],
                         ["/bin/sh", "-c", script + "; true"])
        child.wait(20)
        graph = Graph.load(names[0])
        name = "SIGCHLD to %d" % graph.by_comm("sh")[0]["pid"]
        check(name in [c["name"] for c in graph.chans.values()], "not in JSON")
        for path in names[1:]:
            text = read_text(path)
            check_equal(name in text, drawn, "%s is in %s" % (name, path[-4:]))
            check_equal("not shown: SIGCHLD" in text, not drawn, "is it said in " + path[-4:])

# One waits by sigwaitinfo and by reading from a signalfd in turn, each time at least PAUSE.
WAITS = """
import ctypes, os, signal, time
COUNT, PAUSE = %d, %f
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
only = (ctypes.c_ulong * 16)(1 << (signal.SIGUSR2 - 1))
fd = libc.signalfd(-1, ctypes.byref(only), 0)
def state_of(pid):
    with open("/proc/%%d/stat" %% pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]
me = os.getpid()
if not os.fork():
    for i in range(2 * COUNT):
        while state_of(me) != "S":
            pass
        time.sleep(PAUSE)
        os.kill(me, signal.SIGUSR1 if i %% 2 == 0 else signal.SIGUSR2)
    os._exit(0)
for i in range(COUNT):
    signal.sigwaitinfo([signal.SIGUSR1])
    os.read(fd, 128)
os.wait()
assert signal.sigtimedwait([signal.SIGUSR1], PAUSE) is None
"""


@test("how long one slept for a signal")
def slept(t):
    count, pause = 3, 0.1
    out = t.path("graph.json")
    child = t.tracer(["-m", "signal", "-o", out], [PYTHON, "-c", WAITS % (count, pause)])
    child.wait(60)
    check_equal(child.status, 0, "exit status")
    graph = Graph.load(out)
    graph.check_sane(child.pid)
    duration = graph.data["ipctrace"]["duration_ns"]
    for signal in ("SIGUSR1", "SIGUSR2"):
        edge, = [e for e in graph.edges_of(role="receive-signal")
                 if graph.chans[e["channel"]]["name"].startswith(signal + " to")]
        check_equal([edge["ops"], edge["blocked_ops"]], [count, count], signal + ": ops, blocked")
        check(count * pause * 1e9 <= edge["blocked_ns"] < duration, "%s: slept %d of %d ns" % (
            signal, edge["blocked_ns"], duration))
        check(pause * 1e9 <= edge["max_blocked_ns"] < edge["blocked_ns"], signal + ": longest")


@test("waiting for a signal is nothing to a trace of something else")
def not_asked_for(t):
    graph = t.trace([PYTHON, "-c", WAITS % (2, 0.01)], ["-m", "pipe"])
    check(not graph.edges, "there are edges")


# Taken by calls, while others are being sent.
TAKEN_BY_CALLS = """
import os, signal
SIGNAL, COUNT = %s, %d
signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL, signal.SIGCHLD])
me = os.getpid()
def sender():
    for _ in range(COUNT):
        os.kill(me, SIGNAL)
    os._exit(0)
got = {}
for _ in range(%d):
    pid = os.fork()
    if not pid:
        sender()
    got[pid] = 0
running = set(got)
while True:
    info = signal.sigtimedwait([SIGNAL], 0)
    if info:
        got[info.si_pid] += 1
    elif running:
        pid = os.waitpid(-1, os.WNOHANG)[0]
        running.discard(pid)
    else:
        break
print(me, *("%%d:%%d" %% one for one in got.items()))
"""


def taken_by_calls(t, script):
    out = t.path("graph.json")
    child = t.tracer(["-m", "signal", "-o", out], [PYTHON, "-c", script])
    child.wait(120)
    me, *got = child.stdout.split()
    want = {tuple(map(int, one.split(":"))) for one in got if not one.endswith(":0")}
    graph = Graph.load(out)
    chans = {i for i, c in graph.chans.items()
             if c["name"].endswith(" to " + me) and "CHLD" not in c["name"]}
    flows = [f for f in graph.flows if f["channel"] in chans]
    check_equal({f["certainty"] for f in flows}, {"exact"}, "certainty")
    check_equal({(graph.procs[f["from"]]["pid"] if f["from"] in graph.procs else 0, f["ops"])
                 for f in flows}, want, "signals of each sender")


@test("one signal of several senders, taken by calls while others are sent")
def one_of_several(t):
    taken_by_calls(t, TAKEN_BY_CALLS % ("signal.SIGUSR1", pick(20000, 2000), 3))


@test("many signals that wait in a queue, taken by calls while others are sent")
def many_that_wait(t):
    taken_by_calls(t, TAKEN_BY_CALLS % ("signal.SIGRTMIN + 1", pick(50000, 2000), 1))


# Flows of those that have ended make room while what they sent is still being taken.
TAKEN_LATER = """
import os, signal
ROUNDS, COUNT, CHILDREN = %d, %d, %d
SIGNAL = signal.SIGRTMIN + 1
signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
me = os.getpid()
def run(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
def sender():
    for _ in range(COUNT):
        os.kill(me, SIGNAL)
senders = []
for _ in range(ROUNDS):
    for _ in range(CHILDREN):
        run(lambda: None)
    senders.append(run(sender))
    for _ in range(COUNT):
        assert signal.sigtimedwait([SIGNAL], 0).si_pid == senders[-1]
print(me, *("%%d:%%d" %% (pid, COUNT) for pid in senders))
"""


@test("many signals that wait in a queue when their sender has ended")
def taken_later(t):
    taken_by_calls(t, TAKEN_LATER % (pick(15, 3), pick(20000, 2000), pick(200, 20)))


THROWN_AWAY = """
import os, signal
here, there = os.pipe(), os.pipe()
child = os.fork()
if not child:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    for round in range(5):
        os.write(here[1], b"x")
        os.read(there[0], 1)
        assert signal.SIGTSTP in signal.sigpending()
        os.write(here[1], b"x")
        os.read(there[0], 1)
        assert signal.SIGTSTP not in signal.sigpending()
    os._exit(0)
for round in range(5):
    os.read(here[0], 1)
    for _ in range(3):
        os.kill(child, signal.SIGTSTP)
    os.write(there[1], b"x")
    os.read(here[0], 1)
    os.kill(child, signal.SIGCONT)
    os.write(there[1], b"x")
assert os.wait()[1] == 0
victim = os.fork()
while not victim:
    pass
for round in range(200):
    os.kill(victim, signal.SIGSTOP)
    os.kill(victim, signal.SIGCONT)
os.kill(victim, signal.SIGKILL)
os.wait()
"""


@test("signals that stop a process are thrown away by SIGCONT as they wait")
def thrown_away(t):
    out = t.path("graph.json")
    child = t.tracer(["-m", "signal", "-o", out], [PYTHON, "-c", THROWN_AWAY])
    child.wait(60)
    check_equal(child.status, 0, "exit status")
    graph = Graph.load(out)
    found = {}
    for chan in graph.chans.values():
        sent, taken = ([e for e in graph.edges if e["channel"] == chan["id"] and e["role"] == role]
                       for role in ("send-signal", "receive-signal"))
        found[chan["name"].split()[0]] = (sum(e["ops"] for e in sent),
                                          sum(e.get("merged_ops", 0) for e in sent),
                                          sum(e["ops"] for e in taken), chan.get("dropped", 0))
    check_equal(found["SIGTSTP"], (15, 10, 0, 5), "sent, merged, taken, thrown away")
    sent, merged, taken, thrown = found["SIGSTOP"]
    check_equal((sent, merged + taken + thrown), (200, 200), "SIGSTOP: sent, and what became of it")
