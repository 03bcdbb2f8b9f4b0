// SPDX-License-Identifier: GPL-2.0
/*
 * Threads against each other. $RACES is how many pages they race for, default
 * 5000; the other tests follow in proportion.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <sys/uio.h>

#include "inject.h"

/* Pages per file. */
#define PAGES 256

static struct meeting start, finish;

/*
 * The current file: the first thread makes and checks it between the meetings.
 */
static int fd;
static char *mem;

/*
 * Called by the first thread only, between meetings: the next file of @size
 * bytes, mapped.
 */
static bool next_file(off_t size, size_t length)
{
	fd = size ? secret_file(size) : memfd_secret(0);
	mem = map_shared(fd, length);
	return mem != MAP_FAILED;
}

static void drop_file(size_t length)
{
	munmap(mem, length);
	close(fd);
}

/*
 * Two threads fault in the same page, while a third sets the size of other
 * files.
 */

static bool failing;

/*
 * The two need not meet at each page: the one that is slower finds the page
 * mapped, takes no fault, and so catches up.
 */
static void add_marks(long mark)
{
	int i;

	for (i = 0; i < PAGES; i++) {
		while (failing && !kernel_touch(mem + i * page_size))
			;
		__atomic_add_fetch((long *)(mem + i * page_size), mark,
				   __ATOMIC_SEQ_CST);
	}
}

static void *second_toucher(void *unused)
{
	if (failing)
		inject_here(true);
	for (;;) {
		meet(&start);
		if (stopped())
			return NULL;
		add_marks(0x10000);
		meet(&finish);
	}
}

static void *truncater(void *unused)
{
	char *p;
	int file;

	while (!stopped()) {
		file = memfd_secret(0);
		p = map_shared(file, 2 * page_size);
		if (p == MAP_FAILED || probe_write(p, 1) != SIGBUS ||
		    ftruncate(file, page_size + 1) ||
		    probe_write(p + page_size, 1) || !is_zero(p, page_size) ||
		    ftruncate(file, 1) || probe_write(p + 1, 1) ||
		    probe_write(p + page_size, 1) != SIGBUS)
			complain();
		munmap(p, 2 * page_size);
		close(file);
		/* Leave the CPUs to the other two. */
		usleep(500);
	}
	return NULL;
}

static void fight_for_pages(struct __test_metadata *_metadata)
{
	const size_t length = PAGES * page_size;
	pthread_t toucher, third;
	long done;
	int i;

	ASSERT_EQ(0, pthread_create(&toucher, NULL, second_toucher, NULL));
	ASSERT_EQ(0, pthread_create(&third, NULL, truncater, NULL));
	for (done = 0; done < races() && !wrong; done += PAGES) {
		ASSERT_TRUE(next_file(length, length));
		meet(&start);
		if (failing)
			inject_here(true);
		add_marks(1);
		if (failing)
			inject_here(false);
		meet(&finish);
		for (i = 0; i < PAGES; i++)
			if (*(long *)(mem + i * page_size) != 0x10001)
				complain();
		drop_file(length);
	}
	stop = true;
	meet(&start);
	pthread_join(toucher, NULL);
	pthread_join(third, NULL);
	EXPECT_EQ(0, wrong);
}

TEST(two_threads_find_one_page)
{
	fight_for_pages(_metadata);
}

TEST(two_threads_find_one_page_though_allocations_fail)
{
	failing = inject_failures(10);
	if (!failing)
		SKIP(return, "kernel without FAULT_INJECTION");
	fight_for_pages(_metadata);
	inject_failures(0);
}

/* The first ftruncate() against faults in an existing mapping. */

static void *early_toucher(void *unused)
{
	unsigned int n;

	for (n = 0;; n++) {
		char *p = mem + n % 2 * page_size + n % 7;

		meet(&start);
		if (stopped())
			return NULL;
		/* Either too early or, once it succeeds, good memory. */
		while (probe_read(p) == SIGBUS && !stopped())
			sched_yield();
		if (*p || probe_write(p, 1))
			complain();
		meet(&finish);
	}
}

TEST(first_ftruncate_lets_faults_in_whole)
{
	const size_t length = 2 * page_size;
	pthread_t toucher;
	unsigned int n;
	char *p;

	ASSERT_TRUE(next_file(0, length));
	ASSERT_EQ(0, pthread_create(&toucher, NULL, early_toucher, NULL));
	for (n = 0; n < races() / 20 && !wrong; n++) {
		meet(&start);
		if (n % 3)
			sched_yield();
		ASSERT_EQ(0, ftruncate(fd, page_size + 1 + n % page_size));
		meet(&finish);
		p = mem + n % 2 * page_size;
		p[n % 7] -= 1;
		if (!is_zero(mem, length))
			complain();
		/* At the same address, which the other thread keeps using. */
		close(fd);
		fd = memfd_secret(0);
		ASSERT_EQ(mem, mmap(mem, length, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, fd, 0));
	}
	stop = true;
	meet(&start);
	pthread_join(toucher, NULL);
	EXPECT_EQ(0, wrong);
}

static int successes;

static void try_to_truncate(off_t size)
{
	if (!ftruncate(fd, size))
		__atomic_add_fetch(&successes, 1, __ATOMIC_SEQ_CST);
}

static void *second_truncater(void *unused)
{
	for (;;) {
		meet(&start);
		if (stopped())
			return NULL;
		try_to_truncate(page_size);
		meet(&finish);
	}
}

