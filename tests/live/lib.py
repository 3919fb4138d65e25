# SPDX-License-Identifier: BSD-2-Clause
"""What every live test uses: processes with deadlines, the tracer, the graph it wrote.

A test is a function with @test("name") that takes a Context. It fails by raising Failure (check()
does), and is skipped by raising Skip with the reason. Nothing here sleeps for a fixed time and
hopes: wait_for() waits for a condition, with a deadline that IPCTRACE_SLOW stretches.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IPCTRACE = os.environ.get("IPCTRACE", os.path.join(ROOT, "build", "ipctrace"))
WORKLOAD = os.environ.get("IPCTRACE_WORKLOAD", os.path.join(ROOT, "build", "workload"))
# The VM runner puts the kernel's name there.
VM = os.environ.get("IPCTRACE_VM", "") not in ("", "0")
SLOW = float(os.environ.get("IPCTRACE_SLOW", "10" if VM else "1"))
PYTHON = sys.executable or "/usr/bin/python3"

# Causes that explain a call which was seen and is in no edge. Others count other things.
CALL_CAUSES = ("no_edge", "no_channel", "stray", "futex")

# System calls poll, ppoll, epoll_wait and epoll_pwait on x86-64.
POLLS = ("7", "271", "232", "281")

# The end of a flow that was not watched, or was there before; no process of the graph.
OUTSIDE = "outside"

TESTS = []  # (name, function), in the order of definition


class Failure(Exception):
    """The tracer did something wrong; the text says what."""


class Skip(Exception):
    """The test cannot be run here; the text says why."""


def test(name):
    def register(function):
        TESTS.append((name, function))
        return function
    return register


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(got, wanted, what):
    if got != wanted:
        raise Failure("%s is %r, want %r" % (what, got, wanted))


def pick(here, in_vm):
    """A size: emulated machines get the smaller one."""
    return in_vm if VM else here


def need(*programs):
    """Skip when a program that is no dependency of ipctrace is not installed."""
    for program in programs:
        if not shutil.which(program):
            raise Skip("%s is not installed" % program)


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def wait_for(condition, what, seconds=20):
    """Wait until condition() gives something true, and return that."""
    deadline = time.monotonic() + seconds * SLOW
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure("waited %.0f s in vain for %s" % (seconds * SLOW, what))
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def read_text(path):
    with open(path, "rb") as f:
        return f.read().decode("utf-8", "backslashreplace")


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "(nothing on stderr)"


class Child:
    """A process in a session of its own, its output in files (a pipe would be traced)."""

    def __init__(self, argv, out_dir, name, stdin=None, stdout=None, env=None, preexec=None):
        self.argv = argv
        self.out_path = os.path.join(out_dir, name + ".stdout")
        self.err_path = os.path.join(out_dir, name + ".stderr")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=out if stdout is None else stdout, stderr=err, env=env, cwd=out_dir,
                start_new_session=True, preexec_fn=preexec)
        self.pid = self.popen.pid

    @property
    def stdout(self):
        return read_text(self.out_path)

    @property
    def stderr(self):
        return read_text(self.err_path)

    @property
    def status(self):
        return self.popen.returncode

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def wait(self, seconds=30):
        try:
            return self.popen.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure("%s did not end within %.0f s; stderr: %s" % (
                " ".join(map(str, self.argv))[:120], seconds * SLOW, last_line(self.stderr)))

    def kill(self):
        """The session that this child leads, and so nobody else."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.popen.wait()


