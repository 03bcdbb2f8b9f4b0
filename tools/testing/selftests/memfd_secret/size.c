// SPDX-License-Identifier: GPL-2.0
/*
 * The size of the file: set once, and no memory beyond it.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>

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

TEST(ftruncate_to_nothing_does_not_count)
{
	int fd = memfd_secret(0);

	EXPECT_EQ(0, ftruncate(fd, 0));
	EXPECT_EQ(0, ftruncate(fd, page_size));
	EXPECT_EQ(page_size, size_of(fd));
}

FIXTURE(second) {
	int fd;
	off_t size;
	off_t second;
	char *mem;
};

/* From a page and a half. */
FIXTURE_VARIANT(second) {
	int half_pages;
	int bytes;
};

FIXTURE_VARIANT_ADD(second, to_nothing) { .half_pages = 0 };
FIXTURE_VARIANT_ADD(second, to_less) { .half_pages = 2 };
FIXTURE_VARIANT_ADD(second, to_less_of_the_last_page) { .half_pages = 3, -7 };
FIXTURE_VARIANT_ADD(second, to_the_same) { .half_pages = 3 };
FIXTURE_VARIANT_ADD(second, to_more_of_the_last_page) { .half_pages = 3, 7 };
FIXTURE_VARIANT_ADD(second, to_more) { .half_pages = 6 };

FIXTURE_SETUP(second)
{
	self->size = page_size + page_size / 2;
	self->second = variant->half_pages * page_size / 2 + variant->bytes;
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, 2 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, 2 * page_size, 1);
}

FIXTURE_TEARDOWN(second)
{
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, 2 * page_size, 1));
}

TEST_F(second, ftruncate_fails)
{
	EXPECT_EQ(-1, ftruncate(self->fd, self->second));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(second, truncate_by_path_fails)
{
	char path[64];

	sprintf(path, "/proc/self/fd/%d", self->fd);
	EXPECT_EQ(-1, truncate(path, self->second));
	EXPECT_EQ(EINVAL, errno);
}

#define LOCK_EVENT TRACING "events/lock/lock_acquire/"

/*
 * A fault holds the lock for reading, for as long as it takes to find memory, and
 * the next one waits behind whoever wants to write. So to ask for what can not be had
 * must not be a way to delay the others who share the file. The call that sets the
 * size is the control.
 */
TEST(ftruncate_that_can_only_fail_takes_no_lock_that_faults_wait_for)
{
	int fd = memfd_secret(0);
	int before, set, failed;

	if (write_text(LOCK_EVENT "filter", "name ~ \"*size_lock\"") ||
	    write_text(LOCK_EVENT "enable", "1"))
		SKIP(return, "kernel without LOCKDEP");
	before = traced("size_lock");
	EXPECT_EQ(0, ftruncate(fd, page_size));
	set = traced("size_lock") - before;
	EXPECT_EQ(-1, ftruncate(fd, 1));
	EXPECT_EQ(EINVAL, errno);
	failed = traced("size_lock") - before - set;
	write_text(LOCK_EVENT "enable", "0");
	EXPECT_EQ(1, set);
	EXPECT_EQ(0, failed);
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

TEST(fallocate_is_not_supported)
{
	static const int modes[] = {
		0, 1 /* KEEP_SIZE */, 3 /* PUNCH_HOLE | KEEP_SIZE */,
		0x10 /* ZERO_RANGE */, 0x40 /* UNSHARE_RANGE */,
	};
	int fd = secret_file(2 * page_size);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(-1, fallocate(fd, modes[i], 0, page_size));
		EXPECT_EQ(EOPNOTSUPP, errno);
	}
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

/* The largest file, and where its last page that is whole begins. */
FIXTURE(largest) {
	int fd;
	off_t size;
	off_t last;
};

FIXTURE_SETUP(largest)
{
	/* On 32 bit the number of a page is the limit. */
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
	EXPECT_EQ(-1, ftruncate(self->fd, self->size));
	EXPECT_EQ(EINVAL, errno);
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

TEST_F(largest, mmap_past_the_largest_offset_fails)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4 * page_size, PROT_READ, MAP_SHARED,
				   self->fd, self->last));
	EXPECT_EQ(EOVERFLOW, errno);
	/* The C library lets no such offset through there. */
	if (sizeof(long) != 8)
		return;
	/* Number of the first page negative, and range round 2^64. */
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
