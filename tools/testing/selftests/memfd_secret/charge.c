// SPDX-License-Identifier: GPL-2.0
/*
 * A file is charged to the user that made it, so that nobody gets more secret
 * memory than RLIMIT_MEMLOCK by keeping it where no process maps it.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "fd_passing.h"

#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGES 16

/* Each test is a user of its own, to whom nothing is charged yet. */
#define USER	(30000 + getpid())

static bool become(uid_t uid)
{
	/* Otherwise /proc/self belongs to root. */
	return !setresuid(uid, uid, uid) &&
	       !prctl(PR_SET_DUMPABLE, 1);
}

static long charged_pages(int fd)
{
	char path[64];

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	return read_field(path, "charged") * 1024 / (long)page_size;
}

static void *map_page(int fd, int page)
{
	return mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    page * page_size);
}

/* Map a page, write to it and unmap it: false if that is refused. */
static bool walk_over(int fd, int page)
{
	char *p = map_page(fd, page);

	if (p == MAP_FAILED)
		return false;
	return !probe_write(p, 1) && !munmap(p, page_size);
}

/* How many more pages the user can have, as found out by a child. */
static int room(void)
{
	pid_t pid = fork();
	int n;

	if (pid)
		return wait_status(pid);
	for (n = 2 * PAGES; n; n--) {
		int fd = secret_file(n * page_size);

		if (map_shared(fd, n * page_size) != MAP_FAILED)
			break;
		close(fd);
	}
	_exit(n);
}

static int fill_room(int pages)
{
	int fd = secret_file(pages * page_size);
	void *p = map_shared(fd, pages * page_size);

	if (p == MAP_FAILED)
		return -1;
	munmap(p, pages * page_size);
	return fd;
}

FIXTURE(charge) {
	int fd;
	size_t size;
};

FIXTURE_SETUP(charge)
{
	self->size = PAGES * page_size;
	ASSERT_EQ(0, limit_locked(self->size));
	ASSERT_TRUE(become(USER));
	self->fd = secret_file(4 * self->size);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(charge)
{
	close(self->fd);
	EXPECT_EQ(PAGES, room());
}

TEST_F(charge, is_for_the_furthest_page_that_was_mapped)
{
	EXPECT_EQ(0, charged_pages(self->fd));
	ASSERT_TRUE(walk_over(self->fd, 3));
	EXPECT_EQ(4, charged_pages(self->fd));
	ASSERT_TRUE(walk_over(self->fd, 0));
	EXPECT_EQ(4, charged_pages(self->fd));
	EXPECT_EQ(PAGES - 4, room());
}

TEST_F(charge, stops_a_walk_through_a_file)
{
	char *p;
	int i;

	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(walk_over(self->fd, i));
	EXPECT_FALSE(walk_over(self->fd, i));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_FALSE(walk_over(self->fd, 2 * PAGES));
	EXPECT_EQ(PAGES, charged_pages(self->fd));
	/*
	 * Once charged, pages can be mapped by everybody without a further
	 * charge.
	 */
	p = map_shared(self->fd, self->size);
	EXPECT_NE(MAP_FAILED, (void *)p);
	munmap(p, self->size);
	EXPECT_EQ(0, room());
}

TEST_F(charge, stops_a_crowd_of_files)
{
	int fds[PAGES + 1], i;

	for (i = 0; i < PAGES; i++) {
		fds[i] = secret_file(page_size);
		ASSERT_TRUE(walk_over(fds[i], 0));
	}
	fds[i] = secret_file(page_size);
	EXPECT_FALSE(walk_over(fds[i], 0));
	EXPECT_EQ(EAGAIN, errno);
	close(fds[0]);
	EXPECT_TRUE(walk_over(fds[i], 0));
	for (i = 1; i <= PAGES; i++)
		close(fds[i]);
}

TEST_F(charge, stops_fallocate)
{
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, self->size - page_size));
	EXPECT_EQ(PAGES - 1, charged_pages(self->fd));
	EXPECT_EQ(-1, fallocate(self->fd, 0, self->size, 1));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0,
				self->size + 1));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(PAGES - 1, charged_pages(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, self->size));
	EXPECT_EQ(0, room());
	/* Punched pages may come back at any time, so the charge stays. */
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE |
			       FALLOC_FL_PUNCH_HOLE, 0, self->size));
	EXPECT_EQ(PAGES, charged_pages(self->fd));
}

