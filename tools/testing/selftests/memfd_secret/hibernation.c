// SPDX-License-Identifier: GPL-2.0
/*
 * No secret page gets into a hibernation image, and none is overwritten by one.
 * The machine does not hibernate while there is one; otherwise it does, even
 * with an empty secret file. If it refuses, the log names the makers of the
 * files. For the other policy see wipe.c.
 */
#define _GNU_SOURCE
#include "hibernate.h"

#include <poll.h>
#include <sched.h>
#include <sys/klog.h>
#include <sys/prctl.h>

#define DISK_STAT	"/sys/block/vda/stat"
/* After the swap space: a note that survives a restore, and an image. */
#define NOTE_AT		(SWAP_PAGES << 12)
#define IMAGE_AT	(NOTE_AT + (1 << 20))
#define TRIES		20

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

/* The log's record of a maker of secret files. */
struct maker {
	long kb;
	int pid;
	char name[64];
};

struct makers {
	struct maker named[16];
	int nr_named;
	long others_kb;
	int others;
};

static void read_makers(struct makers *makers, int log)
{
	struct maker *maker;
	char text[8192];

	memset(makers, 0, sizeof(*makers));
	while (next_record(log, text, sizeof(text))) {
		maker = &makers->named[makers->nr_named];
		if (makers->nr_named < (int)ARRAY_SIZE(makers->named) &&
		    sscanf(text, "secretmem: %ld kB made by PID %d, %63[^\n]",
			   &maker->kb, &maker->pid, maker->name) == 3)
			makers->nr_named++;
		else
			sscanf(text, "secretmem: %ld kB made by %d others",
			       &makers->others_kb, &makers->others);
	}
}

/* Is there nothing but one page, made by this process? */
static bool only_this_process(struct makers *makers, int log)
{
	char name[16] = "";

	read_makers(makers, log);
	return makers->nr_named == 1 && !makers->others &&
	       makers->named[0].pid == getpid() &&
	       makers->named[0].kb == (long)page_size >> 10 &&
	       !prctl(PR_GET_NAME, name) &&
	       !strcmp(makers->named[0].name, name);
}

TEST_F(machine, hibernates_if_no_page_is_secret)
{
	ASSERT_EQ(0, hibernate());
	EXPECT_LT(0, on_disk(PLAIN));
}

TEST_F(machine, does_not_hibernate_if_one_is)
{
	struct makers makers;
	int log = open_log();
	char modes[128];
	long before;

	ASSERT_LE(0, log);
	fill(self->secret, page_size, SECRET);
	before = sectors_written();
	ASSERT_LE(0, before);
	EXPECT_EQ(EPERM, hibernate());
	EXPECT_EQ(before, sectors_written());
	ASSERT_EQ(0, read_text(POWER_DISK, modes, sizeof(modes)));
	EXPECT_STREQ("[disabled]\n", modes);
	EXPECT_TRUE(only_this_process(&makers, log));
	EXPECT_EQ(-1, open(SNAPSHOT, O_RDONLY));
	EXPECT_EQ(EPERM, errno);
	EXPECT_TRUE(only_this_process(&makers, log));
	EXPECT_TRUE(is_filled(self->secret, page_size, SECRET));
}

#define MAKERS	10

/* Take @name, make as many @files, each of @pages, report it, and keep them. */
static void make_and_wait(const char *name, size_t pages, int files, int done)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, name);
	while (files--)
		fill(map_secret(pages * page_size), pages * page_size, SECRET);
	if (write(done, "", 1) == 1)
		pause();
	_exit(1);
}

static pid_t start_maker(const char *name, size_t pages, int files)
{
	int done[2];
	pid_t pid;
	char byte;

	if (pipe(done))
		return -1;
	pid = fork();
	if (!pid)
		make_and_wait(name, pages, files, done[1]);
	close(done[1]);
	if (read(done[0], &byte, 1) != 1)
		pid = -1;
	close(done[0]);
	return pid;
}

static void end_maker(pid_t pid)
{
	kill(pid, SIGKILL);
	wait_status(pid);
}

/*
 * The largest maker is neither the first nor the last, and has two small files.
 */
