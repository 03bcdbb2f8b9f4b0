// SPDX-License-Identifier: GPL-2.0
/*
 * Requests of io_uring and AIO on a secret file get the answers that system calls
 * get: they read nothing and change nothing. A memfd is the control.
 */
#define _GNU_SOURCE
#include "named_file.h"
#include "ring.h"

FIXTURE(ring) {
	struct ring ring;
	struct named secret;
	struct named plain;
	char *buf;
	bool there;
};

FIXTURE_VARIANT(ring) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(ring, at_once) { };
FIXTURE_VARIANT_ADD(ring, by_a_worker) { .flags = IOSQE_ASYNC };
FIXTURE_VARIANT_ADD(ring, registered) { .flags = IOSQE_FIXED_FILE };

FIXTURE_SETUP(ring)
{
	ASSERT_TRUE(name_file(&self->plain, plain_file(page_size), page_size,
			      PLAIN));
	ASSERT_TRUE(name_file(&self->secret, secret_file(page_size), page_size,
			      SECRET));
	self->buf = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	fill(self->buf, page_size, BUFFER);
	self->there = ring_create(&self->ring);
}

FIXTURE_TEARDOWN(ring)
{
	EXPECT_TRUE(is_filled(self->secret.mem, page_size, SECRET));
}

/* The result of @sqe with @fd, which is registered first if @flags say so. */
static int ring_file(struct ring *ring, unsigned int flags, int fd,
		     struct io_uring_sqe sqe)
{
	int ret;

	sqe.flags = flags;
	sqe.fd = fd;
	if (!(flags & IOSQE_FIXED_FILE))
		return ring_do(ring, &sqe);
	if (ring_register(ring->fd, IORING_REGISTER_FILES, &fd, 1))
		return -errno;
	sqe.fd = 0;
	ret = ring_do(ring, &sqe);
	ring_register(ring->fd, IORING_UNREGISTER_FILES, NULL, 0);
	return ret;
}

TEST_F(ring, reads_nothing)
{
	struct iovec iov = { self->buf, page_size };
	const struct io_uring_sqe sqes[] = {
		{ .opcode = IORING_OP_READ, .addr = (uintptr_t)self->buf,
		  .len = page_size },
		{ .opcode = IORING_OP_READV, .addr = (uintptr_t)&iov, .len = 1 },
		{ .opcode = IORING_OP_READ_FIXED, .addr = (uintptr_t)self->buf,
		  .len = page_size },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, ring_register(self->ring.fd, IORING_REGISTER_BUFFERS, &iov,
				   1));
	for (i = 0; i < ARRAY_SIZE(sqes); i++) {
		fill(self->buf, page_size, BUFFER);
		EXPECT_EQ(-EINVAL, ring_file(&self->ring, variant->flags,
					     self->secret.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->buf, page_size, BUFFER));
		EXPECT_EQ(page_size, ring_file(&self->ring, variant->flags,
					       self->plain.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->buf, page_size, PLAIN));
	}
}

TEST_F(ring, changes_nothing)
{
	struct iovec iov = { self->buf, page_size };
	const struct io_uring_sqe sqes[] = {
		{ .opcode = IORING_OP_WRITE, .addr = (uintptr_t)self->buf,
		  .len = page_size },
		{ .opcode = IORING_OP_WRITEV, .addr = (uintptr_t)&iov, .len = 1 },
		{ .opcode = IORING_OP_WRITE_FIXED, .addr = (uintptr_t)self->buf,
		  .len = page_size },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, ring_register(self->ring.fd, IORING_REGISTER_BUFFERS, &iov,
				   1));
	for (i = 0; i < ARRAY_SIZE(sqes); i++) {
		EXPECT_EQ(-EINVAL, ring_file(&self->ring, variant->flags,
					     self->secret.fd, sqes[i]));
		EXPECT_EQ(page_size, ring_file(&self->ring, variant->flags,
					       self->plain.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->plain.mem, page_size, BUFFER));
	}
}

