# SPDX-License-Identifier: BSD-2-Clause
"""Programs of all kinds, compared call by call with strace on the same run; and at a terminal."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import straces
from lib import (IPCTRACE, PYTHON, SLOW, Failure, Graph, check, check_equal, need, read_text,
                 pick, role_sum, test, wait_for)

BASH = r"""
while read -r a; do echo "$a" | tr 1 2; done < <(seq 1 3)
coproc CO { while read -r x; do echo "got $x"; done; }
echo hi >&"${CO[1]}"; read -r y <&"${CO[0]}"; echo "$y"
eval "exec ${CO[1]}>&-"; wait
echo $(echo nested $(echo deeper $(echo deepest)))
cat <<<"here $(printf %050000d 1 | wc -c)"
trap 'echo at exit $(echo x | wc -c)' EXIT
trap 'echo usr1' USR1
(kill -USR1 $$) & wait; wait
for i in 1 2 3; do (echo $i >job.$i) & done; wait -n; wait; cat job.? | tr 1 9
mkfifo f; exec 3<>f; echo one >&3; read -r z <&3; echo "$z"
(echo child >&3); read -r z <&3; echo "$z"; exec 3>&-
cat f & echo through >f; wait; rm f
diff <(seq 1 10) <(seq 2 11) | head -n 3
readarray -t lines < <(seq 1 200); echo ${#lines[@]}
yes | head -n 2 | cat; echo "${PIPESTATUS[@]}"
exec 5> >(sed s/^/x/); echo a >&5; exec 5>&-; wait
"""

SH = r"""
seq 1 3 | while read -r a; do echo "$a" | tr 1 2; done
echo $(echo a; echo $(echo b; cat <<E
here
E
))
big=$(head -c 200000 /dev/zero | tr '\0' x); echo ${#big}
mkfifo f; cat f & echo through >f; wait
exec 3<>f; echo q >&3; read -r z <&3; echo "$z"; exec 3>&-; rm f
yes | head -n 1000 | (read -r a; read -r b; cat | wc -l)
{ echo 1; echo 2 >&2; } 2>&1 | cat -n
echo `echo back quotes`
"""

SUBPROCESSES = r"""
import asyncio, multiprocessing, subprocess
def work(x):
    return x * x
def talk(end):
    end.send(b"x" * 70000)
    end.close()
def fill(queue):
    for i in range(50):
        queue.put(i)
if __name__ == "__main__":
    print(len(subprocess.run(["tr", "a", "b"], input=b"a" * 99999, stdout=-1).stdout))
    both = subprocess.Popen("seq 1 1000; echo e >&2", shell=True, stdout=-1, stderr=-1)
    print([len(x) for x in both.communicate()])
    near, far = multiprocessing.Pipe(False)
    child = multiprocessing.Process(target=talk, args=(far,))
    child.start(); print(len(near.recv())); child.join()
    queue = multiprocessing.Queue()
    children = [multiprocessing.Process(target=fill, args=(queue,)) for _ in range(3)]
    [c.start() for c in children]
    print(sum(queue.get() for _ in range(150)))
    [c.join() for c in children]
    with multiprocessing.Pool(3) as pool:
        print(sum(pool.map(work, range(100), chunksize=5)))
        pool.close(); pool.join()
    async def many():
        children = [await asyncio.create_subprocess_exec("sh", "-c", "cat; seq 1 100", stdin=-1,
                                                         stdout=-1) for _ in range(3)]
        print([len(o) for o, _ in await asyncio.gather(
            *[c.communicate(b"y" * 70000) for c in children])])
    asyncio.run(many())
"""

PERL = r"""
open P, "-|", "seq 1 100"; $s += $_ while <P>; close P; print "$s\n";
open Q, "|-", "sort -n | head -n 1"; print Q "$_\n" for 1 .. 99; close Q;
print `echo a | cat`;
"""

PROGRAMS = [
    ("tar, gzip and xz", ("tar", "gzip", "xz"),
     "tar czf a.tgz /usr/share/doc/bash /usr/share/doc/dash 2>err; tar xzf a.tgz; "
     "tar c usr | gzip -1 | gzip -dc | xz -0 | xz -dc | tar t | wc -l; "
     "tar cJf - usr | tar tJ | wc -l"),
    ("find, xargs -P and sort with compressed temporary files", ("find", "xargs", "gzip"),
     "find /usr/include/linux -name 'i*.h' -print0 | xargs -0 -P 4 -n 9 cat | "
     "sort -u -S 50k --compress-program=gzip | wc -l"),
    ("dpkg-deb", ("dpkg-deb",),
     "mkdir -p p/DEBIAN; printf 'Package: x\\nVersion: 1\\nArchitecture: all\\n"
     "Maintainer: a <a@b>\\nDescription: x\\n' >p/DEBIAN/control; dpkg-deb -b p x.deb && "
     "dpkg-deb -I x.deb && dpkg-deb -c x.deb && dpkg -x x.deb y"),
    ("git: clone, log and gc", ("git",),
     "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; "
     "export HOME=.; git init -q r; for i in 1 2 3; do seq 1 ${i}00 >r/f; git -C r add f; "
     "git -C r commit -qm c; done; git clone -q --no-local r s; "
     "GIT_PAGER=cat git -C s -p log -p; git -C s gc -q"),
]


def undisturbed(t, graph, argv):
    """What the same command says without a tracer around it."""
    plain = t.run(argv)
    check_equal(graph.tracer.stdout, plain.stdout, "output, and that of an untraced run")


def script_test(shell, script):
    def run(t):
        need("strace", shell[0])
        argv = shell + [t.write("script", script)]
        graph = straces.same_run(t, argv)
        for proc in graph.procs.values():
            check(proc["exe"].startswith("/"), "%s has the exe %r" % (proc["comm"], proc["exe"]))
        undisturbed(t, graph, argv)
    return run


SCRIPTS = [
    ("dash", ["dash"], SH), ("bash", ["bash"], BASH), ("busybox sh", ["busybox", "sh"], SH),
    ("perl", ["perl"], PERL), ("python", [PYTHON], SUBPROCESSES),
]

# Under emulation a few of them must do: strace stops every call.
for title, shell_argv, text in pick(SCRIPTS, SCRIPTS[:1]):
    test("a script call by call: " + title)(script_test(shell_argv, text))


def program_test(programs, script):
    def run(t):
        need("strace", *programs)
        straces.same_run(t, ["/bin/sh", "-c", script])
    return run


for title, needed, text in pick(PROGRAMS, PROGRAMS[1:2]):
    test("call by call: " + title)(program_test(needed, text))


MAKEFILE = """
SRCS := $(wildcard *.c)
VER := $(shell echo 1.0 | tr . _)
prog: $(SRCS:.c=.o)
\tgcc -o $@ $^
%.o: %.c
\tgcc -pipe -DVER='"$(VER)"' -c -o $@ $<
"""


@test("make -j with gcc -pipe: call by call, and a picture that can be read")
def parallel_build(t):
    need("strace", "make", "gcc")
    files = pick(16, 8)
    t.write("Makefile", MAKEFILE)
    t.write("main.c", "int main(void) { return 0; }\n")
    for i in range(1, files):
        t.write("f%d.c" % i, "int f%d(int x) { return x + %d; }\n" % (i, i))
    graph = straces.same_run(t, ["make", "-j4"], options=["-o", t.path("x.dot")])
    for compiler in graph.by_comm("cc1"):
        flows = graph.flows_between(source=compiler)
        check_equal([graph.procs[f["to"]]["comm"] for f in flows], ["as"], "readers of cc1")
        graph.exact_flow(compiler, graph.procs[flows[0]["to"]], flows[0]["bytes"])
    check_equal(len(graph.by_comm("cc1")), files, "compilers")
    make = graph.one("make")
    jobs = [c for c in graph.chans.values() if graph.edges_of(make, "write", c)]
    check_equal(len(jobs), 1, "pipes make wrote to, the job server's")
    dot = read_text(t.path("x.dot"))
    if files >= 16:
        check("cc1 x%d" % files in dot and "as x%d" % files in dot, "compilers drawn one by one")
    nodes = len(re.findall(r"kind=(?:process|channel)", dot))
    check(nodes <= 24, "%d nodes in the picture of %d" % (
        nodes, len(graph.procs) + len(graph.chans)))


# At a terminal

TIOCGPTN = 0x80045430  # the number of a pseudoterminal; Python has no name for it


class Terminal:
    """A command in a session with a terminal of its own."""

    def __init__(self, t, argv):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            try:
                os.chdir(t.dir)
                os.environ["PS1"] = "$ "
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.text, self.status = "", None

    def more(self, deadline, what):
        """Read what it says next; False: nobody holds the terminal any more."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise Failure("no %s on the terminal, only %r" % (what, self.text[-300:]))
        try:
            new = os.read(self.fd, 4096)
        except OSError:
            return False
        self.text += new.decode("utf-8", "replace")
        return bool(new)

    def expect(self, word, seconds=20):
        """Read until word comes; what came before it, and it, are done with."""
        deadline = time.monotonic() + seconds * SLOW
        while word not in self.text:
            if not self.more(deadline, repr(word)):
                raise Failure("the terminal was closed before %r: %r" % (word, self.text[-300:]))
        before, _, self.text = self.text.partition(word)
        return before

    def send(self, keys):
        os.write(self.fd, keys.encode())

    def wait(self, seconds=20):
        """To the end of what it says, and of it."""
        deadline = time.monotonic() + seconds * SLOW
        while self.more(deadline, "end"):
            pass
        self.status = os.waitpid(self.pid, 0)[1]
        self.pid = None
        return os.waitstatus_to_exitcode(self.status)

    def close(self):
        os.close(self.fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def foreground(terminal, comm):
    """Wait until the terminal's foreground job is a process of that name, asleep."""
    number, = struct.unpack("i", fcntl.ioctl(terminal.fd, TIOCGPTN, b"\0" * 4))

    def is_there():
        group = struct.unpack("i", fcntl.ioctl(terminal.fd, termios.TIOCGPGRP, b"\0" * 4))[0]
        found = subprocess.run(["ps", "-o", "pgid=,comm=", "-t", "pts/%d" % number],
                               stdout=subprocess.PIPE, check=False).stdout.decode()
        return ["%d" % group, comm] in [line.split() for line in found.splitlines()]
    wait_for(is_there, comm + " in the foreground")


def on_terminal(argv):
    def decorate(function):
        def run(t):
            need("ps")
            terminal = Terminal(t, [IPCTRACE, "-o", t.path("x.json")] + argv)
            try:
                function(t, terminal)
            finally:
                terminal.close()
        return run
    return decorate


@test("an interactive shell: Ctrl-C, Ctrl-Z, fg, Ctrl-D, exit status")
@on_terminal(["--", "bash", "--norc", "-i"])
def job_control(t, terminal):
    terminal.expect("$ ")
    terminal.send("seq 1 100000 | sleep 1000\n")
    foreground(terminal, "sleep")
    terminal.send("\x03")
    terminal.expect("$ ")
    terminal.send("echo status=$?\n")
    terminal.expect("status=130")
    terminal.send("sleep 1000 | cat\n")
    foreground(terminal, "cat")
    terminal.send("\x1a")
    terminal.expect("Stopped")
    terminal.send("fg\n")
    foreground(terminal, "cat")
    terminal.send("\x03")
    terminal.send("cat | tr a b\n")
    foreground(terminal, "tr")
    terminal.send("aha\n\x04")
    terminal.expect("bhb")
    terminal.send("exit 7\n")
    check_equal(terminal.wait(), 7, "exit status")
    graph = Graph.load(t.path("x.json"))
    graph.check_sane()
    check_equal(sum(f["bytes"] for f in graph.flows_between(target=graph.one("tr"))), 4,
                "bytes through cat | tr")


@test("a command reads the terminal")
@on_terminal(["-m", "pipe", "--", "sh", "-c", "read x; echo \"got $x\" | cat"])
def reads_terminal(t, terminal):
    foreground(terminal, "sh")
    terminal.send("hello\n")
    terminal.expect("got hello")
    check_equal(terminal.wait(), 0, "exit status")
    check_equal(role_sum(Graph.load(t.path("x.json")).edges, "read", "bytes"), 10, "bytes read")


@test("a daemon that stays: a line says so, Ctrl-C ends the trace and not the daemon")
@on_terminal(["--", "sh", "-c", "seq 1 9 | cat; "
              "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo pid=$!."])
def daemon_stays(t, terminal):
    terminal.expect("pid=")
    pid = int(terminal.expect("."))
    try:
        terminal.expect("1 descendant has not; Ctrl-C ends")
        terminal.send("\x03")
        check_equal(terminal.wait(), 0, "exit status")
        check(os.path.exists("/proc/%d" % pid), "the daemon is gone")
    finally:
        os.kill(pid, signal.SIGKILL)
    graph = Graph.load(t.path("x.json"))
    graph.check_sane()
    graph.exact_flow(graph.one("seq"), graph.one("cat"), 18)


@test("a summary of hundreds of processes fits a terminal")
@on_terminal(["-o", "-", "-m", "pipe", "--", "sh", "-c",
              "i=0; while [ $i -lt 150 ]; do echo $i | cat >/dev/null; i=$((i+1)); done"])
def short_summary(t, terminal):
    check_equal(terminal.wait(), 0, "exit status")
    lines = terminal.text.splitlines()
    check(len(lines) < 30, "%d lines" % len(lines))
    check(any("301 processes, 150 channels, 150 flows, 490 B" in line for line in lines),
          "header: %r" % lines[:4])
    check(any(re.search(r"sh x150 .*cat x150 .*pipe x150 .*490 B", line) for line in lines),
          "flows: %r" % lines[4:8])
