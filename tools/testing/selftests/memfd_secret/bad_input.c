// SPDX-License-Identifier: GPL-2.0
/*
 * Calls with invalid input: each returns its error and changes nothing, as on a
 * memfd, which is the control.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "fd_passing.h"

#include <limits.h>
#include <linux/falloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGES	4
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
/* A user that owns none of the files. */
#define OTHER	40000

FIXTURE(file) {
	int fd;
	char *mem;
	size_t size;
	long charged;
};

FIXTURE_VARIANT(file) {
	bool secret;
};

FIXTURE_VARIANT_ADD(file, secret) { .secret = true };
FIXTURE_VARIANT_ADD(file, memfd) { .secret = false };

/* -1 for a memfd. */
static long charged_kb(int fd)
{
	char path[64];

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	return read_field(path, "charged");
}

/* Half of the mapping is in the file. */
FIXTURE_SETUP(file)
{
	self->size = PAGES * page_size;
	self->fd = variant->secret ? secret_file(self->size) :
				     plain_file(self->size);
	self->mem = map_shared(self->fd, 2 * self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, self->size, 1);
	self->charged = charged_kb(self->fd);
	ASSERT_EQ(variant->secret ? 2 * (long)self->size >> 10 : -1,
		  self->charged);
}

FIXTURE_TEARDOWN(file)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(self->size, st.st_size);
	EXPECT_EQ(self->size, st.st_blocks * 512);
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
	EXPECT_EQ(SIGBUS, probe_read(self->mem + self->size));
	EXPECT_EQ(self->charged, charged_kb(self->fd));
}

/*
 * The largest size of a file in bytes; with 32 bits the page index is the
 * limit.
 */
static off_t largest_size(void)
{
	return sizeof(long) == 8 ? LLONG_MAX : (off_t)ULONG_MAX * page_size;
}

TEST_F(file, has_no_such_size)
{
	const struct { off_t size; int error; } sizes[] = {
		{ -1, EINVAL }, { -(off_t)page_size, EINVAL },
		{ LLONG_MIN, EINVAL },
		/* With 64 bits there is no larger one. */
		{ sizeof(long) == 8 ? -1 : largest_size() + 1,
		  sizeof(long) == 8 ? EINVAL : EFBIG },
		{ sizeof(long) == 8 ? -1 : LLONG_MAX,
		  sizeof(long) == 8 ? EINVAL : EFBIG },
	};
	char path[64];
	size_t i;

	sprintf(path, "/proc/self/fd/%d", self->fd);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(-1, ftruncate(self->fd, sizes[i].size));
		EXPECT_EQ(sizes[i].error, errno);
		EXPECT_EQ(-1, truncate(path, sizes[i].size));
		EXPECT_EQ(sizes[i].error, errno);
	}
}

static const int modes[] = {
	0, FALLOC_FL_KEEP_SIZE, PUNCH, FALLOC_FL_ZERO_RANGE,
	FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
};

TEST_F(file, has_no_such_range)
{
	const struct { off_t start, len; int error; } ranges[] = {
		{ -1, 1, EINVAL }, { 0, -1, EINVAL }, { 0, 0, EINVAL },
		{ LLONG_MIN, LLONG_MIN, EINVAL }, { LLONG_MAX, 1, EFBIG },
		{ 1, LLONG_MAX, EFBIG }, { LLONG_MAX, LLONG_MAX, EFBIG },
		{ largest_size(), 1, EFBIG }, { 1, largest_size(), EFBIG },
	};
	size_t i, m;
	int error;

	for (m = 0; m < ARRAY_SIZE(modes); m++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			error = ranges[i].error;
			/* A memfd of this kernel does not support this mode. */
			if (!variant->secret && error == EFBIG &&
			    modes[m] & FALLOC_FL_ZERO_RANGE)
				continue;
			EXPECT_EQ(-1, fallocate(self->fd, modes[m],
						ranges[i].start,
						ranges[i].len));
			EXPECT_EQ(error, errno) {
				TH_LOG("mode %d, range %zu", modes[m], i);
			}
		}
	}
}

/*
 * Limit of file sizes
 */

static int by_ftruncate(int fd, off_t size)
{
	return ftruncate(fd, size);
}

static int by_truncate(int fd, off_t size)
{
	char path[64];

	sprintf(path, "/proc/self/fd/%d", fd);
	return truncate(path, size);
}

static int by_fallocate(int fd, off_t size)
{
	return fallocate(fd, 0, size - 1, 1);
}

static int by_fallocate_behind_the_end(int fd, off_t size)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size);
}

/* Existing contents must not be zeroed either. */
static int by_zeroing(int fd, off_t size)
{
	return fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, size);
}

static int by_zeroing_behind_the_end(int fd, off_t size)
{
	return fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
			 size);
}

