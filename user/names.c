/* SPDX-License-Identifier: BSD-2-Clause */
/* Names as the kernel side gives them, made into what a user expects. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_priv.h"
#include "mech.h"

#define ELLIPSIS "\xe2\x80\xa6"

static char *plain_path(const char *buf, size_t len, bool cut)
{
	char *s;

	len = strnlen(buf, len);
	return asprintf(&s, "%.*s%s", (int)len, buf, cut ? ELLIPSIS : "") < 0 ? NULL : s;
}

/*
 * The kernel walks from the leaf to the root, so that is the order of buf: "cat\0bin\0usr\0". What
 * does not fit is lost at the root's end. User space fills in plain paths: "/usr/bin/cat".
 */
char *names_path(const char *buf, size_t len, size_t size, bool cut)
{
	size_t start, end, used = 0;
	char *s;

	if (len > size)
		len = size;
	if (len && buf[0] == '/' && len > 1 && buf[1])
		return plain_path(buf, len, cut);
	s = malloc(len + sizeof(ELLIPSIS) + 2);
	if (!s)
		return NULL;
	/* A last name without its NUL is only a part of one. */
	while (len && buf[len - 1]) {
		len--;
		cut = true;
	}
	if (cut)
		used = stpcpy(s, ELLIPSIS) - s;
	for (end = len; end; end = start) {
		start = end - 1; /* the NUL */
		while (start && buf[start - 1])
			start--;
		if (start == end - 1 || !strcmp(buf + start, "/"))
			continue;
		s[used++] = '/';
		memcpy(s + used, buf + start, end - 1 - start);
		used += end - 1 - start;
	}
	if (!used && len)
		s[used++] = '/';
	s[used] = '\0';
	return s;
}

char *names_args(const char *buf, size_t len, bool cut, size_t *out_len)
{
	char *s;

	if (len > ARGS_LEN)
		len = ARGS_LEN;
	s = malloc(len + sizeof(ELLIPSIS) + 1);
	if (!s)
		return NULL;
	memcpy(s, buf, len);
	if (cut) {
		if (len && !s[len - 1])
			len--;
		len = stpcpy(s + len, ELLIPSIS) - s + 1;
	} else if (len && s[len - 1]) {
		s[len++] = '\0';
	}
	*out_len = len;
	return s;
}

/* As ss and lsof write it: '@' stands for the NUL that an abstract name begins with. */
static char *unix_path(const struct chan_row *row)
{
	size_t len = row->name_len < UNIX_PATH_LEN ? row->name_len : UNIX_PATH_LEN;
	char *s = malloc(len + 1);

	if (!s)
		return NULL;
	for (size_t i = 0; i < len; i++)
		s[i] = row->name[i] ? row->name[i] : '@';
	if (row->name[0])
		len = strnlen(row->name, len);
	s[len] = '\0';
	return s;
}

char *graph__address(const struct chan_end *end)
{
	char host[INET6_ADDRSTRLEN], *s;
	const bool six = end->family == AF_INET6;
	uint32_t vsock[2]; /* port, context */

	if (end->family == AF_VSOCK) {
		memcpy(vsock, end->addr, sizeof(vsock));
		return asprintf(&s, "%u:%u", vsock[1], vsock[0]) < 0 ? NULL : s;
	}

	if (!end->family || !inet_ntop(six ? AF_INET6 : AF_INET, end->addr, host, sizeof(host)))
		return NULL;
	return asprintf(&s, six ? "[%s]:%u" : "%s:%u", host, end->port) < 0 ? NULL : s;
}

/* A connection is called by both its addresses, a mailbox by its own. */
static char *inet_name(const struct gchan *c)
{
	char *mine = graph__address(&c->row.ends[0]), *theirs, *s;

	if (!mine || !(c->row.flags & CHAN_TWO_ENDS))
		return mine;
	theirs = graph__address(&c->row.ends[1]);
	if (!theirs || asprintf(&s, "%s->%s", mine, theirs) < 0)
		s = NULL;
	free(mine);
	free(theirs);
	return s;
}

/* By the protocol, which says to what part of the kernel. */
static char *netlink_name(const struct gchan *c)
{
	static const char *const names[] = {
		[0] = "route",       [4] = "sock_diag",  [6] = "xfrm",       [9] = "audit",
		[10] = "fib_lookup", [11] = "connector", [12] = "netfilter", [15] = "uevent",
		[16] = "generic",    [2] = "usersock",   [21] = "crypto",
	};
	const unsigned int protocol = c->row.key.dev;
	const unsigned long long ino = c->row.key.ino;
	char *s;
	int n;

	if (protocol < sizeof(names) / sizeof(*names) && names[protocol])
		n = asprintf(&s, "netlink:%s:[%llu]", names[protocol], ino);
	else
		n = asprintf(&s, "netlink:%u:[%llu]", protocol, ino);
	return n < 0 ? NULL : s;
}