class Context:
    """One test's own directory and processes; both are gone when the test is over."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="ipctrace-live-")
        self.children = []

    def close(self):
        for child in self.children:
            child.kill()
        if os.environ.get("IPCTRACE_KEEP"):
            print("# kept: " + self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    def start(self, argv, name=None, **kwargs):
        name = name or "child%d" % len(self.children)
        child = Child(argv, self.dir, name, **kwargs)
        self.children.append(child)
        return child

    def run(self, argv, seconds=30, **kwargs):
        child = self.start(argv, **kwargs)
        child.wait(seconds)
        return child

    def tracer(self, options, command=None, **kwargs):
        """Start ipctrace; command None: none given on its command line."""
        if not os.access(IPCTRACE, os.X_OK):
            raise Failure("%s is not built" % IPCTRACE)
        argv = [IPCTRACE] + list(options)
        if command is not None:
            argv += ["--"] + list(command)
        return self.start(argv, name="tracer%d" % len(self.children), **kwargs)

    def trace(self, command, options=(), status=0, seconds=60, lossless=True, **kwargs):
        """Trace command to its end; its graph, checked for what holds in any graph."""
        out = self.path("graph%d.json" % len(self.children))
        child = self.tracer(["-o", out] + list(options), command, **kwargs)
        child.wait(seconds)
        check(child.status == status, "exit status is %s, want %s; stderr: %s" % (
            child.status, status, last_line(child.stderr)))
        graph = Graph.load(out)
        graph.tracer = child
        graph.check_sane(child.pid, lossless)
        graph.drop_signals()
        return graph

    def shell(self, script, shell="/bin/sh", **kwargs):
        return self.trace([shell, "-c", script], **kwargs)

    def ready(self, tracer, seconds=20):
        """Wait until a tracer without a command has its hooks in place and waits in poll()."""
        def started():
            if not tracer.running():
                raise Failure("the tracer ended with status %s: %s" % (
                    tracer.status, last_line(tracer.stderr)))
            return read_text("/proc/%d/syscall" % tracer.pid).split()[0] in POLLS
        wait_for(started, "the tracer to wait for events", seconds)

    def stop(self, tracer, number=signal.SIGINT, status=0):
        """End a tracer as Ctrl-C would."""
        tracer.signal(number)
        tracer.wait(30)
        check(tracer.status == status, "exit status after signal %d is %s, want %s: %s" % (
            number, tracer.status, status, last_line(tracer.stderr)))


def role_sum(edges, role, key):
    return sum(e[key] for e in edges if e["role"] == role)


def unwrap(table, key, what):
    if key not in table:
        raise Failure("%s: no key %r in %s" % (what, key, sorted(table)))
    return table[key]


ROLES = ("read", "write", "attach", "wait", "wake", "lock", "send-signal", "receive-signal",
         "pass-fd", "take-fd")


class Graph:
    """The JSON graph of schema 1."""

    def __init__(self, data):
        self.data = data
        for key in ("ipctrace", "processes", "channels", "edges", "flows", "lost"):
            unwrap(data, key, "graph")
        self.procs = {p["id"]: p for p in data["processes"]}
        self.chans = {c["id"]: c for c in data["channels"]}
        self.edges = data["edges"]
        self.flows = data["flows"]
        self.lost = data["lost"]
        self.tracer = None

    @classmethod
    def load(cls, path):
        try:
            with open(path, "rb") as f:
                return cls(json.loads(f.read().decode("utf-8")))
        except FileNotFoundError:
            raise Failure("no output %s was written" % os.path.basename(path))
        except (ValueError, UnicodeDecodeError) as e:
            raise Failure("%s is not JSON: %s" % (os.path.basename(path), e))

    def part_of(self, pid):
        """What that process and its descendants did, as a graph of its own."""
        inside = {p["id"] for p in self.procs.values() if p["pid"] == pid}
        waiting = list(self.procs.values())
        while True:
            found = [p for p in waiting if p["parent"] in inside]
            if not found:
                break
            inside.update(p["id"] for p in found)
            waiting = [p for p in waiting if p["id"] not in inside]
        # A signal to somebody else is a matter of his; what the kernel sends is one of who gets it.
        chans = {e["channel"] for e in self.edges
                 if e["process"] in inside and e["role"] != "send-signal"}
        senders = {e["process"] for e in self.edges
                   if e["channel"] in chans and e["role"] == "send-signal"}
        inside |= {i for i in senders if not self.procs[i]["watched"]}
        data = dict(self.data)
        data["processes"] = [p for p in self.data["processes"] if p["id"] in inside]
        data["edges"] = [e for e in self.edges
                         if e["process"] in inside and e["channel"] in chans]
        data["channels"] = [c for c in self.data["channels"] if c["id"] in chans]
        data["flows"] = [f for f in self.flows if f["channel"] in chans
                         and (f["from"] in inside or f["to"] in inside)]
        return Graph(data)

    def drop_channels(self, ids):
        for i in ids:
            del self.chans[i]
        self.edges = [e for e in self.edges if e["channel"] not in ids]
        self.flows = [f for f in self.flows if f["channel"] not in ids]

    def drop_signals(self):
        """Whoever has children gets signals: noise where they are not the matter."""
        self.drop_channels({i for i, c in self.chans.items() if c["mechanism"] == "signal"})

    def name(self, pid_id):
        if pid_id == OUTSIDE:
            return pid_id
        proc = self.procs[pid_id]
        return "%s[%s]" % (proc["comm"], proc["pid"])

    def used_edges(self):
        """Edges of calls that were made; the others only say who held a channel open."""
        return [e for e in self.edges
                if e["ops"] or errors(e) or e["blocked_now"] or e.get("pages")]

    def by_comm(self, comm):
        return [p for p in self.procs.values() if p["comm"] == comm]

    def one(self, comm):
        found = self.by_comm(comm)
        check(len(found) == 1, "want one process %r, found %d among %s" % (
            comm, len(found), sorted(p["comm"] for p in self.procs.values())))
        return found[0]

    def pid(self, pid):
        found = [p for p in self.procs.values() if p["pid"] == pid]
        check(len(found) == 1, "pid %d is in the graph %d times" % (pid, len(found)))
        return found[0]

    def edges_of(self, proc=None, role=None, chan=None):
        return [e for e in self.used_edges() if (proc is None or e["process"] == proc["id"])
                and (role is None or e["role"] == role)
                and (chan is None or e["channel"] == chan["id"])]

    def flows_between(self, source=None, target=None, chan=None):
        return [f for f in self.flows if (source is None or f["from"] == source["id"])
                and (target is None or f["to"] == target["id"])
                and (chan is None or f["channel"] == chan["id"])]

    def exact_flow(self, source, target, size, chan=None):
        """Exactly size bytes went from source to target, and the graph is sure of it."""
        what = "flow %s -> %s" % (source["comm"], target["comm"])
        flows = self.flows_between(source, target, chan)
        check_equal(sum(f["bytes"] for f in flows), size, what + " bytes")
        check(all(f["certainty"] == "exact" for f in flows), what + " is not exact")
        check_equal(sum(f.get("shared_bytes", 0) for f in flows), 0, what + " shared bytes")

    def totals(self, mechanism=None):
        edges = [e for e in self.edges
                 if mechanism is None or self.chans[e["channel"]]["mechanism"] == mechanism]
        return {role + "_" + key: role_sum(edges, role, key)
                for role in ("write", "read") for key in ("ops", "bytes")}

    def balanced(self):
        for chan in self.chans.values():
            self.check_balance(chan)

    def none_outside(self):
        """All who moved bytes were watched."""
        strangers = [f for f in self.flows if OUTSIDE in (f["from"], f["to"])]
        check(not strangers, "bytes from or to nobody known: %s" % strangers[:4])

    def processes_seen(self):
        return sum(p.get("count", 1) for p in self.procs.values())

    # What holds in every graph, whatever was traced.

    def check_sane(self, tracer_pid=None, lossless=True):
        self.check_references()
        self.check_law(lossless)
        for edge in self.edges:
            self.check_edge(edge)
        for chan in self.chans.values():
            self.check_channel(chan)
        if tracer_pid is not None:
            mine = [p for p in self.procs.values() if p["pid"] == tracer_pid]
            check(not mine, "the tracer is in its own graph: %s" % mine)

    def check_references(self):
        data = self.data
        check_equal(data["ipctrace"].get("schema"), 1, "schema")
        check_equal(len(self.procs), len(data["processes"]), "number of distinct process ids")
        check_equal(len(self.chans), len(data["channels"]), "number of distinct channel ids")
        for proc in self.procs.values():
            check(proc["parent"] is None or proc["parent"] in self.procs,
                  "parent of %s is not in the graph" % proc["id"])
        known = set(self.procs) | {OUTSIDE}
        for edge in self.edges:
            check(edge["process"] in self.procs and edge["channel"] in self.chans,
                  "edge without its ends: %s" % edge)
        for flow in self.flows:
            check(flow["from"] in known and flow["to"] in known
                  and flow["channel"] in self.chans, "flow without its ends: %s" % flow)
        pairs = [(e["process"], e["channel"], e["role"], e["end"]) for e in self.edges]
        check_equal(len(set(pairs)), len(pairs), "number of distinct edges")

    def check_law(self, lossless):
        """seen = delivered + unfinished + dropped, by cause."""
        lost = self.lost
        seen, delivered, unfinished = (unwrap(lost, k, "lost")
                                       for k in ("seen", "delivered", "unfinished"))
        causes = unwrap(lost, "by_cause", "lost")
        dropped = sum(causes.get(k, 0) for k in CALL_CAUSES)
        check(seen == delivered + unfinished + dropped,
              "conservation: seen %d != delivered %d + unfinished %d + dropped %d (%s)" % (
                  seen, delivered, unfinished, dropped, causes))
        if lossless and (not lost["complete"] or any(causes.values())):
            raise Failure("complete is %s, lost by cause: %s" % (
                lost["complete"], {k: n for k, n in causes.items() if n}))
        if not lost["complete"]:
            check(any(causes.values()), "not complete, and no cause: %s" % lost)
        counted = sum(e["ops"] + sum(errors(e).values()) for e in self.edges)
        check(counted >= delivered, "%d calls delivered, but the edges hold %d" % (
            delivered, counted))

    def check_edge(self, edge):
        what = "edge %s %s %s" % (self.name(edge["process"]), edge["role"], edge["channel"])
        calls = edge["ops"] + sum(errors(edge).values())
        check(edge["role"] in ROLES, what + ": unknown role")
        check(not edge["bytes"] or edge["ops"], what + ": bytes without a call")
        check(edge["nonblocking_ops"] <= calls, what + ": more non-blocking calls than calls")
        check(edge["blocked_ops"] <= calls + edge.get("blocked_now", 0),
              what + ": slept %d times in %d calls" % (edge["blocked_ops"], calls))
        check(edge["max_blocked_ns"] <= edge["blocked_ns"], what + ": longest sleep > all sleeps")
        if calls:
            check(0 < edge["first_ns"] <= edge["last_ns"] or not edge["last_ns"],
                  what + ": first at %s, last at %s" % (edge["first_ns"], edge["last_ns"]))

    def check_channel(self, chan):
        """No flow may say more than the edges do."""
        what = "%s %s" % (chan["mechanism"], chan["name"])
        edges = [e for e in self.edges if e["channel"] == chan["id"]]
        flows = [f for f in self.flows if f["channel"] == chan["id"]]
        for role, end in (("write", "from"), ("read", "to")):
            if role == "write" and (chan["unit"] == "page" or chan["mechanism"] == "file"):
                continue  # any number of readers get all of it
            for proc in {f[end] for f in flows}:
                has = sum(e["bytes"] for e in edges
                          if e["process"] == proc and e["role"] == role)
                said = sum(f["bytes"] for f in flows if f[end] == proc)
                if chan["mechanism"] == "multicast" and role == "write":
                    said = max(f["bytes"] for f in flows if f[end] == proc)  # each gets all
                if proc == OUTSIDE or not self.procs[proc]["watched"]:
                    continue  # of whom only the flow is known
                check(said <= has, "%s: flows say that %s %s %d bytes, its edge %d" % (
                    what, self.name(proc), role, said, has))
        if chan["capacity"] and not chan.get("capacity_is_memory"):  # it may be passed by one message
            check(chan["highwater"] <= chan["capacity"], "%s: fill %d above capacity %d" % (
                what, chan["highwater"], chan["capacity"]))
        for flow in flows:
            check(flow["certainty"] in ("exact", "shared", "inferred"), what + ": certainty")
            check(flow["certainty"] != "exact" or not flow.get("shared_bytes"),
                  "%s: an exact flow with shared bytes: %s" % (what, flow))

    def check_balance(self, chan):
        """All ends were traced: what went in came out or is still there."""
        edges = [e for e in self.edges if e["channel"] == chan["id"]]
        put, taken = role_sum(edges, "write", "bytes"), role_sum(edges, "read", "bytes")
        put += chan.get("found_bytes", 0)
        check(put == taken + chan.get("left_bytes", 0), "%s: %d bytes in, %d out, %s left" % (
            chan["name"], put, taken, chan.get("left_bytes")))


def errors(edge):
    return edge.get("errors") or {}
