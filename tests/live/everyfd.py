# SPDX-License-Identifier: BSD-2-Clause
"""What strace says of every descriptor, of whatever mechanism, in the same run as the trace.

Files are known by their inodes (strace -y), and the kind of a socket by the call that made it.
"""
import re

from lib import check
from straces import LIFE, joined, leaders

TAKE = ("read", "readv", "pread64", "preadv", "preadv2", "recvfrom", "recvmsg", "recvmmsg")
GIVE = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg")
MOVE = ("sendfile", "splice", "tee")
MAKE = ("socket", "socketpair", "accept", "accept4")

ENDED = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(?:<([^>]*)>)?(?: (E\w+))?")
DESCRIPTOR = re.compile(r"(?<![\w<])\d+<((?:[^<>\"]|->|<char [^>]*>)*)>")
SOCKET = re.compile(r"socket:\[(\d+)\]")
KINDS = {"AF_UNIX": "unix", "AF_INET": "inet", "AF_INET6": "inet", "AF_NETLINK": "netlink"}


class Log:
    """(pid, file, role) -> [calls, bytes, errors] of everything strace saw."""

    def __init__(self, path):
        self.sums, self.kinds = {}, {}
        self.cut = {}  # (pid, file) -> calls that a signal ended together with the process
        lines = list(joined(path))
        self.above = leaders(lines)
        for pid, text in lines:
            found = ENDED.match(text)
            if found:
                while pid in self.above:
                    pid = self.above[pid]
                self.call(pid, *found.groups())

    def make(self, call, arguments, made):
        if call == "socketpair":
            made = arguments
        for ino in SOCKET.findall(made or ""):
            if call.startswith("accept"):
                listener = SOCKET.search(arguments)
                self.kinds[int(ino)] = self.kinds.get(int(listener.group(1))) if listener else None
            else:
                family, kind = [a.strip() for a in arguments.split(",")[:2]]
                self.kinds[int(ino)] = (KINDS.get(family), kind.split("|")[0])

    def call(self, pid, call, arguments, result, made, error):
        if call in MAKE:
            self.make(call, arguments, made)
        files = DESCRIPTOR.findall(arguments)
        if files and result == "?" and not error:
            self.cut[pid, files[0]] = self.cut.get((pid, files[0]), 0) + 1
            return
        if not files or "MSG_ERRQUEUE" in arguments:
            return
        if call in TAKE:
            self.add(pid, files[0], "read", call, arguments, result, error)
        elif call in GIVE:
            self.add(pid, files[0], "write", call, arguments, result, error)
        elif call in MOVE:
            roles = {"sendfile": ("write", "read"), "splice": ("read", "write"),
                     "tee": (None, "write")}[call]
            for role, name in zip(roles, files):
                if role:
                    self.add(pid, name, role, call, arguments, result, error)

    def add(self, pid, name, role, call, arguments, result, error):
        entry = self.sums.setdefault((pid, name, role), [0, 0, {}])
        if error:
            error = "EINTR" if error.startswith("ERESTART") else error
            entry[2][error] = entry[2].get(error, 0) + 1
        elif call.endswith("mmsg"):
            lengths = [int(n) for n in re.findall(r"msg_len=(\d+)", arguments)]
            entry[0] += int(result)
            entry[1] += sum(lengths[:int(result)])
        else:
            entry[0] += 1
            entry[1] += 0 if "MSG_PEEK" in arguments else int(result)


def name_of(graph, edge):
    """The file of an edge as strace -y has it, or None where it is not one descriptor's."""
    chan = graph.chans[edge["channel"]]
    mech = chan["mechanism"]
    if edge["role"] not in ("read", "write"):
        return None
    if mech == "pipe":
        return "pipe:[%d]" % chan["ino"]
    if mech in ("unix", "tcp") and chan["ends"]:
        return "socket:[%s]" % chan["ends"][edge["end"]]["ino"]
    if mech in ("unix", "udp") and edge["role"] == "read" and chan["ino"]:
        return "socket:[%d]" % chan["ino"]
    if mech == "fifo":
        return chan["path"] or chan["name"]
    if mech == "pty":
        return "/dev/pts/%d" % chan["ino"] if edge["end"] else "ptmx"
    if mech == "eventfd":
        return "anon_inode:[eventfd]"
    return None


