// SPDX-License-Identifier: GPL-2.0
/*
 * Holds secret memory, and keeps allocating and freeing more of it, in the
 * background until it is killed. Returns when it holds the memory; fails if
 * there is no secret memory.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "../secretmem.h"

#define KEPT	(8UL << 20)
#define DROPPED	(64UL << 10)

/* Let the OOM killer choose a test, not this program. */
static void spare_from_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0 || write(fd, "-1000", 5) != 5)
		err(1, "oom_score_adj");
	close(fd);
}

/* Returns @size bytes of secret memory, all of them written, or MAP_FAILED. */
static void *make_secret(size_t size)
{
	int fd = secret_file(size);
	void *p = MAP_FAILED;

	if (fd >= 0) {
		p = map_shared(fd, size);
		close(fd);
	}
	if (p != MAP_FAILED)
		memset(p, 0x5a, size);
	return p;
}

int main(void)
{
	unsigned char *kept;
	void *p;

	spare_from_oom_killer();
	kept = make_secret(KEPT);
	if (kept == MAP_FAILED)
		err(1, "memfd_secret");
	if (daemon(1, 1))
		err(1, "daemon");

	/* End if the memory changes; then there is nothing left to kill. */
	for (size_t i = 0; kept[i] == 0x5a; i = (i + 4096) % KEPT) {
		/* Retry later: a test may have used up the memory for now. */
		p = make_secret(DROPPED);
		if (p != MAP_FAILED)
			munmap(p, DROPPED);
		usleep(20000);
	}
	return 1;
}
