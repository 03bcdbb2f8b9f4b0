// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into trinity(1) by fuzz.c: of the files and mappings that it makes to
 * hand to system calls, some are secret. What its system calls make then, they
 * make themselves; those do not come through here.
 */
#define _GNU_SOURCE
#include "secretmem.h"

/*
 * The first three of its files are secret; one of them is left without a size,
 * for whoever sets it first. The rest are what it asks for.
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
 * The mappings that system calls get are told from those it lives on by the
 * descriptor: it gives one, of /dev/zero, though they are anonymous. Every
 * other one is secret, as far as RLIMIT_MEMLOCK goes.
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
