# SPDX-License-Identifier: BSD-2-Clause
"""System V message queues: every workload against its facts."""
from facts import register

VARIANTS = {
    "msg-parent-child": ["", "direction=up tags=5", "size=0 messages=10", "size=8192 messages=50",
                         "tags=3 size=1"],
    "msg-server": ["", "clients=1", "clients=7 requests=20"],
    "msg-choose": ["", "how=type", "how=lowest tags=5", "how=except readers=3",
                   "writers=1 readers=4", "writers=5 readers=5 messages=4 tags=8 how=type"],
    "msg-many-many": ["", "readers=1", "writers=1 readers=5", "tags=4",
                      "writers=8 readers=6 messages=100"],
    "msg-full": ["", "side=receiver", "size=1000 messages=5"],
    "msg-nonblock": ["", "bound=1000 size=1000", "size=0 bound=20"],
    "msg-late": ["", "left=3", "left=10"],
    "msg-truncate": ["", "room=100", "room=0"],
    "msg-copy": ["", "messages=1"],
    "msg-rmid": ["", "side=sender", "waiters=1"],
    "msg-namespaces": [""],
}

register("msg-", VARIANTS)
