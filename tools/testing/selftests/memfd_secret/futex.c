// SPDX-License-Identifier: GPL-2.0
/*
 * Shared futexes in secret memory, and what is built on them. A memfd is the
 * control.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define PAGES	4

/* In the second page, so that a key with a wrong page offset cannot match. */
struct shared {
	int word;
	int other_word;
	int count;
	pid_t tid;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
};

FIXTURE(futex) {
	int fd;
	char *mem;
	struct shared *shared;
	size_t size;
};

FIXTURE_VARIANT(futex) {
	bool secret;
};

FIXTURE_VARIANT_ADD(futex, secret) { .secret = true };
FIXTURE_VARIANT_ADD(futex, memfd) { .secret = false };

FIXTURE_SETUP(futex)
{
	self->size = PAGES * page_size;
	self->fd = variant->secret ? secret_file(self->size) :
				     plain_file(self->size);
	ASSERT_LE(0, self->fd);
	self->mem = map_shared(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	self->shared = (void *)(self->mem + page_size);
}

FIXTURE_TEARDOWN(futex)
{
	munmap(self->mem, self->size);
	close(self->fd);
}

static long futex(void *word, int op, unsigned int val)
{
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

/* The number of waiters, up to one; they go on waiting. */
static long waiting(int *word)
{
	return syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, 1, word, *word);
}

static void await_waiter(int *word)
{
	while (waiting(word) < 1)
		sched_yield();
}

/* A child that waits at the word once; its status says whether it was woken. */
static pid_t wait_in_child(int *word)
{
	pid_t pid = fork();

	if (!pid)
		_exit(futex(word, FUTEX_WAIT, *word) ? errno : 0);
	await_waiter(word);
	return pid;
}

/* Map the second page again, at another address, in another area. */
static struct shared *map_again(int fd)
{
	return mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    page_size);
}

TEST_F(futex, wakes_who_waits_in_another_process)
{
	pid_t pid = wait_in_child(&self->shared->word);

	EXPECT_EQ(1, futex(&self->shared->word, FUTEX_WAKE, 9));
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, futex(&self->shared->word, FUTEX_WAKE, 9));
}

TEST_F(futex, does_not_wait_if_the_value_is_another)
{
	self->shared->word = 1;
	EXPECT_EQ(-1, futex(&self->shared->word, FUTEX_WAIT, 2));
	EXPECT_EQ(EAGAIN, errno);
}

/* Only the place in the file counts. */
TEST_F(futex, is_the_same_in_all_mappings)
{
	struct shared *again = map_again(self->fd);
	pid_t pid = wait_in_child(&self->shared->word);
	char *moved;

	ASSERT_NE(MAP_FAILED, (void *)again);
	EXPECT_EQ(1, waiting(&again->word));
	/* Without a part of the area. */
	ASSERT_EQ(0, munmap(self->mem, page_size));
	EXPECT_EQ(1, waiting(&self->shared->word));
	/* With the rest at another address. */
	moved = mremap(self->shared, page_size, page_size,
		       MREMAP_MAYMOVE | MREMAP_FIXED, map_plain(page_size));
	ASSERT_NE(MAP_FAILED, (void *)moved);
	EXPECT_EQ(1, futex(moved, FUTEX_WAKE, 9));
	EXPECT_EQ(0, wait_status(pid));
	munmap(moved, page_size);
	munmap(again, page_size);
}

TEST_F(futex, is_another_elsewhere)
{
	int fd = variant->secret ? secret_file(self->size) :
				   plain_file(self->size);
	char *other;
	pid_t pid;

	ASSERT_LE(0, fd);
	other = map_shared(fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)other);
	pid = wait_in_child(&self->shared->word);
	/* The same place in another file, and other places in this file. */
	EXPECT_EQ(0, futex(other + page_size, FUTEX_WAKE, 9));
	EXPECT_EQ(0, futex(self->mem, FUTEX_WAKE, 9));
	EXPECT_EQ(0, futex(self->mem + 2 * page_size, FUTEX_WAKE, 9));
	EXPECT_EQ(0, futex(&self->shared->other_word, FUTEX_WAKE, 9));
	EXPECT_EQ(0, futex(&self->shared->word, FUTEX_WAKE_PRIVATE, 9));
	EXPECT_EQ(1, futex(&self->shared->word, FUTEX_WAKE, 9));
	EXPECT_EQ(0, wait_status(pid));
	munmap(other, self->size);
	close(fd);
}

