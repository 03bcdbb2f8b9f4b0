// SPDX-License-Identifier: GPL-2.0
/*
 * The size of the file can be set at any time, and there is no memory beyond
 * it.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

TEST(first_ftruncate_sets_the_size)
{
	int fd = memfd_secret(0);

	EXPECT_EQ(0, ftruncate(fd, 3 * page_size + 5));
	EXPECT_EQ(3 * page_size + 5, size_of(fd));
}

#define MAPPED 4

/* A file of one and a half pages with contents, mapped beyond its end. */
FIXTURE(second) {
	int fd;
	off_t size;
	off_t second;
	char *mem;
};

FIXTURE_VARIANT(second) {
	int half_pages;
	int bytes;
};

FIXTURE_VARIANT_ADD(second, to_nothing) { .half_pages = 0 };
FIXTURE_VARIANT_ADD(second, to_a_byte) { .half_pages = 0, 1 };
FIXTURE_VARIANT_ADD(second, to_less_than_a_page) { .half_pages = 2, -1 };
FIXTURE_VARIANT_ADD(second, to_a_page) { .half_pages = 2 };
FIXTURE_VARIANT_ADD(second, to_less_of_the_last_page) { .half_pages = 3, -7 };
FIXTURE_VARIANT_ADD(second, to_the_same) { .half_pages = 3 };
FIXTURE_VARIANT_ADD(second, to_more_of_the_last_page) { .half_pages = 3, 7 };
FIXTURE_VARIANT_ADD(second, to_whole_pages) { .half_pages = 4 };
FIXTURE_VARIANT_ADD(second, to_more_pages) { .half_pages = 6, 1 };

FIXTURE_SETUP(second)
{
	self->size = page_size + page_size / 2;
	self->second = variant->half_pages * page_size / 2 + variant->bytes;
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, MAPPED * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, self->size, 1);
}

FIXTURE_TEARDOWN(second)
{
	size_t left = self->second < self->size ? self->second : self->size;
	size_t pages = (self->second + page_size - 1) / page_size;
	size_t i;

	EXPECT_EQ(self->second, size_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, left, 1));
	/* The rest of the last page is visible. */
	EXPECT_TRUE(is_zero(self->mem + left, pages * page_size - left));
	for (i = pages; i < MAPPED; i++)
		EXPECT_EQ(SIGBUS, probe_read(self->mem + i * page_size));
	EXPECT_EQ(pages, resident_pages(self->mem, MAPPED * page_size));

	EXPECT_EQ(0, ftruncate(self->fd, MAPPED * page_size));
	EXPECT_TRUE(is_filled(self->mem, left, 1));
	EXPECT_TRUE(is_zero(self->mem + left, MAPPED * page_size - left));
}

TEST_F(second, ftruncate_sets_the_size)
{
	EXPECT_EQ(0, ftruncate(self->fd, self->second));
}

TEST_F(second, truncate_by_path_sets_the_size)
{
	char path[64];

	sprintf(path, "/proc/self/fd/%d", self->fd);
	EXPECT_EQ(0, truncate(path, self->second));
}

