/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors that were passed, and who got them from whom. The kernel side counts for each process
 * what it passed and what it took, over which channel. What one took at one end of a channel came from
 * who passed that same file at the other end; if several passed it, it is open from which of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_priv.h"
#include "mech.h"

/* So many are told apart on an edge, or a flow; in all. */
#define PASSES_MAX 1000
#define FILES_MAX 20000

static const char *const kinds[PASSED_MAX] = {
	[PASSED_ANON] = "anonymous",      [PASSED_PIPE] = "pipe",     [PASSED_DEVICE] = "device",
	[PASSED_DIRECTORY] = "directory", [PASSED_BLOCK] = "device",  [PASSED_FILE] = "file",
	[PASSED_SOCKET] = "socket",       [PASSED_CLOSED] = "closed",
};

const char *passed__kind(const struct gfile *f)
{
	if (f->chan)
		return mech__get(f->chan->row.key.mech)->name;
	return f->kind < PASSED_MAX && kinds[f->kind] ? kinds[f->kind] : "unknown";
}

const char *passed__mode(const struct gpassed *p)
{
	static const char *const modes[] = {
		[0] = "none",
		[1 << ROLE_WRITE] = "write",
		[1 << ROLE_READ] = "read",
		[1 << ROLE_WRITE | 1 << ROLE_READ] = "read-write",
	};

	return modes[p->modes & (1 << ROLE_WRITE | 1 << ROLE_READ)];
}

uint64_t passes__total(const struct gpasses *p)
{
	uint64_t n = p->others;

	for (size_t i = 0; i < p->nr; i++)
		n += p->at[i].ops;
	return n;
}

char *passes__text(const struct gpasses *p, size_t most)
{
	uint64_t more = passes__total(p);
	char *s = NULL;
	size_t size;
	FILE *f = open_memstream(&s, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < p->nr && i < most; i++) {
		const struct gpassed *one = &p->at[i];

		fprintf(f, "%s%s", i ? ", " : "",
			*one->file->name ? one->file->name : passed__kind(one->file));
		if (one->ops > 1)
			fprintf(f, " ×%" PRIu64, one->ops);
		if (one->modes == 1 << ROLE_WRITE || one->modes == 1 << ROLE_READ)
			fprintf(f, " (%s)", passed__mode(one));
		more -= one->ops;
	}
	if (more)
		fprintf(f, "%s%" PRIu64 " more", p->nr && most ? " and " : "", more);
	if (fclose(f)) {
		free(s);
		return NULL;
	}
	return s;
}

static int passes_add(struct gpasses *p, const struct gpassed *add)
{
	struct gpassed *at;

	for (size_t i = 0; i < p->nr; i++)
		if (p->at[i].file == add->file && p->at[i].modes == add->modes) {
			p->at[i].ops += add->ops;
			return 0;
		}
	if (!add->file || p->nr >= PASSES_MAX) {
		p->others += add->ops;
		return 0;
	}
	/* Full at every power of two. */
	if (!(p->nr & (p->nr - 1))) {
		at = reallocarray(p->at, p->nr ? p->nr * 2 : 1, sizeof(*at));
		if (!at)
			return -ENOMEM;
		p->at = at;
	}
	p->at[p->nr++] = *add;
	return 0;
}

int passes_merge(struct gpasses *into, const struct gpasses *from)
{
	int err = 0;

	for (size_t i = 0; i < from->nr && !err; i++)
		err = passes_add(into, &from->at[i]);
	into->others += from->others;
	return err;
}

void passes_free(struct gpasses *p)
{
	free(p->at);
	*p = (struct gpasses){ 0 };
}

/* --- from records --- */

static char *file_name(const struct rec_pass *rec)
{
	const size_t len = rec->val.name_len < PATH_LEN ? rec->val.name_len : PATH_LEN;
	unsigned long long ino = rec->key.ino;
	const char *name = rec->val.name;
	char *s;

	if (rec->key.what || rec->key.kind == PASSED_CLOSED)
		return strdup("");
	if (rec->key.kind == PASSED_SOCKET || (rec->key.kind == PASSED_PIPE && (!len || !*name)))
		return asprintf(&s, "%s:[%llu]", kinds[rec->key.kind], ino) < 0 ? NULL : s;
	if (rec->key.kind == PASSED_ANON)
		return strndup(name, len);
	return names_path(name, len, PATH_LEN, rec->val.name_cut);
}

/* The number of an inode is used again, for a file of another name. */
static uint64_t name_hash(const struct rec_pass *rec)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < rec->val.name_len && i < PATH_LEN; i++)
		h = (h ^ (unsigned char)rec->val.name[i]) * 0x100000001b3ull;
	return h;
}

