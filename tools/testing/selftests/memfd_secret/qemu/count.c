// SPDX-License-Identifier: GPL-2.0
/*
 * What common operations cost, in ticks of the time stamp counter. It advances by
 * one for each instruction if QEMU has "-icount shift=0".
 *
 * Standard output is CSV: operation, ticks. Each operation has a line for each
 * repetition; the ticks are those of one page, call or switch. MemTotal and MemFree
 * are in kB, from before the first operation. "secret" is 1 if memfd_secret(2)
 * works, which is tried last.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>
#include <linux/futex.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../secretmem.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define REPETITIONS	15
#define CALLS		1000
#define CHILDREN	50
#define PAGE		4096
#define PAGES		256
#define SIZE		(PAGES * PAGE)
/* So many fit into a pipe. */
#define PIPE_PAGES	16
/* So many fit into a queue, and need more than one slab. */
#define MESSAGES	128

/* As in mm/gup_benchmark.c. */
struct gup_benchmark {
	__u64 get_delta_usec;
	__u64 put_delta_usec;
	__u64 addr;
	__u64 size;
	__u32 nr_pages_per_call;
	__u32 flags;
	__u64 expansion[10];
};

#define GUP_FAST_BENCHMARK	_IOWR('g', 1, struct gup_benchmark)
#define GUP_FILE		"/sys/kernel/debug/gup_benchmark"

static unsigned long long ticks;

static void begin(void)
{
	ticks = __rdtsc();
}

static void end(void)
{
	ticks = __rdtsc() - ticks;
}

static void check(bool ok, const char *what)
{
	if (!ok)
		err(1, "%s", what);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	check(fd >= 0, path);
	return fd;
}

static void touch(char *p)
{
	int i;

	for (i = 0; i < PAGES; i++)
		__atomic_store_n(p + i * PAGE, 1, __ATOMIC_RELAXED);
}

static char *map_anon(void)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED, "mmap");
	return p;
}

static char *map_file(int fd)
{
	char *p = map_shared(fd, SIZE);

	check(p != MAP_FAILED, "mmap");
	return p;
}

static int make_file(void)
{
	int fd = plain_file(SIZE);

	check(fd >= 0, "memfd_create");
	return fd;
}

/*
 * Operations. Each returns how many it has done between begin() and end().
 */

static int call(void)
{
	int i;

	begin();
	for (i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	end();
	return CALLS;
}

static int touch_anon(void)
{
	char *p = map_anon();

	begin();
	touch(p);
	end();
	munmap(p, SIZE);
	return PAGES;
}

static int unmap_anon(void)
{
	char *p = map_anon();

	touch(p);
	begin();
	munmap(p, SIZE);
	end();
	return PAGES;
}

static int touch_file(void)
{
	int fd = make_file();
	char *p = map_file(fd);

	begin();
	touch(p);
	end();
	munmap(p, SIZE);
	close(fd);
	return PAGES;
}

static int touch_file_again(void)
{
	int fd = make_file();
	char *p = map_file(fd), *q = map_file(fd);

	touch(p);
	begin();
	touch(q);
	end();
	munmap(p, SIZE);
	munmap(q, SIZE);
	close(fd);
	return PAGES;
}

static int get_pages(void)
{
	char *p = map_anon();
	struct gup_benchmark gup = {
		.addr = (unsigned long)p,
		.size = SIZE,
		.nr_pages_per_call = PAGES,
	};
	int fd = open_file(GUP_FILE, O_RDWR), ret;

	touch(p);
	begin();
	ret = ioctl(fd, GUP_FAST_BENCHMARK, &gup);
	end();
	check(!ret && gup.size == SIZE, GUP_FILE);
	close(fd);
	munmap(p, SIZE);
	return PAGES;
}

static int splice_pages(void)
{
	int null = open_file("/dev/null", O_WRONLY), pipes[2], i;
	size_t size = PIPE_PAGES * PAGE;
	char *p = map_anon();
	bool ok = true;

	check(!pipe(pipes), "pipe");
	touch(p);
	begin();
	for (i = 0; i < PAGES; i += PIPE_PAGES) {
		struct iovec iov = { p + i * PAGE, size };

		ok &= vmsplice(pipes[1], &iov, 1, 0) == (ssize_t)size;
		ok &= splice(pipes[0], NULL, null, NULL, size, 0) ==
		      (ssize_t)size;
	}
	end();
	check(ok, "splice");
	close(pipes[0]);
	close(pipes[1]);
	close(null);
	munmap(p, SIZE);
	return PAGES;
}

static int wake_futex(void)
{
	char *p = map_anon();
	int i;

	touch(p);
	begin();
	for (i = 0; i < CALLS; i++)
		syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0);
	end();
	munmap(p, SIZE);
	return CALLS;
}