TEST_F(second, ftruncate_sets_the_size_of_what_is_not_mapped)
{
	ASSERT_EQ(0, munmap(self->mem, MAPPED * page_size));
	EXPECT_EQ(0, ftruncate(self->fd, self->second));
	self->mem = map_shared(self->fd, MAPPED * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
}

TEST(what_is_behind_the_end_is_not_part_of_a_larger_file)
{
	int fd = secret_file(100);
	char *p = map_shared(fd, 2 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, 1);
	ASSERT_EQ(0, ftruncate(fd, page_size + 1));
	EXPECT_TRUE(is_filled(p, 100, 1));
	EXPECT_TRUE(is_zero(p + 100, 2 * page_size - 100));
}

TEST(all_mappings_lose_what_is_cut)
{
	int fd = secret_file(3 * page_size), ready[2], go[2];
	char *p = map_shared(fd, 3 * page_size);
	char *q = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd,
		       2 * page_size);
	pid_t pid;
	char c;

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_NE(MAP_FAILED, (void *)q);
	fill(p, 3 * page_size, 1);
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		close(go[1]);
		/* The child has its own page tables, and uses them. */
		if (!is_filled(p, 3 * page_size, 1) ||
		    write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(is_filled(p, page_size, 1) &&
		      probe_read(p + page_size) == SIGBUS &&
		      probe_write(p + 2 * page_size, 1) == SIGBUS ? 0 : 2);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	ASSERT_EQ(0, ftruncate(fd, page_size));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(SIGBUS, probe_read(q));
	ASSERT_EQ(0, ftruncate(fd, 3 * page_size));
	EXPECT_TRUE(is_zero(q, page_size));
}

TEST(what_is_cut_is_no_secret_memory_any_more)
{
	long before = secret_kb();
	size_t size = 64 * page_size;
	int fd = secret_file(size);
	char *p = map_shared(fd, size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, size, 1);
	EXPECT_EQ((long)(size >> 10), secret_kb() - before);
	ASSERT_EQ(0, ftruncate(fd, page_size));
	EXPECT_EQ((long)(page_size >> 10), secret_kb() - before);
}

TEST(blocks_and_times_are_those_of_the_file)
{
	int fd = secret_file(3 * page_size);
	char *p = map_shared(fd, 3 * page_size);
	struct stat before, after;

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, fstat(fd, &before));
	EXPECT_EQ(0, before.st_blocks);
	fill(p, 2 * page_size, 1);
	/* File times advance with each tick. */
	do {
		ASSERT_EQ(0, ftruncate(fd, 2 * page_size));
		ASSERT_EQ(0, fstat(fd, &after));
	} while (after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
		 after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	EXPECT_EQ(2 * page_size / 512, after.st_blocks);
	EXPECT_EQ(after.st_mtim.tv_nsec, after.st_ctim.tv_nsec);
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, fstat(fd, &after));
	EXPECT_EQ(0, after.st_blocks);
}

TEST(negative_size_fails)
{
	int fd = memfd_secret(0);

	EXPECT_EQ(-1, ftruncate(fd, -1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(fd, LLONG_MIN));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, size_of(fd));
}