def graph_sums(graph):
    sums = {}
    for edge in graph.used_edges():
        name = name_of(graph, edge)
        if not name:
            continue
        entry = sums.setdefault((graph.procs[edge["process"]]["pid"], name, edge["role"]),
                                [0, 0, {}])
        entry[0] += edge["ops"]
        entry[1] += edge["bytes"]
        for error, count in edge["errors"].items():
            error = "EINTR" if error.startswith("ERESTART") else error
            entry[2][error] = entry[2].get(error, 0) + count
    return sums


def under_its_name(log, name, role, fifos):
    """What the graph calls that file, or None: none that it must have."""
    sock = SOCKET.match(name)
    if sock:
        family, kind = log.kinds.get(int(sock.group(1))) or (None, None)
        if family not in ("unix", "inet") or kind == "SOCK_RAW":
            return None
        # What is sent without a connection is of the mailbox it goes to.
        return None if kind == "SOCK_DGRAM" and role == "write" else name
    if name.startswith(("/dev/ptmx", "/dev/pts/ptmx")):
        return "ptmx"
    if name.startswith("/dev/pts/"):
        return name.partition("<")[0]
    if name.startswith("pipe:") or name == "anon_inode:[eventfd]" or name in fifos:
        return name
    return None


def log_sums(log, graph):
    """What of the log the graph must have, under the graph's names."""
    sums = {}
    fifos = {c["path"] for c in graph.chans.values() if c["mechanism"] == "fifo"}
    for (pid, name, role), entry in log.sums.items():
        name = under_its_name(log, name, role, fifos)
        if not name:
            continue
        whole = sums.setdefault((pid, name, role), [0, 0, {}])
        whole[0] += entry[0]
        whole[1] += 8 * entry[0] if "eventfd" in name else entry[1]
        for error, count in entry[2].items():
            whole[2][error] = whole[2].get(error, 0) + count
    return sums


def calls(entry):
    return entry[0] + sum(entry[2].values())


def cut_off(log, key, ours, theirs):
    """Strace does not say how calls ended that their process did not survive: ours has all others."""
    more = calls(ours) - calls(theirs)
    return (0 < more <= log.cut.get(key[:2], 0) and ours[0] >= theirs[0] and ours[1] >= theirs[1]
            and all(ours[2].get(error, 0) >= n for error, n in theirs[2].items()))


def differences(graph, log_path):
    """Lines, one for each (process, file, role) of which strace says something else; and of how many."""
    log = Log(log_path)
    ours, theirs = graph_sums(graph), log_sums(log, graph)
    none = [0, 0, {}]
    wrong = [key for key in sorted(set(ours) | set(theirs)) if ours.get(key) != theirs.get(key)
             and not cut_off(log, key, ours.get(key, none), theirs.get(key, none))]
    return ["%s: strace has %s, ipctrace %s" % (key, theirs.get(key), ours.get(key))
            for key in wrong], len(theirs)


def strace_argv(log, argv):
    return ["strace", "-f", "-qq", "-y", "-e", "abbrev=!socketpair,sendmmsg,recvmmsg", "-s", "2",
            "-o", log, "-e", "signal=none", "-e",
            "trace=" + ",".join(TAKE + GIVE + MOVE + MAKE + LIFE), "--"] + list(argv)


def same(t, argv, least=1, **kwargs):
    """Trace strace tracing argv: both must have seen the same calls, on that many files at least."""
    log = t.path("strace.log")
    graph = t.trace(strace_argv(log, argv), **kwargs)
    wrong, found = differences(graph, log)
    check(not wrong, "%d of %d differ: %s" % (len(wrong), found, "; ".join(wrong[:5])))
    check(found >= least, "strace saw only %d files used, want %d; the program said: %s" % (
        found, least, graph.tracer.stdout[-300:]))
    return graph
