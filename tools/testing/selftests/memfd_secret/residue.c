// SPDX-License-Identifier: GPL-2.0
/*
 * However a secret file ends, nothing of it is left: not in any page of the
 * machine's memory, all of which is searched from outside, and not in the
 * kernel's direct map, which is whole again. Meanwhile the owner is killed,
 * interrupted, replaced or spied on, or its allocations fail.
 *
 * The search looks for a key that only exists in secret memory. A program has
 * the complement, computes the key word by word, and writes it directly to its
 * place; see kcore.h.
 *
 * $RACES / 250 is how often things are done, with a default of 5000 for $RACES.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "cgroup.h"
#include "fd_passing.h"
#include "host.h"
#include "inject.h"
#include "kcore.h"
#include "ring.h"

#define PAGES 64
#define MANY 1024
#define CORE_PATTERN "/proc/sys/kernel/core_pattern"
#define CORE_PIPE_LIMIT "/proc/sys/kernel/core_pipe_limit"
#define BLOCK_DEVICE "/dev/ram0"

/* The contents of all secret pages. */
static struct kcore_search secret;

/* Counts of all processes together, and whether anything went wrong. */
static struct {
	unsigned long filled;
	unsigned long failures;
	int wrong;
} *shared;

static unsigned int seed;

static unsigned int choose(unsigned int n)
{
	return rand_r(&seed) % n;
}

static void check(bool right)
{
	if (right)
		return;
	complain();
	__atomic_store_n(&shared->wrong, 1, __ATOMIC_SEQ_CST);
}

static long rounds(void)
{
	return races() / 250 + 1;
}

/*
 * Secret files and their owners
 */

/* Each record has the key, and a page is full of records. */
static long keys_in(long pages)
{
	return pages * (page_size / KCORE_RECORD_SIZE);
}

static void fill_page_with_key(void *pages, unsigned long page)
{
	kcore_fill(&secret, pages, page, page + 1);
	__atomic_add_fetch(&shared->filled, 1, __ATOMIC_SEQ_CST);
}

static void fill_with_key(void *pages, unsigned long nr)
{
	unsigned long page;

	for (page = 0; page < nr; page++)
		fill_page_with_key(pages, page);
}

static bool has_keys(const void *pages, long nr)
{
	return (long)kcore_count_records(&secret.key, pages, nr * page_size) ==
		keys_in(nr);
}

/*
 * A file of @nr pages filled with the key. Stores its mapping in @pages, or
 * unmaps it if that is NULL.
 */
static int filled_file(long nr, char **pages)
{
	int fd = secret_file(nr * page_size);
	char *p = map_shared(fd, nr * page_size);

	if (p == MAP_FAILED)
		abort();
	fill_with_key(p, nr);
	if (pages)
		*pages = p;
	else
		munmap(p, nr * page_size);
	return fd;
}

/* Map a new file of @nr empty pages over whatever is mapped at @p. */
static void map_over(char *p, long nr)
{
	int fd = secret_file(nr * page_size);

	check(mmap(p, nr * page_size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) == p);
	close(fd);
}

/* Fork a child with its own seed, which ends with its parent. */
static pid_t fork_owner(void)
{
	unsigned int child_seed = choose(1 << 30);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		seed = child_seed;
	}
	return pid;
}

static bool all_children_are_gone(void)
{
	while (wait(NULL) > 0)
		;
	return errno == ECHILD;
}

/* Make files of up to @most pages with @flags and fill them, until killed. */
static void own_files(long most, int flags)
{
	unsigned int own_seed = gettid();
	long nr;
	char *p;
	int fd;

	for (;;) {
		nr = 1 + rand_r(&own_seed) % most;
		fd = secret_file(nr * page_size);
		p = mmap(NULL, nr * page_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | flags, fd, 0);
		check(p != MAP_FAILED);
		if (rand_r(&own_seed) % 2) {
			close(fd);
			fd = -1;
		}
		fill_with_key(p, nr);
		check(has_keys(p, nr));
		munmap(p, nr * page_size);
		close(fd);
	}
}

static void *own_small_files(void *unused)
{
	own_files(PAGES / 4, 0);
	return NULL;
}

