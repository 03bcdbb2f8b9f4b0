// SPDX-License-Identifier: GPL-2.0
/*
 * A page leaves its file while its memory seems to have failed: a filter is going to
 * spare it. If nobody wipes it because of that, nobody gets it afterwards.
 *
 * Some pages are lost for that until the machine is booted again, so other tests
 * come first. Takes two CPUs.
 */
#define _GNU_SOURCE
#include "clock.h"
#include "threads.h"

#define FILTER	"/sys/kernel/debug/hwpoison/corrupt-filter-"
#define OFFLINE	"/sys/devices/system/memory/hard_offline_page"

static struct meeting start, finish;

/* The address of the first page of the file. */
static char failing[32];

/* When it fails, and how long it took to be rid of the file, in nanoseconds. */
static long long delay, took;

static void *fail_for_a_moment(void *unused)
{
	int fd = open(OFFLINE, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	long long at;

	for (;;) {
		meet(&start);
		if (stopped())
			break;
		for (at = now_ns() + delay; now_ns() < at; )
			;
		n = strlen(failing);
		if (pwrite(fd, failing, n, 0) != n)
			complain();
		meet(&finish);
	}
	close(fd);
	return NULL;
}

static void use_file(size_t size)
{
	char *p = map_secret(size);
	size_t i;

	for (i = 0; i < size; i += page_size) {
		if (p[i])
			complain();
		p[i] = 1;
	}
	sprintf(failing, "%#llx", page_frame(p) * page_size);
	meet(&start);
	took = now_ns();
	munmap(p, size);
	took = now_ns() - took;
	meet(&finish);
}

TEST(page_that_fails_for_a_moment_keeps_no_secret)
{
	pthread_t thread;
	long n;

	/* There is no device of this number. */
	if (write_text(FILTER "dev-major", "4095") ||
	    write_text(FILTER "enable", "1"))
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, pthread_create(&thread, NULL, fail_for_a_moment, NULL));
	for (n = 0; n < races() / 20 && !wrong; n++) {
		delay = took / 64 * (n % 64);
		use_file(512 * page_size);
	}
	TH_LOG("%ld rounds, %lld us", n, took / 1000);
	stop = true;
	meet(&start);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
	write_text(FILTER "enable", "0");
}

TEST_HARNESS_MAIN
