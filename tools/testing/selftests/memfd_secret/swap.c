// SPDX-License-Identifier: GPL-2.0
/*
 * Secret pages are not swapped out, and reclaim does not get stuck on them.
 * Ordinary memory is the control: most of it has to be on the disk.
 *
 * Needs a blank disk to swap to.
 */
#define _GNU_SOURCE
#include "cgroup.h"
#include "movement.h"
#include "swapspace.h"

#include <sys/uio.h>

#define PM_SWAP		62
#define SWAP_DISK	"/dev/vda"
#define SWAP_SIZE	(16 * MB)

static size_t swapped_pages(const char *p, size_t nr)
{
	unsigned long long *entry = read_pagemap(p, nr);
	size_t i, swapped = 0;

	for (i = 0; i < nr; i++)
		swapped += entry[i] >> PM_SWAP & 1;
	free(entry);
	return swapped;
}

/* Swap to the disk; false if there is none, or if it is not blank. */
static bool swap_on(void)
{
	int fd = open(SWAP_DISK, O_RDWR | O_EXCL | O_CLOEXEC);
	char *start = map_plain(MB);
	bool blank;

	if (fd < 0)
		return false;
	blank = lseek(fd, 0, SEEK_END) >= (off_t)SWAP_SIZE &&
		pread(fd, start, MB, 0) == (ssize_t)MB && is_zero(start, MB);
	munmap(start, MB);
	close(fd);
	return blank && make_swap(SWAP_DISK, SWAP_SIZE / page_size) &&
	       !swapon(SWAP_DISK, 0);
}

/* Blank the part of the disk that swap_on() looks at. */
static void swap_off(void)
{
	char *zeros = map_plain(MB);
	int fd;

	swapoff(SWAP_DISK);
	fd = open(SWAP_DISK, O_RDWR | O_EXCL | O_CLOEXEC);
	if (pwrite(fd, zeros, MB, 0) != (ssize_t)MB)
		perror(SWAP_DISK);
	munmap(zeros, MB);
	close(fd);
}

/* How often the first bytes of a pattern are in the swap space on the disk. */
static int count_on_disk(unsigned int seed)
{
	int fd = open(SWAP_DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *buf = map_plain(MB), *p, key[32];
	int count = 0;
	off_t at;

	fill(key, sizeof(key), seed);
	for (at = 0; at < (off_t)SWAP_SIZE; at += MB) {
		if (pread(fd, buf, MB, at) != (ssize_t)MB)
			return -1;
		for (p = buf; (p = memmem(p, buf + MB - p, key, sizeof(key)));
		     p++)
			count++;
	}
	munmap(buf, MB);
	close(fd);
	return count;
}

/*
 * Secret pages of every past, and many ordinary ones, in a memory cgroup on a
 * machine that swaps.
 */
struct swap {
	struct secrets secrets;
	bool disk;
	bool in_group;
	struct cgroup group;
	char *plain;
	size_t nr;
	size_t size;
	unsigned int seed;
};

FIXTURE(swap) {
	struct swap swap;
};

FIXTURE_SETUP(swap)
{
	struct swap *s = &self->swap;

	s->disk = swap_on();
	s->in_group = cgroup_create(&s->group) &&
		write_in(s->group.dir, "cgroup.procs", "0");

	make_secrets(_metadata, &s->secrets, 64);
	s->size = 12 * MB;
	s->nr = s->size / page_size;
	s->seed = s->secrets.seed + 1;
	s->plain = map_plain(s->size);
	ASSERT_NE(MAP_FAILED, (void *)s->plain);
	fill_alike(s->plain, s->size, s->seed);
}

FIXTURE_TEARDOWN(swap)
{
	struct swap *s = &self->swap;

	EXPECT_TRUE(are_filled(s->plain, s->size, s->seed));
	check_secrets(_metadata, &s->secrets);
	munmap(s->plain, s->size);
	if (s->disk) {
		EXPECT_EQ(0, count_on_disk(s->secrets.seed));
		swap_off();
	}
	write_in(s->group.root, "cgroup.procs", "0");
	cgroup_destroy(&s->group);
}

/* The control: most of the ordinary memory has to be swapped out. */
static void limit_group(struct __test_metadata *_metadata,
			const struct swap *s, const char *limit)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", s->group.dir, limit);
	EXPECT_EQ(0, timed_write(path, "4M"));
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	touch(s->plain, s->size);
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

TEST_F(swap, does_not_take_them_from_a_group_over_its_limit)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	if (!s->in_group)
		SKIP(return, "kernel without MEMCG");
	limit_group(_metadata, s, "memory.max");
}

