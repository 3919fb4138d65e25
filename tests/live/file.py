# SPDX-License-Identifier: BSD-2-Clause
"""Regular files, which are traced only if asked for: whose bytes did who read?"""
from facts import register

VARIANTS = {
    "file-producer-consumer": ["", "put=pwrite take=pread readers=3", "put=writev take=readv",
                               "put=pwritev2 take=preadv2 chunk=4096", "writer=gone readers=2",
                               "bytes=20000000 chunk=1000000", "bytes=1"],
    "file-rename": ["", "how=renameat2 readers=3", "how=link times=10", "bytes=10"],
    "file-append-log": ["", "line=40 writers=5 lines=100", "line=5000", "order=free",
                        "order=free writers=8 lines=200", "writers=1"],
    "file-pieces": ["", "piece=4096", "piece=3000 overlap=500 pieces=50", "piece=100 chunk=77",
                    "piece=10000 overlap=9000", "writers=1"],
    "file-counter": ["", "how=truncate", "procs=20 rounds=20"],
    "file-copy": ["", "how=sendfile", "how=read", "bytes=10000000 chunk=1000000"],
    "file-recreated": ["", "how=truncate", "how=truncate times=20 bytes=10", "bytes=1"],
    "file-inotify": ["", "watch=directory", "read=asleep", "watch=directory read=asleep writers=5",
                     "writers=1 lines=100"],
    "file-lock": ["", "procs=20"],
}

register("file-", VARIANTS, ["-m", "file"])
