// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing that looks at single pages moves a secret one, drops it or loses it:
 * caches that are dropped, page idle tracking, KSM, khugepaged, soft offlining,
 * and moves from one memory node to another. Ordinary memory is the control:
 * what leaves secret pages alone has to be seen at work there.
 *
 * Needs two memory nodes and NUMA balancing ("numa_balancing=enable").
 */
#define _GNU_SOURCE
#include "movement_pages.h"

#include <sched.h>

#define KPF_THP		22
#define KSM		"/sys/kernel/mm/ksm/"
#define CACHED_DISK	"/dev/ram1"

static bool is_huge(const char *p)
{
	return frame_has_flag(page_frame(p), KPF_THP);
}

static long read_number(const char *path)
{
	char text[64];

	return read_text(path, text, sizeof(text)) ? -1 : atol(text);
}

/* Map 2 MiB at an aligned address, where a huge page fits. */
static char *map_aligned(int fd, int flags)
{
	const size_t size = 2 * MB;
	char *p = map_plain(2 * size);

	p = (char *)(((uintptr_t)p + size - 1) & -size);
	return mmap(p, size, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);
}

/* How many pages of the disk, the control, are in the page cache. */
static int cached_pages(size_t size)
{
	int fd = open(CACHED_DISK, O_RDONLY | O_CLOEXEC), n;
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	n = p == MAP_FAILED ? -1 : resident_pages(p, size);
	munmap(p, size);
	close(fd);
	return n;
}

TEST_F(pages, are_not_dropped_with_caches)
{
	int fd = open(CACHED_DISK, O_RDONLY | O_CLOEXEC);
	char text[2] = "1";

	if (fd < 0)
		SKIP(return, "no " CACHED_DISK);
	for (; text[0] <= '3'; text[0]++) {
		ASSERT_EQ(self->size, pread(fd, self->plain, self->size, 0));
		EXPECT_EQ(self->nr, cached_pages(self->size));
		EXPECT_EQ(0, timed_write("/proc/sys/vm/drop_caches", text));
		EXPECT_EQ(text[0] & 1 ? 0 : self->nr,
			  cached_pages(self->size));
	}
}

TEST_F(pages, are_not_dropped_or_written_by_descriptor)
{
	static const int advice[] = {
		POSIX_FADV_NORMAL, POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL,
		POSIX_FADV_WILLNEED, POSIX_FADV_NOREUSE, POSIX_FADV_DONTNEED,
	};
	int disk = open(CACHED_DISK, O_RDONLY | O_CLOEXEC), fd;
	size_t i, k;

	if (disk < 0)
		SKIP(return, "no " CACHED_DISK);
	ASSERT_EQ(self->size, pread(disk, self->plain, self->size, 0));
	EXPECT_EQ(0, posix_fadvise(disk, 0, self->size, POSIX_FADV_DONTNEED));
	EXPECT_EQ(0, cached_pages(self->size));

	/* They may fail, or do something harmless. */
	for (k = 0; k < ARRAY_SIZE(pasts); k++) {
		fd = self->secrets.area[k].fd;
		for (i = 0; i < ARRAY_SIZE(advice); i++)
			posix_fadvise(fd, 0, 0, advice[i]);
		readahead(fd, 0, self->secrets.size);
		sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE |
				SYNC_FILE_RANGE_WRITE |
				SYNC_FILE_RANGE_WAIT_AFTER);
		fdatasync(fd);
		fsync(fd);
		syncfs(fd);
	}
	sync();
}

TEST_F(pages, stay_when_references_are_cleared)
{
	static const char * const values[] = { "1", "2", "3", "4", "5" };
	long referenced;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++)
		EXPECT_EQ(0, timed_write("/proc/self/clear_refs", values[i]));

	touch(self->plain, self->size);
	referenced = read_field("/proc/self/smaps_rollup", "Referenced");
	EXPECT_EQ(0, timed_write("/proc/self/clear_refs", "1"));
	EXPECT_GE(referenced - (long)(self->size >> 10),
		  read_field("/proc/self/smaps_rollup", "Referenced"));
}

TEST_F(pages, are_not_tracked_by_number)
{
	if (access("/sys/kernel/mm/page_idle/bitmap", W_OK))
		SKIP(return, "kernel without IDLE_PAGE_TRACKING");
	EXPECT_TRUE(set_idle(page_frame(self->plain)));
	EXPECT_EQ(0, count_frames(&self->secrets, set_idle));
}

TEST_F(pages, are_not_replaced_by_number)
{
	unsigned long long frame = page_frame(self->plain);

	if (access(MEMORY "soft_offline_page", W_OK))
		SKIP(return, "kernel without MEMORY_FAILURE");
	EXPECT_TRUE(soft_offline(frame));
	EXPECT_NE(frame, page_frame(self->plain));
	EXPECT_TRUE(are_filled(self->plain, self->size, 1));
	EXPECT_EQ(0, count_frames(&self->secrets, soft_offline));
}

TEST_F(pages, are_not_merged_with_equal_ones)
{
	const size_t size = self->secrets.size;
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	char *one, *two, *end;
	size_t k;

	if (access(KSM "run", W_OK))
		SKIP(return, "kernel without KSM");
	one = map_plain(size);
	two = map_plain(size);
	fill_alike(one, size, self->secrets.seed);
	fill_alike(two, size, self->secrets.seed);
	EXPECT_EQ(0, madvise(one, size, MADV_MERGEABLE));
	EXPECT_EQ(0, madvise(two, size, MADV_MERGEABLE));
	for (k = 0; k < ARRAY_SIZE(pasts); k++)
		if (self->secrets.area[k].mem)
			madvise(self->secrets.area[k].mem, size,
				MADV_MERGEABLE);

	end = two + size - page_size;
	ASSERT_TRUE(set(KSM "pages_to_scan", "1000"));
	ASSERT_TRUE(set(KSM "run", "1"));
	while (page_frame(one) != page_frame(end) && !reached(deadline))
		;
	EXPECT_EQ(page_frame(one), page_frame(end));
}

