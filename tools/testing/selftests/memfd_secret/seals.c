// SPDX-License-Identifier: GPL-2.0
/*
 * Seals work as on a memfd that may be sealed, which is the control.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGES	4
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ALL	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | \
		 F_SEAL_FUTURE_WRITE)

FIXTURE(seals) {
	int fd;
	char *mem;
	size_t size;
};

FIXTURE_VARIANT(seals) {
	bool secret;
};

FIXTURE_VARIANT_ADD(seals, secret) { .secret = true };
FIXTURE_VARIANT_ADD(seals, memfd) { .secret = false };

/* A file with contents, and a writable mapping of it. */
FIXTURE_SETUP(seals)
{
	self->size = PAGES * page_size;
	self->fd = variant->secret ? memfd_secret(0) :
				     memfd_create("control", MFD_ALLOW_SEALING);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, self->size));
	self->mem = map_shared(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, self->size, 1);
}

FIXTURE_TEARDOWN(seals)
{
	munmap(self->mem, self->size);
	close(self->fd);
}

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

static char *map_to_read(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
}

static bool holds(int fd, size_t size, unsigned int seed)
{
	char *p = map_to_read(fd, size);
	bool right = p != MAP_FAILED && is_filled(p, size, seed);

	munmap(p, size);
	return right;
}

TEST_F(seals, new_file_has_none)
{
	EXPECT_EQ(0, fcntl(self->fd, F_GET_SEALS));
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, 0));
	EXPECT_EQ(0, fcntl(self->fd, F_GET_SEALS));
}

TEST_F(seals, what_is_added_stays)
{
	int copy = dup(self->fd);

	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(0, fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK));
	EXPECT_EQ(0, fcntl(copy, F_ADD_SEALS, 0));
	EXPECT_EQ(F_SEAL_GROW | F_SEAL_SHRINK, fcntl(self->fd, F_GET_SEALS));
	close(copy);
}

TEST_F(seals, unknown_ones_are_refused)
{
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW | 0x100));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, -1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, fcntl(self->fd, F_GET_SEALS));
}

TEST_F(seals, no_more_after_F_SEAL_SEAL)
{
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_SEAL));
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(F_SEAL_SEAL, fcntl(self->fd, F_GET_SEALS));
	EXPECT_EQ(0, ftruncate(self->fd, 2 * self->size));
	EXPECT_EQ(0, ftruncate(self->fd, self->size));
}

TEST_F(seals, descriptor_must_be_for_writing)
{
	char path[64];
	int fd;

	sprintf(path, "/proc/self/fd/%d", self->fd);
	fd = open(path, O_PATH);
	EXPECT_EQ(-1, fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(EBADF, errno);
	close(fd);
	/* A secret file cannot be opened again. */
	fd = open(path, O_RDONLY);
	if (variant->secret) {
		EXPECT_EQ(-1, fd);
		EXPECT_EQ(ENXIO, errno);
	} else {
		EXPECT_EQ(-1, fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
		EXPECT_EQ(EPERM, errno);
		close(fd);
	}
	EXPECT_EQ(0, fcntl(self->fd, F_GET_SEALS));
}

TEST_F(seals, shrinking_is_refused)
{
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_SHRINK));
	EXPECT_EQ(-1, ftruncate(self->fd, self->size - 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ftruncate(self->fd, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, ftruncate(self->fd, self->size));
	EXPECT_EQ(0, ftruncate(self->fd, self->size + 1));
	EXPECT_EQ(-1, ftruncate(self->fd, self->size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(self->size + 1, size_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
}

TEST_F(seals, growing_is_refused)
{
	ASSERT_EQ(0, ftruncate(self->fd, self->size - page_size - 1));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(-1, ftruncate(self->fd, self->size - page_size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fallocate(self->fd, 0, 0, self->size - page_size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, self->size,
				page_size));
	EXPECT_EQ(EPERM, errno);
	if (variant->secret) {
		EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0,
					self->size));
		EXPECT_EQ(EPERM, errno);
	}
	EXPECT_EQ(self->size - page_size - 1, size_of(self->fd));
	EXPECT_TRUE(is_filled(self->mem, self->size - page_size - 1, 1));
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, self->size - page_size - 1));
	EXPECT_EQ(0, ftruncate(self->fd, page_size));
	EXPECT_EQ(SIGBUS, probe_read(self->mem + page_size));
}

/* This includes a read-only mapping that mprotect() could make writable. */
TEST_F(seals, mapping_that_may_write_is_in_the_way)
{
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ));
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, fcntl(self->fd, F_GET_SEALS));
	/* The mapping is as before. */
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ | PROT_WRITE));
	fill(self->mem, self->size, 2);
	ASSERT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW));
	EXPECT_EQ(F_SEAL_WRITE | F_SEAL_GROW, fcntl(self->fd, F_GET_SEALS));
	EXPECT_TRUE(holds(self->fd, self->size, 2));
}

