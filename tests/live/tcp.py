# SPDX-License-Identifier: BSD-2-Clause
"""TCP connections: every workload against its facts."""
from facts import register

VARIANTS = {
    "tcp-echo": ["", "how=mmsg", "how=send family=v6", "how=msg family=mapped", "how=iov family=dual",
                 "reply=1000000 rounds=2"],
    "tcp-half-close": ["", "family=v6 reply=0", "bytes=0", "bytes=1M chunk=65536 rchunk=1000"],
    "tcp-reset": ["", "take=0 family=v6", "mode=linger"],
    "tcp-unused": ["", "family=v6"],
    "tcp-nonblock": ["", "how=dontwait chunk=100000"],
    "tcp-wait": ["", "chunk=1 calls=50"],
    "tcp-backlog": ["", "mode=wait clients=2", "family=v6 clients=20 bytes=1"],
    "tcp-workers": ["", "mode=reuseport clients=10", "mode=fork", "family=dual",
                    "clients=20 workers=8 conns=10"],
    "tcp-full": ["", "accept=late family=v6", "sndbuf=10000 rcvbuf=10000", "chunk=1M",
                 "chunk=100 sndbuf=100000 rcvbuf=5000 accept=late", "sndbuf=1 rcvbuf=1"],
    "tcp-fill": ["", "accept=late", "sndbuf=30000 rcvbuf=30000 family=v6", "chunk=3000"],
    "tcp-two-ns": ["", "bytes=2000"],
    "tcp-ways": ["", "put=sendfile", "put=splice family=v6", "put=zerocopy peeks=0"],
    "tcp-daytime": ["", "family=v6 clients=10"],
    "tcp-orphans": ["", "family=mapped"],
    "tcp-fastopen": ["", "family=v6 count=2"],
    "tcp-self": [""],
    "tcp-unaccepted": ["", "family=v6"],
    "tcp-urgent": ["", "inline=1"],
    "tcp-fan-out": ["", "servers=20"],
}

register("tcp-", VARIANTS)
