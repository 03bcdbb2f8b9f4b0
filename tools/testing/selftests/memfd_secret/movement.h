/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the tests of what moves memory: what they look at and what they do,
 * and secret pages in each state that reclaim and migration tell apart.
 */
#ifndef SELFTEST_MOVEMENT_H
#define SELFTEST_MOVEMENT_H

#include <linux/mempolicy.h>
#include <sys/resource.h>
#include <time.h>

#include "testing.h"

#define MB		(1024 * 1024UL)
#define PM_FRAME	((1ULL << 55) - 1)
#define PM_PRESENT	63
/* Nothing here takes a second unless something spins; emulation is slow. */
#define LIMIT_SECONDS	40

#define MEMORY		"/sys/devices/system/memory/"
#define NODE		"/sys/devices/system/node/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

/*
 * What the tests look at
 */

/* The entries of /proc/self/pagemap for @nr pages at @p; to be freed. */
static inline unsigned long long *read_pagemap(const char *p, size_t nr)
{
	unsigned long long *entry = calloc(nr, sizeof(*entry));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t size = nr * sizeof(*entry);

	if (!entry || pread(fd, entry, size, (uintptr_t)p / page_size *
			    sizeof(*entry)) != size)
		abort();
	close(fd);
	return entry;
}

/* How many of the pages that were present are gone or elsewhere now? */
static inline size_t pages_moved(const char *p, size_t nr,
				 const unsigned long long *before)
{
	unsigned long long *now = read_pagemap(p, nr);
	size_t i, moved = 0;

	for (i = 0; i < nr; i++)
		moved += before[i] >> PM_PRESENT &&
			(!(now[i] >> PM_PRESENT) ||
			 (now[i] ^ before[i]) & PM_FRAME);
	free(now);
	return moved;
}

/* The number after a name in /proc/vmstat; -1 if it is not there. */
static inline long read_vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "re");
	long value, found = -1;
	char word[64];

	while (file && found < 0 &&
	       fscanf(file, "%63s %ld", word, &value) == 2)
		if (!strcmp(word, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* The range of ZONE_MOVABLE on each node that has it. */
static struct {
	unsigned long long start;
	unsigned long long end;
} movable[8];

/*
 * Find ZONE_MOVABLE. Returns its free bytes on @node, or on all nodes if @node
 * is negative.
 */
static inline size_t find_zone_movable(int node)
{
	unsigned long long spanned = 0, start, free = 0;
	FILE *file = fopen("/proc/zoneinfo", "re");
	size_t n = 0, sum = 0;
	char line[256], zone[16] = "";
	int of = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d, zone %15s", &of, zone) == 2 ||
		    sscanf(line, " pages free %llu", &free) == 1 ||
		    sscanf(line, " spanned %llu", &spanned) == 1 ||
		    sscanf(line, " start_pfn: %llu", &start) != 1 ||
		    strcmp(zone, "Movable") || !spanned ||
		    n == ARRAY_SIZE(movable))
			continue;
		movable[n].start = start;
		movable[n++].end = start + spanned;
		if (node < 0 || node == of)
			sum += free * page_size;
	}
	if (file)
		fclose(file);
	return sum;
}

static inline bool in_zone_movable(unsigned long long frame)
{
	size_t n;

	for (n = 0; n < ARRAY_SIZE(movable); n++)
		if (frame >= movable[n].start && frame < movable[n].end)
			return true;
	return false;
}

