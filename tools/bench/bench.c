/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tracing costs, measured interleaved in one run.
 *
 * Every tracer slows the whole machine down and not only the process that it watches, so variants
 * take turns: empty probes are attached and detached in every round; whole tracers are started for
 * a block of rounds, with rounds of the untraced program and of the empty probes between blocks.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

const char *const variant_names[VAR_MAX] = {
	[VAR_NONE] = "untraced",
	[VAR_EXIT] = "empty sys_exit (floor)",
	[VAR_BOTH] = "empty sys_enter+sys_exit",
	[VAR_SWITCH] = "... +sched_switch",
	[VAR_FAULT] = "... +page_fault_user",
	[VAR_IPCTRACE] = "ipctrace",
	[VAR_OPS] = "ipctrace --ops",
	[VAR_BPFTRACE] = "bpftrace",
	[VAR_PERF] = "perf trace",
	[VAR_STRACE] = "strace",
};

#define SELDOM 10 /* the seldom loads are run in every tenth round */

struct bench {
	struct results r;
	struct worker worker;
	struct probes *probes;
	unsigned int blocks, rounds; /* rounds of a block */
	unsigned int block;
	unsigned int fails[VAR_MAX];
	double deadline;
	bool quick, self;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* The block after which it must end, whatever the machine does. */
static bool late(const struct bench *b)
{
	return stop || now_ns() > b->deadline;
}

static void keep_min(double *min, double ns)
{
	if (ns > 0 && (!*min || ns < *min))
		*min = ns;
}

static void add_samples(struct bench *b, enum variant_id v, const double *ns, unsigned int rounds)
{
	for (int l = 0; l < LOAD_MAX; l++) {
		struct cell *c = &b->r.cell[v][l];

		if (ns[l] <= 0)
			continue;
		keep_min(&c->min, ns[l]);
		keep_min(&c->half[b->block % 2], ns[l]);
		c->rounds += loads[l].seldom && rounds > 1 ? rounds / SELDOM : rounds;
	}
}

/* strace makes a call a hundred times slower; and starting perf takes longer than a round */
static unsigned int ops_of(enum variant_id v, enum load_id l)
{
	unsigned int ops = loads[l].ops;

	if (v == VAR_STRACE || v == VAR_PERF)
		return loads[l].seldom ? 0 : ops / 10;
	return ops;
}

static bool is_seldom(const struct bench *b, unsigned int round)
{
	return !b->quick && round % SELDOM == SELDOM - 1;
}

static void run_loads(struct bench *b, enum variant_id v, bool seldom, double *ns)
{
	for (int l = 0; l < LOAD_MAX; l++) {
		unsigned int ops = !loads[l].seldom || seldom ? ops_of(v, l) : 0;

		ns[l] = ops ? worker__run(&b->worker, l, ops) : 0;
	}
}

/* Samples count only if nobody else's tracer came or was there meanwhile. */
static bool probe_round(struct bench *b, bool seldom)
{
	double ns[VAR_PROBES][LOAD_MAX] = { 0 };
	unsigned int others = links__count();

	for (int v = 0; v < (int)VAR_PROBES; v++) {
		if (b->r.missing[v])
			continue;
		if (probes__attach(b->probes, v)) {
			b->r.missing[v] = "cannot be attached here";
			continue;
		}
		run_loads(b, v, seldom, ns[v]);
		probes__detach(b->probes);
	}
	others += links__count();
	if (others) {
		b->r.dirty++;
		return false;
	}
	for (int v = 0; v < (int)VAR_PROBES; v++)
		add_samples(b, v, ns[v], 1);
	b->r.rounds++;
	return true;
}

/* The fastest of the block's rounds, and how many there were. */
static unsigned int peer_rounds(struct bench *b, struct peer *p, double *min)
{
	unsigned int links = links__count(), rounds = b->rounds, clean = 0;
	double ns[LOAD_MAX];

	if (p->variant == VAR_STRACE || p->variant == VAR_PERF)
		rounds = rounds / 10 + 1;
	for (unsigned int i = 0; clean < rounds && i < rounds * 2 && !stop; i++) {
		run_loads(b, p->variant, is_seldom(b, i), ns);
		if (links__count() != links) {
			b->r.dirty++;
			continue;
		}
		clean++;
		for (int l = 0; l < LOAD_MAX; l++)
			keep_min(&min[l], ns[l]);
	}
	return clean;
}

/* Why the tracer could not be measured; its own words are the best explanation. */
static void peer_failed(struct bench *b, struct peer *p, const char *why)
{
	char line[256] = "";
	FILE *f = fopen(p->out, "re");

	if (f && fgets(line, sizeof(line), f))
		line[strcspn(line, "\n")] = '\0';
	for (char *c = line; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	fprintf(stderr, "bench: %s %s: %s\n", variant_names[p->variant], why, line);
	if (f)
		fclose(f);
	b->fails[p->variant]++;
	if (!b->r.cell[p->variant][LOAD_PIPE].min)
		b->r.missing[p->variant] = b->fails[p->variant] < 2 ? NULL : why;
}

/* Other people's tracers mostly end soon. */
static bool wait_alone(void)
{
	for (int i = 0; i < 100 && links__count() && !stop; i++)
		usleep(20000);
	return !links__count();
}

static void peer_block(struct bench *b, enum variant_id v)
{
	double min[LOAD_MAX] = { 0 };
	unsigned int rounds;
	struct peer p;

	if (!wait_alone())
		return;
	if (peer__start(&p, v, &b->worker)) {
		b->r.missing[v] = "could not be started";
		return;
	}
	if (peer__wait_ready(&p, &b->worker, b->r.cell[VAR_NONE][LOAD_PIPE].min)) {
		peer__stop(&p);
		peer_failed(b, &p, "did not begin to trace");
		goto out;
	}
	rounds = peer_rounds(b, &p, min);
	if (v == VAR_IPCTRACE && !b->r.stats.nr)
		stats__measure(&b->r.stats, &p, &b->worker);
	peer__stop(&p);
	/* It was measured only if it did the work. */
	if (peer__counted_all(&p, &b->worker))
		add_samples(b, v, min, rounds);
	else
		peer_failed(b, &p, "did not count all calls");
out:
	peer__clean(&p);
}

static void run_block(struct bench *b)
{
	for (unsigned int i = 0, clean = 0; clean < b->rounds && i < b->rounds * 2 && !late(b); i++)
		clean += probe_round(b, is_seldom(b, clean));
	for (int v = VAR_PROBES; v < VAR_MAX; v++) {
		if (!b->r.missing[v] && b->fails[v] < 2 && !late(b))
			peer_block(b, v);
	}
}

static void run(struct bench *b)
{
	double start = now_ns();

	for (int v = VAR_PROBES; v < VAR_MAX; v++)
		b->r.missing[v] = b->self && v > VAR_OPS ? "not asked for" : peer__missing(v);
	for (b->block = 0; b->block < b->blocks && !late(b); b->block++) {
		run_block(b);
		if (isatty(2))
			fprintf(stderr, "\rbench: %u of %u blocks", b->block + 1, b->blocks);
	}
	if (isatty(2))
		fprintf(stderr, "\n");
	b->r.seconds = (now_ns() - start) / 1e9;
	for (int v = 0; v < VAR_MAX; v++) {
		if (!b->r.missing[v] && !b->r.cell[v][LOAD_PIPE].min)
			b->r.missing[v] =
				"other tracers were there all the time, or no time was left";
	}
}

static const char usage[] =
	"usage: bench [--quick] [--self] [--check] [-j FILE] [-r ROUNDS] [-t SECONDS]\n"
	"  --quick   a rough answer in less than 20 s\n"
	"  --self    only ipctrace and the empty probes\n"
	"  --check   exit status 1 if a figure is above its limit\n"
	"  -j FILE   write them as JSON\n"
	"  -r N      rounds (300)\n"
	"  -t N      begin nothing new after N seconds (100)\n";

static const struct option options[] = {
	{ "quick", no_argument, NULL, 'q' },        { "self", no_argument, NULL, 's' },
	{ "check", no_argument, NULL, 'c' },        { "json", required_argument, NULL, 'j' },
	{ "rounds", required_argument, NULL, 'r' }, { "seconds", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },         { 0 },
};

struct args {
	bool check, quick, self;
	const char *json;
	FILE *json_file;
	int rounds, seconds;
};

/* 0: go on, else exit status + 1 */
static int parse(struct args *a, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "j:r:t:h", options, NULL)) != -1) {
		switch (opt) {
		case 'q':
			a->quick = true;
			break;
		case 's':
			a->self = true;
			break;
		case 'c':
			a->check = true;
			break;
		case 'j':
			a->json = optarg;
			break;
		case 'r':
			a->rounds = atoi(optarg);
			break;
		case 't':
			a->seconds = atoi(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			fputs(usage, stderr);
			return 3;
		}
	}
	if (optind == argc && a->rounds >= 0 && a->seconds >= 0)
		return 0;
	fputs(usage, stderr);
	return 3;
}