static int (* const ways_to_grow[])(int fd, off_t size) = {
	by_ftruncate, by_truncate, by_fallocate, by_fallocate_behind_the_end,
	by_zeroing, by_zeroing_behind_the_end,
};

/* How many of them make a file larger: a memfd cannot be zeroed. */
static size_t nr_ways(bool secret)
{
	return ARRAY_SIZE(ways_to_grow) - (secret ? 0 : 2);
}

TEST_F(file, ends_who_makes_it_larger_than_a_file_may_be)
{
	struct rlimit limit = { self->size, self->size };
	size_t i;
	pid_t pid;

	for (i = 0; i < nr_ways(variant->secret); i++) {
		pid = fork();
		if (!pid) {
			setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
			setrlimit(RLIMIT_FSIZE, &limit);
			_exit(ways_to_grow[i](self->fd, self->size + 1));
		}
		EXPECT_EQ(128 + SIGXFSZ, wait_status(pid)) {
			TH_LOG("way %zu", i);
		}
	}
}

TEST_F(file, is_not_larger_than_a_file_may_be)
{
	struct rlimit limit = { self->size, self->size };
	size_t i;

	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	signal(SIGXFSZ, SIG_IGN);
	for (i = 0; i < nr_ways(variant->secret); i++) {
		EXPECT_EQ(-1, ways_to_grow[i](self->fd, self->size + 1));
		EXPECT_EQ(EFBIG, errno);
	}
}

/* It gets smaller, but stays larger than the limit. */
TEST_F(file, can_be_cut_though_it_is_larger_than_a_file_may_be)
{
	struct rlimit limit = { page_size, page_size };
	pid_t pid = fork();

	if (!pid)
		_exit(setrlimit(RLIMIT_FSIZE, &limit) ||
		      ftruncate(self->fd, self->size - 1) ||
		      fallocate(self->fd, 0, 0, self->size - 1));
	EXPECT_EQ(0, wait_status(pid));
	ASSERT_EQ(0, ftruncate(self->fd, self->size));
	fill(self->mem, self->size, 1);
}

/*
 * Mappings
 */

TEST_F(file, has_no_such_mapping)
{
	const struct {
		unsigned long addr;
		size_t length;
		int flags;
		off_t offset;
		int error;
	} mappings[] = {
		{ 0, 0, MAP_SHARED, 0, EINVAL },
		{ 0, page_size, 0, 0, EINVAL },
		{ 0, page_size, MAP_SHARED | MAP_FIXED, 1, EINVAL },
		{ (unsigned long)self->mem + 1, page_size,
		  MAP_SHARED | MAP_FIXED, 0, EINVAL },
		{ (unsigned long)self->mem, page_size,
		  MAP_SHARED | MAP_FIXED_NOREPLACE, 0, EEXIST },
		{ 0, page_size, MAP_SHARED | MAP_HUGETLB, 0, EINVAL },
		{ 0, page_size, MAP_SHARED_VALIDATE | MAP_SYNC, 0, EOPNOTSUPP },
		{ 0, page_size, MAP_SHARED_VALIDATE | 1 << 23, 0, EOPNOTSUPP },
		{ 0, SIZE_MAX, MAP_SHARED, 0, ENOMEM },
		{ 0, SIZE_MAX - 4 * page_size, MAP_SHARED, 0, ENOMEM },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mappings); i++) {
		EXPECT_EQ(MAP_FAILED, mmap((void *)mappings[i].addr,
					   mappings[i].length, PROT_READ,
					   mappings[i].flags, self->fd,
					   mappings[i].offset)) {
			TH_LOG("mapping %zu", i);
		}
		EXPECT_EQ(mappings[i].error, errno) {
			TH_LOG("mapping %zu", i);
		}
	}
	EXPECT_NE(MAP_FAILED, mmap(NULL, page_size, PROT_READ,
				   MAP_SHARED_VALIDATE, self->fd, 0));
}

/* Older kernels do this with private memory only. */
TEST_F(file, has_a_mapping_that_can_be_left_behind_where_a_memfds_can)
{
	int memfd = memfd_create("control", 0);
	char *control, *left, *moved;

	ASSERT_EQ(0, ftruncate(memfd, page_size));
	control = map_shared(memfd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)control);
	control = mremap(control, page_size, page_size,
			 MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	left = map_shared(self->fd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)left);
	fill(left, page_size, 1);
	moved = mremap(left, page_size, page_size,
		       MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_EQ(control == MAP_FAILED, moved == MAP_FAILED);
	EXPECT_TRUE(is_filled(left, page_size, 1));
	if (moved != MAP_FAILED)
		EXPECT_TRUE(is_filled(moved, page_size, 1));
}