/* -ENOMEM; *out NULL: there are too many. */
static int get_file(struct graph *g, const struct rec_pass *rec, struct gfile **out)
{
	const struct pass_key *key = &rec->key;
	const uint64_t a = key->what ? (uint64_t)key->what_end << 32 | key->what : key->ino;
	const uint64_t b = key->what ? UINT64_MAX
				     : name_hash(rec) << 40 | (uint64_t)key->kind << 32 | key->dev;
	struct gfile *f = *out = map__get(&g->priv->files, a, b);

	if (f || g->priv->files.used >= FILES_MAX)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	*f = (struct gfile){ .kind = key->kind,
			     .chan_key = key->what,
			     .end = key->what_end,
			     .dev = key->dev,
			     .ino = key->kind == PASSED_ANON ? 0 : key->ino,
			     .name = file_name(rec) };
	if (!f->name || map__put(&g->priv->files, a, b, f)) {
		free(f->name);
		free(f);
		return -ENOMEM;
	}
	*out = f;
	return 0;
}

/* Who took it can use the channel from then on, even if it never does. */
static int hold(struct graph *g, struct proc *p, const struct pass_key *key)
{
	struct chan *c = graph_get_chan(g, key->what);

	if (!c)
		return -ENOMEM;
	for (int role = 0; role < ROLES_IO; role++) {
		struct edge *e;

		if (!(key->modes & 1u << role))
			continue;
		e = graph_get_edge(g, p, c, role, key->what_end);
		if (!e)
			return -ENOMEM;
		e->held = true;
	}
	return 0;
}

static void add_credentials(struct gedge *e, const struct pass_val *val)
{
	e->credentials += val->ops;
	e->cred_pid = val->pid;
	e->cred_uid = val->uid;
	e->cred_gid = val->gid;
}

int passed_handle(struct graph *g, const struct rec_pass *rec)
{
	const struct pass_key *key = &rec->key;
	struct gpassed one = { .modes = key->modes, .ops = rec->val.ops };
	struct gfile *file;
	struct proc *p;
	struct chan *c;
	struct edge *e;
	int err;

	if (!key->proc || key->proc >= KEY_GROUP || !key->over || key->over >= KEY_GROUP ||
	    key->role >= ROLE_MAX || key->end > 1 || key->what >= KEY_GROUP || key->what_end > 1)
		return -EINVAL;
	p = graph_get_proc(g, key->proc);
	c = graph_get_chan(g, key->over);
	e = p && c ? graph_get_edge(g, p, c, key->role, key->end) : NULL;
	if (!e)
		return -ENOMEM;
	if (key->kind == PASSED_CREDENTIALS) {
		add_credentials(&e->e, &rec->val);
		return 0;
	}
	err = get_file(g, rec, &file);
	one.file = file;
	if (!err)
		err = passes_add(&e->e.passes, &one);
	if (!err && key->what && key->role == ROLE_TAKE_FD)
		err = hold(g, p, key);
	return err;
}

static int compare_passed(const void *a, const void *b)
{
	const struct gpassed *x = a, *y = b;
	const struct gfile *f = x->file, *h = y->file;

	if (f->dev != h->dev)
		return f->dev < h->dev ? -1 : 1;
	if (f->ino != h->ino)
		return f->ino < h->ino ? -1 : 1;
	if (x->modes != y->modes)
		return x->modes < y->modes ? -1 : 1;
	return strcmp(f->name, h->name);
}

static void sort(struct gpasses *p)
{
	if (p->nr)
		qsort(p->at, p->nr, sizeof(*p->at), compare_passed);
}

/* The kernel's table has no order. */
static void sort_all(struct graph *g)
{
	struct chan *c;
	struct edge *e;
	struct flow *f;

	list_for_each(c, &g->priv->chans, all) {
		for_each_edges(list, c) list_for_each(e, list, by_chan) sort(&e->e.passes);
		list_for_each(f, &c->flows, by_chan)
			sort(&f->f.passes);
	}
}

int passed_finish(struct graph *g)
{
	for (size_t i = 0; i < g->priv->files.size; i++) {
		struct gfile *f = g->priv->files.slots[i].value;
		struct chan *c;

		if (!f || !f->chan_key)
			continue;
		c = map__get(&g->priv->chan_map, f->chan_key, 0);
		if (!c)
			c = fold_find_chan(g, f->chan_key);
		if (!c || !c->c.name)
			continue;
		free(f->name);
		f->name = strdup(c->c.name);
		if (!f->name)
			return -ENOMEM;
		f->chan = &c->c;
	}
	sort_all(g);
	return 0;
}