TEST(file_size_limit_holds)
{
	struct rlimit limit = { .rlim_cur = page_size, .rlim_max = page_size };
	int fd = memfd_secret(0);
	pid_t pid;

	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		_exit(ftruncate(fd, page_size + 1));
	}
	EXPECT_EQ(128 + SIGXFSZ, wait_status(pid));

	signal(SIGXFSZ, SIG_IGN);
	EXPECT_EQ(-1, ftruncate(fd, page_size + 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(0, size_of(fd));
	EXPECT_EQ(0, ftruncate(fd, page_size));
}

TEST(touch_beyond_the_last_page_gives_SIGBUS)
{
	char *p = map_shared(secret_file(2 * page_size), 4 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(SIGBUS, probe_read(p + 2 * page_size));
	EXPECT_EQ(SIGBUS, probe_write(p + 2 * page_size, 1));
	EXPECT_EQ(SIGBUS, probe_write(p + 4 * page_size - 1, 1));
	EXPECT_EQ(0, probe_write(p + 2 * page_size - 1, 1));
}

TEST(whole_last_page_of_an_odd_size_is_there)
{
	char *p = map_shared(secret_file(page_size + 1), 3 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, probe_read(p + page_size));
	EXPECT_TRUE(is_zero(p + page_size, page_size));
	fill(p + page_size, page_size, 1);
	EXPECT_TRUE(is_filled(p + page_size, page_size, 1));
	EXPECT_EQ(SIGBUS, probe_read(p + 2 * page_size));
}

TEST(empty_file_can_be_mapped_and_has_no_memory)
{
	char *p = map_shared(memfd_secret(0), page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(SIGBUS, probe_read(p));
	EXPECT_EQ(SIGBUS, probe_write(p, 1));
}

TEST(size_set_after_mmap_gives_memory)
{
	int fd = memfd_secret(0);
	char *p = map_shared(fd, 2 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(SIGBUS, probe_read(p));
	ASSERT_EQ(0, ftruncate(fd, page_size));
	EXPECT_EQ(0, probe_write(p, 1));
	EXPECT_EQ(SIGBUS, probe_read(p + page_size));
}

TEST(system_call_on_memory_beyond_the_end_gives_EFAULT)
{
	char *p = map_shared(secret_file(page_size), 2 * page_size);
	int fds[2];

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, write(fds[1], p + page_size, 1));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(1, write(fds[1], p, 1));
	EXPECT_EQ(-1, read(fds[0], p + page_size, 1));
	EXPECT_EQ(EFAULT, errno);
}

/* The largest file, and the offset of its last whole page. */
FIXTURE(largest) {
	int fd;
	off_t size;
	off_t last;
};

FIXTURE_SETUP(largest)
{
	/* With 32 bits the page index is the limit. */
	self->size = sizeof(long) == 8 ? LLONG_MAX :
					 (off_t)ULONG_MAX * page_size;
	self->fd = secret_file(self->size);
	ASSERT_LE(0, self->fd);
	self->last = self->size - self->size % page_size - page_size;
}

FIXTURE_TEARDOWN(largest)
{
	close(self->fd);
}

TEST_F(largest, file_has_its_size)
{
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_EQ(0, ftruncate(self->fd, self->size));
	EXPECT_EQ(self->size, size_of(self->fd));
}

TEST_F(largest, file_has_memory_at_both_ends)
{
	char *first = map_shared(self->fd, page_size);
	char *last = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  self->fd, self->last);

	ASSERT_NE(MAP_FAILED, (void *)first);
	ASSERT_NE(MAP_FAILED, (void *)last);
	fill(first, page_size, 1);
	EXPECT_TRUE(is_zero(last, page_size));
	fill(last, page_size, 2);
	EXPECT_TRUE(is_filled(first, page_size, 1));
}

TEST_F(largest, file_can_be_cut_before_its_last_page)
{
	char *last = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  self->fd, self->last);

	ASSERT_NE(MAP_FAILED, (void *)last);
	fill(last, page_size, 1);
	ASSERT_EQ(0, ftruncate(self->fd, self->last + 1));
	EXPECT_TRUE(is_filled(last, 1, 1));
	EXPECT_TRUE(is_zero(last + 1, page_size - 1));
	ASSERT_EQ(0, ftruncate(self->fd, self->last));
	EXPECT_EQ(SIGBUS, probe_read(last));
	ASSERT_EQ(0, ftruncate(self->fd, self->size));
	EXPECT_TRUE(is_zero(last, page_size));
}

TEST_F(largest, mmap_past_the_largest_offset_fails)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4 * page_size, PROT_READ, MAP_SHARED,
				   self->fd, self->last));
	EXPECT_EQ(EOVERFLOW, errno);
	/* The C library rejects such offsets there. */
	if (sizeof(long) != 8)
		return;
	/* The first page index is negative, and the range wraps around 2^64. */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_SHARED,
				   self->fd, LLONG_MIN));
	EXPECT_EQ(EOVERFLOW, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * page_size, PROT_READ, MAP_SHARED,
				   self->fd, -(off_t)page_size));
	EXPECT_EQ(EOVERFLOW, errno);
}

TEST_F(largest, mremap_past_the_largest_offset_gives_no_memory)
{
	char *p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, self->last);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(map_shared(self->fd, 2 * page_size), 2 * page_size, 1);
	p = mremap(p, page_size, 8 * page_size, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return;
	EXPECT_EQ(0, probe_write(p + page_size, 1));
	EXPECT_EQ(SIGBUS, probe_read(p + 2 * page_size));
	EXPECT_EQ(SIGBUS, probe_write(p + 2 * page_size, 1));
	EXPECT_EQ(SIGBUS, probe_write(p + 7 * page_size, 1));
}

TEST(mmap_at_an_odd_offset_fails)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_SHARED,
				   secret_file(2 * page_size), 512));
	EXPECT_EQ(EINVAL, errno);
}

TEST_HARNESS_MAIN
