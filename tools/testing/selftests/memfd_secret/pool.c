// SPDX-License-Identifier: GPL-2.0
/*
 * What secret memory takes from the rest of the system: it comes in blocks of 2
 * MiB, shared by all files, and is returned in one piece, or in parts if memory
 * is short.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "testing.h"
#include "inject.h"

#define MB		(1024 * 1024UL)
#define BLOCK		(2 * MB)
#define BLOCK_KB	((long)(BLOCK >> 10))
#define BIG		(32 * MB)
#define MAX_NODES	64
#define NOBODY		65534
#define SPARSE		16		/* blocks with one page in use each */
#define STREAM		"/dev/ram0"	/* which was never written to */

/* How much is off the direct map, by the kernel's account. */
static long unmapped_kb(void)
{
	return secret_kb() + spare_kb();
}

static int memory_nodes(void)
{
	char path[64];
	int node, nodes = 0;

	for (node = 0; node < MAX_NODES; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d",
			 node);
		nodes += !access(path, F_OK);
	}
	return nodes ?: 1;
}

/* One block per node may be kept for the next secret. */
static long kept_kb(void)
{
	return memory_nodes() * BLOCK_KB;
}

/* Freed memory is given back after a moment. */
static bool spare_falls_to(long kb)
{
	int i;

	for (i = 0; i < 50 && spare_kb() > kb; i++)
		usleep(100000);
	return spare_kb() <= kb;
}

static bool spare_is_kept_only(void)
{
	return spare_falls_to(kept_kb());
}

/* Returns true on a kernel without NUMA as well. */
static bool use_first_node(void)
{
	const unsigned long first_node = 1;

	return !syscall(SYS_set_mempolicy, MPOL_BIND, &first_node,
			sizeof(first_node) * 8) || errno == ENOSYS;
}

/* The sum of the interrupts that CPUs send to each other. */
static long cpu_calls(void)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char line[4096], *p, *end;
	long sum = 0, n;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "Function call") &&
		    !strstr(line, "TLB shootdown"))
			continue;
		for (p = strchr(line, ':') + 1; ; p = end) {
			n = strtol(p, &end, 10);
			if (end == p)
				break;
			sum += n;
		}
	}
	if (f)
		fclose(f);
	return sum;
}

static void touch_all(char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += page_size)
		p[i] = 1;
}

FIXTURE(pool) {
};

FIXTURE_SETUP(pool)
{
	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
	ASSERT_EQ(0, secret_kb());
	ASSERT_TRUE(give_spare_memory_back());
}

FIXTURE_TEARDOWN(pool)
{
	EXPECT_EQ(0, secret_kb());
	EXPECT_TRUE(spare_is_kept_only());
}

/* Become a user without capabilities. */
static bool become_nobody(void)
{
	return !setresuid(NOBODY, NOBODY, NOBODY);
}

/* Only the administrator may see when a key comes or goes. */
TEST_F(pool, meminfo_shows_others_blocks_only)
{
	const long one = page_size >> 10;
	char *p = map_secret(2 * page_size);
	long before;

	ASSERT_NE(MAP_FAILED, (void *)p);
	p[0] = 1;
	ASSERT_EQ(one, secret_kb());
	ASSERT_TRUE(become_nobody());
	before = spare_kb();
	EXPECT_EQ(BLOCK_KB, secret_kb());
	EXPECT_EQ(0, before % BLOCK_KB);
	p[page_size] = 1;
	EXPECT_EQ(BLOCK_KB, secret_kb());
	EXPECT_EQ(before, spare_kb());
	munmap(p, 2 * page_size);
	EXPECT_EQ(0, secret_kb());
	EXPECT_EQ(before + BLOCK_KB, spare_kb());
}

TEST_F(pool, meminfo_counts_the_pages_of_files)
{
	const long nr = 100;
	char *p = map_secret(nr * page_size);
	long one = page_size >> 10;

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(0, secret_kb());
	p[0] = 1;
	EXPECT_EQ(one, secret_kb());
	fill(p, nr * page_size, 1);
	EXPECT_EQ(nr * one, secret_kb());
	munmap(p, nr * page_size);
	EXPECT_EQ(0, secret_kb());
}

