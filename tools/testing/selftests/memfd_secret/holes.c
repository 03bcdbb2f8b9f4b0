// SPDX-License-Identifier: GPL-2.0
/*
 * fallocate(), MADV_REMOVE, lseek() and msync() work as on a memfd, which is
 * the control.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <limits.h>
#include <linux/falloc.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGES	8
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

FIXTURE(file) {
	int fd;
	char *mem;
	size_t size;
};

FIXTURE_VARIANT(file) {
	bool secret;
};

FIXTURE_VARIANT_ADD(file, secret) { .secret = true };
FIXTURE_VARIANT_ADD(file, memfd) { .secret = false };

FIXTURE_SETUP(file)
{
	self->size = PAGES * page_size;
	self->fd = variant->secret ? secret_file(self->size) :
				     plain_file(self->size);
	ASSERT_LE(0, self->fd);
	self->mem = map_shared(self->fd, 2 * self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
}

FIXTURE_TEARDOWN(file)
{
	munmap(self->mem, 2 * self->size);
	close(self->fd);
}

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

/*
 * The largest size of a file in bytes; with 32 bits the page index is the
 * limit.
 */
static off_t largest_size(void)
{
	return sizeof(long) == 8 ? LLONG_MAX : (off_t)ULONG_MAX * page_size;
}

/* The pages of the file, whether they were touched or not. */
static long pages_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : (long)(st.st_blocks * 512 / page_size);
}

TEST_F(file, fallocate_brings_pages)
{
	EXPECT_EQ(0, fallocate(self->fd, 0, page_size + 1, 2 * page_size));
	EXPECT_EQ(3, pages_of(self->fd));
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_TRUE(is_zero(self->mem, self->size));
	/* Reading has added the others, so all pages exist now. */
	EXPECT_EQ(PAGES, pages_of(self->fd));
	fill(self->mem, self->size, 1);
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, self->size));
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
}

TEST_F(file, fallocate_makes_the_file_larger)
{
	fill(self->mem, self->size, 1);
	ASSERT_EQ(0, ftruncate(self->fd, self->size - 10));
	EXPECT_EQ(0, fallocate(self->fd, 0, self->size, page_size + 1));
	EXPECT_EQ(self->size + page_size + 1, size_of(self->fd));
	EXPECT_EQ(PAGES + 2, pages_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, self->size - 10, 1));
	EXPECT_TRUE(is_zero(self->mem + self->size - 10, 2 * page_size + 10));
	EXPECT_EQ(SIGBUS, probe_read(self->mem + self->size + 2 * page_size));
}

TEST_F(file, fallocate_keeps_the_size_if_asked_to)
{
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, self->size,
			       2 * page_size));
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_EQ(2, pages_of(self->fd));
	EXPECT_EQ(SIGBUS, probe_read(self->mem + self->size));
	/* Setting the same size cuts only what is beyond it. */
	EXPECT_EQ(0, ftruncate(self->fd, self->size));
	EXPECT_EQ(0, pages_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, self->size,
			       page_size));
	EXPECT_EQ(0, ftruncate(self->fd, self->size + page_size));
	EXPECT_EQ(1, pages_of(self->fd));
	EXPECT_TRUE(is_zero(self->mem + self->size, page_size));
}

TEST_F(file, last_byte_that_a_file_may_have_can_be_allocated)
{
	static const int modes[] = { FALLOC_FL_KEEP_SIZE, 0 };
	size_t i;

	fill(self->mem, self->size, 1);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, fallocate(self->fd, modes[i], largest_size() - 1,
				       1));
		EXPECT_EQ(PAGES + 1, pages_of(self->fd));
		EXPECT_EQ(i ? largest_size() : (off_t)self->size,
			  size_of(self->fd));
		/* It was not touched, so it counts as a hole. */
		EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_HOLE));
		ASSERT_EQ(0, ftruncate(self->fd, self->size));
		EXPECT_EQ(PAGES, pages_of(self->fd));
	}
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
}

/* Kill it when some pages are allocated and many are still missing. */
TEST_F(file, fallocate_that_is_killed_leaves_nothing)
{
	const off_t large = 64 << 20;
	pid_t pid;

	fill(self->mem, page_size, 1);
	pid = fork();
	if (!pid)
		_exit(fallocate(self->fd, 0, 0, large) ? 1 : 0);
	while (pages_of(self->fd) < 64 && !has_ended(pid))
		;
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, wait_status(pid));
	EXPECT_EQ(1, pages_of(self->fd));
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, page_size, 1));
}

