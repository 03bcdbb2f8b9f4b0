/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by tests that race threads. $RACES is the number of rounds, default
 * 5000.
 */
#ifndef SELFTEST_THREADS_H
#define SELFTEST_THREADS_H

#include <pthread.h>
#include <sched.h>

#include "testing.h"

/* A million races in an emulated machine with a debug kernel take long. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 7200

static long races(void)
{
	const char *text = getenv("RACES");
	long n = text ? atol(text) : 0;

	return n > 0 ? n : 5000;
}

static bool stop;

static inline bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_SEQ_CST);
}

/* How often any thread saw something wrong. */
static int wrong;

static void complain(void)
{
	__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
}

/*
 * Two threads meet before each race. Spinning makes them start together; with
 * fewer CPUs than threads, spinning would last a whole time slice, so it falls
 * back to sched_yield().
 */
struct meeting {
	unsigned int arrived;
};

static inline void meet(struct meeting *meeting)
{
	unsigned int n = __atomic_add_fetch(&meeting->arrived, 1,
					    __ATOMIC_SEQ_CST);
	unsigned int all = (n + 1) / 2 * 2;
	int spins = 0;

	/* The other thread may already have reached the next meeting. */
	while ((int)(__atomic_load_n(&meeting->arrived, __ATOMIC_SEQ_CST) -
		     all) < 0)
		if (++spins > 1000)
			sched_yield();
}

#endif /* SELFTEST_THREADS_H */