void passed_free(struct graph *g)
{
	for (size_t i = 0; i < g->priv->files.size; i++) {
		struct gfile *f = g->priv->files.slots[i].value;

		if (!f)
			continue;
		free(f->name);
		free(f);
	}
	map__free(&g->priv->files);
}

/* --- who from whom --- */

/*
 * A socket may have been connected, and so a channel, when it was taken but not when it was passed; and
 * a file may have got another name.
 */
static bool same_file(const struct gpassed *a, const struct gpassed *b)
{
	const struct gfile *f = a->file, *h = b->file;

	if (f->kind == PASSED_CLOSED || h->kind == PASSED_CLOSED)
		return false;
	if (f == h)
		return a->modes == b->modes;
	return f->ino && f->kind == h->kind && f->dev == h->dev && f->ino == h->ino &&
	       (f->kind == PASSED_SOCKET || a->modes == b->modes);
}

static const struct gpassed *find_same(const struct gpasses *p, const struct gpassed *one)
{
	for (size_t i = 0; i < p->nr; i++)
		if (same_file(&p->at[i], one))
			return &p->at[i];
	return NULL;
}

static uint64_t sum_same(const struct list *edges, const struct gpassed *one, size_t *nr)
{
	const struct gpassed *same;
	const struct edge *e;
	uint64_t sum = 0;

	*nr = 0;
	list_for_each(e, edges, by_chan) {
		same = find_same(&e->e.passes, one);
		sum += same ? same->ops : 0;
		*nr += !!same;
	}
	return sum;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What one took, from each who passed the same. */
static int resolve_one(struct graph *g, struct chan *c, const struct edge *to,
		       const struct gpassed *one, const struct list *givers,
		       const struct list *takers)
{
	size_t nr_givers, nr_takers;
	const uint64_t given = sum_same(givers, one, &nr_givers);
	const uint64_t taken = sum_same(takers, one, &nr_takers);
	const bool all = nr_takers == 1 && given == taken;
	const struct gpassed *same;
	const struct edge *from;
	int err = 0;

	list_for_each(from, givers, by_chan) {
		struct gflow f = { .from = from->e.proc, .to = to->e.proc };
		struct gpassed part = *one;

		same = find_same(&from->e.passes, one);
		if (!same || err)
			continue;
		part.ops = min_u64(same->ops, one->ops);
		if (nr_givers > 1 && !all)
			f.shared_fds = part.ops;
		else
			f.passes = (struct gpasses){ .at = &part, .nr = 1 };
		if (f.shared_fds && !flow_find(g, c, f.from, f.to))
			f.certainty = CERTAIN_SHARED;
		err = flow_add(g, c, &f);
	}
	return err;
}

static uint64_t sum_ops(const struct list *edges, const struct edge **last, size_t *nr)
{
	const struct edge *e;
	uint64_t sum = 0;

	*nr = 0;
	list_for_each(e, edges, by_chan) {
		sum += e->e.ops;
		*nr += e->e.ops > 0;
		if (e->e.ops)
			*last = e;
	}
	return sum;
}

/* Where only one has passed any, all came from there, also what is not told apart. */
static int resolve_others(struct graph *g, struct chan *c, const struct list *givers,
			  const struct list *takers)
{
	const struct edge *from = NULL, *to = NULL;
	size_t nr_givers, nr_takers;
	uint64_t given = sum_ops(givers, &from, &nr_givers);
	int err = 0;

	if (nr_givers != 1 || given < sum_ops(takers, &to, &nr_takers))
		return 0;
	list_for_each(to, takers, by_chan) {
		const struct flow *known = flow_find(g, c, from->e.proc, to->e.proc);
		const uint64_t told = known ? passes__total(&known->f.passes) : 0;
		struct gflow f = { .from = from->e.proc, .to = to->e.proc };

		if (to->e.ops > told)
			f.passes.others = to->e.ops - told;
		if (!err)
			err = flow_add(g, c, &f);
	}
	return err;
}

int passed_resolve(struct graph *g, struct chan *c)
{
	const struct edge *to;
	int err = 0;

	for (unsigned int end = 0; end <= chan_has_two_ends(c); end++) {
		const struct list *takers = &c->edges[ROLE_TAKE_FD][end];
		const struct list *givers = &c->edges[ROLE_PASS_FD][chan_other_end(c, end)];

		list_for_each(to, takers, by_chan)
			for (size_t i = 0; i < to->e.passes.nr && !err; i++)
				err = resolve_one(g, c, to, &to->e.passes.at[i], givers, takers);
		if (!err)
			err = resolve_others(g, c, givers, takers);
	}
	return err;
}