TEST(one_of_two_ftruncates_is_the_last)
{
	char *second;
	pthread_t other;
	off_t size;
	long n;

	ASSERT_EQ(0, pthread_create(&other, NULL, second_truncater, NULL));
	for (n = 0; n < races() / 4 && !wrong; n++) {
		successes = 0;
		fd = memfd_secret(0);
		meet(&start);
		try_to_truncate(2 * page_size);
		meet(&finish);
		size = lseek(fd, 0, SEEK_END);
		second = map_shared(fd, 2 * page_size) + page_size;
		if (successes != 2 ||
		    (size != (off_t)page_size && size != 2 * (off_t)page_size) ||
		    probe_write(second, 1) !=
		    (size == (off_t)page_size ? SIGBUS : 0))
			complain();
		munmap(second - page_size, 2 * page_size);
		close(fd);
	}
	stop = true;
	meet(&start);
	pthread_join(other, NULL);
	EXPECT_EQ(0, wrong);
}

/*
 * Pinning while the pages at an address change from ordinary to secret and
 * back, and while secret ones leave their file.
 */

#define WINDOW 4
#define SECRET 'S'
#define PLAIN 'p'

/* Is there anything but zeros and @c? */
static bool has_other_than(const char *buf, size_t n, char c)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (buf[i] && buf[i] != c)
			return true;
	return false;
}

/* The refused call held mmap_lock, which the other thread needs as well. */
static void refused(void)
{
	usleep(1);
}

static void *vmsplicer(void *window)
{
	struct iovec iov = { window, WINDOW * page_size };
	char buf[4096];
	ssize_t n;
	int fds[2];

	if (pipe(fds) || fcntl(fds[0], F_SETFL, O_NONBLOCK))
		return (void *)-1L;
	while (!stopped()) {
		n = vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK);
		if (n > 0)
			successes++;
		else
			refused();
		while ((n = read(fds[0], buf, sizeof(buf))) > 0)
			if (has_other_than(buf, n, PLAIN))
				complain();
	}
	return NULL;
}

static void *direct_writer(void *window)
{
	int disk = open("/dev/ram0", O_RDWR | O_DIRECT);
	char *buf = map_plain(page_size);
	int page;

	while (!stopped()) {
		page = rand() % WINDOW;
		if (pwrite(disk, (char *)window + page * page_size, page_size,
			   0) != page_size ||
		    pread(disk, buf, page_size, 0) != page_size) {
			refused();
			continue;
		}
		successes++;
		if (has_other_than(buf, page_size, PLAIN))
			complain();
	}
	return NULL;
}

/* Let @thread pin a window that is ordinary or secret by turns. */
static void pin_window(struct __test_metadata *_metadata,
		       void *(*thread)(void *))
{
	const size_t size = WINDOW * page_size;
	char *window = map_plain(size);
	pthread_t pinner;
	int file;
	long n;

	ASSERT_NE(MAP_FAILED, (void *)window);
	ASSERT_EQ(0, pthread_create(&pinner, NULL, thread, window));
	for (n = 0; n < races() / 8 && !wrong; n++) {
		file = secret_file(size);
		ASSERT_EQ(window, mmap(window, size, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, file, 0));
		memset(window, SECRET, size);
		if (n % 2)
			close(file);
		/*
		 * This drops the last reference, if the file is closed: its
		 * pages are freed.
		 */
		ASSERT_EQ(window, mmap(window, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				       -1, 0));
		if (!(n % 2))
			close(file);
		memset(window, PLAIN, size);
	}
	stop = true;
	pthread_join(pinner, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, successes) {
		TH_LOG("nothing was pinned, not even ordinary memory");
	}
}

TEST(vmsplice_takes_no_page_that_is_becoming_secret)
{
	pin_window(_metadata, vmsplicer);
}

TEST(direct_write_takes_no_page_that_is_becoming_secret)
{
	if (access("/dev/ram0", R_OK | W_OK))
		SKIP(return, "no /dev/ram0");
	pin_window(_metadata, direct_writer);
}

/* Mapping, unmapping, closing and forking, all at once. */

static void *mapper(void *arg)
{
	unsigned int seed = (long)arg;
	size_t length;
	char *p;

	while (!stopped()) {
		length = (2 + rand_r(&seed) % (PAGES - 1)) * page_size;
		p = map_shared(fd, length);
		if (p == MAP_FAILED)
			continue;
		if (!is_filled(p, page_size, 1) ||
		    probe_write(p + length - 1, 0))
			complain();
		munmap(p, length);
		close(dup(fd));
	}
	return NULL;
}

TEST(files_survive_fork_and_unmap_at_once)
{
	const size_t length = PAGES * page_size;
	pthread_t threads[2];
	long i, n;
	pid_t pid;

	ASSERT_TRUE(next_file(length, length));
	fill(mem, page_size, 1);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, mapper,
					    (void *)i));
	for (n = 0; n < races() / 100 && !wrong; n++) {
		pid = fork();
		if (!pid) {
			close(fd);
			fd = secret_file(page_size);
			_exit(!is_filled(mem, page_size, 1) ||
			      probe_write(mem + length - 1, 0) ||
			      probe_write(map_shared(fd, page_size), 0));
		}
		EXPECT_EQ(0, wait_status(pid));
	}
	stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(is_filled(mem, page_size, 1));
}

TEST_HARNESS_MAIN
