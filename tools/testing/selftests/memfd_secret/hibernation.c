// SPDX-License-Identifier: GPL-2.0
/*
 * No secret page gets into a hibernation image, and none is overwritten by one. The
 * machine does not hibernate while there is one; otherwise it does, and also with an
 * empty secret file.
 *
 * Needs an empty disk, DISK, to swap to, "resume=" with the same disk, to come
 * back from there, and "hibernate=nocompress", to know a page again on it.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/suspend_ioctls.h>
#include <sys/ioctl.h>

#include "swapspace.h"

#define DISK		"/dev/vda"
#define DISK_STAT	"/sys/block/vda/stat"
#define SNAPSHOT	"/dev/snapshot"
#define POWER_STATE	"/sys/power/state"
#define POWER_DISK	"/sys/power/disk"
#define SWAP_PAGES	(384ul << 20 >> 12)
/* Behind the swap space: a note that survives a restore, and an image. */
#define NOTE_AT		(SWAP_PAGES << 12)
#define IMAGE_AT	(NOTE_AT + (1 << 20))
#define CHUNK_PAGES	256
#define TRIES		20

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
	/* One that has failed may have left it. */
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
}

/*
 * Writes an image, starts the machine anew, and gets back from the image: 0, or
 * an error number. The way back is the restart's; it is no choice if there is
 * nothing to choose.
 */
static int hibernate(void)
{
	write_text(POWER_DISK, "reboot");
	return write_text(POWER_STATE, "disk") ? errno : 0;
}

/* How many of @nr pages are the page of this mark. */
static int count_marks(const char *p, size_t nr, unsigned int mark)
{
	size_t i;
	int found = 0;

	for (i = 0; i < nr; i++)
		found += is_filled(p + i * page_size, page_size, mark);
	return found;
}

/* How often the page of this mark is on the disk; -1 for an error. */
static int on_disk(unsigned int mark)
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

static long sectors_written(void)
{
	char text[256];
	long nr = -1;

	sync();
	if (read_text(DISK_STAT, text, sizeof(text)) ||
	    sscanf(text, "%*d %*d %*d %*d %*d %*d %ld", &nr) != 1)
		return -1;
	return nr;
}

TEST_F(machine, hibernates_if_no_page_is_secret)
{
	ASSERT_EQ(0, hibernate());
	EXPECT_LT(0, on_disk(PLAIN));
}

TEST_F(machine, does_not_hibernate_if_one_is)
{
	char modes[128];
	long before;

	fill(self->secret, page_size, SECRET);
	before = sectors_written();
	ASSERT_LE(0, before);
	EXPECT_EQ(EPERM, hibernate());
	EXPECT_EQ(before, sectors_written());
	ASSERT_EQ(0, read_text(POWER_DISK, modes, sizeof(modes)));
	EXPECT_STREQ("[disabled]\n", modes);
	EXPECT_EQ(-1, open(SNAPSHOT, O_RDONLY));
	EXPECT_EQ(EPERM, errno);
	EXPECT_TRUE(is_filled(self->secret, page_size, SECRET));
}

TEST_F(machine, does_not_hibernate_if_one_was_only_read)
{
	ASSERT_EQ(0, probe_read(self->secret));
	EXPECT_EQ(EPERM, hibernate());
}

TEST_F(machine, does_not_hibernate_if_one_is_in_a_file_nobody_maps)
{
	fill(self->secret, page_size, SECRET);
	ASSERT_EQ(0, munmap(self->secret, 2 * page_size));
	EXPECT_EQ(EPERM, hibernate());
}

TEST_F(machine, hibernates_once_the_secret_is_gone)
{
	fill(self->secret, page_size, SECRET);
	ASSERT_EQ(0, munmap(self->secret, 2 * page_size));
	close(self->fd);
	ASSERT_EQ(0, hibernate());
	EXPECT_LT(0, on_disk(PLAIN));
	EXPECT_EQ(0, on_disk(SECRET));
}

/* How many pages of the image have each mark; false for an error. */
static bool read_image(int fd, int *plain, int *secret)
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

/* Nobody runs any more but the one who makes the image, and he makes a secret. */
TEST_F(machine, page_that_comes_after_all_are_frozen_is_in_no_image)
{
	int fd = open(SNAPSHOT, O_RDONLY | O_CLOEXEC);
	int in_suspend = 0, plain, secret;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_FREEZE));
	fill(self->secret, page_size, SECRET);
	EXPECT_EQ(-1, ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, in_suspend);
	/* This lets go of the kernel's threads, too. */
	EXPECT_EQ(0, ioctl(fd, SNAPSHOT_FREE));

	munmap(self->secret, 2 * page_size);
	close(self->fd);
	EXPECT_EQ(0, ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend));
	EXPECT_EQ(1, in_suspend);
	EXPECT_TRUE(read_image(fd, &plain, &secret));
	EXPECT_LT(0, plain);
	EXPECT_EQ(0, secret);
	EXPECT_EQ(0, ioctl(fd, SNAPSHOT_FREE));
	EXPECT_EQ(0, ioctl(fd, SNAPSHOT_UNFREEZE));
}

