// SPDX-License-Identifier: GPL-2.0
/*
 * Makes memory secret that a program locks.
 *
 *	LD_PRELOAD=secret_mlock.so program
 *
 * Programs with keys commonly take a region of anonymous memory for them and lock it
 * with mlock(). This replaces the region by secret memory with the same contents, at
 * the same address. Memory of any other kind is locked as always, and so is all
 * memory if there is no secret memory, or not enough.
 *
 * Secret mappings are shared, but the regions were private: a child that wipes what
 * it has inherited, as gpg-agent's children do before they execute another program,
 * would wipe the keys of its parent. Therefore a child gets secret memory of its own,
 * with a copy. For that RLIMIT_MEMLOCK has to be twice the size of the regions;
 * otherwise a child has nothing at their addresses.
 *
 * No other thread may write to a region while it is being locked.
 *
 * The program may be one of an older Debian than this is built on: see that it needs
 * only symbols that the older C library has.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define MAX_REGIONS	8

static struct region {
	char *start;
	size_t size;		/* 0: not in use */
	int copy;		/* for the child of fork(), or -1 */
} regions[MAX_REGIONS];

/* Whether a single private mapping has the region, and neither a file nor a name. */
static bool is_anonymous(uintptr_t start, uintptr_t end)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to, inode;
	bool found = false;
	char line[512];
	char shared;
	int name;

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		name = 0;
		if (sscanf(line, "%lx-%lx rw-%c %*x %*s %lu %n", &from, &to, &shared,
			   &inode, &name) < 4)
			continue;
		found = from <= start && end <= to && shared == 'p' && !inode &&
			!line[name];
	}
	if (maps)
		fclose(maps);
	return found;
}

/* Returns a descriptor of secret memory with what is at @start, or -1. */
static int copy_to_secret(const void *start, size_t size)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd < 0)
		return -1;
	if (!ftruncate(fd, size))
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		close(fd);
		return -1;
	}
	memcpy(p, start, size);
	munmap(p, size);
	return fd;
}

/* Changes nothing if it fails. */
static bool map_secret(void *start, size_t size, int fd)
{
	void *p = mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);

	close(fd);
	return p != MAP_FAILED && !madvise(start, size, MADV_DONTFORK);
}

static void before_fork(void)
{
	for (struct region *r = regions; r < regions + MAX_REGIONS; r++)
		r->copy = r->size ? copy_to_secret(r->start, r->size) : -1;
}

static void in_parent(void)
{
	for (struct region *r = regions; r < regions + MAX_REGIONS; r++)
		if (r->copy >= 0)
			close(r->copy);
}

static void in_child(void)
{
	for (struct region *r = regions; r < regions + MAX_REGIONS; r++)
		if (r->copy < 0 || !map_secret(r->start, r->size, r->copy))
			r->size = 0;
}

__attribute__((constructor)) static void init(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

static bool make_secret(char *start, size_t size)
{
	struct region *r = regions;
	int fd;

	while (r < regions + MAX_REGIONS && r->size)
		r++;
	if (r == regions + MAX_REGIONS)
		return false;
	fd = copy_to_secret(start, size);
	if (fd < 0 || !map_secret(start, size, fd))
		return false;
	r->start = start;
	r->size = size;
	return true;
}

int mlock(const void *addr, size_t len)
{
	uintptr_t page = sysconf(_SC_PAGESIZE);
	uintptr_t start = (uintptr_t)addr & -page;
	uintptr_t end = ((uintptr_t)addr + len + page - 1) & -page;
	int saved = errno;

	if (len && is_anonymous(start, end) && make_secret((char *)start, end - start)) {
		errno = saved;
		return 0;
	}
	return syscall(SYS_mlock, addr, len);
}

/* Regions are given back as a whole. */
int munmap(void *addr, size_t len)
{
	for (struct region *r = regions; r < regions + MAX_REGIONS; r++)
		if (r->start == addr)
			r->size = 0;
	return syscall(SYS_munmap, addr, len);
}
