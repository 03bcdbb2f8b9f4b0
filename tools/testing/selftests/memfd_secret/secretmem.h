/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Definitions for every program of this folder that uses memfd_secret(2).
 */
#ifndef SELFTEST_SECRETMEM_H
#define SELFTEST_SECRETMEM_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif

#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d	/* "SECM" */
#endif

static inline int memfd_secret(unsigned int flags)
{
	return syscall(__NR_memfd_secret, flags);
}

/* A new secret file of @size bytes; -1 and errno on error. */
static inline int secret_file(off_t size)
{
	int fd = memfd_secret(0);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A memfd of @size bytes for comparison; -1 and errno on error. */
static inline int plain_file(off_t size)
{
	int fd = memfd_create("control", 0);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* @size bytes from the start of @fd, readable and writable; or MAP_FAILED. */
static inline void *map_shared(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* Limit what this process and its user may lock without CAP_IPC_LOCK. */
static inline int limit_locked(rlim_t size)
{
	return setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ size, size });
}

#endif /* SELFTEST_SECRETMEM_H */
