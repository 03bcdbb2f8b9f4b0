/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Use a disk whose contents are not needed as swap space.
 */
#ifndef SELFTEST_SWAPSPACE_H
#define SELFTEST_SWAPSPACE_H

#include <sys/swap.h>

#include "testing.h"

/* The first page of a swap area, as mkswap(8) makes it. */
struct swap_header {
	char boot[1024];
	unsigned int version;
	unsigned int last_page;
	unsigned int bad_pages;
	char rest[4096 - 1024 - 3 * 4 - 10];
	char magic[10];
};

static inline bool make_swap(const char *disk, unsigned int pages)
{
	struct swap_header header = {
		.version = 1, .last_page = pages - 1, .magic = "SWAPSPACE2",
	};
	int fd = open(disk, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 &&
		  pwrite(fd, &header, sizeof(header), 0) == sizeof(header) &&
		  !fsync(fd);

	close(fd);
	return ok;
}

#endif /* SELFTEST_SWAPSPACE_H */