/*
 * Not even if the range is too large to be added up, or would be zeroed first.
 */
TEST_F(charge, stops_fallocate_before_it_does_anything)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	const off_t lengths[] = {
		self->size + 1, sizeof(long) == 8 ? LLONG_MAX :
				(off_t)ULONG_MAX * page_size,
	};
	char *p = map_shared(self->fd, page_size);
	struct stat st;
	size_t i, m;

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, 1);
	for (m = 0; m < ARRAY_SIZE(modes); m++)
		for (i = 0; i < ARRAY_SIZE(lengths); i++) {
			EXPECT_EQ(-1, fallocate(self->fd, modes[m], 0,
						lengths[i]));
			EXPECT_EQ(ENOMEM, errno);
		}
	EXPECT_TRUE(is_filled(p, page_size, 1));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(page_size, st.st_blocks * 512);
	EXPECT_EQ(4 * self->size, st.st_size);
	EXPECT_EQ(1, charged_pages(self->fd));
	EXPECT_EQ(PAGES - 1, room());
	munmap(p, page_size);
}

TEST_F(charge, is_for_pages_behind_the_end)
{
	ASSERT_EQ(0, ftruncate(self->fd, page_size));
	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 3 * page_size, 1));
	EXPECT_EQ(4, charged_pages(self->fd));
	EXPECT_EQ(PAGES - 4, room());
	ASSERT_EQ(0, ftruncate(self->fd, page_size));
	EXPECT_EQ(1, charged_pages(self->fd));
	EXPECT_EQ(PAGES - 1, room());
}

