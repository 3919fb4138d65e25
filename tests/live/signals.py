# SPDX-License-Identifier: BSD-2-Clause
"""Signals: every workload against its facts."""
from facts import register

VARIANTS = {
    "signal-kill": ["", "how=tkill", "how=tgkill take=wait", "how=queue sig=rt", "how=tgqueue",
                    "how=pidfd take=fd", "how=queue take=fd sig=rt count=50",
                    "how=queue take=wait sig=rt", "sig=urg take=wait", "count=1 how=queue"],
    "signal-queue": ["", "take=wait senders=10", "take=fd", "how=tgqueue senders=2 count=16",
                     "how=kill take=wait senders=1 count=100"],
    "signal-group": ["", "members=1", "members=10 count=20"],
    "signal-self": ["", "how=kill", "how=queue", "how=tgkill count=100"],
    "signal-ignored": ["", "by=default sig=urg", "sig=rt"],
    "signal-blocked": ["", "sig=rt", "then=exit", "then=ignore", "then=ignore sig=rt",
                       "sig=rt then=exit"],
    "signal-fatal": ["", "sig=kill", "sig=abrt", "sig=quit threads=3", "sig=rt",
                     "sig=term threads=5", "sig=kill threads=5"],
    "signal-child": ["", "rounds=10"],
    "signal-pipe": ["", "mode=ignore"],
    "signal-fault": [""],
    "signal-timer": ["", "how=setitimer"],
}


register("signal-", VARIANTS)