/* The kernel allocates room for the path, and frees it as the path is empty. */
static int allocate(void)
{
	int i;

	begin();
	for (i = 0; i < CALLS; i++)
		check(chdir("") && errno == ENOENT, "chdir");
	end();
	return CALLS;
}

static int send_messages(void)
{
	int queue = msgget(IPC_PRIVATE, 0600), i;
	struct {
		long type;
		char text[64];
	} message = { .type = 1 };
	size_t size = sizeof(message.text);
	bool ok = true;

	check(queue >= 0, "msgget");
	begin();
	for (i = 0; i < MESSAGES; i++)
		ok &= !msgsnd(queue, &message, size, IPC_NOWAIT);
	for (i = 0; i < MESSAGES; i++)
		ok &= msgrcv(queue, &message, size, 0, IPC_NOWAIT) ==
		      (ssize_t)size;
	end();
	check(ok, "message queue");
	msgctl(queue, IPC_RMID, NULL);
	return MESSAGES;
}

static void end_child(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && !status, "child");
}

/* A byte goes back and forth between two processes on the only CPU. */
static int switch_tasks(void)
{
	int there[2], back[2], i;
	bool ok = true;
	char byte = 0;
	pid_t pid;

	check(!pipe(there) && !pipe(back), "pipe");
	pid = fork();
	check(pid >= 0, "fork");
	if (!pid) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			ok &= write(back[1], &byte, 1) == 1;
		_exit(!ok);
	}
	begin();
	for (i = 0; i < CALLS; i++)
		ok &= write(there[1], &byte, 1) == 1 &&
		      read(back[0], &byte, 1) == 1;
	end();
	check(ok, "pipe");
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
	end_child(pid);
	return 2 * CALLS;
}

static int fork_child(void)
{
	pid_t pid;
	int i;

	begin();
	for (i = 0; i < CHILDREN; i++) {
		pid = fork();
		check(pid >= 0, "fork");
		if (!pid)
			_exit(0);
		end_child(pid);
	}
	end();
	return CHILDREN;
}

static int lock_pages(void)
{
	char *p = map_anon();
	int ret;

	touch(p);
	begin();
	ret = mlock(p, SIZE) || munlock(p, SIZE);
	end();
	check(!ret, "mlock");
	munmap(p, SIZE);
	return PAGES;
}

/* Halve a mapping, and extend it again. */
static int resize(void)
{
	char *p = map_anon();
	bool ok = true;
	int i;

	begin();
	for (i = 0; i < CALLS; i++)
		ok &= mremap(p, SIZE, SIZE / 2, 0) == p &&
		      mremap(p, SIZE / 2, SIZE, 0) == p;
	end();
	check(ok, "mremap");
	munmap(p, SIZE);
	return CALLS;
}

static int read_meminfo(void)
{
	int fd = open_file("/proc/meminfo", O_RDONLY);
	char text[8192];
	ssize_t n;

	begin();
	n = pread(fd, text, sizeof(text), 0);
	end();
	check(n > 0, "/proc/meminfo");
	close(fd);
	return 1;
}

static const struct {
	const char *name;
	int (*run)(void);
} operations[] = {
	{ "call",		call },
	{ "touch_anon",		touch_anon },
	{ "unmap_anon",		unmap_anon },
	{ "touch_file",		touch_file },
	{ "touch_file_again",	touch_file_again },
	{ "get_pages",		get_pages },
	{ "splice_pages",	splice_pages },
	{ "wake_futex",		wake_futex },
	{ "allocate",		allocate },
	{ "send_messages",	send_messages },
	{ "switch_tasks",	switch_tasks },
	{ "fork_child",		fork_child },
	{ "lock_pages",		lock_pages },
	{ "resize",		resize },
	{ "read_meminfo",	read_meminfo },
};

static void print_memory(const char *field)
{
	FILE *file = fopen("/proc/meminfo", "re");
	size_t len = strlen(field);
	char line[256];

	check(file, "/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, field, len) && line[len] == ':')
			printf("%s,%ld\n", field, atol(line + len + 1));
	fclose(file);
}

int main(void)
{
	double values[REPETITIONS];
	size_t i, j;

	print_memory("MemTotal");
	print_memory("MemFree");
	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		for (j = 0; j < REPETITIONS; j++) {
			int n = operations[i].run();

			values[j] = (double)ticks / n;
		}
		for (j = 0; j < REPETITIONS; j++)
			printf("%s,%.2f\n", operations[i].name, values[j]);
	}
	printf("secret,%d\n", memfd_secret(0) >= 0);
	fflush(stdout);
	return ferror(stdout) ? 1 : 0;
}