TEST_F(file, posix_fallocate_works)
{
	EXPECT_EQ(0, posix_fallocate(self->fd, 0, self->size + 1));
	EXPECT_EQ(self->size + 1, size_of(self->fd));
	EXPECT_EQ(PAGES + 1, pages_of(self->fd));
}

TEST_F(file, modes_that_there_are_not_fail)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE, FALLOC_FL_COLLAPSE_RANGE,
		FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE, 0x80,
		PUNCH | FALLOC_FL_ZERO_RANGE,
	};
	size_t i;

	fill(self->mem, self->size, 1);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(-1, fallocate(self->fd, modes[i], 0, page_size));
		EXPECT_EQ(EOPNOTSUPP, errno);
	}
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
	EXPECT_EQ(self->size, size_of(self->fd));
}

TEST_F(file, ranges_that_can_not_be_fail)
{
	static const struct { off_t start, len; int error; } ranges[] = {
		{ -1, 1, EINVAL }, { 0, -1, EINVAL }, { 0, 0, EINVAL },
		{ LLONG_MAX, 1, EFBIG }, { 1, LLONG_MAX, EFBIG },
		{ LLONG_MAX, LLONG_MAX, EFBIG },
	};
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, PUNCH };
	size_t i, m;

	fill(self->mem, self->size, 1);
	for (m = 0; m < ARRAY_SIZE(modes); m++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			EXPECT_EQ(-1, fallocate(self->fd, modes[m],
						ranges[i].start,
						ranges[i].len));
			EXPECT_EQ(ranges[i].error, errno);
		}
	}
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_EQ(PAGES, pages_of(self->fd));
}

TEST_F(file, size_limit_holds_for_fallocate)
{
	struct rlimit limit = { .rlim_cur = self->size, .rlim_max = self->size };

	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	signal(SIGXFSZ, SIG_IGN);
	EXPECT_EQ(-1, fallocate(self->fd, 0, self->size, 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(0, pages_of(self->fd));
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, self->size, 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(0, fallocate(self->fd, 0, self->size - 1, 1));
	EXPECT_EQ(1, pages_of(self->fd));
}

struct hole {
	/* start and end in quarters of a page */
	int start;
	int end;
	int pages_gone;
};

static const struct hole holes[] = {
	{ 4, 8, 1 }, { 4, 16, 3 }, { 1, 3, 0 }, { 1, 4, 0 }, { 4, 5, 0 },
	{ 3, 5, 0 }, { 3, 9, 1 }, { 0, 4 * PAGES, PAGES }, { 1, 4 * PAGES - 1, PAGES - 2 },
	{ 4 * PAGES - 1, 8 * PAGES, 0 }, { 4 * PAGES, 8 * PAGES, 0 },
};

/* Is there a hole where it was punched, and nowhere else? */
static bool is_punched(const char *mem, size_t size, const struct hole *hole)
{
	size_t start = hole->start * page_size / 4;
	size_t end = hole->end * page_size / 4, i;

	for (i = 0; i < size; i++) {
		bool inside = i >= start && i < end;

		if ((unsigned char)mem[i] != (inside ? 0 : pattern(1, i)))
			return false;
	}
	return true;
}

TEST_F(file, holes_can_be_punched)
{
	const struct hole *hole;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		hole = &holes[i];
		fill(self->mem, self->size, 1);
		ASSERT_EQ(PAGES, pages_of(self->fd));
		EXPECT_EQ(0, fallocate(self->fd, PUNCH,
				       hole->start * page_size / 4,
				       (hole->end - hole->start) * page_size / 4));
		EXPECT_EQ(PAGES - hole->pages_gone, pages_of(self->fd));
		EXPECT_EQ(self->size, size_of(self->fd));
		EXPECT_TRUE(is_punched(self->mem, self->size, hole));
	}
	EXPECT_EQ(0, fallocate(self->fd, PUNCH, 1, largest_size() - 1));
	EXPECT_EQ(1, pages_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, PUNCH, largest_size() - 1, 1));
}