TEST_F(pool, fdinfo_counts_the_pages_of_the_file)
{
	const long nr = 100;
	int fd = secret_file(nr * page_size);
	char *p = map_shared(fd, nr * page_size);
	char path[48];

	ASSERT_NE(MAP_FAILED, (void *)p);
	sprintf(path, "/proc/self/fdinfo/%d", fd);
	EXPECT_EQ(0, read_field(path, "resident"));
	p[3 * page_size] = 1;
	EXPECT_EQ(page_size >> 10, read_field(path, "resident"));
	fill(p, nr * page_size, 1);
	EXPECT_EQ(nr * page_size >> 10, read_field(path, "resident"));
	munmap(p, nr * page_size);
	EXPECT_EQ(nr * page_size >> 10, read_field(path, "resident"));
	close(fd);
}

TEST_F(pool, small_files_share_a_block)
{
	char *page[256];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(page); i++) {
		page[i] = map_secret(page_size);
		ASSERT_NE(MAP_FAILED, (void *)page[i]);
		page[i][0] = 1;
	}
	EXPECT_GE(kept_kb(), unmapped_kb());
	for (i = 0; i < ARRAY_SIZE(page); i++)
		munmap(page[i], page_size);
}

TEST_F(pool, one_block_is_kept_for_the_next_secret)
{
	char *p = map_secret(BIG);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_TRUE(use_first_node());
	touch_all(p, BIG);
	EXPECT_LE(BIG >> 10, unmapped_kb());
	munmap(p, BIG);
	EXPECT_TRUE(spare_falls_to(BLOCK_KB));
	EXPECT_LT(0, spare_kb());
}

TEST_F(pool, memory_that_was_secret_is_free_again)
{
	const long size_kb = BIG >> 10, slack_kb = 4 << 10;
	char *p = map_secret(BIG);
	long held, given_back;

	ASSERT_NE(MAP_FAILED, (void *)p);
	touch_all(p, BIG);
	held = read_field("/proc/meminfo", "MemFree");
	munmap(p, BIG);
	given_back = held + size_kb - kept_kb() - slack_kb;
	EXPECT_LT(given_back, free_kb_above(given_back));
}

/*
 * Make @nr blocks in which one page is used and the others are free, as far as
 * whole blocks can be had.
 */
static bool make_sparse_blocks(char **kept, int nr)
{
	const size_t size = BLOCK - page_size;
	char *others[nr];
	int i;

	for (i = 0; i < nr; i++) {
		others[i] = map_secret(size);
		kept[i] = map_secret(page_size);
		if (others[i] == MAP_FAILED || kept[i] == MAP_FAILED)
			return false;
		touch_all(others[i], size);
		kept[i][0] = 1;
	}
	for (i = 0; i < nr; i++)
		munmap(others[i], size);
	return true;
}

static bool end_sparse_blocks(char **kept, int nr)
{
	bool intact = true;

	while (nr--) {
		intact &= kept[nr][0] == 1;
		munmap(kept[nr], page_size);
	}
	return intact;
}

