// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction moves ordinary pages past secret ones, and leaves these where they
 * are.
 */
#define _GNU_SOURCE
#include "movement.h"

/*
 * A node's memory as compaction is meant for: full of ordinary pages, apart
 * from those that secret pages were made of last. Holes are made in it later.
 */
struct fragments {
	struct secrets secrets;
	int node;
	char *plain;
	size_t nr;
	unsigned long long *before;
	char *huge;
	size_t huge_size;
};

FIXTURE(fragments) {
	struct fragments fragments;
};

FIXTURE_SETUP(fragments)
{
	struct fragments *f = &self->fragments;
	const size_t reserve = 48 * MB;
	size_t i;

	/*
	 * The last one, as the first has the memory of the kernel and of
	 * others.
	 */
	while (nodes_with_memory() >> f->node > 1)
		f->node++;
	bind_memory(f->node);

	/*
	 * Fill ZONE_MOVABLE with huge pages, which is faster: it does not count
	 * here.
	 */
	set(THP "enabled", "madvise");
	f->huge_size = find_zone_movable(f->node) + 2 * MB;
	f->huge = map_plain(f->huge_size);
	ASSERT_NE(MAP_FAILED, (void *)f->huge);
	madvise(f->huge, f->huge_size, MADV_HUGEPAGE);
	for (i = 0; i < f->huge_size; i += 2 * MB)
		f->huge[i] = 1;

	f->nr = ((free_kb(f->node) << 10) - reserve) / page_size;
	f->plain = mmap(NULL, f->nr * page_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)f->plain);
	make_secrets(_metadata, &f->secrets, 512);
}

FIXTURE_TEARDOWN(fragments)
{
	struct fragments *f = &self->fragments;

	munmap(f->plain, f->nr * page_size);
	munmap(f->huge, f->huge_size);
	restore_settings();
	check_secrets(_metadata, &f->secrets);
}

static unsigned long long last_moved;

/* Free one ordinary page of five, each time another one. */
static void make_holes(struct fragments *f, size_t first)
{
	size_t i;

	for (i = first; i < f->nr; i += 5)
		madvise(f->plain + i * page_size, page_size, MADV_DONTNEED);
	free(f->before);
	f->before = read_pagemap(f->plain, f->nr);
	last_moved = 0;
}

static bool is_below_last_moved(unsigned long long frame)
{
	return frame < last_moved;
}

/*
 * Compaction scans a zone from the low end to the high end. How many secret
 * pages are below an ordinary one that it has moved, so that it has met them?
 */
static size_t secrets_passed(const struct fragments *f)
{
	unsigned long long *now = read_pagemap(f->plain, f->nr), frame;
	size_t i;

	for (i = 0; i < f->nr; i++) {
		frame = f->before[i] & PM_FRAME;
		if (frame && now[i] != f->before[i] &&
		    !in_zone_movable(frame) && frame > last_moved)
			last_moved = frame;
	}
	free(now);
	return count_frames(&f->secrets, is_below_last_moved);
}

/* Take all huge pages that can be had, and give them back. */
static void want_huge_pages(int node)
{
	size_t size = free_kb(node) << 10, i;
	char *p = map_plain(size);

	if (p == MAP_FAILED)
		return;
	madvise(p, size, MADV_HUGEPAGE);
	for (i = 0; i < size; i += 2 * MB)
		p[i] = 1;
	munmap(p, size);
}

TEST_F(fragments, are_left_alone_by_compaction)
{
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	struct fragments *f = &self->fragments;
	char path[64];
	long stall;

	if (!set("/proc/sys/vm/compaction_proactiveness", "0"))
		SKIP(return, "kernel without COMPACTION");

	/* Direct compaction, by an allocation that needs it */
	make_holes(f, 0);
	if (set(THP "defrag", "madvise")) {
		stall = read_vmstat("compact_stall");
		do {
			want_huge_pages(f->node);
		} while (!secrets_passed(f) && !reached(deadline));
		EXPECT_LT(stall, read_vmstat("compact_stall"));
		EXPECT_LT(0, secrets_passed(f));
	}

	/* Proactive compaction, in the background */
	make_holes(f, 1);
	ASSERT_TRUE(set("/proc/sys/vm/compaction_proactiveness", "100"));
	while (!secrets_passed(f) && !reached(deadline))
		;
	EXPECT_LT(0, secrets_passed(f));
	ASSERT_TRUE(set("/proc/sys/vm/compaction_proactiveness", "0"));

	/* Compaction on request */
	snprintf(path, sizeof(path), NODE "node%d/compact", f->node);
	make_holes(f, 2);
	if (!access(path, W_OK)) {
		EXPECT_EQ(0, timed_write(path, "1"));
		EXPECT_LT(0, secrets_passed(f));
		make_holes(f, 3);
	}
	EXPECT_EQ(0, timed_write("/proc/sys/vm/compact_memory", "1"));
	EXPECT_LT(0, secrets_passed(f));
}

TEST_HARNESS_MAIN
