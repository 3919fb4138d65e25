# SPDX-License-Identifier: BSD-2-Clause
"""POSIX message queues: every workload against its facts."""
from facts import register

VARIANTS = {
    "mq-parent-child": ["", "direction=up tags=5", "size=0 messages=10", "size=8192 messages=50",
                        "tags=3 size=1"],
    "mq-server": ["", "clients=1", "clients=7 requests=20"],
    "mq-choose": ["", "tags=1 readers=3", "writers=1 readers=3 messages=10 tags=5"],
    "mq-many-many": ["", "readers=1", "writers=1 readers=5", "tags=4",
                     "writers=8 readers=6 messages=100"],
    "mq-full": ["", "side=receiver", "bound=1 messages=5"],
    "mq-nonblock": ["", "bound=1", "size=0"],
    "mq-late": ["", "left=3", "left=10"],
    "mq-size": ["", "size=1"],
    "mq-timed": ["", "ms=0"],
    "mq-notify": ["", "how=none"],
    "mq-unlink": [""],
    "mq-open": [""],
    "mq-namespaces": [""],
}

register("mq-", VARIANTS)
