/* SPDX-License-Identifier: BSD-2-Clause */
/* What one process does to another, counted. */
#ifndef WORKLOAD_VMS_H
#define WORKLOAD_VMS_H

#include <sys/uio.h>

#include "ops.h"

/* The channel of that process; owner < 0: of none, where what finds nobody is counted. */
int vm__chan(int owner);
/* The calling process did that to the channel's owner: returned ret with that errno, moved so much. */
void vm__count(int chan, enum role role, long ret, int err, uint64_t bytes);
/* Call last, when nobody counts any more: fills in what follows for the owners, and the flows. */
void vm__finish(void);

/* Each is one system call. */
ssize_t x_vm_readv(int chan, const struct iovec *mine, int n, const struct iovec *theirs, int m);
ssize_t x_vm_writev(int chan, const struct iovec *mine, int n, const struct iovec *theirs, int m);
/* role and bytes: what it does, if it goes well. A request on a thread of the owner, or on its first. */
long x_ptrace(int chan, pid_t tid, long request, void *addr, void *data, enum role role,
	      uint64_t bytes);

/* Memory that each process forked from now on has at the same address, as its own. */
char *vm__memory(size_t size);

pid_t vm__pid(int slot); /* waits until it is known */

#endif
