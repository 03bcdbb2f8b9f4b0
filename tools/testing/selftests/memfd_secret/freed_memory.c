// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel code that reads freed memory does not crash if the memory is secret by
 * now. In the direct map freed memory could always be read, so only a fault
 * shows that something still reads it.
 *
 * The stack of a zombie is such memory, and easy to produce: the process is
 * still in /proc. To find other cases, all of /proc and /sys is read while
 * processes come and go. With debug_pagealloc=on all free memory is unmapped,
 * and any such read faults.
 *
 * $ROUNDS is how often all of it is read. If it is not set, it is read once,
 * without the large folders whose files are all alike.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "testing.h"
#include "inject.h"

#define ZOMBIES		64
#define BLOCK_ORDER	9	/* of 2 MiB */
/*
 * Upper limit for the small pieces of free memory; usually these are a few MB.
 */
#define MOST_PIECES	(64UL << 20)
/* How much to read of each file, as some have no end. */
#define MOST_BYTES	16384
/* How long the reader of files may take. */
#define SECONDS		200

/*
 * All of them get a stack before any of them ends: one after the other, they
 * would get the same one.
 */
static bool make_zombies(pid_t *pids)
{
	siginfo_t info;
	int go[2], i;
	char c;

	if (pipe(go))
		return false;
	for (i = 0; i < ZOMBIES; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			close(go[1]);
			_exit(read(go[0], &c, 1));
		}
		if (pids[i] < 0)
			return false;
	}
	close(go[0]);
	close(go[1]);
	for (i = 0; i < ZOMBIES; i++)
		if (waitid(P_PID, pids[i], &info, WEXITED | WNOWAIT))
			return false;
	return true;
}

static bool proc_text(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return !read_text(path, text, size);
}

/*
 * A parent can learn of the end of a child while the child is still running on
 * its CPU.
 */
static bool wait_for_end_of_stack(pid_t pid)
{
	char text[256];

	do {
		sched_yield();
		if (!proc_text(pid, "syscall", text, sizeof(text)))
			return false;
	} while (strcmp(text, "-1 0x0 0x0\n"));
	return true;
}

/* How much free unmovable memory is in blocks of less than 2 MiB. */
static size_t free_in_pieces(void)
{
	FILE *f = fopen("/proc/pagetypeinfo", "re");
	size_t pages = 0;
	char line[512];
	char *p, *end;
	int order;

	while (f && fgets(line, sizeof(line), f)) {
		/* Another table has this word only in its header. */
		p = strstr(line, "type    Unmovable ");
		if (!p)
			continue;
		p += strlen("type    Unmovable ");
		for (order = 0; order < BLOCK_ORDER; order++, p = end)
			pages += strtoul(p, &end, 10) << order;
	}
	if (f)
		fclose(f);
	return pages * page_size < MOST_PIECES ? pages * page_size : MOST_PIECES;
}

FIXTURE(zombies) {
	pid_t pids[ZOMBIES];
};

FIXTURE_VARIANT(zombies) {
	int (*file)(off_t size);
};

FIXTURE_VARIANT_ADD(zombies, plain) {
	.file = plain_file,
};

FIXTURE_VARIANT_ADD(zombies, secret) {
	.file = secret_file,
};

FIXTURE_SETUP(zombies)
{
	int i;

	ASSERT_TRUE(make_zombies(self->pids));
	for (i = 0; i < ZOMBIES; i++)
		ASSERT_TRUE(wait_for_end_of_stack(self->pids[i]));
}

FIXTURE_TEARDOWN(zombies)
{
	int i;

	for (i = 0; i < ZOMBIES; i++)
		EXPECT_EQ(0, wait_status(self->pids[i]));
}

/*
 * Take the small pieces of free memory, where the stacks are: as single pages,
 * with fault injection, since these are taken from there first.
 */
TEST_F(zombies, can_be_looked_at_though_their_stacks_have_new_owners)
{
	static const char * const names[] = {
		"stat", "wchan", "stack", "syscall"
	};
	size_t size = free_in_pieces(), i, j;
	char text[4096];
	bool fragmented;
	char *p;
	int fd;

	ASSERT_NE(0, size);
	fd = variant->file(size);
	p = map_shared(fd, size);
	ASSERT_NE(MAP_FAILED, p);
	fragmented = inject_fragmentation(true);
	if (fragmented)
		inject_here(true);
	for (i = 0; i < size; i += page_size)
		p[i] = 1;
	if (fragmented)
		inject_here(false);
	inject_fragmentation(false);
	TH_LOG("%zu kB have new owners", size >> 10);

	for (i = 0; i < ZOMBIES; i++)
		for (j = 0; j < ARRAY_SIZE(names); j++)
			EXPECT_TRUE(proc_text(self->pids[i], names[j], text,
					      sizeof(text)));
	munmap(p, size);
	close(fd);
}

