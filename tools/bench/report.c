/* SPDX-License-Identifier: BSD-2-Clause */
/* The figures as tables, as JSON, and against the limits. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench.h"

/*
 * Limits in ns, set on a machine on which the empty probe adds 42 ns. Where already that costs
 * more, they grow in proportion: no tracer can be faster than its hook.
 */
#define LIMIT_FLOOR 42.0
#define LIMIT_PIPE 100.0
#define LIMIT_OTHER 55.0
#define LIMIT_FAULT 60.0
#define LIMIT_BPFTRACE 0.6

static const struct {
	enum load_id load;
	double limit;
} limits[] = {
	{ LOAD_PIPE, LIMIT_PIPE },     { LOAD_UNIX, LIMIT_PIPE },  { LOAD_TCP, LIMIT_PIPE },
	{ LOAD_GETPPID, LIMIT_OTHER }, { LOAD_ZERO, LIMIT_OTHER }, { LOAD_FILE, LIMIT_OTHER },
	{ LOAD_FAULT, LIMIT_FAULT },
};

static const char *const json_names[VAR_MAX] = {
	"untraced",    "empty_exit", "empty_enter_exit", "empty_enter_exit_switch",
	"empty_fault", "ipctrace",   "ipctrace_ops",     "bpftrace",
	"perf_trace",  "strace",
};

/* ns added per system call, or per operation where their number is not known. NAN: not measured */
double results__added(const struct results *r, enum variant_id v, enum load_id l)
{
	double a = r->cell[v][l].min, b = r->cell[VAR_NONE][l].min;

	if (!a || !b)
		return NAN;
	return (a - b) / (loads[l].calls ? loads[l].calls : 1);
}

static double ratio(const struct results *r, enum variant_id v, enum variant_id to, enum load_id l)
{
	double base = results__added(r, to, l);

	return base > 0 ? results__added(r, v, l) / base : NAN;
}

/* How far the fastest of every other block is from that of the blocks between. */
static double spread(const struct cell *c)
{
	return c->half[0] && c->half[1] ? fabs(c->half[0] - c->half[1]) / c->min : NAN;
}

static void print_number(FILE *f, int width, int digits, double x)
{
	if (isnan(x))
		fprintf(f, " %*s", width, "-");
	else
		fprintf(f, " %*.*f", width, digits, x);
}

static void print_load(const struct results *r, enum load_id l, FILE *f)
{
	const struct load *load = &loads[l];

	if (!r->cell[VAR_NONE][l].min)
		return;
	fprintf(f, "\n%s: %s", load->name, load->help);
	if (load->calls)
		fprintf(f, " (%u system call%s)", load->calls, load->calls > 1 ? "s" : "");
	fprintf(f, "\n  %-26s %10s %10s %8s %10s %7s %7s\n", "", "ns/op",
		load->calls ? "added/call" : "added/op", "x floor", "x bpftrace", "rounds",
		"spread");
	for (int v = 0; v < VAR_MAX; v++) {
		const struct cell *c = &r->cell[v][l];

		if (!c->min)
			continue;
		fprintf(f, "  %-26s", variant_names[v]);
		print_number(f, 10, 1, c->min);
		print_number(f, 10, 1, v ? results__added(r, v, l) : NAN);
		print_number(f, 8, 2, v ? ratio(r, v, load__floor(l), l) : NAN);
		print_number(f, 10, 2, v ? ratio(r, v, VAR_BPFTRACE, l) : NAN);
		fprintf(f, " %7u", c->rounds);
		print_number(f, 6, 1, spread(c) * 100);
		fprintf(f, " %%\n");
	}
}

static void print_stats(const struct stats *s, FILE *f)
{
	if (!s->nr)
		return;
	fprintf(f,
		"\nipctrace's programs by the kernel's own count (measured apart; what a program "
		"tail-calls is in it)\n  %-16s",
		"");
	for (unsigned int i = 0; i < STATS_LOADS; i++)
		fprintf(f, " %12s %7s", loads[stats_loads[i]].name, "ns/run");
	fprintf(f, "\n");
	for (unsigned int i = 0; i < s->nr; i++) {
		const struct prog_stats *p = &s->prog[i];
		bool ran = false;

		for (unsigned int l = 0; l < STATS_LOADS; l++)
			ran |= p->load[l].runs > s->ops[l] / 10;
		if (!ran)
			continue;
		fprintf(f, "  %-16s", p->name);
		for (unsigned int l = 0; l < STATS_LOADS; l++) {
			uint64_t runs = p->load[l].runs;

			fprintf(f, " %7.2f runs", (double)runs / s->ops[l]);
			print_number(f, 7, 0, runs ? (double)p->load[l].ns / runs : NAN);
		}
		fprintf(f, "\n");
	}
	fprintf(f, "  (runs: per operation)\n");
}

