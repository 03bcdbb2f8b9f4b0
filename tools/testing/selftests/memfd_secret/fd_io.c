// SPDX-License-Identifier: GPL-2.0
/*
 * The contents are reached through mappings only: no call that moves data by
 * descriptor moves any, while pointers into a mapping work.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

FIXTURE(data) {
	int fd;
	int memfd;
	int pipe[2];
	size_t size;
	char *mem;
	char *buf;
	struct iovec iov;
};

FIXTURE_SETUP(data)
{
	self->size = 2 * page_size;
	self->fd = secret_file(self->size);
	ASSERT_LE(0, self->fd);
	self->mem = map_shared(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, self->size, 1);

	self->memfd = plain_file(self->size);
	self->buf = map_shared(self->memfd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	fill(self->buf, self->size, 2);
	self->iov.iov_base = self->buf;
	self->iov.iov_len = self->size;
	ASSERT_EQ(0, pipe(self->pipe));
}

/* Nothing came out and nothing went in. */
FIXTURE_TEARDOWN(data)
{
	EXPECT_TRUE(is_filled(self->mem, self->size, 1));
	EXPECT_TRUE(is_filled(self->buf, self->size, 2));
}

TEST_F(data, read_gives_nothing)
{
	EXPECT_EQ(-1, read(self->fd, self->buf, self->size));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->fd, self->buf, self->size, 0));
}

TEST_F(data, vector_read_gives_nothing)
{
	EXPECT_EQ(-1, readv(self->fd, &self->iov, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, preadv(self->fd, &self->iov, 1, 0));
	EXPECT_EQ(-1, preadv2(self->fd, &self->iov, 1, 0, RWF_HIPRI));
}

TEST_F(data, write_changes_nothing)
{
	EXPECT_EQ(-1, write(self->fd, self->buf, self->size));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->fd, self->buf, self->size, 0));
}