/* The end of memory. Frames of devices may be far beyond it. */
static off_t last_frame(void)
{
	FILE *f = fopen("/proc/iomem", "re");
	unsigned long long end, last = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "System RAM") &&
		    sscanf(line, "%*x-%llx", &end) == 1)
			last = end;
	if (f)
		fclose(f);
	return last / page_size;
}

/* Frames that the kernel cannot read in the direct map; -1 if unknown. */
static long unreadable_frames(void)
{
	off_t at = 0, last = last_frame();
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	char state[4096];
	long count = 0;
	ssize_t n = 0, i;

	for (; fd >= 0 && at <= last; at += n) {
		n = pread(fd, state, sizeof(state), at);
		if (n <= 0)
			break;
		for (i = 0; i < n; i++)
			count += state[i] == '-' || state[i] == '?';
	}
	close(fd);
	return !last || at <= last ? -1 : count;
}

/* Other tasks may drop the last reference to a file some time later. */
static void wait_for_others(void)
{
	int tries;

	if (frees_unmap())
		sleep(1);
	else
		for (tries = 0; tries < 20 && secret_kb(); tries++)
			usleep(100000);
}

/*
 * Each test closes its last secret file; the teardown then checks that nothing
 * is left.
 */
FIXTURE(nothing_is_left) {
	char file[48];		/* to be deleted at the end */
	bool skipped;
};

FIXTURE_SETUP(nothing_is_left)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	ASSERT_EQ(0, kcore_search_init(&secret, PAGES));
	/* Reap orphans here. */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
}

FIXTURE_TEARDOWN(nothing_is_left)
{
	long unreadable;

	if (self->skipped)
		return;
	EXPECT_EQ(0, shared->wrong);
	EXPECT_NE(0, shared->filled);
	EXPECT_EQ(0, host_search(&secret.key));
	EXPECT_EQ(0, secret_kb());
	EXPECT_TRUE(give_spare_memory_back());
	/* A kernel that unmaps all free pages has nothing to compare. */
	unreadable = frees_unmap() ? 0 : unreadable_frames();
	EXPECT_EQ(0, unreadable);
	TH_LOG("%lu pages were secret", shared->filled);
	if (self->file[0])
		unlink(self->file);
}

/*
 * Files that end normally: the control, in which everything is found
 */