/* How many pages reclaim has freed so far. */
static long reclaimed_pages(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	long n, sum = 0;
	char name[64];

	while (f && fscanf(f, "%63s %ld", name, &n) == 2)
		if (!strcmp(name, "pgsteal_kswapd") ||
		    !strcmp(name, "pgsteal_direct"))
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

/* Read until memory is full and reclaim has made room for @size more bytes. */
static bool stream(size_t size)
{
	long enough = reclaimed_pages() + size / page_size;
	int disk = open(STREAM, O_RDONLY | O_CLOEXEC);
	char *buf = malloc(MB);
	ssize_t n = 1;

	while (buf && n > 0 && reclaimed_pages() < enough)
		n = read(disk, buf, MB);
	free(buf);
	close(disk);
	return n > 0;
}

/*
 * drop_caches is no sign of a shortage, and neither is reclaim of page cache.
 */
TEST_F(pool, blocks_in_use_are_not_split_while_there_is_other_memory)
{
	long small = read_field("/proc/meminfo", "DirectMap4k");
	long split = read_field(POOL_EVENTS, "blocks_split"), spare;
	char *kept[SPARSE];

	ASSERT_LE(0, split);
	ASSERT_TRUE(use_first_node());
	ASSERT_TRUE(make_sparse_blocks(kept, SPARSE));
	spare = SPARSE * (BLOCK - page_size) >> 10;
	EXPECT_EQ(spare, spare_kb());
	EXPECT_EQ(0, write_text("/proc/sys/vm/drop_caches", "2"));
	EXPECT_EQ(spare, spare_kb());
	/*
	 * This takes long if each page is unmapped, and then nothing can be
	 * split.
	 */
	EXPECT_TRUE(frees_unmap() || stream(BIG));
	EXPECT_EQ(spare, spare_kb());
	EXPECT_EQ(split, read_field(POOL_EVENTS, "blocks_split"));
	if (!frees_unmap())
		EXPECT_EQ(small, read_field("/proc/meminfo", "DirectMap4k"));
	EXPECT_TRUE(end_sparse_blocks(kept, SPARSE));
}

/* Take small steps close to the end of memory, and large ones before. */
static long pressure_step(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		return page_size;
	return info.freeram * info.mem_unit > 64 * MB ? MB : 16 * page_size;
}

/*
 * Touch ordinary memory until the pool has at most @kb. If it is only @lent,
 * the kernel can take it back at once (MADV_FREE): memory gets short without an
 * OOM kill.
 */
static bool spare_falls_under_pressure(long kb, bool lent)
{
	const long all = read_field("/proc/meminfo", "MemTotal") << 10;
	char *plain = map_plain(all);
	long i, step;

	if (plain == MAP_FAILED)
		return false;
	for (i = 0; i + MB <= all && spare_kb() > kb; i += step) {
		step = pressure_step();
		touch_all(plain + i, step);
		if (lent && madvise(plain + i, step, MADV_FREE))
			break;
	}
	munmap(plain, all);
	return spare_kb() <= kb;
}

/*
 * Blocks that a user spoils by keeping one page in each can be used if memory
 * is needed, apart from one with too few free pages to be worth splitting a
 * large page.
 */
TEST_F(pool, pages_beside_those_of_an_enemy_can_be_had)
{
	long split = read_field(POOL_EVENTS, "blocks_split");
	const long few = 15, few_kb = few * page_size >> 10;
	const size_t size = BLOCK - (1 + few) * page_size;
	char *kept[SPARSE], *full;

	if (read_field("/proc/meminfo", "HighTotal") > 0)
		SKIP(return, "a program's memory is highmem");
	ASSERT_LE(0, split);
	ASSERT_TRUE(use_first_node());
	full = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)full);
	ASSERT_TRUE(make_sparse_blocks(kept, SPARSE));
	/* These pages come from the same blocks. */
	touch_all(full, size);
	EXPECT_TRUE(spare_falls_under_pressure(few_kb, false));
	EXPECT_EQ(few_kb, spare_kb());
	EXPECT_LE(split + SPARSE - 1, read_field(POOL_EVENTS, "blocks_split"));

	/*
	 * Pages freed later are given back at once, but for the block that is
	 * whole.
	 */
	EXPECT_TRUE(end_sparse_blocks(kept, SPARSE));
	EXPECT_TRUE(spare_falls_to(few_kb + (page_size >> 10)));
	munmap(full, size);
}