/*
 * Makes a secret as soon as the kernel says that it is about to hibernate. To be
 * woken would take a tick, which may be too late.
 */
static void make_secret_in_between(int kmsg, char *secret)
{
	char line[1024];
	ssize_t n;

	do {
		n = read(kmsg, line, sizeof(line) - 1);
		line[n > 0 ? n : 0] = '\0';
	} while (!strstr(line, "hibernation entry"));
	fill(secret, page_size, SECRET);
	for (;;)
		pause();
}

TEST_F(machine, page_that_comes_while_it_hibernates_ends_that)
{
	int err = 0, try;

	munmap(self->secret, 2 * page_size);
	close(self->fd);
	for (try = 0; try < TRIES && !err; try++) {
		char *secret = map_secret(page_size);
		int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		pid_t pid;

		ASSERT_NE(MAP_FAILED, (void *)secret);
		ASSERT_LE(0, kmsg);
		lseek(kmsg, 0, SEEK_END);
		pid = fork();
		if (!pid)
			make_secret_in_between(kmsg, secret);
		ASSERT_LT(0, pid);
		err = hibernate();
		kill(pid, SIGKILL);
		wait_status(pid);
		close(kmsg);
		munmap(secret, page_size);
		ASSERT_EQ(0, on_disk(SECRET));
	}
	EXPECT_EQ(EBUSY, err);
}

/* How many pages an image has, which is on the disk afterwards; -1 for an error. */
static long save_image(int snapshot, int disk)
{
	size_t size = CHUNK_PAGES * page_size, used;
	char *chunk = map_plain(size);
	ssize_t n = page_size;
	long nr = 0;

	while (n == (ssize_t)page_size) {
		for (used = 0; used < size; used += page_size) {
			n = read(snapshot, chunk + used, page_size);
			if (n != (ssize_t)page_size)
				break;
		}
		if (n < 0 || pwrite(disk, chunk, size, IMAGE_AT + nr * page_size) !=
			     (ssize_t)size) {
			nr = -1;
			break;
		}
		nr += used / page_size;
	}
	munmap(chunk, size);
	return nr;
}

static bool load_image(int snapshot, int disk, long nr)
{
	size_t size = CHUNK_PAGES * page_size;
	char *chunk = map_plain(size);
	long i;

	for (i = 0; i < nr; i++) {
		if (!(i % CHUNK_PAGES) &&
		    pread(disk, chunk, size, IMAGE_AT + i * page_size) !=
		    (ssize_t)size)
			break;
		if (write(snapshot, chunk + i % CHUNK_PAGES * page_size,
			  page_size) != (ssize_t)page_size)
			break;
	}
	munmap(chunk, size);
	return i == nr;
}

/*
 * Goes back to where the image was made. If that fails, an error number; -1 if it was
 * not even tried. Makes a secret when nobody else runs any more, if there is @secret.
 */
static int restore_image(int disk, long nr, char *secret)
{
	int fd = open(SNAPSHOT, O_WRONLY | O_CLOEXEC), err = -1;

	if (load_image(fd, disk, nr) && !ioctl(fd, SNAPSHOT_FREEZE)) {
		if (secret)
			fill(secret, page_size, SECRET);
		err = ioctl(fd, SNAPSHOT_ATOMIC_RESTORE) ? errno : 0;
	}
	close(fd);
	return err;
}

TEST_F(machine, no_image_is_restored_over_a_page_that_comes_in_between)
{
	int fd = open(SNAPSHOT, O_RDONLY | O_CLOEXEC);
	int disk = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	char *note = map_plain(page_size);
	int in_suspend = 0;
	long nr;

	ASSERT_LE(0, fd);
	/* Nobody else writes to a disk that is swapped to. */
	ASSERT_EQ(0, swapoff(DISK));
	ASSERT_EQ(page_size, pwrite(disk, note, page_size, NOTE_AT));
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_FREEZE));
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend));
	/* From here on twice: all but the disk is then as it was. */
	if (in_suspend) {
		nr = save_image(fd, disk);
		close(fd);
		ASSERT_LT(0, nr);
		ASSERT_EQ(EBUSY, restore_image(disk, nr, self->secret));
		ASSERT_TRUE(is_filled(self->secret, page_size, SECRET));
		fill(note, page_size, NOTE);
		ASSERT_EQ(page_size, pwrite(disk, note, page_size, NOTE_AT));
		munmap(self->secret, 2 * page_size);
		close(self->fd);
		ASSERT_EQ(0, restore_image(disk, nr, NULL));
	}
	EXPECT_EQ(0, in_suspend);
	close(fd);
	ASSERT_EQ(page_size, pread(disk, note, page_size, NOTE_AT));
	EXPECT_TRUE(is_filled(note, page_size, NOTE));
	close(disk);
	EXPECT_EQ(0, swapon(DISK, 0));
}

TEST_HARNESS_MAIN