TEST_F(file, holes_are_in_all_mappings)
{
	int ready[2], go[2];
	pid_t pid;
	char c;

	fill(self->mem, self->size, 1);
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		/* The child has its own page tables, and uses them. */
		close(go[1]);
		if (!is_filled(self->mem, self->size, 1) ||
		    write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(is_punched(self->mem, self->size, &holes[1]) ? 0 : 2);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	ASSERT_EQ(0, fallocate(self->fd, PUNCH, page_size, 3 * page_size));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(file, MADV_REMOVE_punches_a_hole)
{
	fill(self->mem, self->size, 1);
	EXPECT_EQ(0, madvise(self->mem + page_size, 3 * page_size,
			     MADV_REMOVE));
	EXPECT_EQ(PAGES - 3, pages_of(self->fd));
	EXPECT_TRUE(is_punched(self->mem, self->size, &holes[1]));
}

TEST_F(file, MADV_REMOVE_needs_a_mapping_that_may_write)
{
	char *p = mmap(NULL, page_size, PROT_READ, MAP_SHARED, self->fd, 0);
	char path[64];
	int fd;

	fill(self->mem, page_size, 1);
	ASSERT_EQ(0, madvise(p, page_size, MADV_REMOVE));
	EXPECT_TRUE(is_zero(p, page_size));
	/* Only a memfd can be opened again for reading. */
	sprintf(path, "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY);
	if (variant->secret) {
		EXPECT_EQ(-1, fd);
		return;
	}
	p = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT_EQ(-1, madvise(p, page_size, MADV_REMOVE));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(file, data_and_holes_can_be_sought)
{
	probe_write(self->mem + page_size, 1);
	probe_write(self->mem + 2 * page_size, 1);
	probe_read(self->mem + 5 * page_size);
	EXPECT_EQ(page_size, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(page_size + 3, lseek(self->fd, page_size + 3, SEEK_DATA));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(3 * page_size, lseek(self->fd, page_size + 3, SEEK_HOLE));
	EXPECT_EQ(3 * page_size + 1, lseek(self->fd, 3 * page_size + 1, SEEK_HOLE));
	EXPECT_EQ(5 * page_size, lseek(self->fd, 3 * page_size, SEEK_DATA));
	EXPECT_EQ(-1, lseek(self->fd, 6 * page_size, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, lseek(self->fd, self->size, SEEK_HOLE));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, lseek(self->fd, -1, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(5 * page_size, lseek(self->fd, 0, SEEK_CUR));

	fill(self->mem, self->size, 1);
	ASSERT_EQ(0, ftruncate(self->fd, self->size - 5));
	EXPECT_EQ(self->size - 5, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(self->size - 6, lseek(self->fd, self->size - 6, SEEK_DATA));
}

TEST_F(file, pages_that_were_never_touched_are_holes)
{
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, 4 * page_size));
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(0, resident_pages(self->mem, self->size));
	EXPECT_EQ(0, probe_read(self->mem + 2 * page_size));
	EXPECT_EQ(2 * page_size, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(3 * page_size, lseek(self->fd, 2 * page_size, SEEK_HOLE));
	EXPECT_EQ(1, resident_pages(self->mem, self->size));
}

TEST_F(file, position_can_be_set)
{
	EXPECT_EQ(5, lseek(self->fd, 5, SEEK_SET));
	EXPECT_EQ(7, lseek(self->fd, 2, SEEK_CUR));
	EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(self->size - 1, lseek(self->fd, -1, SEEK_END));
	EXPECT_EQ(largest_size(), lseek(self->fd, largest_size(), SEEK_SET));
	EXPECT_EQ(-1, lseek(self->fd, 1, SEEK_CUR));
	EXPECT_EQ(-1, lseek(self->fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, 5));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(largest_size(), lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(file, there_is_nothing_to_write_back)
{
	fill(self->mem, self->size, 1);
	EXPECT_EQ(0, msync(self->mem, self->size, MS_ASYNC));
	EXPECT_EQ(0, msync(self->mem, self->size, MS_SYNC));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, fdatasync(self->fd));
	EXPECT_EQ(0, sync_file_range(self->fd, 0, 0,
				     SYNC_FILE_RANGE_WAIT_BEFORE |
				     SYNC_FILE_RANGE_WRITE |
				     SYNC_FILE_RANGE_WAIT_AFTER));
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
}

/* A memfd of this kernel does not support this. */
TEST(range_can_be_zeroed)
{
	size_t size = PAGES * page_size;
	int fd = secret_file(size);
	char *mem = map_shared(fd, 2 * size);
	const struct hole *hole;
	size_t i;

	ASSERT_NE(MAP_FAILED, (void *)mem);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		hole = &holes[i];
		ASSERT_EQ(0, ftruncate(fd, size));
		fill(mem, size, 1);
		EXPECT_EQ(0, fallocate(fd, FALLOC_FL_ZERO_RANGE |
				       (i % 2 ? FALLOC_FL_KEEP_SIZE : 0),
				       hole->start * page_size / 4,
				       (hole->end - hole->start) * page_size / 4));
		EXPECT_TRUE(is_punched(mem, size, hole));
		EXPECT_EQ(i % 2 || hole->end <= 4 * PAGES ? size :
			  hole->end * page_size / 4, size_of(fd));
		EXPECT_LE(hole->end <= 4 * PAGES ? PAGES : 2 * PAGES, pages_of(fd));
	}
}

TEST_HARNESS_MAIN