void results__print(const struct results *r, FILE *f)
{
	struct utsname u;

	uname(&u);
	fprintf(f, "%s %s, %u rounds in %.0f s", u.release, u.machine, r->rounds, r->seconds);
	if (r->dirty)
		fprintf(f, "; %u rounds not used, as other tracers came or went", r->dirty);
	fprintf(f,
		"\nEach figure is the fastest of its rounds. added: ns over untraced. spread: how far "
		"two halves\nof the rounds differ.\n");
	for (int l = 0; l < LOAD_MAX; l++)
		print_load(r, l, f);
	print_stats(&r->stats, f);
	for (int v = 0; v < VAR_MAX; v++) {
		if (r->missing[v])
			fprintf(f, "\n%s is missing: %s", variant_names[v], r->missing[v]);
	}
	fprintf(f, "\n");
}

static void json_number(FILE *f, const char *name, double x)
{
	if (isnan(x))
		fprintf(f, ", \"%s\": null", name);
	else
		fprintf(f, ", \"%s\": %.3f", name, x);
}

static void json_load(const struct results *r, enum load_id l, FILE *f)
{
	const char *sep = "";

	fprintf(f, "    {\"load\": \"%s\", \"calls\": %u, \"variants\": [", loads[l].name,
		loads[l].calls);
	for (int v = 0; v < VAR_MAX; v++) {
		const struct cell *c = &r->cell[v][l];

		if (!c->min)
			continue;
		fprintf(f, "%s\n      {\"variant\": \"%s\", \"rounds\": %u", sep, json_names[v],
			c->rounds);
		json_number(f, "ns_per_op", c->min);
		json_number(f, "added_ns_per_call", results__added(r, v, l));
		json_number(f, "ratio_to_floor", v ? ratio(r, v, load__floor(l), l) : NAN);
		json_number(f, "ratio_to_bpftrace", v ? ratio(r, v, VAR_BPFTRACE, l) : NAN);
		json_number(f, "spread", spread(c));
		fprintf(f, "}");
		sep = ",";
	}
	fprintf(f, "\n    ]}%s\n", l + 1 < LOAD_MAX ? "," : "");
}

static void json_stats(const struct stats *s, FILE *f)
{
	const char *sep = "";

	fprintf(f, "  \"programs\": [");
	for (unsigned int i = 0; i < s->nr; i++) {
		/* a BPF program's name holds letters, digits, '_' and '.' only */
		fprintf(f, "%s\n    {\"name\": \"%s\"", sep, s->prog[i].name);
		for (unsigned int l = 0; l < STATS_LOADS; l++)
			fprintf(f, ", \"%s\": {\"ops\": %u, \"runs\": %llu, \"ns\": %llu}",
				loads[stats_loads[l]].name, s->ops[l],
				(unsigned long long)s->prog[i].load[l].runs,
				(unsigned long long)s->prog[i].load[l].ns);
		fprintf(f, "}");
		sep = ",";
	}
	fprintf(f, "\n  ]\n");
}

int results__json(const struct results *r, FILE *f)
{
	struct utsname u;
	bool bad;

	uname(&u);
	fprintf(f, "{\n  \"kernel\": \"");
	for (const char *c = u.release; *c; c++)
		fputc(*c == '"' || *c == '\\' || *c < ' ' ? '?' : *c, f);
	fprintf(f, "\",\n  \"rounds\": %u,\n  \"rounds_not_used\": %u,\n  \"seconds\": %.1f,\n",
		r->rounds, r->dirty, r->seconds);
	fprintf(f, "  \"loads\": [\n");
	for (int l = 0; l < LOAD_MAX; l++)
		json_load(r, l, f);
	fprintf(f, "  ],\n");
	json_stats(&r->stats, f);
	fprintf(f, "}\n");
	bad = ferror(f);
	return fclose(f) || bad ? -EIO : 0;
}

static bool check_added(const struct results *r, enum load_id l, double limit, FILE *f)
{
	double floor = results__added(r, load__floor(l), l);
	double added = results__added(r, VAR_IPCTRACE, l);
	double here = limit * (floor > LIMIT_FLOOR ? floor / LIMIT_FLOOR : 1);
	bool ok = added <= here; /* not, if not measured */

	fprintf(f, "%s %s: ipctrace adds %.1f ns to a call, at most %.1f", ok ? "PASS" : "FAIL",
		loads[l].name, added, here);
	if (here > limit)
		fprintf(f, " (%.0f where the floor is %.0f; here it is %.1f%s)", limit, LIMIT_FLOOR,
			floor, added <= limit ? ", and yet it is below" : "");
	fprintf(f, "\n");
	return ok;
}

int results__check(const struct results *r, FILE *f)
{
	int failed = 0;
	double x;

	for (unsigned int i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		failed += !check_added(r, limits[i].load, limits[i].limit, f);
	if (r->missing[VAR_BPFTRACE]) {
		fprintf(f, "SKIP pipe: ratio to the bpftrace one-liner: bpftrace %s\n",
			r->missing[VAR_BPFTRACE]);
		return failed;
	}
	x = ratio(r, VAR_IPCTRACE, VAR_BPFTRACE, LOAD_PIPE);
	fprintf(f, "%s pipe: %.2f of what the bpftrace one-liner adds, at most %.2f\n",
		x <= LIMIT_BPFTRACE ? "PASS" : "FAIL", x, LIMIT_BPFTRACE);
	return failed + !(x <= LIMIT_BPFTRACE);
}