TEST_F(file, has_a_mapping_that_can_not_become_such_a_one)
{
	const struct {
		char *addr;
		size_t old_length, new_length;
		int flags;
		char *new_addr;
		int error;
	} mappings[] = {
		{ self->mem + 1, page_size, page_size, 0, NULL, EINVAL },
		{ self->mem, page_size, 0, 0, NULL, EINVAL },
		{ self->mem, page_size, page_size, 0x80, NULL, EINVAL },
		{ self->mem, page_size, page_size, MREMAP_FIXED,
		  self->mem + page_size, EINVAL },
		{ self->mem, page_size, page_size,
		  MREMAP_MAYMOVE | MREMAP_FIXED, self->mem + page_size + 1,
		  EINVAL },
		{ self->mem, 2 * page_size, 2 * page_size,
		  MREMAP_MAYMOVE | MREMAP_FIXED, self->mem + page_size, EINVAL },
		{ self->mem, 4 * self->size, 8 * self->size, MREMAP_MAYMOVE,
		  NULL, EFAULT },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mappings); i++) {
		EXPECT_EQ(MAP_FAILED, mremap(mappings[i].addr,
					     mappings[i].old_length,
					     mappings[i].new_length,
					     mappings[i].flags,
					     mappings[i].new_addr));
		EXPECT_EQ(mappings[i].error, errno) {
			TH_LOG("mapping %zu", i);
		}
	}
}

TEST_F(file, has_a_mapping_that_takes_no_such_advice)
{
	EXPECT_EQ(-1, madvise(self->mem + 1, page_size, MADV_REMOVE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(self->mem, -page_size, MADV_REMOVE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(self->mem, page_size, MADV_FREE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(self->mem, page_size, MADV_WIPEONFORK));
	EXPECT_EQ(EINVAL, errno);
	/* Locked memory can be neither discarded nor invalidated. */
	EXPECT_EQ(variant->secret ? -1 : 0,
		  madvise(self->mem, self->size, MADV_DONTNEED));
	if (variant->secret)
		EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, msync(self->mem + 1, page_size, MS_SYNC));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, msync(self->mem, page_size, MS_SYNC | MS_ASYNC));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(variant->secret ? -1 : 0,
		  msync(self->mem, self->size, MS_SYNC | MS_INVALIDATE));
	if (variant->secret)
		EXPECT_EQ(EBUSY, errno);
}

/* The part of the mapping beyond the end of the file. */
TEST_F(file, has_nothing_to_remove_behind_its_end)
{
	EXPECT_EQ(0, madvise(self->mem + self->size, self->size, MADV_REMOVE));
	EXPECT_EQ(0, fallocate(self->fd, PUNCH, self->size, self->size));
	EXPECT_EQ(0, fallocate(self->fd, PUNCH, self->size, largest_size() -
			       (off_t)self->size));
}

/*
 * Descriptors
 */

TEST_F(file, needs_a_descriptor_that_is_open)
{
	char path[64];
	int fds[2], i;

	sprintf(path, "/proc/self/fd/%d", self->fd);
	fds[0] = open(path, O_PATH);
	fds[1] = dup(fds[0]);
	ASSERT_LE(0, fds[0]);
	ASSERT_EQ(0, close(fds[1]));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, ftruncate(fds[i], 0));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(-1, fallocate(fds[i], PUNCH, 0, page_size));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(-1, lseek(fds[i], 0, SEEK_SET));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(-1, fsync(fds[i]));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(MAP_FAILED, map_shared(fds[i], page_size));
		EXPECT_EQ(EBADF, errno);
	}
}

TEST_F(file, is_not_received_without_a_descriptor_left)
{
	struct rlimit limit;
	int socks[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	ASSERT_EQ(0, send_fd(socks[0], self->fd));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-1, receive_fd(socks[1]));
	EXPECT_EQ(EACCES, errno);
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

/*
 * A process whose only right to the file is a descriptor may do what
 * descriptors allow.
 */
TEST_F(file, of_another_user_is_not_changed_but_by_its_descriptor)
{
	const struct timespec times[2] = { };
	char path[64];
	pid_t pid;

	sprintf(path, "/proc/self/fd/%d", self->fd);
	pid = fork();
	if (!pid) {
		/* Otherwise /proc/self belongs to root. */
		if (setresuid(OTHER, OTHER, OTHER) ||
		    prctl(PR_SET_DUMPABLE, 1))
			_exit(1);
		if (fchmod(self->fd, 0666) != -1 || errno != EPERM)
			_exit(2);
		if (fchown(self->fd, OTHER, -1) != -1 || errno != EPERM)
			_exit(3);
		if (futimens(self->fd, times) != -1 || errno != EPERM)
			_exit(4);
		/* Any user that finds a memfd in /proc may open it. */
		if (variant->secret &&
		    (truncate(path, 0) != -1 || errno != EACCES))
			_exit(5);
		_exit(ftruncate(self->fd, self->size) ||
		      fallocate(self->fd, 0, 0, self->size) ? 6 : 0);
	}
	EXPECT_EQ(0, wait_status(pid));
}

TEST_HARNESS_MAIN