TEST_F(nothing_is_left, of_what_was_found_while_the_file_was_open)
{
	struct kcore_search plain;
	int plain_fd, fd;
	char *p;

	ASSERT_EQ(0, kcore_search_init(&plain, PAGES));
	plain_fd = plain_file(PAGES * page_size);
	p = map_shared(plain_fd, PAGES * page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	kcore_fill(&plain, p, 0, PAGES);
	EXPECT_LE(keys_in(PAGES), host_search(&plain.key));

	fd = filled_file(PAGES, &p);
	EXPECT_EQ(keys_in(PAGES), host_search(&secret.key));
	munmap(p, PAGES * page_size);
	EXPECT_EQ(keys_in(PAGES), host_search(&secret.key));
	close(fd);
}

/*
 * Files that another process still has after the owner's end
 */

/* A holder reports that it is ready, and waits until it is let go. */
struct rendezvous {
	int there[2];
	int leave[2];
};

static bool make_rendezvous(struct rendezvous *r)
{
	return !pipe2(r->there, O_CLOEXEC) && !pipe2(r->leave, O_CLOEXEC);
}

static void wait_to_leave(const struct rendezvous *r)
{
	char c = 0;

	close(r->leave[1]);
	check(write(r->there[1], &c, 1) == 1);
	check(!read(r->leave[0], &c, 1));
}

static bool is_there(const struct rendezvous *r)
{
	char c;

	return read(r->there[0], &c, 1) == 1;
}

static void let_leave(const struct rendezvous *r)
{
	close(r->leave[0]);
	close(r->leave[1]);
}

TEST_F(nothing_is_left, of_an_owner_whose_child_lived_on)
{
	struct rendezvous rendezvous;
	pid_t owner;
	char *p;

	ASSERT_TRUE(make_rendezvous(&rendezvous));
	owner = fork_owner();
	if (!owner) {
		close(filled_file(PAGES, &p));
		if (!fork()) {
			wait_to_leave(&rendezvous);
			check(has_keys(p, PAGES));
		}
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(owner));
	EXPECT_TRUE(is_there(&rendezvous));
	EXPECT_EQ(keys_in(PAGES), host_search(&secret.key));
	let_leave(&rendezvous);
	EXPECT_TRUE(all_children_are_gone());
}

/*
 * Sockets in each other's queue, so that closing them does not free the queues.
 */
TEST_F(nothing_is_left, in_queues_of_sockets_that_nobody_has)
{
	int sv[2], other[2], fd, last;

	for (last = 0; last < 2; last++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
		fd = filled_file(PAGES, NULL);
		ASSERT_EQ(0, send_fd(sv[0], fd));
		ASSERT_EQ(0, send_fd(sv[0], sv[1]));
		ASSERT_EQ(0, send_fd(sv[1], sv[0]));
		close(fd);
		if (!last)
			EXPECT_EQ(keys_in(PAGES), host_search(&secret.key));
		close(sv[!last]);
		close(sv[last]);
	}
	/* The AF_UNIX garbage collector runs when the next socket is closed. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, other));
	close(other[0]);
	close(other[1]);
	wait_for_others();
}

/* Both hold the inode, but do not keep the file open. */
TEST_F(nothing_is_left, behind_an_inotify_watch_and_an_O_PATH_descriptor)
{
	int notify = inotify_init1(IN_CLOEXEC), fd, path_fd;
	struct stat st;
	char path[32];

	fd = filled_file(PAGES, NULL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	path_fd = open(path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path_fd);
	ASSERT_LE(0, inotify_add_watch(notify, path, IN_ALL_EVENTS));
	close(fd);
	/* They stay open. */
	EXPECT_EQ(0, fstat(path_fd, &st));
	EXPECT_EQ(PAGES * page_size, st.st_size);
}

TEST_F(nothing_is_left, of_a_file_that_a_ring_had)
{
	struct io_uring_params params = { };
	int ring = ring_descriptor(&params), fd;

	if (ring < 0)
		SKIP(self->skipped = true; return, "kernel without IO_URING");
	fd = filled_file(PAGES, NULL);
	ASSERT_EQ(0, ring_register(ring, IORING_REGISTER_FILES, &fd, 1));
	close(fd);
	EXPECT_EQ(keys_in(PAGES), host_search(&secret.key));
	close(ring);
	wait_for_others();
}

/*
 * Owners that come to a sudden end
 */

static void kill_owners(struct __test_metadata *_metadata, long most, int flags)
{
	pthread_t second;
	pid_t owner;
	long n;

	for (n = 0; n < rounds(); n++) {
		owner = fork_owner();
		if (!owner) {
			setpgid(0, 0);
			filled_file(1 + choose(4), NULL);
			if (n % 3 == 1)
				pthread_create(&second, NULL, own_small_files,
					       NULL);
			else if (n % 3 == 2)
				fork();
			own_files(most, flags);
		}
		setpgid(owner, owner);
		usleep(choose(40000));
		ASSERT_EQ(0, kill(-owner, SIGKILL));
		ASSERT_TRUE(all_children_are_gone());
	}
}

TEST_F(nothing_is_left, of_owners_killed_while_they_fill)
{
	kill_owners(_metadata, PAGES, 0);
}

TEST_F(nothing_is_left, of_owners_killed_while_they_populate)
{
	kill_owners(_metadata, MANY, MAP_POPULATE);
}

static void attach_and_ask(pid_t owner, char *p)
{
	char buf[KCORE_RECORD_SIZE];
	struct iovec local = { buf, sizeof(buf) }, remote = { p, sizeof(buf) };

	check(!ptrace(PTRACE_SEIZE, owner, NULL, PTRACE_O_EXITKILL) &&
	      !ptrace(PTRACE_INTERRUPT, owner, NULL, NULL) &&
	      waitpid(owner, NULL, __WALL) == owner);
	errno = 0;
	check(ptrace(PTRACE_PEEKDATA, owner, p, NULL) == -1 && errno == EIO);
	check(process_vm_readv(owner, &local, 1, &remote, 1, 0) == -1);
}

/*
 * Either the owner is killed, or its tracer, which then takes the owner with
 * it.
 */
TEST_F(nothing_is_left, of_owners_killed_under_a_tracer)
{
	struct rendezvous asked;
	pid_t owner, tracer;
	char *p;
	long n;

	p = map_plain(PAGES * page_size);
	for (n = 0; n < rounds() / 4; n++) {
		ASSERT_TRUE(make_rendezvous(&asked));
		owner = fork_owner();
		if (!owner) {
			map_over(p, PAGES);
			fill_with_key(p, 1 + choose(PAGES));
			own_files(PAGES, 0);
		}
		usleep(choose(40000));
		tracer = fork_owner();
		if (!tracer) {
			attach_and_ask(owner, p);
			wait_to_leave(&asked);
			_exit(0);
		}
		EXPECT_TRUE(is_there(&asked));
		ASSERT_EQ(0, kill(n % 2 ? owner : tracer, SIGKILL));
		let_leave(&asked);
		close(asked.there[0]);
		close(asked.there[1]);
		ASSERT_TRUE(all_children_are_gone());
	}
}

/* The new program checks that the contents are still there. */
static int after_exec(int fd)
{
	long *p = map_shared(fd, page_size);
	size_t i, half = page_size / sizeof(*p) / 2;

	if ((char *)p == MAP_FAILED)
		return 1;
	for (i = 0; i < half; i++)
		if (p[i] != p[i + half])
			return 1;
	return !p[0];
}

TEST_F(nothing_is_left, of_owners_that_exec)
{
	pthread_t second;
	char number[16];
	pid_t owner;
	long n;
	int fd;

	for (n = 0; n < rounds() / 2; n++) {
		owner = fork_owner();
		if (!owner) {
			fd = filled_file(1 + choose(PAGES), NULL);
			snprintf(number, sizeof(number), "%d", fd);
			pthread_create(&second, NULL, own_small_files, NULL);
			usleep(choose(20000));
			execl("/proc/self/exe", "residue", "exec", number, NULL);
			_exit(2);
		}
		EXPECT_EQ(0, wait_status(owner));
	}
}

/*
 * Core dumps
 */

static void __attribute__((noreturn)) crash(const struct kcore_search *plain)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char *p = map_shared(plain_file(page_size), page_size);
	pthread_t second;

	check(p != MAP_FAILED);
	kcore_fill(plain, p, 0, 1);
	close(filled_file(PAGES, &p));
	check(!madvise(p, PAGES * page_size, MADV_DODUMP) &&
	      !setrlimit(RLIMIT_CORE, &unlimited) &&
	      !write_text("/proc/self/coredump_filter", "0x1ff"));
	pthread_create(&second, NULL, own_small_files, NULL);
	usleep(choose(20000));
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* The program that the kernel starts to read the core from a pipe. */
static int take_core(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	char buf[65536];
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		if (write(fd, buf, n) != n)
			return 1;
	return n < 0;
}

static long keys_in_core(const struct kcore_search *search, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	long count;
	void *core;

	if (fd < 0 || fstat(fd, &st))
		return -1;
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (core == MAP_FAILED)
		return -1;
	count = kcore_count_records(&search->key, core, st.st_size);
	munmap(core, st.st_size);
	return count;
}

/*
 * Dump core to @file by means of @pattern. The file is kept until the search.
 */
static void dump_core(struct __test_metadata *_metadata, const char *pattern,
		      const char *file)
{
	struct kcore_search plain;
	char saved[160];
	pid_t owner;

	ASSERT_EQ(0, kcore_search_init(&plain, 1));
	ASSERT_EQ(0, read_text(CORE_PATTERN, saved, sizeof(saved)));
	ASSERT_EQ(0, write_text(CORE_PATTERN, pattern));
	owner = fork_owner();
	if (!owner)
		crash(&plain);
	EXPECT_EQ(128 + SIGABRT, wait_status(owner));
	ASSERT_EQ(0, write_text(CORE_PATTERN, saved));

	EXPECT_EQ(keys_in(1), keys_in_core(&plain, file));
	EXPECT_EQ(0, keys_in_core(&secret, file));
}

TEST_F(nothing_is_left, in_a_core_file)
{
	snprintf(self->file, sizeof(self->file), "/tmp/residue-%d", getpid());
	ASSERT_EQ(0, write_text("/proc/sys/kernel/core_uses_pid", "0"));
	dump_core(_metadata, self->file, self->file);
}

TEST_F(nothing_is_left, in_a_pipe_that_took_the_core)
{
	char pattern[160] = "|", saved[16];

	snprintf(self->file, sizeof(self->file), "/tmp/residue-%d", getpid());
	ASSERT_LT(0, readlink("/proc/self/exe", pattern + 1, 64));
	strcat(pattern, " core ");
	strcat(pattern, self->file);
	/* So that the owner waits for the program. */
	ASSERT_EQ(0, read_text(CORE_PIPE_LIMIT, saved, sizeof(saved)));
	ASSERT_EQ(0, write_text(CORE_PIPE_LIMIT, "4"));
	dump_core(_metadata, pattern, self->file);
	write_text(CORE_PIPE_LIMIT, saved);
}

/*
 * Owners that are disturbed
 */

static char *alarm_pages;
static long alarms;

static void next_alarm(void)
{
	const struct itimerval soon = {
		.it_value.tv_usec = 50 + alarms % 7 * 50,
	};

	setitimer(ITIMER_REAL, &soon, NULL);
}

static void on_alarm(int sig)
{
	fill_page_with_key(alarm_pages, alarms++ % PAGES);
	if (alarms % PAGES == 0) {
		check(has_keys(alarm_pages, PAGES));
		map_over(alarm_pages, PAGES);
	}
	next_alarm();
}

/* The handler takes page faults itself, wherever it interrupts. */
TEST_F(nothing_is_left, under_a_storm_of_signals)
{
	char *p;
	long n;

	alarm_pages = map_plain(PAGES * page_size);
	map_over(alarm_pages, PAGES);
	p = map_plain(PAGES * page_size);
	signal(SIGALRM, on_alarm);
	next_alarm();
	for (n = 0; n < 2 * rounds(); n++) {
		map_over(p, PAGES);
		fill_with_key(p, PAGES);
		check(has_keys(p, PAGES));
	}
	signal(SIGALRM, SIG_IGN);
	munmap(p, PAGES * page_size);
	munmap(alarm_pages, PAGES * page_size);
	EXPECT_LT(n, alarms);
	TH_LOG("%ld signals", alarms);
}

/* The pages that others try to take, while they come and go. */
static char *wanted;
static unsigned long refusals;

static void refused(bool refused)
{
	check(refused);
	refusals++;
}

/* Only the ordinary page can be taken. */
static void *try_to_take(void *plain)
{
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	int disk = open(BLOCK_DEVICE, O_WRONLY | O_DIRECT | O_CLOEXEC);
	struct iovec iov[2] = { { plain, page_size }, { wanted, page_size } };
	int fds[2];

	check(mem >= 0 && !pipe(fds));
	while (!stopped()) {
		refused(vmsplice(fds[1], iov, 2, 0) == (ssize_t)page_size &&
			read(fds[0], plain, page_size) == (ssize_t)page_size);
		refused(process_vm_readv(getpid(), iov, 1, iov + 1, 1, 0) < 0);
		refused(pread(mem, plain, page_size,
			      (unsigned long)wanted) < 0);
		refused(pwrite(disk, wanted, page_size, 0) < 0);
		/* These calls hold mmap_lock, which others need. */
		usleep(100);
	}
	return NULL;
}

TEST_F(nothing_is_left, of_pages_that_others_try_to_take)
{
	pthread_t other;
	char *plain;
	long n;

	plain = map_plain(page_size);
	wanted = map_plain(PAGES * page_size);
	map_over(wanted, PAGES);
	ASSERT_EQ(0, pthread_create(&other, NULL, try_to_take, plain));
	for (n = 0; n < rounds() || !refusals; n++) {
		fill_with_key(wanted, PAGES);
		check(has_keys(wanted, PAGES));
		map_over(wanted, PAGES);
	}
	stop = true;
	pthread_join(other, NULL);
	munmap(wanted, PAGES * page_size);
	TH_LOG("%lu refusals", refusals);
}

/*
 * Owners whose requests fail
 */

static bool failed(bool failed)
{
	if (failed)
		__atomic_add_fetch(&shared->failures, 1, __ATOMIC_SEQ_CST);
	return failed;
}

/* Fill those of @nr pages that can be had, and note in @has which these are. */
static void fill_some(char *p, long nr, bool *has)
{
	long page;

	for (page = 0; page < nr; page++) {
		has[page] = !failed(!kernel_touch(p + page * page_size));
		if (has[page])
			fill_page_with_key(p, page);
	}
}

static void check_some(const char *p, long nr, const bool *has)
{
	long page;

	for (page = 0; page < nr; page++)
		check(!has[page] ||
		      kcore_record_at(&secret.key, p + page * page_size));
}

static void set_fail_nth(int n)
{
	char text[16];

	sprintf(text, "%d", n);
	while (write_text("/proc/thread-self/fail-nth", text))
		;
}

/*
 * The kernel warns if it cannot allocate a stack for the child. That comes
 * early, so let a later allocation fail.
 */
static pid_t fork_with_failure(void)
{
	pid_t pid;

	set_fail_nth(20 + choose(80));
	pid = fork_owner();
	set_fail_nth(0);
	return pid;
}

/* The life of a file, with failures on the way. */
static void live_with_failures(void)
{
	long nr = 1 + choose(PAGES), middle = nr / 2;
	size_t size = nr * page_size;
	char *p = MAP_FAILED, *q;
	bool has[PAGES] = { };
	pid_t pid = -1;
	int fd;

	fd = memfd_secret(0);
	if (failed(fd < 0))
		return;
	if (!failed(ftruncate(fd, size)))
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED |
			 (choose(2) ? MAP_POPULATE : 0), fd, 0);
	if (failed(p == MAP_FAILED)) {
		close(fd);
		return;
	}
	fill_some(p, nr, has);

	switch (choose(5)) {
	case 0:
		q = mremap(p, size, 2 * size, MREMAP_MAYMOVE);
		if (!failed(q == MAP_FAILED)) {
			munmap(q + size, size);
			p = q;
		}
		break;
	case 1:
		if (!failed(munmap(p + middle * page_size, page_size)))
			has[middle] = false;
		break;
	case 2:
		failed(mprotect(p + middle * page_size, page_size, PROT_READ));
		break;
	case 3:
		/* Without a descriptor there is only the mapping. */
		close(fd);
		fd = -1;
		break;
	case 4:
		pid = fork_with_failure();
		failed(pid < 0);
		break;
	}
	check_some(p, nr, has);
	if (!pid)
		_exit(0);
	while (munmap(p, size))
		;
	close(fd);
}

/* Exiting closes files, with failures as well. */
static void __attribute__((noreturn)) live_and_die_with_failures(void)
{
	long n;

	close(filled_file(PAGES, NULL));
	filled_file(1, NULL);
	inject_here(true);
	for (n = 0; n < 2 * rounds(); n++)
		live_with_failures();
	_exit(0);
}

TEST_F(nothing_is_left, though_allocations_failed)
{
	static const int percent[] = { 1, 5, 25 };
	pid_t owner;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(percent); i++) {
		if (!inject_failures(percent[i]))
			SKIP(self->skipped = true; return, "kernel without FAULT_INJECTION");
		owner = fork_owner();
		if (!owner)
			live_and_die_with_failures();
		EXPECT_EQ(0, wait_status(owner));
		ASSERT_TRUE(all_children_are_gone());
		inject_failures(0);
		EXPECT_NE(0, shared->failures);
		TH_LOG("%d %%: %lu failures", percent[i], shared->failures);
		shared->failures = 0;
	}
}

/* The kernel logs that it kills them. */
TEST_F(nothing_is_left, of_owners_over_the_limit_of_their_cgroup)
{
	struct cgroup group;
	pid_t owner;
	char *p;
	int n;

	if (!cgroup_create(&group) || !write_in(group.dir, "memory.max", "4M"))
		SKIP(self->skipped = true; return, "kernel without MEMCG");
	for (n = 0; n < 2; n++) {
		owner = fork_owner();
		if (!owner) {
			check(write_in(group.dir, "cgroup.procs", "0"));
			if (n)
				fork_owner();
			filled_file(4 * MANY, &p);
			_exit(0);
		}
		EXPECT_EQ(128 + SIGKILL, wait_status(owner));
		ASSERT_TRUE(all_children_are_gone());
	}
	cgroup_destroy(&group);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "exec"))
		return after_exec(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "core"))
		return take_core(argv[2]);
	if (!host_is_there())
		ksft_exit_skip("no host to search the memory\n");
	return test_harness_run(argc, argv);
}