TEST_F(charge, stops_mremap)
{
	int other = fill_room(PAGES - 2);
	char *p = map_page(self->fd, 0);

	ASSERT_LE(0, other);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(MAP_FAILED, mremap(p, page_size, 3 * page_size,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, probe_write(p, 1));
	EXPECT_EQ(1, charged_pages(self->fd));
	p = mremap(p, page_size, 2 * page_size, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(2, charged_pages(self->fd));
	/* Neither in place nor as a second mapping. */
	EXPECT_EQ(MAP_FAILED, mremap(p, 2 * page_size, 3 * page_size, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(MAP_FAILED, mremap(p + page_size, 0, 2 * page_size,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EAGAIN, errno);
	close(other);
	p = mremap(p, 2 * page_size, 3 * page_size, MREMAP_MAYMOVE);
	EXPECT_NE(MAP_FAILED, (void *)p);
	munmap(p, 3 * page_size);
}

/*
 * The areas of a forked child are not locked, and the kernel merges areas that
 * are alike.
 */
TEST_F(charge, stops_an_area_that_grows_by_merging)
{
	int other = fill_room(PAGES - 1);
	char *p = map_plain(2 * page_size);
	pid_t pid;

	ASSERT_LE(0, other);
	ASSERT_EQ(p, mmap(p, page_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(0, munmap(p + page_size, page_size));
	pid = fork();
	if (!pid) {
		if (madvise(p, page_size, MADV_DODUMP))
			_exit(1);
		if (mmap(p + page_size, page_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, self->fd,
			 page_size) != MAP_FAILED)
			_exit(2);
		_exit(errno == EAGAIN ? 0 : 3);
	}
	EXPECT_EQ(0, wait_status(pid));
	close(other);
	pid = fork();
	if (!pid)
		_exit(madvise(p, page_size, MADV_DODUMP) ||
		      mmap(p + page_size, page_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, self->fd,
			   page_size) == MAP_FAILED);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(2, charged_pages(self->fd));
	munmap(p, page_size);
}

TEST_F(charge, falls_when_the_file_is_cut)
{
	char *p;

	ASSERT_TRUE(walk_over(self->fd, PAGES - 1));
	EXPECT_EQ(0, room());
	ASSERT_EQ(0, ftruncate(self->fd, 3 * page_size + 1));
	EXPECT_EQ(4, charged_pages(self->fd));
	EXPECT_EQ(PAGES - 4, room());
	/* The charge does not fall while the file is mapped. */
	ASSERT_EQ(0, ftruncate(self->fd, self->size));
	p = map_page(self->fd, 7);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, ftruncate(self->fd, 0));
	EXPECT_EQ(8, charged_pages(self->fd));
	ASSERT_EQ(0, munmap(p, page_size));
	EXPECT_EQ(8, charged_pages(self->fd));
	ASSERT_EQ(0, ftruncate(self->fd, 0));
	EXPECT_EQ(0, charged_pages(self->fd));
}

TEST_F(charge, ends_with_the_last_mapping)
{
	int fd = dup(self->fd), watch = inotify_init();
	char path[64];
	char *p = map_page(self->fd, 3);

	sprintf(path, "/proc/self/fd/%d", fd);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_LE(0, inotify_add_watch(watch, path, IN_MODIFY));
	close(self->fd);
	EXPECT_EQ(PAGES - 4, room());
	close(fd);
	EXPECT_EQ(PAGES - 4, room());
	munmap(p, page_size);
	EXPECT_EQ(PAGES, room());
	close(watch);
}

TEST_F(charge, stops_files_in_the_queue_of_a_socket)
{
	int socks[2], i, fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, socks));
	for (i = 0; i < PAGES; i++) {
		fd = secret_file(page_size);
		ASSERT_TRUE(walk_over(fd, 0));
		ASSERT_EQ(0, send_fd(socks[0], fd));
		close(fd);
	}
	EXPECT_FALSE(walk_over(self->fd, 0));
	EXPECT_EQ(EAGAIN, errno);
	close(socks[0]);
	close(socks[1]);
	/* They are gone with the queue. */
	EXPECT_EQ(PAGES, room());
}

/*
 * A process without a free descriptor cannot receive it, and nobody else has
 * it.
 */
TEST_F(charge, ends_with_a_message_that_can_not_be_received)
{
	struct rlimit limit;
	int socks[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, socks));
	fd = fill_room(PAGES - 3);
	ASSERT_EQ(0, send_fd(socks[0], fd));
	close(fd);
	EXPECT_EQ(3, room());
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-1, receive_fd(socks[1]));
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(PAGES, room());
	close(socks[0]);
	close(socks[1]);
}

TEST_F(charge, counts_what_another_process_maps)
{
	int socks[2], done[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, socks));
	ASSERT_EQ(0, pipe(done));
	ASSERT_TRUE(walk_over(self->fd, 1));
	pid = fork();
	if (!pid) {
		int fd = receive_fd(socks[1]);

		_exit(!walk_over(fd, PAGES - 1) || walk_over(fd, PAGES) ||
		      errno != EAGAIN || write(done[1], "", 1) != 1);
	}
	ASSERT_EQ(0, send_fd(socks[0], self->fd));
	ASSERT_EQ(1, read(done[0], &c, 1));
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(PAGES, charged_pages(self->fd));
	EXPECT_EQ(0, room());
}

TEST(charge_stays_with_the_maker_of_a_file)
{
	uid_t maker = USER, other = maker + 10000;
	int socks[2], fd;
	pid_t pid;

	ASSERT_EQ(0, limit_locked(PAGES * page_size));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, socks));
	pid = fork();
	if (!pid) {
		if (!become(maker))
			_exit(1);
		fd = secret_file(PAGES * page_size);
		_exit(!walk_over(fd, 3) || send_fd(socks[0], fd));
	}
	/* Its maker has ended by then. */
	ASSERT_EQ(0, wait_status(pid));
	fd = receive_fd(socks[1]);
	ASSERT_LE(0, fd);
	pid = fork();
	if (!pid) {
		if (!become(other) || !walk_over(fd, 5) ||
		    fallocate(fd, 0, 0, 7 * page_size))
			_exit(100);
		_exit(room());
	}
	EXPECT_EQ(PAGES, wait_status(pid));
	pid = fork();
	if (!pid)
		_exit(become(maker) ? room() : 100);
	EXPECT_EQ(PAGES - 7, wait_status(pid));
	close(fd);
	pid = fork();
	if (!pid)
		_exit(become(maker) ? room() : 100);
	EXPECT_EQ(PAGES, wait_status(pid));
}

#define THREADS 4

static int mapped;

