/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that fails on request, page by page, and how a process learns of it.
 */
#ifndef SELFTEST_HWPOISON_H
#define SELFTEST_HWPOISON_H

#include "testing.h"

#define HWPOISON	"/sys/kernel/debug/hwpoison/"

/* The details of a probe's last signal. */
static __thread siginfo_t last;

static inline void failure_handler(int sig, siginfo_t *info, void *context)
{
	last = *info;
	probe_handler(sig);
}

/* Write @number to the file: 0, or the error number. */
static inline int write_number(const char *path, unsigned long long number)
{
	char text[32];

	sprintf(text, "%#llx", number);
	return write_text(path, text) ? errno : 0;
}

static inline int fail_frame(unsigned long long frame)
{
	return write_number(HWPOISON "corrupt-pfn", frame);
}

/* Does @sig, the result of a probe, mean that the memory at @p has failed? */
static inline bool has_failed(int sig, const void *p)
{
	return sig == SIGBUS && last.si_code == BUS_MCEERR_AR &&
	       last.si_addr == p && 1UL << last.si_addr_lsb == page_size;
}

static inline bool fails_to_read(const char *p)
{
	return has_failed(probe_read(p), p);
}

static inline bool fails_to_write(char *p)
{
	return has_failed(probe_write(p, 1), p);
}

#endif /* SELFTEST_HWPOISON_H */