TEST_F(pages, give_no_place_to_huge_pages)
{
	const size_t size = 2 * MB, nr = size / page_size;
	int fd = secret_file(size), shmem = plain_file(size);
	char *secret = map_aligned(fd, MAP_SHARED), *anonymous, *shared;
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	unsigned long long *before;
	long scans;

	if (!set(THP "enabled", "madvise"))
		SKIP(return, "kernel without TRANSPARENT_HUGEPAGE");
	ASSERT_TRUE(set(THP "shmem_enabled", "never"));
	anonymous = map_aligned(-1, MAP_PRIVATE | MAP_ANONYMOUS);
	shared = map_aligned(shmem, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	ASSERT_NE(MAP_FAILED, (void *)anonymous);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	fill_alike(secret, size, 1);
	fill_alike(anonymous, size, 2);
	fill_alike(shared, size, 3);
	EXPECT_FALSE(is_huge(anonymous));
	EXPECT_FALSE(is_huge(shared));
	before = read_pagemap(secret, nr);

	/* All pages are small so far; now let khugepaged look at them. */
	ASSERT_TRUE(set(THP "shmem_enabled", "advise"));
	ASSERT_TRUE(set(THP "khugepaged/pages_to_scan", "4096"));
	EXPECT_EQ(0, madvise(secret, size, MADV_HUGEPAGE));
	EXPECT_EQ(0, madvise(anonymous, size, MADV_HUGEPAGE));
	EXPECT_EQ(0, madvise(shared, size, MADV_HUGEPAGE));
	ASSERT_TRUE(set(THP "khugepaged/scan_sleep_millisecs", "10"));
	do {
		touch(anonymous, size);
		touch(shared, size);
	} while (!(is_huge(anonymous) && is_huge(shared)) &&
		 !reached(deadline));
	EXPECT_TRUE(is_huge(anonymous));
	EXPECT_TRUE(is_huge(shared));
	scans = read_number(THP "khugepaged/full_scans") + 2;
	while (read_number(THP "khugepaged/full_scans") < scans &&
	       !reached(deadline))
		;
	EXPECT_LE(scans, read_number(THP "khugepaged/full_scans"));

	EXPECT_EQ(nr, resident_pages(secret, size));
	EXPECT_TRUE(are_filled(secret, size, 1));
	EXPECT_EQ(0, pages_moved(secret, nr, before));
	EXPECT_FALSE(is_huge(secret));
	munmap(secret, size);
}

TEST_F(pages, do_not_follow_their_process_to_another_node)
{
	unsigned long nodes = nodes_with_memory(), from, to;
	unsigned long long *before;

	if (nodes != 3)
		SKIP(return, "not two nodes with memory");
	for (from = 1; from <= 2; from++) {
		to = 3 - from;
		syscall(SYS_migrate_pages, 0, sizeof(to) * 8, &to, &from);
		before = read_pagemap(self->plain, self->nr);
		EXPECT_LE(0, syscall(SYS_migrate_pages, 0, sizeof(to) * 8,
				     &from, &to));
		EXPECT_EQ(self->nr,
			  pages_moved(self->plain, self->nr, before));
		free(before);
	}
}

/* Use pages for @seconds of CPU time. */
static void use_pages(const char *a, const char *b, size_t size, int seconds)
{
	clock_t end = clock() + seconds * CLOCKS_PER_SEC;

	while (clock() < end) {
		touch(a, size);
		touch(b, size);
	}
}

/*
 * The process runs on node 0 and its memory is on node 1, though it did not ask
 * for that: the kernel looks at the pages it uses, and moves them.
 */
TEST_F(pages, do_not_come_to_where_they_are_used)
{
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	long updates = read_vmstat("numa_pte_updates");
	const size_t nr = 256, size = nr * page_size;
	unsigned long long *before, *secret_before;
	char *plain, *secret;
	cpu_set_t first;

	if (nodes_with_memory() != 3)
		SKIP(return, "not two nodes with memory");
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(first), &first));
	ASSERT_EQ(0, bind_memory(1));
	plain = map_plain(size);
	secret = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)plain);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	fill_alike(plain, size, 1);
	/* The other half is only read. */
	fill_alike(secret, size / 2, 2);
	touch(secret, size);
	before = read_pagemap(plain, nr);
	secret_before = read_pagemap(secret, nr);
	ASSERT_EQ(0, bind_memory(-1));

	do {
		use_pages(plain, secret, size, 1);
	} while (pages_moved(plain, nr, before) < nr / 2 && !reached(deadline));
	if (updates == read_vmstat("numa_pte_updates"))
		SKIP(return, "no NUMA balancing");
	EXPECT_LE(nr / 2, pages_moved(plain, nr, before));
	use_pages(secret, secret, size, 2);

	EXPECT_EQ(nr, resident_pages(secret, size));
	EXPECT_TRUE(are_filled(secret, size / 2, 2));
	EXPECT_TRUE(is_zero(secret + size / 2, size / 2));
	EXPECT_EQ(0, pages_moved(secret, nr, secret_before));
	munmap(secret, size);
}

TEST_HARNESS_MAIN
