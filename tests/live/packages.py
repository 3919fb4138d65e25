# SPDX-License-Identifier: BSD-2-Clause
"""More servers and tools from packages, every descriptor of theirs compared with strace."""
import everyfd
from lib import check, need, pick, test

APACHE = r"""
cat >conf <<E
ServerRoot $PWD
ServerName a
Listen 127.0.0.1:17521
PidFile $PWD/pid
Mutex fcntl:$PWD
ScoreBoardFile $PWD/scoreboard
ErrorLog "|/bin/cat >>$PWD/errors"
DocumentRoot $PWD
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
StartServers 3
E
seq 1 100 >a.txt
setsid apache2 -f $PWD/conf -DFOREGROUND & a=$!
until curl -s http://127.0.0.1:17521/a.txt >out; do sleep 0.1; done
for i in 1 2 3 4 5 6; do curl -s http://127.0.0.1:17521/a.txt >out; done
kill $a; wait
"""

MEMCACHED = r"""
memcached -u root -s $PWD/cache -t 2 & m=$!
until test -S cache; do sleep 0.1; done
for i in 1 2 3; do
printf "set k$i 0 0 5\r\nhello\r\nget k$i\r\nquit\r\n" | socat -t5 - UNIX-CONNECT:cache
done >out
kill $m; wait
"""

PARALLEL = r"""
export HOME=$PWD; mkdir .parallel; touch .parallel/will-cite
seq 1 6 | parallel -j3 'echo {}; seq 1 {}' | wc
seq 1 500 | parallel --pipe -N100 wc -l | wc -l
"""

GIT_DAEMON = r"""
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a HOME=$PWD
git init -q r; seq 1 1000 >r/f; git -C r add f; git -C r commit -qm c
git daemon --export-all --base-path=$PWD --listen=127.0.0.1 --port=17522 --reuseaddr & d=$!
until git clone -q git://127.0.0.1:17522/r s 2>err; do sleep 0.1; done
kill $d; wait
"""

# title, programs, script, files used, who talks to whom
PACKAGES = [
    ("apache, pre-forked, with a process for its log", ("apache2", "curl"), APACHE, 20,
     ("curl", "apache2")),
    ("memcached: its threads behind a unix socket", ("memcached", "socat"), MEMCACHED, 15,
     ("socat", "memcached")),
    ("GNU parallel", ("parallel",), PARALLEL, 40, None),
    ("git daemon", ("git",), GIT_DAEMON, 15, ("git", "git")),
]


def package_test(programs, script, least, ends):
    def run(t):
        need("strace", *programs)
        graph = everyfd.same(t, ["/bin/bash", "-c", script], least=least, seconds=120)
        graph.none_outside()
        if ends:
            for source, target in (ends, ends[::-1]):
                check([f for f in graph.flows if f["bytes"]
                       and graph.name(f["from"]).startswith(source + "[")
                       and graph.name(f["to"]).startswith(target + "[")],
                      "nothing went from %s to %s" % (source, target))
    return run


for title, needed, text, files, talk in pick(PACKAGES, PACKAGES[1:2]):
    test(title)(package_test(needed, text, files, talk))
