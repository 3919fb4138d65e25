# SPDX-License-Identifier: BSD-2-Clause
"""Real programs that talk over unix sockets: strace runs inside the trace and sees the same calls."""
import re

from lib import check, need, test
from straces import LIFE, joined, leaders

CALLS = ("read", "readv", "write", "writev", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg",
         "recvmmsg", "sendfile")
GIVING = ("write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile")

ENDED = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: (E\w+))?")
# The first argument, a unix socket: what it is called, and its inode. Strace knows not all types.
SOCKET = re.compile(r"^\d+<UNIX(?:-[A-Z]+)?:\[(\d+)(?:->\d+)?[^\]]*\]>")


def table_of_log(path, mailboxes):
    """(pid, inode of its socket, role) -> [calls, bytes, errors]; of mailboxes only what is read."""
    lines, sums = list(joined(path)), {}
    above = leaders(lines)
    for pid, text in lines:
        found = ENDED.match(text)
        if not found or found.group(1) not in CALLS:
            continue
        call, arguments, result, error = found.groups()
        sock = SOCKET.match(arguments)
        if not sock or (result == "?" and not error):
            continue
        while pid in above:
            pid = above[pid]
        role = "write" if call in GIVING else "read"
        if role == "write" and ("<UNIX-DGRAM:" in arguments or int(sock.group(1)) in mailboxes):
            continue
        entry = sums.setdefault((pid, int(sock.group(1)), role), [0, 0, {}])
        if error:
            error = "EINTR" if error.startswith("ERESTART") else error
            entry[2][error] = entry[2].get(error, 0) + 1
            continue
        entry[0] += 1
        entry[1] += 0 if "MSG_PEEK" in arguments else int(result)
    return sums


def table_of_graph(graph):
    sums = {}
    for edge in graph.used_edges():
        chan = graph.chans[edge["channel"]]
        if chan["mechanism"] != "unix" or edge["role"] not in ("read", "write"):
            continue
        if not chan["ends"] and edge["role"] == "write":
            continue
        inode = chan["ends"][edge["end"]]["ino"] if chan["ends"] else chan["ino"]
        key = (graph.procs[edge["process"]]["pid"], inode, edge["role"])
        entry = sums.setdefault(key, [0, 0, {}])
        entry[0] += edge["ops"]
        entry[1] += edge["bytes"]
        for name, count in edge["errors"].items():
            name = "EINTR" if name.startswith("ERESTART") else name
            entry[2][name] = entry[2].get(name, 0) + count
    return sums


def same_calls(t, argv, **kwargs):
    """Both must have seen the same calls on the same sockets."""
    log = t.path("strace.log")
    graph = t.trace(["strace", "-f", "-qq", "-yy", "-s", "0", "-o", log, "-e", "signal=none", "-e",
                     "trace=" + ",".join(CALLS + LIFE), "--"] + argv, **kwargs)
    mailboxes = {c["ino"] for c in graph.chans.values()
                 if c["mechanism"] == "unix" and not c["ends"]}
    ours, theirs = table_of_graph(graph), table_of_log(log, mailboxes)
    check(theirs, "strace saw no unix socket; the program said: %s" % graph.tracer.stdout[-300:])
    wrong = ["%s: strace has %s, ipctrace %s" % (key, theirs.get(key), ours.get(key))
             for key in sorted(set(ours) | set(theirs)) if ours.get(key) != theirs.get(key)]
    check(not wrong, "%d of %d differ: %s" % (len(wrong), len(theirs), "; ".join(wrong[:5])))
    return graph


def unix_flows(graph, source, target):
    """Bytes that went from processes of one name to those of another over unix sockets."""
    return sum(f["bytes"] for f in graph.flows
               if graph.chans[f["channel"]]["mechanism"] == "unix"
               and graph.procs[f["from"]]["comm"].startswith(source)
               and graph.procs[f["to"]]["comm"].startswith(target))


def both_ways(graph, one, other):
    check(unix_flows(graph, one, other), "nothing went from %s to %s" % (one, other))
    check(unix_flows(graph, other, one), "nothing went from %s to %s" % (other, one))
    graph.none_outside()


@test("socat: a file through a chain of two sockets")
def socat(t):
    need("strace", "socat")
    graph = same_calls(t, ["/bin/sh", "-c", """
socat -u UNIX-LISTEN:b,backlog=2 CREATE:out & b=$!
while ! test -S b; do :; done
socat UNIX-LISTEN:a UNIX-CONNECT:b & a=$!
while ! test -S a; do :; done
head -c 300000 /dev/zero > in
socat -u OPEN:in UNIX-CONNECT:a
wait $a $b
cmp in out
"""])
    sizes = sorted(f["bytes"] for f in graph.flows
                   if graph.chans[f["channel"]]["mechanism"] == "unix" and f["bytes"])
    check(sizes[-2:] == [300000, 300000], "flows are %s" % sizes)


@test("ssh-agent: keys added, listed and used")
def ssh_agent(t):
    need("strace", "ssh-agent", "ssh-add", "ssh-keygen")
    graph = same_calls(t, ["/bin/sh", "-c", """
ssh-keygen -q -t ed25519 -N '' -f key
eval `ssh-agent -s -a agent` >/dev/null
ssh-add -q key && ssh-add -l && ssh-add -T key.pub
kill $SSH_AGENT_PID
"""])
    both_ways(graph, "ssh-add", "ssh-agent")


@test("dbus-daemon: a session bus and its clients")
def session_bus(t):
    need("strace", "dbus-run-session", "dbus-send")
    graph = same_calls(t, ["dbus-run-session", "--", "/bin/sh", "-c", """
for i in 1 2 3; do
dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames
done >/dev/null
"""])
    both_ways(graph, "dbus-send", "dbus-daemon")


@test("gpg-agent: a key made with it")
def gpg_agent(t):
    need("strace", "gpg", "gpg-agent", "gpgconf")
    graph = same_calls(t, ["/bin/sh", "-c", """
export GNUPGHOME=$PWD/home && mkdir -m 700 home
gpg --batch -q --passphrase '' --quick-gen-key a@b.example ed25519 sign never 2>err || cat err
gpgconf --kill gpg-agent
"""], seconds=120)
    both_ways(graph, "gpg", "gpg-agent")


@test("tmux: a server, and clients that pass it their terminals")
def tmux(t):
    need("strace", "tmux")
    graph = same_calls(t, ["/bin/sh", "-c", """
tmux -f /dev/null -S ./s new-session -d 'sleep 60' && tmux -S ./s list-sessions >/dev/null
tmux -S ./s kill-server
"""])
    both_ways(graph, "tmux: client", "tmux: server")


NGINX = """
daemon off; worker_processes 2; pid pid; error_log err; events { }
http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
uwsgi_temp_path t4; scgi_temp_path t5; server { listen unix:web; location / { return 200 "hello"; } } }
"""


@test("nginx: two workers behind one socket")
def nginx(t):
    need("strace", "nginx", "curl")
    t.write("conf", NGINX)
    graph = same_calls(t, ["/bin/sh", "-c", """
nginx -p "$PWD/" -c conf 2>/dev/null & n=$!
until curl -s --unix-socket web http://a/ >/dev/null; do :; done
for i in 1 2 3 4 5; do curl -s --unix-socket web http://a/ >/dev/null; done
kill $n
wait $n
"""])
    both_ways(graph, "curl", "nginx")