static void *map_at_the_edge(void *unused)
{
	int i, fd;

	for (i = 0; i < PAGES; i++) {
		fd = secret_file(page_size);
		if (walk_over(fd, 0))
			__atomic_add_fetch(&mapped, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* The process ends, and closes their descriptors. */
TEST_F(charge, is_exact_however_many_threads_there_are)
{
	pthread_t threads[THREADS];
	pid_t pid;
	int i;

	pid = fork();
	if (!pid) {
		for (i = 0; i < THREADS; i++)
			if (pthread_create(&threads[i], NULL, map_at_the_edge,
					   NULL))
				_exit(100);
		for (i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		_exit(mapped);
	}
	EXPECT_EQ(PAGES, wait_status(pid));
	EXPECT_EQ(PAGES, room());
}

/*
 * A mapping that is refused, by whichever limit, leaves what was mapped there.
 */
TEST_F(charge, refused_at_a_fixed_address_leaves_what_was_there)
{
	size_t size = self->size + page_size;
	char *p = map_plain(size);
	int other;

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, size, 1);
	EXPECT_EQ(MAP_FAILED, mmap(p, size, PROT_READ, MAP_SHARED | MAP_FIXED,
				   self->fd, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(is_filled(p, size, 1));
	EXPECT_EQ(MAP_FAILED, mmap(p, page_size, PROT_READ,
				   MAP_SHARED | MAP_FIXED, self->fd,
				   self->size));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(is_filled(p, size, 1));
	EXPECT_EQ(0, charged_pages(self->fd));
	other = fill_room(PAGES);
	EXPECT_EQ(MAP_FAILED, mmap(p, page_size, PROT_READ,
				   MAP_SHARED | MAP_FIXED, self->fd, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(is_filled(p, size, 1));
	close(other);
	/*
	 * Over itself it needs nothing more, and it can move within its limit.
	 */
	ASSERT_EQ(p, mmap(p, self->size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(p, mmap(p, self->size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(0, munmap(p + self->size, page_size));
	p = mremap(p, self->size, self->size, MREMAP_MAYMOVE | MREMAP_FIXED,
		   map_plain(self->size));
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, self->size, 2);
	EXPECT_TRUE(is_filled(p, self->size, 2));
	munmap(p, self->size);
}

TEST_F(charge, is_nothing_for_a_mapping_that_can_not_be)
{
	pid_t pid;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_PRIVATE,
				   self->fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ | PROT_EXEC,
				   MAP_SHARED, self->fd, 0));
	EXPECT_EQ(-1, fallocate(self->fd, 0, 0, 2 * self->size));
	/* No address space left. */
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_AS, &(struct rlimit){ page_size, page_size });
		_exit(map_page(self->fd, 0) != MAP_FAILED || errno != ENOMEM);
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, charged_pages(self->fd));
	EXPECT_EQ(PAGES, room());
}

TEST(CAP_IPC_LOCK_is_exempt)
{
	size_t size = PAGES * page_size;
	int fd = secret_file(4 * size);

	ASSERT_EQ(0, limit_locked(page_size));
	EXPECT_TRUE(walk_over(fd, PAGES));
	EXPECT_EQ(PAGES + 1, charged_pages(fd));
	EXPECT_EQ(0, fallocate(fd, 0, 0, 2 * size));
	EXPECT_EQ(2 * PAGES, charged_pages(fd));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_TRUE(walk_over(fd, 0));
	EXPECT_FALSE(walk_over(fd, 2 * PAGES));
	EXPECT_EQ(EAGAIN, errno);
}

/* The sum of their pages overflows. */
TEST(CAP_IPC_LOCK_is_exempt_with_the_largest_files)
{
	off_t last = sizeof(long) == 8 ?
		     LLONG_MAX / page_size * page_size - page_size :
		     ((off_t)ULONG_MAX - 1) * page_size;
	int fds[8], i;
	char *p;

	for (i = 0; i < 8; i++) {
		fds[i] = secret_file(last + page_size);
		ASSERT_LE(0, fds[i]);
		p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fds[i], last);
		ASSERT_NE(MAP_FAILED, (void *)p);
		fill(p, page_size, i);
		EXPECT_TRUE(is_filled(p, page_size, i));
		munmap(p, page_size);
	}
	for (i = 0; i < 8; i++)
		close(fds[i]);
	ASSERT_EQ(0, limit_locked(page_size));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_TRUE(walk_over(secret_file(page_size), 0));
}

TEST_HARNESS_MAIN