TEST_F(data, vector_write_changes_nothing)
{
	EXPECT_EQ(-1, writev(self->fd, &self->iov, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwritev(self->fd, &self->iov, 1, 0));
	EXPECT_EQ(-1, pwritev2(self->fd, &self->iov, 1, 0, RWF_DSYNC));
}

TEST_F(data, splice_out_gives_nothing)
{
	char *copy = map_plain(self->size);
	loff_t offset = 0;
	int pending;

	EXPECT_EQ(page_size, splice(self->memfd, &offset, self->pipe[1], NULL,
				    page_size, 0));
	offset = 0;
	EXPECT_EQ(-1, splice(self->fd, &offset, self->pipe[1], NULL, page_size,
			     SPLICE_F_NONBLOCK));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(page_size, read(self->pipe[0], copy, self->size));
	EXPECT_TRUE(is_filled(copy, page_size, 2));
	EXPECT_EQ(0, fcntl(self->pipe[0], F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, read(self->pipe[0], &pending, sizeof(pending)));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(data, splice_in_changes_nothing)
{
	loff_t offset = 0;

	ASSERT_EQ(page_size, write(self->pipe[1], self->buf, page_size));
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, self->fd, &offset, page_size,
			     SPLICE_F_NONBLOCK));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(page_size, splice(self->pipe[0], NULL, self->memfd, &offset,
				    page_size, 0));
}

TEST_F(data, sendfile_gives_nothing)
{
	off_t offset = 0;

	EXPECT_EQ(-1, sendfile(self->memfd, self->fd, &offset, page_size));
	EXPECT_EQ(-1, sendfile(self->pipe[1], self->fd, &offset, page_size));
	EXPECT_EQ(page_size, sendfile(self->pipe[1], self->memfd, &offset,
				      page_size));
}

TEST_F(data, sendfile_changes_nothing)
{
	off_t offset = 0;

	EXPECT_EQ(-1, sendfile(self->fd, self->memfd, &offset, page_size));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(data, copy_file_range_gives_and_changes_nothing)
{
	loff_t from = 0, to = 0;

	EXPECT_GT(0, copy_file_range(self->fd, &from, self->memfd, &to,
				     page_size, 0));
	EXPECT_GT(0, copy_file_range(self->memfd, &from, self->fd, &to,
				     page_size, 0));
	to = page_size;
	EXPECT_GT(0, copy_file_range(self->fd, &from, self->fd, &to,
				     page_size, 0));
	EXPECT_EQ(0, from);
}

TEST_F(data, epoll_refuses_it)
{
	struct epoll_event event = { .events = EPOLLIN };

	EXPECT_EQ(-1, epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, self->fd,
				&event));
	EXPECT_EQ(EPERM, errno);
}

TEST_F(data, syncing_harms_nothing)
{
	fsync(self->fd);
	fdatasync(self->fd);
	syncfs(self->fd);
	sync_file_range(self->fd, 0, 0, SYNC_FILE_RANGE_WRITE |
			SYNC_FILE_RANGE_WAIT_AFTER);
	EXPECT_EQ(0, msync(self->mem, self->size, MS_ASYNC));
	msync(self->mem, self->size, MS_SYNC);
	msync(self->mem, self->size, MS_INVALIDATE);
}

TEST_F(data, seeking_harms_nothing)
{
	char c;

	lseek(self->fd, page_size, SEEK_SET);
	lseek(self->fd, 0, SEEK_DATA);
	lseek(self->fd, 0, SEEK_HOLE);
	EXPECT_EQ(-1, read(self->fd, &c, 1));
}

TEST_F(data, advice_drops_nothing)
{
	int advice;

	for (advice = POSIX_FADV_NORMAL; advice <= POSIX_FADV_NOREUSE; advice++)
		posix_fadvise(self->fd, 0, 0, advice);
	readahead(self->fd, 0, self->size);
}

#define EVENTS TRACING "events/writeback/"

/* The event has either name, the second in kernels with folios. */
static const char *dirty_event(void)
{
	return access(EVENTS "writeback_dirty_folio", F_OK) ?
		       "writeback_dirty_page" : "writeback_dirty_folio";
}

/* A disk is the control: what is written there is to be written back. */
TEST(written_pages_are_not_to_be_written_back)
{
	int disk = open("/dev/ram0", O_RDWR), fd = secret_file(page_size);
	char *control = map_shared(disk, page_size);
	char *mem = map_shared(fd, page_size);
	char inode[32], event[32], enable[128];
	struct stat st;

	sprintf(event, "%s: ", dirty_event());
	sprintf(enable, EVENTS "%s/enable", dirty_event());
	if (write_text(enable, "1"))
		SKIP(return, "kernel without tracing");
	ASSERT_NE(MAP_FAILED, (void *)control);
	ASSERT_NE(MAP_FAILED, (void *)mem);
	ASSERT_EQ(0, fstat(fd, &st));
	sprintf(inode, " ino=%lu ", (unsigned long)st.st_ino);
	*mem = 1;
	*control = 1;
	munmap(mem, page_size);
	munmap(control, page_size);
	write_text(enable, "0");
	EXPECT_LT(0, traced(event));
	EXPECT_EQ(0, traced(inode));
}

TEST_F(data, system_calls_read_from_a_mapping)
{
	char *copy = map_plain(self->size);
	int sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	EXPECT_EQ(self->size, write(sv[0], self->mem, self->size));
	EXPECT_EQ(self->size, read(sv[1], copy, self->size));
	EXPECT_TRUE(is_filled(copy, self->size, 1));

	EXPECT_EQ(page_size, write(self->pipe[1], self->mem, page_size));
	EXPECT_EQ(page_size, read(self->pipe[0], copy, page_size));
	EXPECT_TRUE(is_filled(copy, page_size, 1));
}

TEST_F(data, system_calls_write_to_a_mapping)
{
	char *mem = map_secret(self->size);

	ASSERT_NE(MAP_FAILED, (void *)mem);
	EXPECT_EQ(self->size, write(self->pipe[1], self->buf, self->size));
	EXPECT_EQ(self->size, read(self->pipe[0], mem, self->size));
	EXPECT_TRUE(is_filled(mem, self->size, 2));
}

TEST_HARNESS_MAIN
