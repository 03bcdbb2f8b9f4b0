/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail on purpose, see
 * Documentation/fault-injection/fault-injection.rst.
 */
#ifndef SELFTEST_INJECT_H
#define SELFTEST_INJECT_H

#include "testing.h"

#define INJECT_DIR "/sys/kernel/debug/"

static inline bool inject_set(const char *which, const char *name,
			      const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), INJECT_DIR "%s/%s", which, name);
	return !write_text(path, value);
}

/*
 * Make @percent of all allocations fail in the tasks that ask for it. No task
 * does yet, but fail-nth applies to the same allocations from now on. Call it
 * again with 0 at the end. Returns false on a kernel without fault injection.
 */
static inline bool inject_failures(int percent)
{
	static const char * const which[] = { "failslab", "fail_page_alloc" };
	char probability[16];
	size_t i;

	sprintf(probability, "%d", percent);
	for (i = 0; i < ARRAY_SIZE(which); i++)
		if (!inject_set(which[i], "task-filter", "Y") ||
		    !inject_set(which[i], "verbose", "0") ||
		    !inject_set(which[i], "interval", "1") ||
		    !inject_set(which[i], "times", "-1") ||
		    !inject_set(which[i], "ignore-gfp-wait", "N") ||
		    !inject_set(which[i], "probability", probability))
			return false;
	return inject_set("fail_page_alloc", "min-order", "0") &&
		inject_set("fail_page_alloc", "ignore-gfp-highmem", "N") &&
		!access("/proc/thread-self/fail-nth", W_OK);
}

/*
 * Leave only single pages to the tasks that ask for it, as if all memory was
 * fragmented. Call it again with false at the end, as above.
 */
static inline bool inject_fragmentation(bool on)
{
	return inject_failures(on ? 100 : 0) &&
		inject_set("failslab", "probability", "0") &&
		inject_set("fail_page_alloc", "min-order", on ? "1" : "0");
}

/*
 * Turn the failures on or off for this thread, after inject_failures(), and on
 * first. The file stays open in between, as opening it could fail.
 */
static inline void inject_here(bool on)
{
	static __thread int file;

	if (on)
		file = open("/proc/thread-self/make-it-fail",
			    O_WRONLY | O_CLOEXEC);
	if (write(file, on ? "1" : "0", 1) != 1)
		abort();
	if (!on)
		close(file);
}

#endif /* SELFTEST_INJECT_H */
