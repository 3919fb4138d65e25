/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "human.h"
#include "mech.h"
#include "words.h"

#define SAMPLE_FILTER "shm-sample="

const struct loss_desc losses[LOSS_MAX] = {
	[LOSS_NO_EDGE] = {
		.key = "no_edge",
		.text = "calls not counted: the table of edges was full",
		.of_calls = true,
	},
	[LOSS_NO_CHAN] = {
		.key = "no_channel",
		.text = "calls not counted: the table of channels was full",
		.of_calls = true,
	},
	[LOSS_NO_PROC] = {
		.key = "no_process",
		.text = "processes not seen: the table of processes was full",
	},
	[LOSS_NO_LEDGER] = {
		.key = "no_ledger",
		.text = "channels whose several writers could not be told apart",
	},
	[LOSS_NO_FLOW] = {
		.key = "no_flow",
		.text = "bytes without their writer: the table of flows was full",
	},
	[LOSS_COMPAT] = {
		.key = "compat",
		.text = "starts of 32-bit programs, whose calls are not decoded",
		.of_calls = true,
	},
	[LOSS_RING_PROC] = {
		.key = "ring_process",
		.text = "process events not delivered: the ring buffer was full",
		.of_events = true,
	},
	[LOSS_RING_OP] = {
		.key = "ring_operation",
		.text = "operation events not delivered: the ring buffer was full",
		.of_events = true,
	},
	[LOSS_STRAY] = {
		.key = "stray",
		.text = "calls whose file was not seen",
		.of_calls = true,
	},
	[LOSS_URING] = {
		.key = "io_uring",
		.text = "io_uring requests whose completion could not be seen",
		.of_calls = true,
	},
	[LOSS_AIO] = {
		.key = "aio",
		.text = "io_submit requests on channels, whose results are not seen",
		.of_calls = true,
	},
	[LOSS_PAGE] = {
		.key = "page",
		.text = "touches of shared pages not counted",
		.of_events = true,
	},
	[LOSS_FUTEX] = {
		.key = "futex",
		.text = "futex calls of which the memory was not known at that moment",
		.of_calls = true,
	},
	[LOSS_PASSED] = {
		.key = "passed",
		.text = "descriptors passed, or credentials, without a word of which: the table was full",
		.of_events = true,
	},
};

const char *role__doing(unsigned int role)
{
	static const char *const names[ROLE_MAX] = {
		[ROLE_WRITE] = "writing",
		[ROLE_READ] = "reading",
		[ROLE_SEND_SIGNAL] = "sending a signal",
		[ROLE_RECEIVE_SIGNAL] = "receiving a signal",
		[ROLE_PASS_FD] = "passing a descriptor",
		[ROLE_TAKE_FD] = "taking a descriptor",
		[ROLE_WAKE] = "waking",
		[ROLE_WAIT] = "waiting",
		[ROLE_ATTACH] = "attaching",
		[ROLE_LOCK] = "locking",
	};

	return role < ROLE_MAX && names[role] ? names[role] : "unknown";
}

const char *amount__text(char buf[AMOUNT_LEN], const struct gchan *c, uint64_t bytes,
			 uint64_t pages)
{
	char n[HUMAN_LEN];

	switch (mech__get(c->row.key.mech)->measured) {
	case IN_OPS:
		return "-";
	case IN_BOTH:
		return bytes ? human__exact(buf, bytes) : "-";
	case IN_PAGES:
		snprintf(buf, AMOUNT_LEN, "%" PRIu64 " page%s%s%s", pages, pages == 1 ? "" : "s",
			 bytes ? ", " : "", bytes ? human__exact(n, bytes) : "");
		return pages || !bytes ? buf : human__exact(buf, bytes);
	default:
		return human__exact(buf, bytes);
	}
}

const char *role__name(unsigned int role)
{
	static const char *const names[ROLE_MAX] = {
		[ROLE_WRITE] = "write",
		[ROLE_READ] = "read",
		[ROLE_SEND_SIGNAL] = "send-signal",
		[ROLE_RECEIVE_SIGNAL] = "receive-signal",
		[ROLE_PASS_FD] = "pass-fd",
		[ROLE_TAKE_FD] = "take-fd",
		[ROLE_WAKE] = "wake",
		[ROLE_WAIT] = "wait",
		[ROLE_ATTACH] = "attach",
		[ROLE_LOCK] = "lock",
	};

	return role < ROLE_MAX && names[role] ? names[role] : "unknown";
}

