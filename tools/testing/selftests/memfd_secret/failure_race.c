// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that fail while others use them, or while they leave their file.
 *
 * A page may leave its file in the moment between memory_failure() setting
 * PG_hwpoison and the filter clearing it again. If wiping was skipped because
 * of that, the page must never be reused.
 *
 * $RACES / 20 rounds for the first test, $RACES / 50 for the last.
 *
 * Some pages are lost until the next boot, so other tests come first. Needs two
 * CPUs.
 */
#define _GNU_SOURCE
#include "clock.h"
#include "memory_failure.h"
#include "threads.h"

#define FILTER	"/sys/kernel/debug/hwpoison/corrupt-filter-"
#define OFFLINE	"/sys/devices/system/memory/hard_offline_page"

static struct meeting start, finish;

/* The address of the first page of the file. */
static char failing[32];

/* When it fails, and how long closing the file took, in nanoseconds. */
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
		/* Later kernels refuse a page that is in no file any more. */
		if (pwrite(fd, failing, n, 0) != n && errno != EBUSY)
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

	/*
	 * Filter for a device that does not exist, so that every page is
	 * spared.
	 */
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

/*
 * While another thread faults pages in, again and again. It stops soon after
 * the failure, as each further fault is a line in the kernel log.
 */

struct toucher {
	int fd;
	bool written;
	int failures;
};

static void touch_mapping(struct toucher *toucher, char *p)
{
	char *victim = p + VICTIM * page_size;
	int sig = probe_read(victim);

	if (sig && !has_failed(sig, victim))
		complain();
	/* A page that has failed once stays failed. */
	if (!sig && toucher->failures)
		complain();
	toucher->failures += !!sig;
	if (!rest_is_whole(p, toucher->written))
		complain();
}

static void *touch_again_and_again(void *arg)
{
	struct toucher *toucher = arg;
	char *p;

	while (!stopped() && toucher->failures < 10) {
		p = map_shared(toucher->fd, PAGES * page_size);
		if (p == MAP_FAILED) {
			complain();
			break;
		}
		touch_mapping(toucher, p);
		munmap(p, PAGES * page_size);
	}
	return NULL;
}

TEST_F(failure, access_by_threads_at_once_gives_SIGBUS)
{
	struct toucher toucher = {
		.fd = self->fd, .written = variant->written,
	};
	pthread_t thread;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_again_and_again,
				    &toucher));
	usleep(100000);
	EXPECT_EQ(0, fail_frame(self->frame));
	usleep(300000);
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, toucher.failures);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(fails_to_read(self->victim));
}

/*
 * The frames of a block are used in order: predict that of the next file of one
 * page.
 */
#define BLOCK_FRAMES	512

static unsigned long long next_frame;

static void *make_files(void *unused)
{
	unsigned long long frame, before = 0;
	char *p;
	int sig;

	while (!stopped()) {
		p = map_secret(page_size);
		sig = probe_read(p);
		if (sig && !has_failed(sig, p))
			complain();
		frame = page_frame(p);
		if (frame == before + 1 && (frame + 1) % BLOCK_FRAMES)
			__atomic_store_n(&next_frame, frame + 1, __ATOMIC_SEQ_CST);
		munmap(p, page_size);
		before = frame;
	}
	return NULL;
}

TEST(page_that_fails_on_its_way_in_or_out_of_a_file_does_no_harm)
{
	struct sigaction action = {
		.sa_sigaction = failure_handler, .sa_flags = SA_SIGINFO,
	};
	unsigned long long frame;
	pthread_t thread;
	long n = 0;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_files, NULL));
	while (n < races() / 50 && !wrong) {
		frame = __atomic_exchange_n(&next_frame, 0, __ATOMIC_SEQ_CST);
		if (frame) {
			/* By now it may be in use, or free again. */
			fail_frame(frame);
			n++;
		}
		usleep(rand() % 100);
	}
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
}

TEST_HARNESS_MAIN