TEST_F(futex, waiter_can_be_moved_to_another_word)
{
	pid_t pid = wait_in_child(&self->shared->word);

	EXPECT_EQ(1, syscall(SYS_futex, &self->shared->word, FUTEX_CMP_REQUEUE,
			     0, 1, self->mem, 0));
	EXPECT_EQ(0, futex(&self->shared->word, FUTEX_WAKE, 9));
	EXPECT_EQ(1, futex(self->mem, FUTEX_WAKE, 9));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(futex, word_is_changed_by_FUTEX_WAKE_OP)
{
	pid_t pid = wait_in_child(&self->shared->word);

	EXPECT_EQ(1, syscall(SYS_futex, &self->shared->other_word,
			     FUTEX_WAKE_OP, 9, 9, &self->shared->word,
			     FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 0)));
	EXPECT_EQ(5, self->shared->word);
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(futex, mapping_must_permit_what_it_takes)
{
	int *word = &self->shared->word;
	pid_t pid;

	ASSERT_EQ(0, futex(word, FUTEX_WAKE, 1));
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ));
	EXPECT_EQ(-1, futex(word, FUTEX_LOCK_PI, 0));
	EXPECT_EQ(EFAULT, errno);
	/* Waiting and waking do not write. */
	pid = wait_in_child(word);
	EXPECT_EQ(1, futex(word, FUTEX_WAKE, 1));
	EXPECT_EQ(0, wait_status(pid));
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_NONE));
	EXPECT_EQ(-1, futex(word, FUTEX_WAKE, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, futex(word, FUTEX_WAIT, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(futex, there_must_be_memory)
{
	char *last = self->mem + self->size - page_size;

	ASSERT_EQ(0, futex(last, FUTEX_WAKE, 1));
	EXPECT_EQ(-1, futex(last + 1, FUTEX_WAKE, 1));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, ftruncate(self->fd, self->size - page_size));
	EXPECT_EQ(-1, futex(last, FUTEX_WAKE, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, futex(last, FUTEX_WAIT, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, futex(last, FUTEX_LOCK_PI, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, munmap(last, page_size));
	EXPECT_EQ(-1, futex(last, FUTEX_WAKE, 1));
	EXPECT_EQ(EFAULT, errno);
}

/*
 * A waiter goes on waiting if the memory is freed: there is nothing to compare.
 */
TEST_F(futex, waiter_outlives_the_page)
{
	pid_t pid = wait_in_child(&self->shared->word);

	ASSERT_EQ(0, ftruncate(self->fd, 0));
	ASSERT_EQ(0, ftruncate(self->fd, self->size));
	EXPECT_EQ(1, futex(&self->shared->word, FUTEX_WAKE, 9));
	EXPECT_EQ(0, wait_status(pid));
}

TEST(no_page_is_needed_to_wake)
{
	int fd = secret_file(page_size);
	struct stat st;

	EXPECT_EQ(0, futex(map_shared(fd, page_size), FUTEX_WAKE, 1));
	EXPECT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_blocks);
}

/*
 * What is built on futexes
 */

#define TURNS 2000

static bool init_mutex(pthread_mutex_t *mutex, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	return !pthread_mutexattr_init(&attr) &&
	       !pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) &&
	       !pthread_mutexattr_setrobust(&attr, robust) &&
	       !pthread_mutexattr_setprotocol(&attr, protocol) &&
	       !pthread_mutex_init(mutex, &attr);
}

static void take_turns(struct shared *shared)
{
	int i, count;

	for (i = 0; i < TURNS; i++) {
		if (pthread_mutex_lock(&shared->mutex))
			_exit(1);
		count = shared->count;
		/* Let the other one find it locked. */
		if (!(i % 16))
			sched_yield();
		shared->count = count + 1;
		pthread_mutex_unlock(&shared->mutex);
	}
}

FIXTURE(lock) {
	int fd;
	struct shared *shared;
};

FIXTURE_VARIANT(lock) {
	bool secret;
	int protocol;
};

FIXTURE_VARIANT_ADD(lock, secret) {
	.secret = true,
	.protocol = PTHREAD_PRIO_NONE,
};

FIXTURE_VARIANT_ADD(lock, secret_inherits_priority) {
	.secret = true,
	.protocol = PTHREAD_PRIO_INHERIT,
};

FIXTURE_VARIANT_ADD(lock, memfd) {
	.protocol = PTHREAD_PRIO_NONE,
};

FIXTURE_VARIANT_ADD(lock, memfd_inherits_priority) {
	.protocol = PTHREAD_PRIO_INHERIT,
};

FIXTURE_SETUP(lock)
{
	self->fd = variant->secret ? secret_file(2 * page_size) :
				     plain_file(2 * page_size);
	ASSERT_LE(0, self->fd);
	self->shared = map_again(self->fd);
	ASSERT_NE(MAP_FAILED, (void *)self->shared);
}

FIXTURE_TEARDOWN(lock)
{
	munmap(self->shared, page_size);
	close(self->fd);
}

TEST_F(lock, keeps_processes_apart)
{
	struct shared *shared = self->shared;
	pid_t pid;

	ASSERT_TRUE(init_mutex(&shared->mutex, PTHREAD_MUTEX_STALLED,
			       variant->protocol));
	pid = fork();
	if (!pid) {
		/* At another address. */
		take_turns(map_again(self->fd));
		_exit(0);
	}
	take_turns(shared);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(2 * TURNS, shared->count);
}

/* The kernel marks the locks of a dead owner and wakes a waiter. */
TEST_F(lock, of_a_dead_owner_is_had_by_who_waits)
{
	struct shared *shared = self->shared;
	int *word = (int *)&shared->mutex, err;
	pid_t owner, waiter;

	ASSERT_TRUE(init_mutex(&shared->mutex, PTHREAD_MUTEX_ROBUST,
			       variant->protocol));
	owner = fork();
	if (!owner) {
		pthread_mutex_lock(&shared->mutex);
		__atomic_store_n(&shared->count, 1, __ATOMIC_SEQ_CST);
		for (;;)
			pause();
	}
	while (!__atomic_load_n(&shared->count, __ATOMIC_SEQ_CST))
		sched_yield();

	waiter = fork();
	if (!waiter) {
		err = pthread_mutex_lock(&shared->mutex);
		if (err != EOWNERDEAD)
			_exit(100);
		_exit(pthread_mutex_consistent(&shared->mutex) ||
		      pthread_mutex_unlock(&shared->mutex));
	}
	/* Wait until it sleeps in the kernel. */
	while (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & FUTEX_WAITERS))
		sched_yield();
	ASSERT_EQ(0, kill(owner, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, wait_status(owner));
	EXPECT_EQ(0, wait_status(waiter));
	EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
	EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
}

TEST_F(lock, with_a_condition_hands_over)
{
	struct shared *shared = self->shared;
	pthread_condattr_t attr;
	pid_t pid;
	int i;

	ASSERT_TRUE(init_mutex(&shared->mutex, PTHREAD_MUTEX_STALLED,
			       variant->protocol));
	ASSERT_EQ(0, pthread_condattr_init(&attr));
	ASSERT_EQ(0, pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
	ASSERT_EQ(0, pthread_cond_init(&shared->cond, &attr));
	pid = fork();
	for (i = 0; i < TURNS / 10; i++) {
		pthread_mutex_lock(&shared->mutex);
		while (shared->count % 2 != !pid)
			pthread_cond_wait(&shared->cond, &shared->mutex);
		shared->count++;
		pthread_cond_signal(&shared->cond);
		pthread_mutex_unlock(&shared->mutex);
	}
	if (!pid)
		_exit(0);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(TURNS / 10 * 2, shared->count);
}

TEST_F(futex, barrier_holds_until_all_are_there)
{
	struct shared *shared = self->shared;
	pthread_barrierattr_t attr;
	pid_t pid;
	int i;

	ASSERT_EQ(0, pthread_barrierattr_init(&attr));
	ASSERT_EQ(0, pthread_barrierattr_setpshared(&attr,
						    PTHREAD_PROCESS_SHARED));
	ASSERT_EQ(0, pthread_barrier_init(&shared->barrier, &attr, 2));
	pid = fork();
	for (i = 1; i <= TURNS / 10; i++) {
		__atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
		pthread_barrier_wait(&shared->barrier);
		if (__atomic_load_n(&shared->count, __ATOMIC_SEQ_CST) != 2 * i)
			break;
		pthread_barrier_wait(&shared->barrier);
	}
	if (!pid)
		_exit(i <= TURNS / 10);
	EXPECT_EQ(TURNS / 10 + 1, i);
	if (i <= TURNS / 10)
		kill(pid, SIGKILL);
	EXPECT_EQ(0, wait_status(pid));
}

/*
 * The waiters of a condition move to the lock, and lend its owner their
 * priority.
 */
TEST_F(futex, waiters_are_moved_to_a_lock_that_inherits_priority)
{
	int *cond = &self->shared->word, *lock = &self->shared->other_word;
	long moved;
	pid_t pid;

	ASSERT_EQ(0, futex(lock, FUTEX_LOCK_PI, 0));
	pid = fork();
	if (!pid) {
		if (syscall(SYS_futex, cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL,
			    lock, 0))
			_exit(errno);
		_exit((*lock & FUTEX_TID_MASK) != (int)syscall(SYS_gettid) ||
		      futex(lock, FUTEX_UNLOCK_PI, 0));
	}
	do {
		moved = syscall(SYS_futex, cond, FUTEX_CMP_REQUEUE_PI, 1, 0,
				lock, 0);
	} while (!moved);
	EXPECT_EQ(1, moved);
	EXPECT_EQ(-1, futex(lock, FUTEX_TRYLOCK_PI, 0));
	EXPECT_EQ(0, futex(lock, FUTEX_UNLOCK_PI, 0));
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, futex(lock, FUTEX_TRYLOCK_PI, 0));
}

/*
 * The end of a thread
 */

static int end_when_awaited(void *shared)
{
	pid_t *tid = &((struct shared *)shared)->tid;

	await_waiter(tid);
	syscall(SYS_exit, 0);
	return 0;
}

TEST_F(futex, kernel_wakes_at_the_end_of_a_thread)
{
	pid_t *tid = &self->shared->tid;
	char *stack = map_plain(16 * page_size);

	*tid = 1;
	ASSERT_LT(0, clone(end_when_awaited, stack + 16 * page_size,
			   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
			   CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
			   self->shared, NULL, NULL, tid));
	EXPECT_EQ(0, futex(tid, FUTEX_WAIT, 1));
	EXPECT_EQ(0, *tid);
}

static void *twice(void *arg)
{
	return (char *)arg + (long)arg;
}

/* The C library keeps the word that pthread_join() waits for with the stack. */
TEST_F(futex, thread_can_be_joined_whose_stack_is_there)
{
	size_t size = 64 * page_size;
	pthread_attr_t attr;
	pthread_t thread;
	void *result;
	char *stack;

	ASSERT_EQ(0, ftruncate(self->fd, size));
	stack = map_shared(self->fd, size);
	ASSERT_NE(MAP_FAILED, (void *)stack);
	ASSERT_EQ(0, pthread_attr_init(&attr));
	ASSERT_EQ(0, pthread_attr_setstack(&attr, stack, size));
	ASSERT_EQ(0, pthread_create(&thread, &attr, twice, (void *)21L));
	EXPECT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ((void *)42L, result);
	munmap(stack, size);
}

TEST_HARNESS_MAIN