/* Free memory of @node, or of the machine if it has no nodes. */
static inline long free_kb(int node)
{
	char path[64], line[128];
	long kb = -1;
	FILE *file;

	snprintf(path, sizeof(path), NODE "node%d/meminfo", node);
	file = fopen(path, "re");
	if (!file)
		return read_field("/proc/meminfo", "MemFree");
	while (kb < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %*d MemFree: %ld", &kb) != 1)
			kb = -1;
	fclose(file);
	return kb;
}

/*
 * What the tests do
 */

static inline void interrupt(int sig)
{
}

/*
 * Write to a file of the kernel that may start long work: 0, the error number,
 * or ETIME if it took too long. Work that no signal stops runs into the timeout
 * of the test.
 */
static inline int timed_write(const char *path, const char *text)
{
	const struct sigaction action = { .sa_handler = interrupt };
	int err;

	sigaction(SIGALRM, &action, NULL);
	alarm(LIMIT_SECONDS);
	err = write_text(path, text) ? errno : 0;
	return alarm(0) ? err : ETIME;
}

/* Settings of the kernel, to be restored at the end of a test. */
static struct setting {
	const char *path;
	char saved[64];
} settings[8];

/* Keep the word in brackets of "always [madvise] never". */
static inline void keep_chosen(char *text)
{
	char *start = strchr(text, '['), *end = strchr(text, ']');

	if (!start || !end)
		return;
	*end = '\0';
	memmove(text, start + 1, end - start);
}

/* Change a setting; false if there is no such setting. */
static inline bool set(const char *path, const char *text)
{
	struct setting *setting = settings;

	while (setting->path && strcmp(setting->path, path))
		if (++setting == settings + ARRAY_SIZE(settings))
			abort();
	if (!setting->path) {
		if (read_text(path, setting->saved, sizeof(setting->saved)))
			return false;
		keep_chosen(setting->saved);
		setting->path = path;
	}
	return !write_text(path, text);
}

static inline void restore_settings(void)
{
	struct setting *setting = settings;

	while (setting < settings + ARRAY_SIZE(settings) && setting->path) {
		write_text(setting->path, setting->saved);
		setting++;
	}
}

/* Move pages from per-CPU batches to the lists where they are searched for. */
static inline void settle(void)
{
	write_text("/proc/sys/vm/compact_memory", "1");
}

static inline unsigned long nodes_with_memory(void)
{
	unsigned long nodes = 0;

	syscall(SYS_get_mempolicy, NULL, &nodes, sizeof(nodes) * 8, NULL,
		MPOL_F_MEMS_ALLOWED);
	return nodes ?: 1;
}

/* Bind the memory of this process to one node; to none if @node is negative. */
static inline int bind_memory(int node)
{
	unsigned long mask = node < 0 ? 0 : 1UL << node;

	return syscall(SYS_set_mempolicy, node < 0 ? MPOL_DEFAULT : MPOL_BIND,
		       node < 0 ? NULL : &mask, sizeof(mask) * 8);
}

/* Bind these pages to one node, whatever the policy of the process. */
static inline int bind_range(void *p, size_t size, int node)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, p, size, MPOL_BIND, &mask, sizeof(mask) * 8,
		       0);
}

/* Fill all pages alike, so that they could be merged. */
static inline void fill_alike(char *p, size_t size, unsigned int seed)
{
	size_t i;

	fill(p, page_size, seed);
	for (i = page_size; i < size; i += page_size)
		memcpy(p + i, p, page_size);
}

static inline bool are_filled(const char *p, size_t size, unsigned int seed)
{
	return is_filled(p, page_size, seed) &&
		!memcmp(p, p + page_size, size - page_size);
}

static inline void touch(const char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += page_size)
		probe_read(p + i);
}

static inline bool reached(time_t deadline)
{
	usleep(20000);
	return time(NULL) >= deadline;
}

static inline bool set_idle(unsigned long long frame)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR | O_CLOEXEC);
	unsigned long long mask = 1ULL << frame % 64;
	off_t at = frame / 64 * sizeof(mask);
	bool idle;

	idle = pwrite(fd, &mask, sizeof(mask), at) == sizeof(mask) &&
		pread(fd, &mask, sizeof(mask), at) == sizeof(mask) &&
		mask & 1ULL << frame % 64;
	close(fd);
	return idle;
}

static inline bool soft_offline(unsigned long long frame)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", frame * page_size);
	return !timed_write(MEMORY "soft_offline_page", text);
}

/*
 * Secret pages with a past
 */