TEST_F(seals, mapping_of_another_process_is_in_the_way)
{
	int pipe_fds[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	if (!pid) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &c, 1));
	}
	close(pipe_fds[0]);
	ASSERT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	close(pipe_fds[1]);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

TEST_F(seals, nothing_writes_after_F_SEAL_WRITE)
{
	char *p;

	ASSERT_EQ(0, munmap(self->mem, self->size));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, self->size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_WRITE, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fallocate(self->fd, PUNCH, 0, page_size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fallocate(self->fd, PUNCH, 1, 1));
	EXPECT_EQ(EPERM, errno);
	if (variant->secret) {
		EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, 1));
		EXPECT_EQ(EPERM, errno);
	}

	p = map_to_read(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_filled(p, self->size, 1));
	EXPECT_EQ(SIGSEGV, probe_write(p, 1));
	EXPECT_EQ(-1, mprotect(p, self->size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, madvise(p, self->size, MADV_REMOVE));
	EXPECT_EQ(EACCES, errno);
	/* The part by which it grows is read-only as well. */
	p = mremap(p, self->size, 2 * self->size, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(-1, mprotect(p, 2 * self->size, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(is_filled(p, self->size, 1));
	munmap(p, 2 * self->size);
	/* The size may still change. */
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, self->size + 1));
	EXPECT_EQ(0, ftruncate(self->fd, self->size - page_size));
	EXPECT_TRUE(holds(self->fd, self->size - page_size, 1));
}

/* Every process with the file may read it, through any number of mappings. */
TEST_F(seals, what_is_sealed_can_be_read)
{
	char *p, *q;
	pid_t pid;

	ASSERT_EQ(0, munmap(self->mem, self->size));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, ALL));
	EXPECT_EQ(ALL, fcntl(self->fd, F_GET_SEALS));
	p = map_to_read(self->fd, self->size);
	q = map_to_read(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_NE(MAP_FAILED, (void *)q);
	ASSERT_EQ(0, munmap(p, page_size));
	pid = fork();
	if (!pid)
		_exit(!is_filled(q, self->size, 1) ||
		      !holds(self->fd, self->size, 1));
	EXPECT_EQ(0, wait_status(pid));
	munmap(p + page_size, self->size - page_size);
	munmap(q, self->size);
}

TEST_F(seals, who_could_write_before_F_SEAL_FUTURE_WRITE_still_can)
{
	char *p, *q;
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, self->size));
	EXPECT_EQ(EPERM, errno);
	p = map_to_read(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_filled(p, self->size, 1));
	fill(self->mem, self->size, 2);
	EXPECT_TRUE(is_filled(p, self->size, 2));
	EXPECT_EQ(-1, mprotect(p, page_size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, fallocate(self->fd, PUNCH, 0, page_size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, madvise(self->mem, page_size, MADV_REMOVE));
	EXPECT_EQ(EPERM, errno);

	/*
	 * The mapping stays writable, however it is changed, and a child
	 * inherits it.
	 */
	ASSERT_EQ(0, mprotect(self->mem, page_size, PROT_READ));
	ASSERT_EQ(0, mprotect(self->mem, page_size, PROT_READ | PROT_WRITE));
	q = mremap(self->mem, self->size, self->size,
		   MREMAP_MAYMOVE | MREMAP_FIXED, map_plain(self->size));
	ASSERT_NE(MAP_FAILED, (void *)q);
	self->mem = q;
	pid = fork();
	if (!pid) {
		fill(q, self->size, 3);
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_TRUE(is_filled(p, self->size, 3));
	/* That mapping prevents the stronger seal. */
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	munmap(p, self->size);
}

/*
 * Areas would not be merged if writable mappings were counted by ->open and
 * ->close.
 */
TEST_F(seals, areas_are_merged_again)
{
	int i;

	for (i = 0; i < 2000; i++) {
		char *p = self->mem + i % PAGES * page_size;

		ASSERT_EQ(0, mprotect(p, page_size, PROT_READ));
		ASSERT_EQ(0, mprotect(p, page_size, PROT_READ | PROT_WRITE));
	}
	EXPECT_EQ(1, areas(self->mem, self->size));
	ASSERT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

TEST_F(seals, mapping_that_was_refused_is_not_in_the_way)
{
	ASSERT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->size,
				   PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_SHARED, self->fd, 1));
	EXPECT_EQ(MAP_FAILED, mmap((void *)page_size, ~(page_size - 1),
				   PROT_READ | PROT_WRITE, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

/* A mapping of a secret file that fails uses nothing of the limit. */
TEST(refused_mapping_is_not_charged)
{
	int fd = secret_file(PAGES * page_size);
	char path[64];

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(MAP_FAILED, map_shared(fd, page_size));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, read_field(path, "charged"));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_PRIVATE, fd,
				   0));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_HARNESS_MAIN