/* A connection without a name is called by its two sockets. */
static char *ends_name(const struct gchan *c)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);
	char *s;

	if (asprintf(&s, "%s:[%llu-%llu]", m->name, (unsigned long long)c->row.ends[0].ino,
		     (unsigned long long)c->row.ends[1].ino) < 0)
		return NULL;
	return s;
}

/* Memory of no file: what the kernel calls it by itself, without a directory. */
static const char *inner_name(const char *path)
{
	static const char *const starts[] = { "/memfd:", "/SYSV" };

	for (size_t i = 0; path && i < sizeof(starts) / sizeof(*starts); i++)
		if (!strncmp(path, starts[i], strlen(starts[i])) && !strchr(path + 1, '/'))
			return path + 1;
	return NULL;
}

/* A word in memory: what that is of, and where in it. *path: the file, if it is one. */
static char *word_name(const struct gchan *c, char **path)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);
	const struct chan_row *row = &c->row;
	char *s = names_path(row->name, row->name_len, PATH_LEN, row->flags & CHAN_CUT), *mine;
	unsigned long long at = word__offset(row);
	const char *inner = inner_name(s);
	int n;

	/* Anonymous memory is a file of /dev/zero, which is all one name there. */
	if (!s || !*s || !strcmp(s, "/dev/zero")) {
		n = asprintf(&mine, m->display, (unsigned long long)row->key.ino);
		free(s);
		s = n < 0 ? NULL : mine;
		inner = s;
	}
	if (!s || asprintf(&mine, "%s+%llu", inner ? inner : s, at) < 0)
		mine = NULL;
	if (inner)
		free(s);
	else
		*path = s;
	return mine;
}

char *graph__signal(const struct gchan *c)
{
	const int sig = c->row.key.dev;
	const char *abbrev;
	char *s;
	int n;

	if (!mech__get(c->row.key.mech)->is_signal || (c->folded && c->count > 1))
		return NULL;
	abbrev = sigabbrev_np(sig);
	if (abbrev)
		n = asprintf(&s, "SIG%s", abbrev);
	else if (sig > SIGRTMIN)
		n = asprintf(&s, "SIGRTMIN+%d", sig - SIGRTMIN);
	else
		n = asprintf(&s, sig == SIGRTMIN ? "SIGRTMIN" : "SIG%d", sig);
	return n < 0 ? NULL : s;
}

static char *signal_name(const struct gchan *c)
{
	char *sig = graph__signal(c), *s;

	if (!sig || asprintf(&s, "%s to %u", sig, c->row.key.gen) < 0)
		s = NULL;
	free(sig);
	return s;
}

/* By its pid; what was asked of a pid that nobody has, is asked of none. */
static char *process_name(const struct gchan *c)
{
	char *s;

	if (!c->row.key.ino)
		return strdup("process [none]");
	return asprintf(&s, "process %u", c->row.key.gen) < 0 ? NULL : s;
}

int names_chan(struct gchan *c)
{
	const struct mech_desc *m = mech__get(c->row.key.mech);
	char *path = NULL, *name;

	if (c->folded && c->count > 1) { /* of many names */
		name = strdup(m->name);
	} else if (chan_is_inotify(&c->row)) {
		name = strdup("inotify");
	} else if (m->naming_by == NAME_PATH && c->row.name_len) {
		path = names_path(c->row.name, c->row.name_len, PATH_LEN, c->row.flags & CHAN_CUT);
		name = path ? strdup(path) : NULL;
	} else if (m->naming_by == NAME_LEAF && c->row.name_len) {
		/* In no directory that anybody could look into. */
		name = strndup(c->row.name, PATH_LEN);
	} else if (m->naming_by == NAME_WORD) {
		name = word_name(c, &path);
	} else if (m->naming_by == NAME_UNIX && c->row.name_len) {
		path = unix_path(&c->row);
		name = path ? strdup(path) : NULL;
	} else if (m->naming_by == NAME_INET && c->row.ends[0].family) {
		name = inet_name(c);
	} else if (m->naming_by == NAME_NETLINK) {
		name = netlink_name(c);
	} else if (m->naming_by == NAME_SIGNAL) {
		name = signal_name(c);
	} else if (m->naming_by == NAME_PROCESS) {
		name = process_name(c);
	} else if (c->row.flags & CHAN_TWO_ENDS && m->naming_by != NAME_NUMBER) {
		name = ends_name(c);
	} else if (asprintf(&name, m->display, (unsigned long long)c->row.key.ino) < 0) {
		name = NULL;
	}
	if (!name) {
		free(path);
		return -ENOMEM;
	}
	free(c->path);
	free(c->name);
	c->path = path;
	c->name = name;
	return 0;
}