/* Clean or dirty, mapped or only in their file: reclaim and migration care. */
static const struct past {
	const char *name;
	bool written;
	bool unmapped;
	bool mapped_again;
} pasts[] = {
	{ .name = "read" },
	{ .name = "written", .written = true },
	{ .name = "read, unmapped", .unmapped = true },
	{ .name = "written, unmapped", .written = true, .unmapped = true },
	{ .name = "written, remapped", .written = true, .mapped_again = true },
};

struct area {
	int fd;
	char *mem;			/* NULL: mapped nowhere */
	unsigned long long *before;	/* of /proc/self/pagemap */
};

struct secrets {
	struct area area[ARRAY_SIZE(pasts)];
	size_t nr;			/* pages of each area */
	size_t size;
	unsigned int seed;
	long locked_kb;
};

static inline bool make_area(struct area *area, const struct past *past,
			     const struct secrets *s)
{
	area->fd = secret_file(s->size);
	area->mem = map_shared(area->fd, s->size);
	if (area->mem == MAP_FAILED)
		return false;
	if (past->written)
		fill_alike(area->mem, s->size, s->seed);
	touch(area->mem, s->size);
	area->before = read_pagemap(area->mem, s->nr);

	if (past->unmapped || past->mapped_again) {
		munmap(area->mem, s->size);
		area->mem = NULL;
	}
	if (past->mapped_again) {
		area->mem = map_shared(area->fd, s->size);
		touch(area->mem, s->size);
	}
	return area->mem != MAP_FAILED;
}

static inline void make_secrets(struct __test_metadata *_metadata,
				struct secrets *s, size_t nr)
{
	size_t i;

	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
	s->nr = nr;
	s->size = nr * page_size;
	s->seed = 2 * getpid();
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		ASSERT_TRUE(make_area(&s->area[i], &pasts[i], s));
	s->locked_kb = locked_kb();
}

/* How many of these frames are not in this state in the direct map? */
static inline size_t frames_not(char state, const unsigned long long *entry,
				size_t nr)
{
	size_t i, n = 0;

	if (access(DIRECT_MAP, R_OK))
		return 0;
	for (i = 0; i < nr; i++)
		n += direct_map_state(entry[i] & PM_FRAME) != state;
	return n;
}

static inline void check_area(struct __test_metadata *_metadata,
			      struct area *area, const struct past *past,
			      const struct secrets *s)
{
	if (!area->mem)
		area->mem = map_shared(area->fd, s->size);
	ASSERT_NE(MAP_FAILED, (void *)area->mem);
	EXPECT_EQ(s->nr, resident_pages(area->mem, s->size)) {
		TH_LOG("%s: not all there", past->name);
	}
	EXPECT_TRUE(past->written ? are_filled(area->mem, s->size, s->seed) :
				    is_zero(area->mem, s->size)) {
		TH_LOG("%s: contents changed", past->name);
	}
	touch(area->mem, s->size);
	EXPECT_EQ(0, pages_moved(area->mem, s->nr, area->before)) {
		TH_LOG("%s: moved", past->name);
	}
	EXPECT_EQ(0, frames_not('-', area->before, s->nr)) {
		TH_LOG("%s: readable by the kernel", past->name);
	}

	munmap(area->mem, s->size);
	close(area->fd);
	EXPECT_TRUE(give_spare_memory_back());
	if (frees_unmap())
		return;
	EXPECT_EQ(0, frames_not('r', area->before, s->nr)) {
		TH_LOG("%s: still unreadable after close", past->name);
	}
}

/*
 * Check that all is as it was made; then free it, and check that the frames are
 * ordinary again.
 */
static inline void check_secrets(struct __test_metadata *_metadata,
				 struct secrets *s)
{
	size_t i;

	EXPECT_EQ(s->locked_kb, locked_kb());
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		check_area(_metadata, &s->area[i], &pasts[i], s);
}

/* For how many of the frames does @is_one() return true? */
static inline size_t count_frames(const struct secrets *s,
				  bool (*is_one)(unsigned long long frame))
{
	size_t i, k, n = 0;

	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		for (k = 0; k < s->nr; k++)
			n += is_one(s->area[i].before[k] & PM_FRAME);
	return n;
}

#endif /* SELFTEST_MOVEMENT_H */