const char *certainty__name(enum certainty certainty)
{
	static const char *const names[] = {
		[CERTAIN_EXACT] = "exact",
		[CERTAIN_SHARED] = "shared",
		[CERTAIN_INFERRED] = "inferred",
	};

	return names[certainty];
}

const char *error__name(int err, char buf[16])
{
	const char *name = err == ERR_RESTART ? "ERESTARTSYS" : strerrorname_np(err);

	snprintf(buf, 16, "%d", err);
	return !err ? "other" : name ? name : buf;
}

size_t proc__calling(const struct gproc *p, const char **title)
{
	const char *s = *title = p->title ? p->title : p->args_len ? p->args : "";
	size_t len = strcspn(s, " "), word;

	if (len < 2 || s[len - 1] != ':' || s[len] != ' ')
		return 0;
	for (int i = 0; i < 2; i++) {
		word = s[len] == ' ' ? strcspn(s + len + 1, " ") : 0;
		/* Where it comes from, its number: of one only. */
		if (!word || (i && strcspn(s + len + 1, "0123456789([") < word))
			break;
		len += 1 + word;
	}
	return len;
}

char *proc__label(const struct gproc *p)
{
	const char *name;
	int len = proc__calling(p, &name), n;
	char *s;

	if (!len) {
		name = p->comm && *p->comm ? p->comm : "?";
		len = strlen(name);
	}
	if (p->count > 1)
		n = asprintf(&s, "%.*s x%" PRIu64, len, name, p->count);
	else if (p->pid)
		n = asprintf(&s, "%.*s[%u]", len, name, p->pid);
	else
		n = asprintf(&s, "%.*s", len, name);
	return n < 0 ? NULL : s;
}

int proc__add_label(struct table *t, const char *before, const struct gproc *p)
{
	char *label = proc__label(p);

	if (!label)
		return -ENOMEM;
	table__addf(t, "%s%s", before, label);
	free(label);
	return 0;
}

char *meta__command(const struct gmeta *m)
{
	char *joined = NULL, *line;
	size_t size = 0;
	FILE *f;

	if (!m->args || !*m->args)
		return strdup("no command: what was running");
	f = open_memstream(&joined, &size);
	if (!f)
		return NULL;
	for (char *const *arg = m->args; *arg; arg++)
		fwrite(*arg, 1, strlen(*arg) + 1, f);
	if (fclose(f)) {
		free(joined);
		return NULL;
	}
	line = escape__args(joined, size);
	free(joined);
	return line;
}

bool filter__narrows(const char *filter)
{
	return strncmp(filter, SAMPLE_FILTER, strlen(SAMPLE_FILTER)) != 0;
}

const char *meta__sample(const struct gmeta *m)
{
	const size_t len = strlen(SAMPLE_FILTER);

	for (char *const *f = m->filters; f && *f; f++)
		if (!strncmp(*f, SAMPLE_FILTER, len))
			return *f + len;
	return NULL;
}

static void put_losses(FILE *f, const struct graph *g)
{
	const struct rec_lost *lost = &g->lost;
	char n[HUMAN_LEN];
	bool some = false;

	for (int i = 0; i < LOSS_MAX; i++) {
		if (!lost->causes[i])
			continue;
		some = true;
		fprintf(f, "LOST: %s %s\n", human__count(n, lost->causes[i]), losses[i].text);
	}
	if (!g->has_lost)
		fputs("What was lost is not known: the account of it is missing\n", f);
	else if (lost->seen > lost->delivered + lost->unfinished && !some)
		fprintf(f, "LOST: %s calls that were seen to begin, of unknown cause\n",
			human__count(n, lost->seen - lost->delivered - lost->unfinished));
	else if (!some)
		fprintf(f, "Nothing lost: all %s calls seen are counted\n",
			human__count(n, lost->seen));
	if (lost->unfinished)
		fprintf(f, "%s call%s had not returned when the trace ended\n",
			human__count(n, lost->unfinished), lost->unfinished == 1 ? "" : "s");
}

char *losses__lines(const struct graph *g)
{
	char *s = NULL;
	size_t size;
	FILE *f = open_memstream(&s, &size);

	if (!f)
		return NULL;
	put_losses(f, g);
	if (fclose(f)) {
		free(s);
		return NULL;
	}
	return s;
}

const struct unseen unseen_pages[UNSEEN_PAGES] = {
	{ CHAN_POPULATED, "populated", "mapped whole before it was touched" },
	{ CHAN_HUGE, "huge", "in huge pages, each touched but once, or it may be" },
	{ CHAN_TOUCHED_BEFORE, "before", "mapped before the trace" },
};
