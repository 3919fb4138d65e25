# SPDX-License-Identifier: BSD-2-Clause
"""Holds a graph against a workload's facts: everything found, exactly, and nothing else."""
import json
import os
import shlex
import subprocess

import lib
from lib import Failure, check_equal, errors, pick

MECHANISMS = ("pipe", "fifo", "unix", "tcp", "udp", "multicast", "msg", "mq", "sem", "futex",
              "file", "shm", "posixshm", "memfd", "mmap", "signal", "eventfd", "pty",
              "netlink", "vsock", "vm")
MEMORY = ("mmap", "memfd", "futex")
# An inode number alone does not tell which.
ON_DEVICE = ("fifo", "posixshm", "mmap", "futex", "file")


def factories():
    """The names that `workload --list` gives; none if it is not built."""
    try:
        done = subprocess.run([lib.WORKLOAD, "--list"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [line.split(":")[0] for line in done.stdout.decode().splitlines()
            if line and not line.startswith(" ")]


def trace_workload(context, name, params=(), options=(), seconds=60, lossless=True):
    """Trace a workload; returns its graph, held against its facts."""
    if not os.access(lib.WORKLOAD, os.X_OK):
        raise Failure("%s is not built" % lib.WORKLOAD)
    path = context.path("facts%d.json" % len(context.children))
    command = [lib.WORKLOAD, "--facts", path, name, "deadline=%d" % (seconds * lib.SLOW)]
    command += list(params)
    out = context.path("graph%d.json" % len(context.children))
    child = context.tracer(["-o", out] + list(options), command)
    child.wait(seconds + 10)
    if child.status == 77:
        raise lib.Skip("the workload cannot run here: " + lib.last_line(child.stderr))
    check_equal(child.status, 0, "exit status (%s)" % lib.last_line(child.stderr))
    graph = lib.Graph.load(out)
    graph.check_sane(child.pid, lossless)
    with open(path, "rb") as f:
        facts = json.loads(f.read())
    compare(graph, facts)
    return graph



class Batch:
    """
    Workloads of one mechanism, one after the other in one trace: loading the programs is most of what a
    test costs. Each is then held against the part of the graph that is its own.
    """

    SIZE = pick(40, 200)
    SECONDS = 60  # each

    def __init__(self, options):
        self.options = options
        self.commands = []
        self.wanted = []  # indices of those that are to run
        self.left = 0
        self.context = self.graph = self.problem = None
        self.unsound = None  # what is wrong with the graph as a whole, told by one of them

    def add(self, name, params):
        self.commands.append([name] + params.split())
        return len(self.commands) - 1

    def select(self, index):
        self.wanted.append(index)
        self.left += 1

    def start(self):
        self.context = t = lib.Context()
        script = ["cd " + t.dir]
        for i in self.wanted:
            command = [lib.WORKLOAD, "--facts", "facts%d" % i, self.commands[i][0],
                       "deadline=%d" % (self.SECONDS * lib.SLOW)] + self.commands[i][1:]
            script.append("%s >out%d 2>err%d </dev/null; echo $? >status%d" % (
                " ".join(shlex.quote(word) for word in command), i, i, i))
        if not os.access(lib.WORKLOAD, os.X_OK):
            raise Failure("%s is not built" % lib.WORKLOAD)
        out = t.path("graph.json")
        child = t.tracer(["-o", out] + list(self.options),
                         ["/bin/sh", t.write("script.sh", "\n".join(script) + "\n")])
        child.wait(self.SECONDS * len(self.wanted) + 10)
        check_equal(child.status, 0, "exit status (%s)" % lib.last_line(child.stderr))
        self.graph = lib.Graph.load(out)
        try:
            self.graph.check_sane(child.pid)
        except Failure as e:
            self.unsound = e

    def run(self, index):
        try:
            if not self.context:
                try:
                    self.start()
                except Failure as e:
                    self.problem = e
            self.hold(index)
        finally:
            self.left -= 1
            if not self.left:
                self.context.close()

    def hold(self, index):
        if self.problem:
            raise self.problem
        if self.unsound:
            problem, self.unsound = self.unsound, None
            raise problem
        t = self.context
        status = int(lib.read_text(t.path("status%d" % index)))
        said = lib.last_line(lib.read_text(t.path("err%d" % index)))
        if status == 77:
            raise lib.Skip("the workload cannot run here: " + said)
        check_equal(status, 0, "exit status of the workload (%s)" % said)
        with open(t.path("facts%d" % index), "rb") as f:
            facts = json.loads(f.read())
        compare(self.graph.part_of(facts["processes"][0]["pid"]), facts)


BATCHES = {}  # by options: the one that is being filled


def alone(name, params, options):
    def run(t):
        trace_workload(t, name, params.split(), options)
    return run


def batched(batch, index):
    def run(_):
        batch.run(index)
    run.select = lambda: batch.select(index)
    return run


def register(prefix, variants, options=()):
    """A test for each factory of a mechanism with each of its parameters, or with none."""
    for name in sorted(set(factories()) | set(variants)):
        if not name.startswith(prefix):
            continue
        for params in variants.get(name, [""]):
            add = lib.test(" ".join([name] + params.split()))
            # So many processes that they are folded.
            if "churn" in name:
                add(alone(name, params, options))
                continue
            batch = BATCHES.get(tuple(options))
            if not batch or len(batch.commands) == Batch.SIZE:
                batch = BATCHES[tuple(options)] = Batch(options)
            add(batched(batch, batch.add(name, params)))


def compare(graph, facts):
    """Every difference at once, so that a failing test says all there is to say."""
    wrong = Comparison(graph, facts).differences()
    if wrong:
        raise Failure("%d differences: %s" % (len(wrong), "; ".join(wrong[:8])))


def same_device(told, device):
    """The graph may give a device as the kernel writes it, as stat() does, or as text."""
    major, minor = os.major(device), os.minor(device)
    if isinstance(told, str):
        return told == "%d:%d" % (major, minor)
    return told in (device, major << 20 | minor)


class Comparison:
    def __init__(self, graph, facts):
        self.graph = graph
        self.facts = facts
        self.wrong = []
        self.procs = {}  # name in the facts -> process of the graph
        self.chans = {}
        self.known_edges = set()

    def say(self, text):
        self.wrong.append(text)

    def equal(self, got, wanted, what):
        if got != wanted:
            self.say("%s is %s, want %s" % (what, got, wanted))

    def differences(self):
        if "totals" in self.facts:
            self.drop_arena()
            self.graph.drop_signals()
            self.compare_totals(self.facts["totals"])
            return self.wrong
        self.drop_arena()
        if not any("signal" in c for c in self.facts["channels"]):
            self.graph.drop_signals()
        self.match_processes()
        self.match_channels()
        for fact in self.facts["edges"]:
            self.compare_edge(fact)
        self.compare_flows()
        self.compare_passed()
        if self.facts.get("complete"):
            self.nothing_extra()
        return self.wrong

    # Who is who

    def match_processes(self):
        by_pid = {}
        for proc in self.graph.procs.values():
            by_pid.setdefault(proc["pid"], []).append(proc)
        for fact in self.facts["processes"]:
            found = by_pid.get(fact["pid"], [])
            if not fact["pid"]:  # the kernel and its timers
                found = [p for p in found if p["comm"] == fact["comm"]]
            if not found and not self.takes_part(fact):
                continue
            if not found and not self.facts["edges"]:
                continue  # no communication, so that it need not be there
            if len(found) != 1:
                self.say("process %s (pid %d) is there %d times" % (
                    fact["name"], fact["pid"], len(found)))
                continue
            self.procs[fact["name"]] = found[0]
            self.equal(found[0]["comm"], fact["comm"], fact["name"] + ": comm")
        for fact in self.facts["processes"]:
            proc, parent = self.procs.get(fact["name"]), self.procs.get(fact["parent"])
            if proc and parent:
                self.equal(proc["parent"], parent["id"], fact["name"] + ": parent")

    def takes_part(self, fact):
        """A process that did nothing is not in the graph."""
        return any(e["process"] == fact["name"] for e in self.facts["edges"]) or any(
            p["parent"] == fact["name"] for p in self.facts["processes"])

    def drop_arena(self):
        """The workload's own memory, in which its processes wait for each other."""
        arena = self.facts["arena"]
        mine = {i for i, c in self.graph.chans.items() if c["mechanism"] in MEMORY
                and c["ino"] == arena["ino"] and same_device(c["dev"], arena["dev"])}
        self.graph.drop_channels(mine)

    def is_channel(self, fact, chan):
        if chan["mechanism"] != fact["mechanism"]:
            return False
        if "signal" in fact:
            receiver = next(p for p in self.facts["processes"] if p["name"] == fact["receiver"])
            return chan["name"] == "%s to %d" % (fact["signal"], receiver["pid"])
        if "owner" in fact:
            owner = [p for p in self.facts["processes"] if p["name"] == fact["owner"]]
            return chan["name"] == "process %s" % (owner[0]["pid"] if owner else "[none]")
        if "ends" in fact and not fact["ino"]:
            return sorted(e["ino"] or 0 for e in chan["ends"]) == sorted(
                e["ino"] for e in fact["ends"])
        if not fact["ino"] and fact.get("label"):
            return chan["name"] == fact["label"] and (
                "any_ino" in fact or not chan["ino"])
        if chan["ino"] != fact["ino"]:
            return False
        if "ns" in fact:
            return chan["namespace"] == fact["ns"]
        if chan.get("offset", 0) != fact.get("offset", 0):
            return False
        return chan["mechanism"] not in ON_DEVICE or same_device(chan["dev"], fact["dev"])

    def match_channels(self):
        for fact in self.facts["channels"]:
            found = [c for c in self.graph.chans.values() if self.is_channel(fact, c)]
            if len(found) > 1:  # an inode number used again: the one with edges of ours
                found = [c for c in found if self.graph.edges_of(chan=c)] or found
            what = "%s %s" % (fact["mechanism"], fact["name"])
            if not found and not self.is_used(fact):
                continue  # a socket that nothing was sent to
            if len(found) != 1:
                self.say("%s (inode %d) is there %d times" % (what, fact["ino"], len(found)))
                continue
            self.chans[fact["name"]] = found[0]
            self.compare_channel(what, fact, found[0])

    def is_used(self, fact):
        return any(e["ops"] or e["errors"] for e in self.facts["edges"]
                   if e["channel"] == fact["name"])

    def compare_channel(self, what, fact, chan):
        for key in ("capacity", "highwater", "capacity_messages", "highwater_messages"):
            if fact.get(key) is not None:
                self.equal(chan.get(key), fact[key], "%s: %s" % (what, key))
        if fact.get("path") is not None:
            self.equal(chan["path"], fact["path"], what + ": path")
        if "unseen_pages" in chan:
            unseen = fact.get("unseen_pages")
            self.equal(chan["unseen_pages"], [unseen] if unseen else [], what + ": unseen_pages")
        if fact.get("page_size"):
            self.equal(chan.get("page_size"), fact["page_size"], what + ": page_size")
        self.equal(chan.get("truncated_bytes", 0), fact.get("truncated_bytes", 0),
                   what + ": truncated_bytes")
        if "label" in fact:
            self.equal(chan["name"], fact["label"], what + ": name")
        if "key" in fact:
            self.equal(chan["key"], fact["key"] or None, what + ": key")
        self.equal(chan.get("left_bytes", 0), fact.get("leftover", 0), what + ": left_bytes")
        self.equal(chan.get("found_bytes", 0), fact.get("found", 0), what + ": found_bytes")
        self.equal(chan["preexisting"], False, what + ": preexisting")

    # Edges

    def compare_edge(self, fact):
        proc, chan = self.procs.get(fact["process"]), self.chans.get(fact["channel"])
        if not proc or not chan:
            return  # said already
        what = "%s %s %s" % (fact["process"], fact["role"], fact["channel"])
        found = [e for e in self.graph.edges
                 if e["process"] == proc["id"] and e["channel"] == chan["id"]
                 and e["role"] == fact["role"] and e["end"] == self.end_of(fact, chan)]
        if not found:
            if fact["ops"] or fact["errors"] or fact.get("peeked_bytes") or fact.get("pages"):
                self.say(what + ": edge is missing")
            return
        self.known_edges.add(id(found[0]))
        self.compare_counts(what, fact, found[0])

    def end_of(self, fact, chan):
        """The graph's number for the end that the facts mean."""
        if "end" not in fact:
            return None
        channel = next(c for c in self.facts["channels"] if c["name"] == fact["channel"])
        inode = channel["ends"][fact["end"]]["ino"]
        if not any(end["ino"] for end in channel["ends"]):
            return fact["end"]  # a terminal: the master is end 0 for everybody
        return [e["ino"] or 0 for e in chan["ends"]].index(inode)

    def compare_counts(self, what, fact, edge):
        for key in ("ops", "bytes", "nonblocking_ops"):
            self.equal(edge[key], fact[key], "%s: %s" % (what, key))
        self.equal(edge.get("peeked_bytes", 0), fact.get("peeked_bytes", 0),
                   what + ": peeked_bytes")
        self.equal(edge.get("pages", 0), fact.get("pages", 0), what + ": pages")
        for key in ("ignored_ops", "merged_ops"):
            self.equal(edge.get(key, 0), fact.get(key, 0), "%s: %s" % (what, key))
        if "value" in fact:
            self.equal(edge.get("value"), fact["value"], what + ": value")
        self.equal(edge.get("blocked_now") or 0, 0, what + ": blocked_now")
        self.equal(seen_errors(edge), fact["errors"], what + ": errors")
        self.equal(edge.get("credentials"), fact.get("credentials"), what + ": credentials")
        for key in ("types", "priorities"):
            if key in fact:
                self.compare_tags(what + ": " + key, fact[key], dict(edge[key]))
        self.compare_blocking(what, fact, edge)

    def compare_tags(self, what, fact, found):
        """The tracer counts only some types each; of the others it says how many messages."""
        others = found.pop("others", 0)
        unknown = sum(n for tag, n in fact.items() if tag not in found)
        self.equal(others, unknown, what + ", others")
        self.equal(found, {tag: n for tag, n in fact.items() if tag in found}, what)
        self.equal(len(found) >= min(3, len(fact)), True, what + ": some are told")

    def compare_blocking(self, what, fact, edge):
        if fact["blocked_ops"] is not None:
            self.equal(edge["blocked_ops"], fact["blocked_ops"], what + ": blocked_ops")
            if not fact["blocked_ops"]:
                self.equal(edge["blocked_ns"], 0, what + ": blocked_ns")
        least = fact["blocked_ns_min"]
        if least is not None and edge["blocked_ns"] < least:
            self.say("%s: blocked_ns is %d, want at least %d" % (
                what, edge["blocked_ns"], least))
        # Nobody sleeps longer than the trace lasted; threads sleep side by side.
        most = self.graph.data["ipctrace"]["duration_ns"]
        if edge["max_blocked_ns"] > most:
            self.say("%s: slept %d ns at once in a trace of %d ns" % (
                what, edge["max_blocked_ns"], most))
        most *= max(int(self.facts["params"].get(k, 1)) for k in ("writers", "readers"))
        if edge["blocked_ns"] > most:
            self.say("%s: blocked_ns is %d in a trace of %d ns" % (
                what, edge["blocked_ns"], most))

    # Flows

    def compare_flows(self):
        facts, found, chans = self.flow_facts(), {}, {c["id"] for c in self.unordered()}
        for flow in self.graph.flows:
            key = (flow["from"], flow["to"], flow["channel"])
            size, shared, ops = found.get(key, (0, 0, 0))
            found[key] = (size + flow["bytes"], shared + flow.get("shared_bytes", 0),
                          ops + flow["ops"])
            if facts.get(key, (0, False))[1] and flow["certainty"] != "exact":
                self.say("%s: certainty is %s, want exact" % (
                    self.flow_name(key), flow["certainty"]))
        self.compare_page_flows()
        for key in sorted(set(facts) | set(found)):
            if key[2] in chans:
                continue
            size, sure, ops = facts.get(key, (0, False, 0))
            self.compare_flow(key, (size, sure), found.get(key, (0, 0, 0))[:2])
            if ops or not size:
                self.equal(found.get(key, (0, 0, 0))[2], ops, self.flow_name(key) + " ops")

    def compare_page_flows(self):
        """Pages that one wrote to and another read then."""
        facts, found = {}, {}
        for fact in self.facts["flows"]:
            proc_from, proc_to = self.procs.get(fact["from"]), self.procs.get(fact["to"])
            chan = self.chans.get(fact["channel"])
            if fact.get("pages") and proc_from and proc_to and chan:
                key = (proc_from["id"], proc_to["id"], chan["id"])
                facts[key] = facts.get(key, 0) + fact["pages"]
        for flow in self.graph.flows:
            if flow.get("pages"):
                key = (flow["from"], flow["to"], flow["channel"])
                found[key] = found.get(key, 0) + flow["pages"]
        for key in sorted(set(facts) | set(found)):
            self.equal(found.get(key, 0), facts.get(key, 0), self.flow_name(key) + " pages")

    def flow_facts(self):
        facts = {}
        for fact in self.facts["flows"]:
            proc_from, proc_to = self.procs.get(fact["from"]), self.procs.get(fact["to"])
            chan = self.chans.get(fact["channel"])
            if proc_from and proc_to and chan:
                key = (proc_from["id"], proc_to["id"], chan["id"])
                size, sure, ops = facts.get(key, (0, True, 0))
                facts[key] = (size + fact["bytes"], sure and fact["certainty"] == "exact",
                              ops + fact.get("ops", 0))
        return facts

    def unordered(self):
        """Channels of which the facts do not say who woke whom: each sleep has ended by somebody."""
        chans = [self.chans[c["name"]] for c in self.facts["channels"]
                 if c.get("unordered") and c["name"] in self.chans]
        for chan in chans:
            for edge in self.graph.edges_of(role="wait", chan=chan):
                woken = sum(f["ops"] for f in self.graph.flows if f["channel"] == chan["id"]
                            and f["to"] == edge["process"])
                slept = edge["blocked_ops"] - sum(errors(edge).values())
                # Who is let go just before it falls asleep does not sleep.
                if not slept <= woken <= edge["ops"]:
                    self.say("%s: %s slept %d times in %d calls, and was woken %d times" % (
                        chan["name"], self.graph.name(edge["process"]), slept, edge["ops"],
                        woken))
        return chans

    def compare_flow(self, key, fact, found):
        (truth, sure), (size, shared) = fact, found
        what = self.flow_name(key)
        if sure:
            self.equal(size, truth, what + " bytes")
            self.equal(shared, 0, what + " shared_bytes")
        elif not truth and size:
            self.say("%s: %d bytes that never flowed" % (what, size))
        elif not size <= truth <= size + shared:
            self.say("%s: truth is %d, the graph says %d and up to %d more" % (
                what, truth, size, shared))

    # Descriptors that were passed

    def compare_passed(self):
        edges, flows = {}, {}
        for fact in self.facts["passes"]:
            proc, over = self.procs.get(fact["process"]), self.chans.get(fact["over"])
            if not proc or not over:
                continue  # said already
            what = self.what_was_passed(fact)
            key = (proc["id"], over["id"], fact["role"], self.end_of(
                dict(fact, channel=fact["over"]), over))
            edges.setdefault(key, {}).setdefault(what, 0)
            edges[key][what] += 1
            if fact["from"]:
                key = (self.procs[fact["from"]]["id"], proc["id"], over["id"])
                flows.setdefault(key, {}).setdefault(what, 0)
                flows[key][what] += 1
                self.is_held(proc, fact)
        for edge in self.graph.edges:
            if edge["role"] in ("pass-fd", "take-fd"):
                key = (edge["process"], edge["channel"], edge["role"], edge["end"])
                self.compare_passes("%s of %s" % (edge["role"], self.graph.name(key[0])),
                                    edges.get(key, {}), edge)
        for flow in self.graph.flows:
            key = (flow["from"], flow["to"], flow["channel"])
            if key in flows or flow.get("fds") or flow.get("shared_fds"):
                self.compare_passes(self.flow_name(key), flows.pop(key, {}), flow)
                self.equal(flow.get("fds"), sum(p["ops"] for p in flow.get("passed", [])),
                           self.flow_name(key) + " fds")
                self.equal(flow.get("shared_fds"), 0, self.flow_name(key) + " shared_fds")
        for key in flows:
            self.say(self.flow_name(key) + " of descriptors is missing")

    def what_was_passed(self, fact):
        if not fact["channel"]:
            return (None, fact["kind"], fact["mode"], fact["name"])
        chan = self.chans.get(fact["channel"])
        if not chan:
            self.say("%s was passed and is not there" % fact["channel"])
            return None
        return (chan["id"], fact["kind"], fact["mode"], chan["name"])

    def compare_passes(self, where, want, found):
        got = {(p["channel"], p["kind"], p["mode"], p["name"]): p["ops"]
               for p in found.get("passed", [])}
        self.equal(found.get("passed_others"), 0, where + ": passed_others")
        self.equal(got, want, where + ": passed")

    def is_held(self, proc, fact):
        """Who took it has it, and the graph says so, whether it was used or not."""
        chan = self.chans.get(fact["channel"])
        if not chan:
            return
        for role in fact["mode"].split("-"):
            if not any(e["process"] == proc["id"] and e["channel"] == chan["id"] and
                       e["role"] == role for e in self.graph.edges):
                self.say("%s has taken %s, and does not hold it to %s" % (
                    fact["process"], chan["name"], role))

    def flow_name(self, key):
        return "flow %s -> %s over %s" % (
            self.graph.name(key[0]), self.graph.name(key[1]), self.graph.chans[key[2]]["name"])

    # Nothing else

    def nothing_extra(self):
        chans = {c["id"] for c in self.chans.values()}
        for edge in self.graph.used_edges():
            chan = self.graph.chans[edge["channel"]]
            if chan["mechanism"] in MECHANISMS and id(edge) not in self.known_edges:
                self.say("extra edge: %s %s %s, %d ops, %d bytes" % (
                    self.graph.name(edge["process"]), edge["role"], chan["name"],
                    edge["ops"], edge["bytes"]))
        for chan in self.graph.chans.values():
            if chan["mechanism"] in MECHANISMS and chan["id"] not in chans:
                self.say("extra channel: %s %s" % (chan["mechanism"], chan["name"]))

    # Workloads of too many processes to list

    def compare_totals(self, totals):
        self.equal(self.graph.processes_seen(), totals["processes"], "number of processes")
        self.equal(sum(c.get("count", 1) for c in self.graph.chans.values()),
                   totals["channels"], "number of channels")
        for role in ("write", "read"):
            edges = [e for e in self.graph.edges if e["role"] == role]
            for key in ("ops", "bytes", "nonblocking_ops"):
                self.equal(sum(e[key] for e in edges), totals[role][key],
                           "all %ss: %s" % (role, key))
            counts = {}
            for edge in edges:
                for name, n in seen_errors(edge).items():
                    counts[name] = counts.get(name, 0) + n
            self.equal(counts, totals[role]["errors"], "all %ss: errors" % role)


def seen_errors(edge):
    """Errors by the names that programs see: a call that is restarted or not says EINTR there."""
    counts = {}
    for name, n in errors(edge).items():
        name = "EINTR" if name.startswith("ERESTART") else name
        counts[name] = counts.get(name, 0) + n
    return counts
