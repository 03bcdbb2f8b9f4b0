// SPDX-License-Identifier: GPL-2.0
/*
 * What secret memory takes from the rest of the system: it comes in blocks of 2 MiB,
 * shared by all files, and goes back as it came, or in pieces if memory is short.
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
#define SPARSE		16		/* blocks of which one page each is used */
#define STREAM		"/dev/ram0"	/* that nothing was written to */

/* What is off the direct map, by the kernel's own account. */
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

/* One block a node may be kept for the next secret. */
static long kept_kb(void)
{
	return memory_nodes() * BLOCK_KB;
}

/* What was freed goes back after a moment. */
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

/* True also if there are no nodes. */
static bool use_first_node(void)
{
	const unsigned long first_node = 1;

	return !syscall(SYS_set_mempolicy, MPOL_BIND, &first_node,
			sizeof(first_node) * 8) || errno == ENOSYS;
}

/* Of the lines of /proc/interrupts that count calls from one CPU to others. */
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

/* Runs as a user without any capability. */
static bool become_nobody(void)
{
	return !setresuid(NOBODY, NOBODY, NOBODY);
}

/* A key that comes or goes is nobody's business but the administrator's. */
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
 * One page of each block is used, and the others are free, as far as there are whole
 * blocks to be had.
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

/* Of what was read from disks, or is not in use: how much reclaim took so far. */
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

/* Reads until memory is full and reclaim has made room for @size bytes more. */
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

/* To ask for what can be had is no need, and to need page cache is no shortage. */
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
	/* It takes long where each page is unmapped, and nothing can be split there. */
	EXPECT_TRUE(frees_unmap() || stream(BIG));
	EXPECT_EQ(spare, spare_kb());
	EXPECT_EQ(split, read_field(POOL_EVENTS, "blocks_split"));
	if (!frees_unmap())
		EXPECT_EQ(small, read_field("/proc/meminfo", "DirectMap4k"));
	EXPECT_TRUE(end_sparse_blocks(kept, SPARSE));
}

/* Small steps to the end of memory, and large ones as long as that is far away. */
static long pressure_step(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		return page_size;
	return info.freeram * info.mem_unit > 64 * MB ? MB : 16 * page_size;
}

/*
 * Ordinary memory is touched until the pool has no more than @kb. If it is only @lent,
 * the kernel can have it again at once: memory is short then, and nobody is killed.
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
 * As many blocks as a user can spoil are not in the way if memory is needed, but for
 * one in which too little is free to be worth a large page and a page table.
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
	/* It is in these blocks, beside what is used there already. */
	touch_all(full, size);
	EXPECT_TRUE(spare_falls_under_pressure(few_kb, false));
	EXPECT_EQ(few_kb, spare_kb());
	EXPECT_LE(split + SPARSE - 1, read_field(POOL_EVENTS, "blocks_split"));

	/* What comes back later goes at once, but for the block that is whole. */
	EXPECT_TRUE(end_sparse_blocks(kept, SPARSE));
	EXPECT_TRUE(spare_falls_to(few_kb + (page_size >> 10)));
	munmap(full, size);
}

/* Who opens and closes large files does not zero, unmap and flush each time. */
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
		/* What goes at once is gone by then. */
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
	/* Both from the same node. */
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

/* What has happened since @since, if that is given. */
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

	/* One page of a block stays. */
	kept[0] = 1;
	ASSERT_TRUE(give_spare_memory_back());
	ASSERT_TRUE(count_events(events, before));
	EXPECT_EQ(1, events[BLOCKS_SPLIT]);
	EXPECT_EQ(1, events[PAGES_TAKEN] - events[PAGES_RETURNED]);
	munmap(kept, page_size);
	EXPECT_TRUE(give_spare_memory_back());
}

/* Fewer for whole blocks, but whoever waits for the CPU ends a round early. */
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
	/* Before blocks are given back, for which there may be time already. */
	EXPECT_GE(BIG / BLOCK, events[FLUSHES]);
}

/*
 * A page that was wiped is not used again before all CPUs have flushed, so a block is
 * not enough for more secrets than it has pages; but one flush is, for many.
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

/* How many pages of the mapping at @p are on @node, as numa_maps has it. */
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
	int percent[2];		/* of the pages, on which node */
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

/* What is kept for the next secret is on both nodes, or on one, or there is none. */
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

/* As for shared memory: it counts for fallocate() and for whoever maps the range. */
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
