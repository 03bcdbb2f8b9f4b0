/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Time by a clock that is never set.
 */
#ifndef SELFTEST_CLOCK_H
#define SELFTEST_CLOCK_H

#include <time.h>

static inline long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

#endif /* SELFTEST_CLOCK_H */