TEST_F(swap, does_not_take_them_from_a_throttled_group)
{
	struct swap *s = &self->swap;
	const size_t size = 2 * MB;
	time_t start = time(NULL);
	char *p;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	if (!s->in_group)
		SKIP(return, "kernel without MEMCG");
	limit_group(_metadata, s, "memory.high");

	/* Ordinary memory is swapped out to make room for new secret pages. */
	p = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill_alike(p, size, s->secrets.seed);
	EXPECT_GT(LIMIT_SECONDS, time(NULL) - start);
	EXPECT_TRUE(are_filled(p, size, s->secrets.seed));
	munmap(p, size);
	write_in(s->group.dir, "memory.high", "max");
}

static const int advices[] = {
	MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_DONTNEED,
};

static void advise(const struct secrets *s, int advice)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->area[i].mem)
			madvise(s->area[i].mem, s->size, advice);
}

TEST_F(swap, does_not_take_them_on_advice)
{
	struct swap *s = &self->swap;
	size_t i;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	/* Advice may be refused, or do something harmless. */
	for (i = 0; i < ARRAY_SIZE(advices); i++)
		advise(&s->secrets, advices[i]);
	EXPECT_EQ(0, madvise(s->plain, s->size, MADV_PAGEOUT));
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

/*
 * After fork() a child's mappings are not locked any more, including those of
 * secret files. This child is the only one that maps them, and has ordinary
 * pages as well.
 */
static void advised_child(const struct swap *s, int go, int ready,
			  bool by_itself)
{
	bool good = true;
	size_t i;
	char c;

	fill_alike(s->plain, s->size, s->seed);
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->secrets.area[i].mem)
			touch(s->secrets.area[i].mem, s->secrets.size);
	if (write(ready, "", 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	if (by_itself) {
		madvise(s->plain, s->size, MADV_PAGEOUT);
		for (i = 0; i < ARRAY_SIZE(advices); i++)
			advise(&s->secrets, advices[i]);
	}
	if (swapped_pages(s->plain, s->nr) < s->nr / 2)
		_exit(2);
	for (i = 0; i < ARRAY_SIZE(pasts); i++) {
		const struct area *area = &s->secrets.area[i];

		if (!area->mem)
			continue;
		touch(area->mem, s->secrets.size);
		good &= !pages_moved(area->mem, s->secrets.nr,
				     area->before);
	}
	_exit(good ? 0 : 3);
}

/* Give advice for all mappings of another process. */
static void advise_child(const struct swap *s, pid_t pid, int advice)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	struct iovec range = { s->plain, s->size };
	size_t i;

	syscall(SYS_process_madvise, pidfd, &range, 1, advice, 0);
	for (i = 0; i < ARRAY_SIZE(pasts); i++) {
		range.iov_base = s->secrets.area[i].mem;
		range.iov_len = s->secrets.size;
		if (range.iov_base)
			syscall(SYS_process_madvise, pidfd, &range, 1, advice,
				0);
	}
	close(pidfd);
}

static int run_advised_child(struct swap *s, bool by_itself)
{
	int go[2], ready[2];
	pid_t pid;
	size_t i;
	char c;

	if (pipe(go) || pipe(ready))
		return -1;
	pid = fork();
	if (!pid)
		advised_child(s, go[0], ready[1], by_itself);
	/* Advice has no effect on pages that others map too. */
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->secrets.area[i].mem)
			munmap(s->secrets.area[i].mem, s->secrets.size);
	if (read(ready[0], &c, 1) == 1 && !by_itself) {
		advise_child(s, pid, MADV_COLD);
		advise_child(s, pid, MADV_PAGEOUT);
	}
	if (write(go[1], "", 1) != 1)
		return -1;
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		s->secrets.area[i].mem = NULL;
	s->secrets.locked_kb = 0;
	return wait_status(pid);
}

TEST_F(swap, does_not_take_them_on_advice_after_fork)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	EXPECT_EQ(0, run_advised_child(s, true));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

TEST_F(swap, does_not_take_them_on_advice_from_another_process)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	EXPECT_EQ(0, run_advised_child(s, false));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

TEST_HARNESS_MAIN