TEST_F(ring, splices_nothing)
{
	const unsigned int flags = variant->flags & ~IOSQE_FIXED_FILE;
	struct io_uring_sqe out = {
		.opcode = IORING_OP_SPLICE,
		.off = -1,
		.len = page_size,
		.splice_fd_in = self->secret.fd,
	};
	struct io_uring_sqe in = {
		.opcode = IORING_OP_SPLICE,
		.splice_off_in = -1,
		.len = page_size,
	};
	int fds[2];

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	EXPECT_EQ(-EINVAL, ring_file(&self->ring, flags, fds[1], out));
	EXPECT_EQ(-1, read(fds[0], self->buf, page_size));
	EXPECT_EQ(EAGAIN, errno);
	out.splice_fd_in = self->plain.fd;
	EXPECT_EQ(page_size, ring_file(&self->ring, flags, fds[1], out));

	in.splice_fd_in = fds[0];
	EXPECT_EQ(-EINVAL, ring_file(&self->ring, flags, self->secret.fd, in));
	EXPECT_EQ(page_size, ring_file(&self->ring, flags, self->plain.fd, in));
}

/* Requests that are not about contents get the answer of their system call. */
TEST_F(ring, answers_as_the_system_calls_do)
{
	const struct {
		struct io_uring_sqe sqe;
		int secret;
		int plain;
	} calls[] = {
		{ { .opcode = IORING_OP_FSYNC }, 0, 0 },
		{ { .opcode = IORING_OP_FADVISE,
		    .fadvise_advice = POSIX_FADV_DONTNEED }, 0, 0 },
		/* fallocate() has its arguments in another order. */
		{ { .opcode = IORING_OP_FALLOCATE, .addr = page_size,
		    .len = FALLOC_FL_COLLAPSE_RANGE }, -EOPNOTSUPP,
		  -EOPNOTSUPP },
		{ { .opcode = IORING_OP_SEND, .addr = (uintptr_t)self->buf,
		    .len = page_size }, -ENOTSOCK, -ENOTSOCK },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(calls[i].secret,
			  ring_file(&self->ring, variant->flags,
				    self->secret.fd, calls[i].sqe));
		EXPECT_EQ(calls[i].plain,
			  ring_file(&self->ring, variant->flags, self->plain.fd,
				    calls[i].sqe));
	}
}

TEST_F(ring, does_not_open_it_again)
{
	const unsigned int flags = variant->flags & ~IOSQE_FIXED_FILE;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_OPENAT,
		.addr = (uintptr_t)self->secret.path,
		.open_flags = O_RDWR,
	};

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	EXPECT_EQ(-ENXIO, ring_file(&self->ring, flags, AT_FDCWD, sqe));
	sqe.addr = (uintptr_t)self->plain.path;
	EXPECT_LE(0, ring_file(&self->ring, flags, AT_FDCWD, sqe));
}

TEST_F(file, aio_reads_nothing)
{
	struct iovec iov = { self->buf, self->size };
	int ret = aio_do(self->plain.fd, IOCB_CMD_PREAD, self->buf, self->size);

	if (ret < 0 && no_such_call(-ret))
		SKIP(return, "kernel without AIO");
	EXPECT_EQ(self->size, ret);
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PREAD, self->buf,
				  self->size));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PREADV, &iov, 1));
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
}

TEST_F(file, aio_changes_nothing)
{
	struct iovec iov = { self->buf, self->size };
	int ret = aio_do(self->plain.fd, IOCB_CMD_PWRITE, self->buf,
			 self->size);

	if (ret < 0 && no_such_call(-ret))
		SKIP(return, "kernel without AIO");
	EXPECT_EQ(self->size, ret);
	EXPECT_TRUE(is_filled(self->plain.mem, self->size, BUFFER));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PWRITE, self->buf,
				  self->size));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PWRITEV, &iov, 1));
}

TEST_HARNESS_MAIN
