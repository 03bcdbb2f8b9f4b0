/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by tests of adjustable length: $SECONDS is for each of them, default
 * 60.
 */
#ifndef SELFTEST_STRESS_H
#define SELFTEST_STRESS_H

#include "clock.h"
#include "testing.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 7200

#define MB (1024 * 1024L)

static inline long seconds(void)
{
	const char *text = getenv("SECONDS");
	long n = text ? atol(text) : 0;

	return n > 0 ? n : 60;
}

/* In seconds. */
static inline time_t now(void)
{
	return now_ns() / 1000000000;
}

#endif /* SELFTEST_STRESS_H */
