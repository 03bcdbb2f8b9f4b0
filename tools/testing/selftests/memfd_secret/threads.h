/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share in which threads work against each other. How long they do
 * is in the environment: RACES, 5000 if it says nothing.
 */
#ifndef SELFTEST_THREADS_H
#define SELFTEST_THREADS_H

#include <pthread.h>

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

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_SEQ_CST);
}

/* What all threads saw go wrong. */
static int wrong;

static void complain(void)
{
	__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
}

#endif /* SELFTEST_THREADS_H */
