// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into trinity(1) by fuzz.c: some of the files and mappings that it
 * makes to pass to system calls are secret. Objects that are made by its random
 * system calls do not come through here.
 */
#define _GNU_SOURCE
#include "secretmem.h"

/*
 * The first three of its files are secret. One of them has no size, so that any
 * call can set it. The others are memfds.
 */
int memfd_create(const char *name, unsigned int flags)
{
	static unsigned int made;

	switch (made++) {
	case 0:
		return memfd_secret(0);
	case 1:
		return secret_file(4096);
	case 2:
		return secret_file(1 << 20);
	default:
		return syscall(SYS_memfd_create, name, flags);
	}
}

/*
 * A mapping that trinity makes for system calls can be told from one it needs
 * itself: it is anonymous, but comes with the descriptor of /dev/zero. Every
 * other one is secret, within RLIMIT_MEMLOCK.
 */
void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	static unsigned int made;
	void *p = MAP_FAILED;
	int file;

	if (flags == (MAP_SHARED | MAP_ANONYMOUS) && fd >= 0 && made++ % 2 == 0) {
		file = secret_file(length);
		p = (void *)syscall(SYS_mmap, addr, length, prot, MAP_SHARED,
				    file, 0);
		close(file);
	}
	if (p == MAP_FAILED)
		p = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd,
				    offset);
	return p;
}
