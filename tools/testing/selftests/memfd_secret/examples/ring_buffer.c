// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A ring buffer in secret memory, from one process to another: it copies the
 * standard input to the standard output.
 *
 *	decrypt | ring_buffer | encrypt_again
 *
 * The ring is mapped twice, back to back: its last byte is followed by its
 * first. So its contents, and the free part of it, are always in one piece, for
 * any system call or memcpy(). A mutex and two condition variables are in the
 * same file, before the ring.
 *
 * A process may be killed at any time. If it held the mutex, the other one gets
 * it with EOWNERDEAD, as the mutex is robust; nothing has to be repaired, as
 * each change below is one store. The parent wakes the waiters of a process
 * that has ended. But condition variables are not robust: if a process is
 * killed when it is about to wake the other one, that one may stay asleep. So
 * no process sleeps for more than a second.
 *
 * Linux 5.14 and later have no shared futexes in secret memory: there the mutex
 * and the condition variables need another file, from memfd_create().
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define RING_PAGES	4

struct ring {
	pthread_mutex_t mutex;
	pthread_cond_t not_empty;
	pthread_cond_t not_full;
	size_t in;		/* bytes since the beginning */
	size_t out;
	bool ended;		/* no more input */
};

static size_t page, size;	/* of a page, of the ring */

static char *at(struct ring *ring, size_t position)
{
	return (char *)ring + page + position % size;
}

/* Call this after taking the mutex, possibly from a dead process. */
static void taken(struct ring *ring, int error)
{
	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(&ring->mutex);
	if (error) {
		errno = error;
		err(1, "mutex");
	}
}

static void lock(struct ring *ring)
{
	taken(ring, pthread_mutex_lock(&ring->mutex));
}

static void wait_for(struct ring *ring, pthread_cond_t *cond)
{
	struct timespec end;
	int error;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec++;
	error = pthread_cond_timedwait(cond, &ring->mutex, &end);
	if (error != ETIMEDOUT)
		taken(ring, error);
}

static void advance(struct ring *ring, size_t *position, size_t n,
		    pthread_cond_t *cond)
{
	lock(ring);
	*position += n;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(&ring->mutex);
}

static void produce(struct ring *ring)
{
	ssize_t n;

	do {
		lock(ring);
		while (ring->in - ring->out == size)
			wait_for(ring, &ring->not_full);
		n = size - (ring->in - ring->out);
		pthread_mutex_unlock(&ring->mutex);

		n = read(STDIN_FILENO, at(ring, ring->in), n);
		if (n < 0)
			err(1, "read");
		advance(ring, &ring->in, n, &ring->not_empty);
	} while (n);
}

static void consume(struct ring *ring)
{
	ssize_t n;

	for (;;) {
		lock(ring);
		while (ring->in == ring->out && !ring->ended)
			wait_for(ring, &ring->not_empty);
		n = ring->in - ring->out;
		pthread_mutex_unlock(&ring->mutex);
		if (!n)
			break;

		n = write(STDOUT_FILENO, at(ring, ring->out), n);
		if (n < 0)
			err(1, "write");
		advance(ring, &ring->out, n, &ring->not_full);
	}
}

/* The producer has ended: its data can still be taken out. */
static void end_ring(struct ring *ring)
{
	lock(ring);
	ring->ended = true;
	pthread_cond_signal(&ring->not_empty);
	pthread_mutex_unlock(&ring->mutex);
}

static struct ring *map_ring(void)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	char *p;

	if (fd < 0)
		err(1, "memfd_secret (booted with secretmem.enable=1?)");
	if (ftruncate(fd, page + size))
		err(1, "ftruncate");
	/* Reserve the addresses. */
	p = mmap(NULL, page + 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	if (mmap(p, page + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED ||
	    mmap(p + page + size, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, page) == MAP_FAILED)
		err(1, "mmap (more than ulimit -l?)");
	close(fd);
	return (struct ring *)p;
}

static struct ring *make_ring(void)
{
	struct ring *ring = map_ring();
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;

	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&ring->mutex, &mutex);
	pthread_condattr_init(&cond);
	pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&cond, CLOCK_MONOTONIC);
	pthread_cond_init(&ring->not_empty, &cond);
	pthread_cond_init(&ring->not_full, &cond);
	return ring;
}

static pid_t start(void (*work)(struct ring *ring), struct ring *ring)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		work(ring);
		exit(0);
	}
	return pid;
}

int main(void)
{
	pid_t producer, consumer, first;
	int statuses[2];
	struct ring *ring;

	page = sysconf(_SC_PAGESIZE);
	size = RING_PAGES * page;
	ring = make_ring();
	consumer = start(consume, ring);
	producer = start(produce, ring);

	first = wait(&statuses[0]);
	if (first == producer)
		end_ring(ring);
	else
		kill(producer, SIGTERM);
	waitpid(first == producer ? consumer : producer, &statuses[1], 0);
	return statuses[0] || statuses[1] ? 1 : 0;
}