TEST_F(machine, refusal_names_eight_makers_the_largest_first)
{
	const long kb = page_size >> 10;
	int log = open_log(), i, nr;
	struct makers makers;
	pid_t pids[MAKERS + 1];
	char name[16];

	for (i = 0; i < MAKERS; i++) {
		nr = i * 7 % MAKERS + 1;
		sprintf(name, "maker %d", nr);
		pids[nr] = start_maker(name, nr == MAKERS ? nr / 2 : nr,
				       nr == MAKERS ? 2 : 1);
		ASSERT_LT(0, pids[nr]);
	}
	ASSERT_LE(0, log);
	EXPECT_EQ(EPERM, hibernate());
	read_makers(&makers, log);
	EXPECT_EQ(8, makers.nr_named);
	for (i = 0; i < 8; i++) {
		nr = MAKERS - i;
		sprintf(name, "maker %d", nr);
		EXPECT_EQ(nr * kb, makers.named[i].kb);
		EXPECT_EQ(pids[nr], makers.named[i].pid);
		EXPECT_STREQ(name, makers.named[i].name);
	}
	EXPECT_EQ(2, makers.others);
	EXPECT_EQ((1 + 2) * kb, makers.others_kb);
	for (nr = 1; nr <= MAKERS; nr++)
		end_maker(pids[nr]);
}

TEST_F(machine, refusal_names_a_maker_that_is_gone)
{
	struct makers makers;
	int sockets[2], fd, log = open_log();
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_NAME, "gone");
		send_fd(sockets[1], secret_file(page_size));
		_exit(0);
	}
	ASSERT_LT(0, pid);
	fd = receive_fd(sockets[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, wait_status(pid));
	/* Allocating a page does not make a process the maker. */
	ASSERT_EQ(0, fallocate(fd, 0, 0, page_size));
	EXPECT_EQ(EPERM, hibernate());
	read_makers(&makers, log);
	EXPECT_EQ(1, makers.nr_named);
	EXPECT_EQ(pid, makers.named[0].pid);
	EXPECT_STREQ("gone", makers.named[0].name);
	close(fd);
}

/*
 * /dev/kmsg escapes such characters itself, so read what goes to the console.
 */
TEST_F(machine, name_of_a_maker_does_not_break_the_log)
{
	const size_t size = 1 << 20;
	pid_t pid = start_maker("a\nb\033[2Jc", 1, 1);
	char *log = map_plain(size), expected[64];

	ASSERT_LT(0, pid);
	EXPECT_EQ(EPERM, hibernate());
	ASSERT_LT(0, klogctl(3, log, size - 1));
	sprintf(expected, "made by PID %d, a\\nb\\e[2Jc\n", pid);
	EXPECT_NE(NULL, strstr(log, expected));
	end_maker(pid);
}

/* The PID is that of the PID namespace in which the log is read. */
TEST_F(machine, maker_in_a_container_has_its_pid_outside)
{
	struct pollfd end = { .events = POLLIN };
	struct makers makers;
	int log = open_log();
	pid_t pid, maker;
	int done[2];

	ASSERT_EQ(0, pipe(done));
	pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWPID))
			_exit(1);
		maker = start_maker("inside", 1, 1);
		if (write(done[1], &maker, sizeof(maker)) == sizeof(maker))
			pause();
		_exit(1);
	}
	close(done[1]);
	ASSERT_EQ(sizeof(maker), read(done[0], &maker, sizeof(maker)));
	ASSERT_LT(1, maker);
	EXPECT_EQ(EPERM, hibernate());
	read_makers(&makers, log);
	EXPECT_EQ(1, makers.nr_named);
	EXPECT_EQ(maker, makers.named[0].pid);
	EXPECT_STREQ("inside", makers.named[0].name);
	/* It is killed with its parent; its page is gone when it has ended. */
	end.fd = syscall(SYS_pidfd_open, maker, 0);
	ASSERT_LE(0, end.fd);
	end_maker(pid);
	EXPECT_EQ(1, poll(&end, 1, -1));
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

/* All tasks but this one are frozen; then it creates a secret page. */
TEST_F(machine, page_that_comes_after_all_are_frozen_is_in_no_image)
{
	int fd = open(SNAPSHOT, O_RDONLY | O_CLOEXEC), log = open_log();
	int in_suspend = 0, plain, secret;
	struct makers makers;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, log);
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_FREEZE));
	fill(self->secret, page_size, SECRET);
	EXPECT_EQ(-1, ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, in_suspend);
	EXPECT_TRUE(only_this_process(&makers, log));
	/* This also thaws the kernel threads. */
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
 * Create a secret page as soon as the kernel logs that it is about to
 * hibernate. Poll, as waking up would take a tick, which may be too late.
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

/* Copy an image to the disk. Returns the number of its pages; -1 on error. */
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
 * Restore the image, which continues where it was made. Returns an error number
 * if that fails, -1 if it was not even tried. With @secret, a secret page is
 * created after all other tasks are frozen.
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
	/* Only this test may write to the disk now, so do not swap to it. */
	ASSERT_EQ(0, swapoff(DISK));
	ASSERT_EQ(page_size, pwrite(disk, note, page_size, NOTE_AT));
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_FREEZE));
	ASSERT_EQ(0, ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend));
	/*
	 * This point is reached twice: the second time everything but the disk
	 * is as it was the first time.
	 */
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