/* Opening and closing large files does not zero, unmap and flush each time. */
TEST_F(pool, what_falls_free_is_there_for_the_next_secret)
{
	const size_t size = 4 * BLOCK;
	const long rounds = 20;
	long before, taken = -1;
	char *p;
	int i;

	ASSERT_TRUE(use_first_node());
	for (i = 0; i < rounds && taken; i++) {
		before = read_field(POOL_EVENTS, "pages_taken");
		p = map_secret(size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		touch_all(p, size);
		munmap(p, size);
		taken = read_field(POOL_EVENTS, "pages_taken") - before;
		/* Memory that is given back at once is gone by then. */
		usleep(50000);
	}
	TH_LOG("round %d took no page from the page allocator", i);
	EXPECT_EQ(0, taken);
}

TEST_F(pool, memory_pressure_takes_what_is_kept)
{
	char *p = map_secret(page_size);

	if (read_field("/proc/meminfo", "HighTotal") > 0)
		SKIP(return, "a program's memory is highmem");
	/* Use one node for both. */
	ASSERT_TRUE(use_first_node());
	ASSERT_NE(MAP_FAILED, (void *)p);
	p[0] = 1;
	munmap(p, page_size);
	ASSERT_LT(0, spare_kb());

	EXPECT_TRUE(spare_falls_under_pressure(0, true));
	EXPECT_EQ(0, spare_kb());
}

enum {
	BLOCKS_TAKEN, BLOCKS_SPLIT, BLOCKS_RETURNED, PAGES_TAKEN, PAGES_RETURNED,
	FLUSHES, LOCAL_FLUSHES, EVENTS
};

/* Count the events, since @since if that is not NULL. */
static bool count_events(long *events, const long *since)
{
	static const char * const names[EVENTS] = {
		[BLOCKS_TAKEN] = "blocks_taken",
		[BLOCKS_SPLIT] = "blocks_split",
		[BLOCKS_RETURNED] = "blocks_returned",
		[PAGES_TAKEN] = "pages_taken",
		[PAGES_RETURNED] = "pages_returned",
		[FLUSHES] = "flushes",
		[LOCAL_FLUSHES] = "local_flushes",
	};
	int i;

	for (i = 0; i < EVENTS; i++) {
		events[i] = read_field(POOL_EVENTS, names[i]);
		if (events[i] < 0)
			return false;
		if (since)
			events[i] -= since[i];
	}
	return true;
}

TEST_F(pool, events_are_counted)
{
	const size_t block_pages = BLOCK / page_size;
	char *p = map_secret(BIG), *kept = map_secret(page_size);
	long before[EVENTS], events[EVENTS];

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_NE(MAP_FAILED, (void *)kept);
	ASSERT_TRUE(count_events(before, NULL));
	touch_all(p, BIG);
	ASSERT_TRUE(count_events(events, before));
	EXPECT_LE(1, events[BLOCKS_TAKEN]);
	EXPECT_LE(BIG / page_size, events[PAGES_TAKEN]);
	EXPECT_LE(events[BLOCKS_TAKEN] * block_pages, events[PAGES_TAKEN]);
	EXPECT_LE(events[BLOCKS_TAKEN], events[FLUSHES]);
	EXPECT_GE(events[PAGES_TAKEN] - events[BLOCKS_TAKEN] * (block_pages - 1),
		  events[FLUSHES]);
	EXPECT_EQ(0, events[BLOCKS_SPLIT]);
	EXPECT_EQ(0, events[LOCAL_FLUSHES]);
	EXPECT_EQ(0, events[PAGES_RETURNED]);

	munmap(p, BIG);
	ASSERT_TRUE(give_spare_memory_back());
	ASSERT_TRUE(count_events(events, before));
	EXPECT_EQ(0, events[BLOCKS_SPLIT]);
	EXPECT_EQ(events[BLOCKS_TAKEN], events[BLOCKS_RETURNED]);
	EXPECT_EQ(events[PAGES_TAKEN], events[PAGES_RETURNED]);
	EXPECT_LE(1, events[LOCAL_FLUSHES]);

	/* One page of a block stays in use. */
	kept[0] = 1;
	ASSERT_TRUE(give_spare_memory_back());
	ASSERT_TRUE(count_events(events, before));
	EXPECT_EQ(1, events[BLOCKS_SPLIT]);
	EXPECT_EQ(1, events[PAGES_TAKEN] - events[PAGES_RETURNED]);
	munmap(kept, page_size);
	EXPECT_TRUE(give_spare_memory_back());
}

/*
 * Whole blocks take fewer flushes, but a task that is preempted ends a batch
 * early.
 */
TEST_F(pool, one_flush_is_enough_to_wipe_many_pages)
{
	const long many = 8;
	char *p = map_secret(BIG);
	long before[EVENTS], events[EVENTS];

	ASSERT_NE(MAP_FAILED, (void *)p);
	touch_all(p, BIG);
	ASSERT_TRUE(count_events(before, NULL));
	munmap(p, BIG);
	ASSERT_TRUE(count_events(events, before));
	EXPECT_LT(0, events[LOCAL_FLUSHES]);
	EXPECT_GE(BIG / page_size / many, events[LOCAL_FLUSHES]);
	/*
	 * Giving blocks back takes flushes as well, and there may have been
	 * time for it.
	 */
	EXPECT_GE(BIG / BLOCK, events[FLUSHES]);
}

/*
 * A wiped page is not reused before all CPUs have flushed their TLBs, so a
 * block is enough for as many secrets as it has pages; then a single flush
 * makes them all usable.
 */
TEST_F(pool, one_flush_is_enough_for_many_small_secrets)
{
	const long rounds = 2 * BLOCK / page_size, many = 128;
	long before[EVENTS], events[EVENTS], i;
	char *p;

	ASSERT_TRUE(use_first_node());
	for (i = 0; i <= rounds; i++) {
		p = map_secret(page_size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		p[0] = 1;
		munmap(p, page_size);
		if (!i)
			ASSERT_TRUE(count_events(before, NULL));
	}
	ASSERT_TRUE(count_events(events, before));
	EXPECT_LT(0, events[FLUSHES]);
	EXPECT_GE(rounds / many + 2, events[FLUSHES]);
}

TEST_F(pool, fragmented_memory_will_do)
{
	const size_t nr = 512;
	char *p = map_secret(nr * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	if (!inject_fragmentation(true))
		SKIP(return, "kernel without FAULT_INJECTION");
	inject_here(true);
	fill(p, nr * page_size, 1);
	inject_here(false);
	inject_fragmentation(false);
	EXPECT_EQ(nr * page_size >> 10, secret_kb());
	EXPECT_EQ(0, spare_kb());
	EXPECT_TRUE(is_filled(p, nr * page_size, 1));
	munmap(p, nr * page_size);
	EXPECT_TRUE(give_spare_memory_back());
}

TEST_F(pool, large_pages_of_the_direct_map_stay_whole)
{
	long small = read_field("/proc/meminfo", "DirectMap4k");
	char *p = map_secret(BIG);

	ASSERT_NE(MAP_FAILED, (void *)p);
	if (small < 0 || frees_unmap())
		SKIP(goto out, "no large pages in the direct map");
	touch_all(p, BIG);
	EXPECT_EQ(small, read_field("/proc/meminfo", "DirectMap4k"));
	munmap(p, BIG);
	EXPECT_TRUE(spare_is_kept_only());
	EXPECT_EQ(small, read_field("/proc/meminfo", "DirectMap4k"));
	return;
out:
	munmap(p, BIG);
}

TEST_F(pool, other_CPUs_are_called_once_a_block)
{
	char *p = map_secret(BIG);
	long before = cpu_calls(), calls;

	ASSERT_NE(MAP_FAILED, (void *)p);
	touch_all(p, BIG);
	calls = cpu_calls() - before;
	TH_LOG("%ld calls to make 32 MiB secret", calls);
	EXPECT_GE(2 * BIG / BLOCK, calls);
	before = cpu_calls();
	munmap(p, BIG);
	EXPECT_TRUE(spare_is_kept_only());
	calls = cpu_calls() - before;
	TH_LOG("%ld calls to free them", calls);
	EXPECT_GE(2 * BIG / BLOCK, calls);
}

/*
 * Memory policy
 */

/* How many pages of the mapping at @p are on @node, by numa_maps. */
static long pages_on_node(const void *p, int node)
{
	FILE *f = fopen("/proc/self/numa_maps", "re");
	char line[1024], word[16], *found;
	long pages = -1;

	sprintf(word, " N%d=", node);
	while (f && fgets(line, sizeof(line), f)) {
		if (strtoul(line, NULL, 16) != (unsigned long)p)
			continue;
		found = strstr(line, word);
		pages = found ? atol(found + strlen(word)) : 0;
	}
	if (f)
		fclose(f);
	return pages;
}

FIXTURE(policy) {
	size_t nr;
	char *p;
};

FIXTURE_VARIANT(policy) {
	int mode;
	unsigned long nodes;
	int percent[2];		/* of the pages, by node */
};

FIXTURE_VARIANT_ADD(policy, bind_0) {
	.mode = MPOL_BIND, .nodes = 1, .percent = { 100, 0 },
};

FIXTURE_VARIANT_ADD(policy, bind_1) {
	.mode = MPOL_BIND, .nodes = 2, .percent = { 0, 100 },
};

FIXTURE_VARIANT_ADD(policy, preferred_0) {
	.mode = MPOL_PREFERRED, .nodes = 1, .percent = { 100, 0 },
};

FIXTURE_VARIANT_ADD(policy, preferred_1) {
	.mode = MPOL_PREFERRED, .nodes = 2, .percent = { 0, 100 },
};

FIXTURE_VARIANT_ADD(policy, interleave) {
	.mode = MPOL_INTERLEAVE, .nodes = 3, .percent = { 50, 50 },
};

FIXTURE_SETUP(policy)
{
	self->nr = 64;
	self->p = map_secret(self->nr * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->p);
}

FIXTURE_TEARDOWN(policy)
{
	munmap(self->p, self->nr * page_size);
}

/* Let the pool keep memory on the @nodes: both, one or none. */
static void keep_on_nodes(struct __test_metadata *_metadata, unsigned long nodes)
{
	const size_t size = 2 * page_size;
	char *p = map_secret(size);

	ASSERT_TRUE(give_spare_memory_back());
	if (nodes) {
		ASSERT_EQ(0, syscall(SYS_mbind, p, size, MPOL_INTERLEAVE, &nodes,
				     sizeof(nodes) * 8, 0));
		fill(p, size, 1);
	}
	munmap(p, size);
}

static void expect_shares(struct __test_metadata *_metadata,
			  const struct _test_data_policy *self,
			  const int *percent)
{
	fill(self->p, self->nr * page_size, 1);
	EXPECT_EQ(self->nr * percent[0] / 100, pages_on_node(self->p, 0));
	EXPECT_EQ(self->nr * percent[1] / 100, pages_on_node(self->p, 1));
}

TEST_F(policy, of_a_mapping_is_honoured)
{
	unsigned long kept;
	char *p = self->p;

	if (memory_nodes() < 2)
		SKIP(return, "only one node with memory");
	for (kept = 0; kept < 4; kept++) {
		keep_on_nodes(_metadata, kept);
		ASSERT_EQ(0, syscall(SYS_mbind, p, self->nr * page_size,
				     variant->mode, &variant->nodes,
				     sizeof(variant->nodes) * 8, 0));
		expect_shares(_metadata, self, variant->percent);
		munmap(p, self->nr * page_size);
		p = map_secret(self->nr * page_size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		self->p = p;
	}
}

TEST_F(policy, of_a_task_is_honoured)
{
	if (memory_nodes() < 2)
		SKIP(return, "only one node with memory");
	keep_on_nodes(_metadata, 3);
	ASSERT_EQ(0, syscall(SYS_set_mempolicy, variant->mode, &variant->nodes,
			     sizeof(variant->nodes) * 8));
	expect_shares(_metadata, self, variant->percent);
}

/*
 * As for shared memory, the policy applies to fallocate(), and to each process
 * that maps the range.
 */
TEST_F(policy, of_a_range_is_the_files)
{
	size_t size = self->nr * page_size;
	int fd = secret_file(size);
	char *other = map_shared(fd, size);
	pid_t pid;

	if (memory_nodes() < 2)
		SKIP(return, "only one node with memory");
	munmap(self->p, size);
	self->p = map_shared(fd, size);
	ASSERT_NE(MAP_FAILED, (void *)self->p);
	ASSERT_NE(MAP_FAILED, (void *)other);
	ASSERT_EQ(0, syscall(SYS_mbind, self->p, size, variant->mode,
			     &variant->nodes, sizeof(variant->nodes) * 8, 0));
	ASSERT_EQ(0, fallocate(fd, 0, 0, size / 4));
	fill(other + size / 4, size / 4, 1);
	pid = fork();
	if (!pid) {
		fill(other + size / 2, size / 2, 1);
		_exit(0);
	}
	ASSERT_EQ(0, wait_status(pid));
	expect_shares(_metadata, self, variant->percent);
	munmap(other, size);
	close(fd);
}

TEST_HARNESS_MAIN