TEST(zombie_has_no_stack)
{
	pid_t pid = fork();
	char text[4096];
	siginfo_t info;

	if (!pid)
		_exit(0);
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	ASSERT_TRUE(wait_for_end_of_stack(pid));
	ASSERT_TRUE(proc_text(pid, "wchan", text, sizeof(text)));
	EXPECT_STREQ("0", text);
	ASSERT_TRUE(proc_text(pid, "stack", text, sizeof(text)));
	EXPECT_STREQ("", text);
	EXPECT_EQ(0, wait_status(pid));
}

/*
 * All of /proc and /sys
 */

static const char *rounds_text;

/* A folder with many files of a few kinds. */
static bool is_large(const char *path)
{
	static const char * const paths[] = {
		"/sys/kernel/slab", "/sys/kernel/debug/tracing/events",
		"/sys/devices/virtual/block",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]))
			return true;
	return false;
}

/*
 * Reading these files waits, takes data from other readers, or affects a
 * device.
 */
static bool is_left_out(const char *path)
{
	static const char * const paths[] = {
		"/proc/kmsg", "/proc/bus", "/sys/power/wakeup_count",
		/* The page tables: large, and read by direct_map already. */
		"/sys/kernel/debug/page_tables",
		"/sys/kernel/debug/kernel_page_tables",
	};
	static const char * const names[] = {
		"trace_pipe", "trace_pipe_raw", "config", "resource", "rom",
		"vpd",
	};
	const char *name = strrchr(path, '/') + 1;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]))
			return true;
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return !strncmp(name, "resource", strlen("resource"));
}

/* The file that is being read, to report it on a timeout. */
static char now_reading[PATH_MAX];

static struct {
	unsigned long files;
	unsigned long bytes;
	unsigned long processes;	/* that came and went */
} *shared;

static void read_file(const char *path)
{
	struct pollfd poll_fd = { .events = POLLIN };
	char buf[4096];
	ssize_t n = 0;
	int bytes;

	poll_fd.fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (poll_fd.fd < 0)
		return;
	/* Only if reading does not wait. */
	if (poll(&poll_fd, 1, 0) == 1)
		for (bytes = 0; bytes < MOST_BYTES; bytes += n) {
			n = read(poll_fd.fd, buf, sizeof(buf));
			if (n <= 0)
				break;
			shared->bytes += n;
		}
	close(poll_fd.fd);
	shared->files++;
}

/* Is this a kernel thread? There are many, all alike. */
static bool is_kernel_thread(const char *path)
{
	const int kthreadd = 2;
	char name[64], text[512];
	int pid, parent;

	if (sscanf(path, "/proc/%d", &pid) != 1)
		return false;
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	return !read_text(name, text, sizeof(text)) &&
		sscanf(strrchr(text, ')') + 1, " %*c %d", &parent) == 1 &&
		parent == kthreadd;
}

static void read_tree(const char *top)
{
	char path[PATH_MAX], link[PATH_MAX];
	DIR *dir = opendir(top);
	struct dirent *de;

	while (dir && (de = readdir(dir))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", top, de->d_name);
		if (is_left_out(path) || (!rounds_text && is_large(path)))
			continue;
		if (!strcmp(top, "/proc") && is_kernel_thread(path))
			continue;
		strcpy(now_reading, path);
		if (de->d_type == DT_DIR)
			read_tree(path);
		else if (de->d_type == DT_REG)
			read_file(path);
		else if (de->d_type == DT_LNK &&
			 readlink(path, link, sizeof(link)) > 0)
			shared->files++;
	}
	if (dir)
		closedir(dir);
}

static void on_alarm(int sig)
{
	static const char text[] = ": does not come to an end\n";

	if (write(STDERR_FILENO, now_reading, strlen(now_reading)) < 0 ||
	    write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

/* Each process has a secret page in memory that has just been freed. */
static void come_and_go(void)
{
	pid_t pid;
	char *p;

	for (;;) {
		pid = fork();
		if (!pid) {
			p = map_secret(page_size);
			if (p != MAP_FAILED)
				*p = 1;
			_exit(0);
		}
		if (waitpid(pid, NULL, 0) == pid)
			shared->processes++;
	}
}

TEST(all_of_proc_and_sys_can_be_read_while_processes_come_and_go)
{
	pid_t others, reader;
	int rounds;

	rounds_text = getenv("ROUNDS");
	rounds = rounds_text ? atoi(rounds_text) : 1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	others = fork();
	if (!others) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* On a single CPU they would get most of the time. */
		setpriority(PRIO_PROCESS, 0, 5);
		come_and_go();
	}
	reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGALRM, on_alarm);
		alarm(SECONDS * rounds);
		while (rounds--) {
			read_tree("/proc");
			read_tree("/sys");
		}
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(reader));
	kill(others, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, wait_status(others));
	TH_LOG("%lu files, %lu kB, %lu processes", shared->files,
	       shared->bytes >> 10, shared->processes);
	EXPECT_LT(1000, shared->files);
	EXPECT_LT(0, shared->processes);
}

TEST_HARNESS_MAIN
