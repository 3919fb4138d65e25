# SPDX-License-Identifier: BSD-2-Clause
"""Unix sockets, and descriptors passed over them: every workload against its facts."""
from facts import register

TYPES = ("stream", "seqpacket", "dgram")
WAYS = [("write", "read"), ("writev", "readv"), ("send", "recv"), ("sendmsg", "recvmsg"),
        ("sendmmsg", "recvmmsg"), ("write", "peek")]

VARIANTS = {
    "unix-echo": ["", "type=seqpacket name=abstract", "name=autobind request=5 reply=100000",
                  "rounds=0"],
    "unix-prefork": ["", "name=abstract clients=10 workers=8 rounds=3"],
    "unix-fork": ["", "clients=2 connections=5 name=abstract"],
    "unix-early-close": ["", "bytes=0", "name=abstract"],
    "unix-activation": ["", "name=autobind"],
    "unix-epipe": ["", "unread=1", "type=seqpacket", "type=seqpacket count=10"],
    "unix-ways": ["put=%s take=%s type=%s" % (put, take, kind)
                  for kind in TYPES for put, take in WAYS] + [
                      "put=splice take=splice", "put=sendfile", "size=10000"],
    "unix-pair": ["type=" + kind for kind in TYPES],
    "unix-writers": ["type=" + kind for kind in TYPES] + ["writers=20 count=10"],
    "unix-nonblock": ["type=%s how=%s" % (kind, how) for kind in TYPES
                      for how in ("flag", "dontwait")],
    "unix-full": ["type=%s side=%s" % (kind, side) for kind in TYPES
                  for side in ("writer", "reader")],
    "unix-mailbox": ["how=" + how for how in ("connect", "write", "sendto", "sendmsg", "sendmmsg")]
                    + ["how=sendto name=abstract", "how=connect name=autobind senders=30 count=5"],
    "unix-shared-mailbox": ["", "how=sendto senders=5 workers=2", "how=sendmmsg name=abstract"],
    "unix-dgram-echo": ["", "name=abstract clients=10", "name=autobind"],
    "unix-fan-out": ["", "name=abstract receivers=10 count=3"],
    "unix-cut": ["room=1000 left=0"],
    "unix-credentials": ["type=" + kind for kind in TYPES],
}

FD_VARIANTS = {
    "fd-pass": ["", "type=seqpacket fds=1", "type=dgram fds=10", "fds=5 room=2", "fds=64 bytes=10"],
    "fd-handover": ["", "connections=20 rounds=2 name=abstract"],
}

register("unix-", VARIANTS)
register("fd-", FD_VARIANTS)