static int report(const struct results *r, const struct args *a)
{
	int failed = 0;

	results__print(r, stdout);
	if (a->check || !r->missing[VAR_IPCTRACE])
		failed = results__check(r, stdout);
	if (a->json_file && results__json(r, a->json_file)) {
		fprintf(stderr, "bench: %s: %s\n", a->json, strerror(errno));
		return 1;
	}
	return a->check && failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct args a = { 0 };
	int err = parse(&a, argc, argv);

	if (err)
		return err - 1;
	a.json_file = a.json ? fopen(a.json, "we") : NULL;
	if (a.json && !a.json_file) {
		fprintf(stderr, "bench: %s: %s\n", a.json, strerror(errno));
		return 1;
	}
	b.quick = a.quick;
	b.self = a.self;
	b.blocks = a.quick ? 2 : 6;
	b.rounds = ((a.rounds ? a.rounds : a.quick ? 40 : 300) + b.blocks - 1) / b.blocks;
	b.deadline = now_ns() + (a.seconds ? a.seconds : a.quick ? 15 : 100) * 1e9;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	/* before anything else, so that it has none of our files */
	if (worker__start(&b.worker)) {
		perror("bench: the measured process");
		err = 3;
	} else if (probes__load(&b.probes)) {
		fprintf(stderr, "bench: cannot load BPF programs here (root? ipctrace doctor)\n");
		err = 3;
	} else {
		run(&b);
		err = stop ? 130 : report(&b.r, &a);
	}
	worker__stop(&b.worker);
	probes__free(b.probes);
	return err;
}
