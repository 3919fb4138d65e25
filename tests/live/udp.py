# SPDX-License-Identifier: BSD-2-Clause
"""UDP, multicast and broadcast: every workload against its facts."""
from facts import register

VARIANTS = {
    "udp-echo": ["", "connected=1 family=v6 how=rw", "how=msg family=mapped",
                 "how=mmsg family=dual connected=1", "clients=20 rounds=10"],
    "udp-drop": ["", "senders=3 count=1", "family=v6 count=1000 size=100"],
    "udp-nobody": ["", "family=v6"],
    "udp-odd": ["", "connected=1 peeks=0 family=v6"],
    "udp-batch": ["", "batch=64 family=v6"],
    "udp-chat": ["", "senders=3", "broadcast=1", "members=20 rounds=3", "family=v6",
                 "family=v6 senders=4 size=1"],
    "udp-reuseport": ["", "workers=2"],
    "udp-two-ns": [""],
    "udp-many-many": ["", "senders=1", "readers=1 family=v6"],
    "udp-daytime": ["", "family=v6 clients=10"],
    "udp-orphans": ["", "family=dual"],
    "udp-fan-out": ["", "family=v6 receivers=10"],
}

register("udp-", VARIANTS)
