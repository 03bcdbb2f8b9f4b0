/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests of io_uring and AIO, one at a time, without a library.
 */
#ifndef SELFTEST_RING_H
#define SELFTEST_RING_H

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A ring with room for one request, and where it is mapped. */
struct ring {
	int fd;
	char *sq;
	char *cq;
	struct io_uring_sqe *sqes;
	size_t sq_size;
	size_t cq_size;
	size_t sqes_size;
	unsigned int *sq_tail;
	unsigned int *sq_array;
	unsigned int *cq_head;
	struct io_uring_cqe *cqes;
	unsigned int cq_mask;
};

/* A ring that is mapped nowhere; -1 and errno if there is none. */
static inline int ring_descriptor(struct io_uring_params *params)
{
	return syscall(__NR_io_uring_setup, 1, params);
}

static inline int ring_register(int fd, unsigned int opcode, const void *arg,
				unsigned int nr)
{
	return syscall(__NR_io_uring_register, fd, opcode, arg, nr);
}

static inline void *ring_map(const struct ring *ring, size_t size, off_t offset)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, ring->fd, offset);
}

/* False and errno if there is none. */
static inline bool ring_create(struct ring *ring)
{
	struct io_uring_params params = { };

	ring->fd = ring_descriptor(&params);
	if (ring->fd < 0)
		return false;
	ring->sq_size = params.sq_off.array +
			params.sq_entries * sizeof(unsigned int);
	ring->cq_size = params.cq_off.cqes +
			params.cq_entries * sizeof(struct io_uring_cqe);
	ring->sqes_size = params.sq_entries * sizeof(struct io_uring_sqe);
	ring->sq = ring_map(ring, ring->sq_size, IORING_OFF_SQ_RING);
	ring->cq = ring_map(ring, ring->cq_size, IORING_OFF_CQ_RING);
	ring->sqes = ring_map(ring, ring->sqes_size, IORING_OFF_SQES);
	if (ring->sq == MAP_FAILED || ring->cq == MAP_FAILED ||
	    ring->sqes == MAP_FAILED)
		return false;
	ring->sq_tail = (void *)(ring->sq + params.sq_off.tail);
	ring->sq_array = (void *)(ring->sq + params.sq_off.array);
	ring->cq_head = (void *)(ring->cq + params.cq_off.head);
	ring->cqes = (void *)(ring->cq + params.cq_off.cqes);
	ring->cq_mask = params.cq_entries - 1;
	return true;
}

static inline void ring_destroy(struct ring *ring)
{
	munmap(ring->sqes, ring->sqes_size);
	munmap(ring->cq, ring->cq_size);
	munmap(ring->sq, ring->sq_size);
	close(ring->fd);
}

/* Submit one request and wait for it: its result, or a negative error. */
static inline int ring_do(struct ring *ring, const struct io_uring_sqe *sqe)
{
	unsigned int head = *ring->cq_head;

	ring->sqes[0] = *sqe;
	ring->sq_array[0] = 0;
	__atomic_add_fetch(ring->sq_tail, 1, __ATOMIC_SEQ_CST);
	if (syscall(__NR_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return -errno;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_SEQ_CST);
	return ring->cqes[head & ring->cq_mask].res;
}

/* The result of one AIO request, or a negative error. */
static inline int aio_do(int fd, int opcode, void *buf, size_t size)
{
	struct iocb iocb = {
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buf,
		.aio_nbytes = size,
	};
	struct iocb *iocbs[] = { &iocb };
	aio_context_t context = 0;
	struct io_event event;
	int ret;

	if (syscall(SYS_io_setup, 1, &context))
		return -errno;
	if (syscall(SYS_io_submit, context, 1, iocbs) == 1 &&
	    syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1)
		ret = event.res;
	else
		ret = -errno;
	syscall(SYS_io_destroy, context);
	return ret;
}

#endif /* SELFTEST_RING_H */
