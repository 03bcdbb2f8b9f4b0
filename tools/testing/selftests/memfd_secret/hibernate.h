/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the tests of hibernation.
 *
 * They need an empty disk, DISK, for swap space, "resume=" with the same disk
 * on the kernel command line, to come back from it, and "hibernate=nocompress",
 * so that a page can be recognized on it.
 */
#ifndef SELFTEST_HIBERNATE_H
#define SELFTEST_HIBERNATE_H

#include <linux/suspend_ioctls.h>
#include <sys/ioctl.h>

#include "fd_passing.h"
#include "swapspace.h"

#define DISK		"/dev/vda"
#define SNAPSHOT	"/dev/snapshot"
#define POWER_STATE	"/sys/power/state"
#define POWER_DISK	"/sys/power/disk"
#define POLICY		"/sys/module/secretmem/parameters/hibernate"
#define SWAP_PAGES	(384ul << 20 >> 12)
#define CHUNK_PAGES	256

enum { PLAIN = 1, SECRET, NOTE };

/* Swap space, an ordinary page with a mark, and a secret file without pages. */
FIXTURE(machine) {
	char *plain;
	char *secret;
	int fd;
};

FIXTURE_SETUP(machine)
{
	char line[4096];

	self->fd = -1;
	if (access(POWER_STATE, W_OK))
		SKIP(return, "kernel without HIBERNATION");
	ASSERT_EQ(0, read_text("/proc/cmdline", line, sizeof(line)));
	if (!strstr(line, " resume=" DISK) ||
	    !strstr(line, " hibernate=nocompress"))
		SKIP(return, "not booted for this");
	/* A test that failed may have left them. */
	ASSERT_EQ(0, write_text(POLICY, "refuse"));
	swapoff(DISK);
	ASSERT_TRUE(make_swap(DISK, SWAP_PAGES));
	ASSERT_EQ(0, swapon(DISK, 0));

	self->plain = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill(self->plain, page_size, PLAIN);
	ASSERT_EQ(0, mlock(self->plain, page_size));

	self->fd = secret_file(2 * page_size);
	ASSERT_LE(0, self->fd);
	self->secret = map_shared(self->fd, 2 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
}

FIXTURE_TEARDOWN(machine)
{
	if (self->fd < 0)
		return;
	EXPECT_TRUE(is_filled(self->plain, page_size, PLAIN));
	EXPECT_EQ(0, swapoff(DISK));
	EXPECT_EQ(0, write_text(POLICY, "refuse"));
}

/*
 * Write an image, restart, and resume from it: 0, or an error number. "reboot"
 * restarts the machine, which then resumes; that write is ignored where it is
 * the only mode.
 */
static inline int hibernate(void)
{
	write_text(POWER_DISK, "reboot");
	return write_text(POWER_STATE, "disk") ? errno : 0;
}

/* How many of @nr pages have the contents of this mark. */
static inline int count_marks(const char *p, size_t nr, unsigned int mark)
{
	size_t i;
	int found = 0;

	for (i = 0; i < nr; i++)
		found += is_filled(p + i * page_size, page_size, mark);
	return found;
}

/* How often a page with this mark is on the disk; -1 on error. */
static inline int on_disk(unsigned int mark)
{
	size_t size = CHUNK_PAGES * page_size;
	char *chunk = map_plain(size);
	int fd = open(DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
	int found = 0;
	off_t at;

	for (at = 0; at < (off_t)(SWAP_PAGES * page_size); at += size) {
		if (pread(fd, chunk, size, at) != (ssize_t)size) {
			found = -1;
			break;
		}
		found += count_marks(chunk, CHUNK_PAGES, mark);
	}
	close(fd);
	munmap(chunk, size);
	return found;
}

/* Count the pages of the image with each mark; false on error. */
static inline bool read_image(int fd, int *plain, int *secret)
{
	char *page = map_plain(page_size);
	ssize_t n;

	*plain = 0;
	*secret = 0;
	while ((n = read(fd, page, page_size)) == (ssize_t)page_size) {
		*plain += count_marks(page, 1, PLAIN);
		*secret += count_marks(page, 1, SECRET);
	}
	munmap(page, page_size);
	return !n;
}

#endif /* SELFTEST_HIBERNATE_H */
