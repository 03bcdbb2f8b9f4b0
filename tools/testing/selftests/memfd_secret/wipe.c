// SPDX-License-Identifier: GPL-2.0
/*
 * With secretmem.hibernate=wipe the machine hibernates although there are
 * secrets, and wipes them: no image has them, and an access to a file that had
 * one gives SIGBUS until the file is cut to nothing. Suspend to memory leaves
 * them alone.
 */
#define _GNU_SOURCE
#include "hibernate.h"

#include <linux/aio_abi.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define PM_TEST		"/sys/power/pm_test"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"
#define SLEEP_EVENTS	TRACING "events/power/suspend_resume/enable"
#define CORRUPT_FRAME	"/sys/kernel/debug/hwpoison/corrupt-pfn"

static bool is_wiped(void *p)
{
	return probe_read(p) == SIGBUS && probe_write(p, 1) == SIGBUS;
}

/*
 * Are the @size bytes of the file at @p usable again after it is cut to
 * nothing?
 */
static bool can_be_used_again(int fd, char *p, size_t size)
{
	if (ftruncate(fd, 0) || probe_read(p) != SIGBUS || ftruncate(fd, size) ||
	    probe_read(p) || !is_zero(p, size))
		return false;
	fill(p, size, SECRET);
	return is_filled(p, size, SECRET);
}

static long info_of(int fd, const char *field)
{
	char path[48];

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	return read_field(path, field);
}

/*
 * Make an image, call @look while all other tasks are frozen, and drop the
 * image: 0, or an error number.
 */
static int make_image(void (*look)(int snapshot, void *arg), void *arg)
{
	int fd = open(SNAPSHOT, O_RDONLY | O_CLOEXEC);
	int in_suspend = 0, err = 0;

	if (fd < 0)
		return errno;
	if (ioctl(fd, SNAPSHOT_FREEZE) ||
	    ioctl(fd, SNAPSHOT_CREATE_IMAGE, &in_suspend))
		err = errno;
	else if (!in_suspend)
		err = -1;
	else if (look)
		look(fd, arg);
	ioctl(fd, SNAPSHOT_FREE);
	ioctl(fd, SNAPSHOT_UNFREEZE);
	close(fd);
	return err;
}

TEST_F(machine, hibernates_and_wipes_secrets)
{
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	fill(self->secret + page_size, page_size, SECRET);
	ASSERT_EQ(0, hibernate());
	EXPECT_LT(0, on_disk(PLAIN));
	EXPECT_EQ(0, on_disk(SECRET));
	EXPECT_EQ(0, secret_kb());
	EXPECT_TRUE(is_wiped(self->secret));
	EXPECT_TRUE(is_wiped(self->secret + page_size));
	EXPECT_EQ(1, info_of(self->fd, "wiped"));
	EXPECT_TRUE(can_be_used_again(self->fd, self->secret, 2 * page_size));
	EXPECT_EQ(0, info_of(self->fd, "wiped"));
}

struct sight {
	long secret_kb;
	long spare_kb;
	int signal;
	bool read;
	int plain;
	int secret;
	char *mem;
};

static void look_around(int snapshot, void *arg)
{
	struct sight *sight = arg;

	sight->secret_kb = secret_kb();
	sight->spare_kb = spare_kb();
	sight->signal = probe_read(sight->mem);
	sight->read = read_image(snapshot, &sight->plain, &sight->secret);
}

TEST_F(machine, image_has_no_secret_and_memory_neither)
{
	struct sight sight = { .mem = self->secret };

	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	ASSERT_EQ(0, make_image(look_around, &sight));
	EXPECT_EQ(0, sight.secret_kb);
	EXPECT_EQ(0, sight.spare_kb);
	EXPECT_EQ(SIGBUS, sight.signal);
	EXPECT_TRUE(sight.read);
	EXPECT_LT(0, sight.plain);
	EXPECT_EQ(0, sight.secret);
	EXPECT_TRUE(is_wiped(self->secret));
	EXPECT_TRUE(can_be_used_again(self->fd, self->secret, 2 * page_size));
}

TEST_F(machine, attempt_that_fails_later_has_wiped_them)
{
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	/* The lack of room for the image is found when it is made. */
	ASSERT_EQ(0, swapoff(DISK));
	EXPECT_NE(0, hibernate());
	EXPECT_TRUE(is_wiped(self->secret));
	EXPECT_TRUE(can_be_used_again(self->fd, self->secret, 2 * page_size));
	EXPECT_EQ(0, swapon(DISK, 0));
}

TEST_F(machine, policy_counts_when_it_hibernates)
{
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	ASSERT_EQ(0, write_text(POLICY, "refuse"));
	EXPECT_EQ(EPERM, hibernate());
	EXPECT_TRUE(is_filled(self->secret, page_size, SECRET));
}

/*
 * Runs in a child: reports when it has a secret in its own file, and then
 * whether it was wiped.
 */
static void keep_secret(int sock)
{
	char *p = map_secret(page_size), byte = 0;

	fill(p, page_size, SECRET);
	if (write(sock, &byte, 1) == 1 && read(sock, &byte, 1) == 1)
		_exit(!is_wiped(p));
	_exit(2);
}

TEST_F(machine, files_of_all_are_wiped_mapped_or_not)
{
	int unmapped = secret_file(page_size), queued = secret_file(page_size);
	int behind_end = memfd_secret(0), sockets[2], child[2];
	char *p, byte;
	pid_t pid;

	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, child));
	pid = fork();
	if (!pid)
		keep_secret(child[1]);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, read(child[0], &byte, 1));

	p = map_shared(unmapped, page_size);
	fill(p, page_size, SECRET);
	munmap(p, page_size);
	p = map_shared(queued, page_size);
	fill(p, page_size, SECRET);
	munmap(p, page_size);
	send_fd(sockets[0], queued);
	close(queued);
	ASSERT_EQ(0, fallocate(behind_end, FALLOC_FL_KEEP_SIZE, 0, page_size));

	ASSERT_EQ(0, make_image(NULL, NULL));
	EXPECT_EQ(0, secret_kb());
	EXPECT_TRUE(is_wiped(map_shared(unmapped, page_size)));
	EXPECT_TRUE(is_wiped(map_shared(receive_fd(sockets[1]), page_size)));
	EXPECT_EQ(1, info_of(behind_end, "wiped"));
	ASSERT_EQ(1, write(child[0], "", 1));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(machine, file_without_a_page_is_not_wiped)
{
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	ASSERT_EQ(0, make_image(NULL, NULL));
	EXPECT_EQ(0, info_of(self->fd, "wiped"));
	EXPECT_EQ(0, probe_write(self->secret, 1));
}

TEST_F(machine, wiped_file_has_no_page_until_it_is_cut_to_nothing)
{
	struct stat st;
	char *p;

	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, 2 * page_size, SECRET);
	ASSERT_EQ(0, make_image(NULL, NULL));

	EXPECT_EQ(-1, fallocate(self->fd, 0, 0, page_size));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, 0, page_size));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, page_size));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(0, info_of(self->fd, "resident"));
	EXPECT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(2 * page_size, st.st_size);

	p = mmap(NULL, page_size, PROT_READ, MAP_SHARED | MAP_POPULATE, self->fd,
		 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(SIGBUS, probe_read(p));
	munmap(p, page_size);

	ASSERT_EQ(0, ftruncate(self->fd, page_size));
	EXPECT_TRUE(is_wiped(self->secret));
	ASSERT_EQ(0, ftruncate(self->fd, 4 * page_size));
	EXPECT_TRUE(is_wiped(self->secret));
	EXPECT_TRUE(is_wiped(self->secret + page_size));
	EXPECT_TRUE(can_be_used_again(self->fd, self->secret, 2 * page_size));
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, 4 * page_size));
}

TEST_F(machine, wiped_file_is_charged_for_what_is_mapped)
{
	long kb = page_size >> 10;

	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, 5 * page_size));
	ASSERT_EQ(5 * kb, info_of(self->fd, "charged"));
	ASSERT_EQ(0, make_image(NULL, NULL));
	EXPECT_EQ(2 * kb, info_of(self->fd, "charged"));
}

/* Seals are promises of the file's users, not of the administrator. */
TEST_F(machine, sealed_file_is_wiped_for_good)
{
	char *p;

	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	munmap(self->secret, 2 * page_size);
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS,
			   F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL));
	p = mmap(NULL, page_size, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_TRUE(is_filled(p, page_size, SECRET));
	ASSERT_EQ(0, make_image(NULL, NULL));
	EXPECT_EQ(SIGBUS, probe_read(p));
	EXPECT_EQ(-1, ftruncate(self->fd, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(SIGBUS, probe_read(p));
}

/* An image takes half of all memory, which only the secrets can make free. */
TEST_F(machine, memory_of_secrets_makes_room_for_the_image)
{
	long kb = read_field("/proc/meminfo", "MemTotal") / 10 * 6;
	size_t size = (size_t)kb << 10, at;
	char *p = map_secret(size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	for (at = 0; at < size; at += page_size)
		ASSERT_EQ(0, probe_write(p + at, 1));
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	EXPECT_EQ(0, make_image(NULL, NULL));
	EXPECT_TRUE(is_wiped(p));
}

TEST_F(machine, suspend_to_memory_leaves_secrets)
{
	static const char * const states[] = { "freeze", "mem" };
	size_t i;

	if (access(PM_TEST, W_OK))
		SKIP(return, "kernel without PM_DEBUG");
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	fill(self->secret, page_size, SECRET);
	/*
	 * Stop before the last step, which would need something to wake the
	 * machine.
	 */
	ASSERT_EQ(0, write_text(PM_TEST, "platform"));
	ASSERT_EQ(0, write_text(PM_TEST_DELAY, "0"));
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		EXPECT_EQ(0, write_text(POWER_STATE, states[i]));
		EXPECT_TRUE(is_filled(self->secret, page_size, SECRET));
	}
	EXPECT_EQ(0, write_text(PM_TEST, "none"));
	EXPECT_EQ(page_size >> 10, info_of(self->fd, "resident"));
	EXPECT_EQ(0, info_of(self->fd, "wiped"));
}

/*
 * A kernel thread that works in this address space, as for a virtual machine,
 * and is never frozen: vhost. It reads the ring of a queue when an eventfd
 * tells it to.
 */
#define RING		16

enum { RECEIVE, TRANSMIT, QUEUES };

struct queue {
	struct vring_desc desc[RING];
	long avail[16];
	long used[64];
};

static bool set_queue(int vhost, unsigned int nr, struct queue *queue, void *avail,
		      int kick, int failed)
{
	struct vhost_vring_state size = { .index = nr, .num = RING };
	struct vhost_vring_state base = { .index = nr };
	struct vhost_vring_addr addr = {
		.index = nr,
		.desc_user_addr = (uintptr_t)queue->desc,
		.avail_user_addr = (uintptr_t)avail,
		.used_user_addr = (uintptr_t)queue->used,
	};
	struct vhost_vring_file kick_file = { .index = nr, .fd = kick };
	struct vhost_vring_file err_file = { .index = nr, .fd = failed };

	return !ioctl(vhost, VHOST_SET_VRING_NUM, &size) &&
	       !ioctl(vhost, VHOST_SET_VRING_BASE, &base) &&
	       !ioctl(vhost, VHOST_SET_VRING_ADDR, &addr) &&
	       !ioctl(vhost, VHOST_SET_VRING_KICK, &kick_file) &&
	       !ioctl(vhost, VHOST_SET_VRING_ERR, &err_file);
}

/*
 * Start a thread that reads at @p on an event in @kick, and signals @failed if
 * it cannot. Returns -1 if there is no vhost.
 */
static int start_kernel_thread(void *p, int kick, int failed)
{
	struct queue *queues = map_plain(QUEUES * sizeof(*queues));
	struct vhost_memory memory = { };
	int vhost = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC), on = 1;
	int none = eventfd(0, EFD_NONBLOCK);

	if (vhost >= 0 && !ioctl(vhost, VHOST_SET_OWNER) &&
	    !ioctl(vhost, VHOST_SET_MEM_TABLE, &memory) &&
	    set_queue(vhost, RECEIVE, &queues[RECEIVE], queues[RECEIVE].avail,
		      none, none) &&
	    set_queue(vhost, TRANSMIT, &queues[TRANSMIT], p, kick, failed) &&
	    !ioctl(vhost, VHOST_VSOCK_SET_RUNNING, &on))
		return vhost;
	close(vhost);
	return -1;
}

/* Signal @kick when devices are suspended, long after user space is frozen. */
static bool kick_when_devices_sleep(int kick)
{
	int trace = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct iocb poll = {
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = trace,
		.aio_buf = POLLIN,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = kick,
	}, *list = &poll;
	aio_context_t context = 0;

	return !close(open(TRACING "trace", O_WRONLY | O_TRUNC)) &&
	       !write_text(SLEEP_EVENTS, "1") &&
	       !syscall(SYS_io_setup, 1, &context) &&
	       syscall(SYS_io_submit, context, 1, &list) == 1;
}

/* Has the eventfd been signalled? */
static bool happened(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

FIXTURE(thread) {
	int kick;
	int failed;
	int vhost;
	char *secret;
	int fd;
};

FIXTURE_SETUP(thread)
{
	self->vhost = -1;
	if (access(SNAPSHOT, R_OK) || access(SLEEP_EVENTS, W_OK))
		SKIP(return, "kernel without HIBERNATION or tracing");
	self->fd = secret_file(page_size);
	self->secret = map_shared(self->fd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	self->kick = eventfd(0, EFD_NONBLOCK);
	self->failed = eventfd(0, EFD_NONBLOCK);
	self->vhost = start_kernel_thread(self->secret, self->kick, self->failed);
	if (self->vhost < 0)
		SKIP(return, "kernel without VHOST_VSOCK");
	if (read_field("/proc/self/status", "Threads") > 1) {
		close(self->vhost);
		self->vhost = -1;
		SKIP(return, "vhost has no kernel thread, but one that is frozen");
	}
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	ASSERT_TRUE(kick_when_devices_sleep(self->kick));
}

FIXTURE_TEARDOWN(thread)
{
	if (self->vhost < 0)
		return;
	EXPECT_EQ(0, write_text(SLEEP_EVENTS, "0"));
	EXPECT_EQ(0, write_text(POLICY, "refuse"));
}

TEST_F(thread, page_of_a_kernel_thread_is_in_no_image)
{
	ASSERT_EQ(0, info_of(self->fd, "resident"));
	EXPECT_EQ(EBUSY, make_image(NULL, NULL));
	EXPECT_EQ(page_size >> 10, info_of(self->fd, "resident"));
	EXPECT_FALSE(happened(self->failed));
}

TEST_F(thread, wiped_file_refuses_a_kernel_thread)
{
	fill(self->secret, page_size, SECRET);
	EXPECT_EQ(0, make_image(NULL, NULL));
	EXPECT_TRUE(happened(self->failed));
	EXPECT_EQ(0, info_of(self->fd, "resident"));
	EXPECT_TRUE(is_wiped(self->secret));
}

/* This must be the last one: no test can hibernate after it. */
FIXTURE(failed) {
	int fd;
	char *secret;
};

FIXTURE_SETUP(failed)
{
	if (access(CORRUPT_FRAME, W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, write_text(POLICY, "wipe"));
	self->fd = secret_file(2 * page_size);
	self->secret = map_shared(self->fd, 2 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	fill(self->secret, 2 * page_size, SECRET);
}

FIXTURE_TEARDOWN(failed)
{
	EXPECT_EQ(0, write_text(POLICY, "refuse"));
}

TEST_F(failed, memory_keeps_the_machine_from_wiping_and_hibernating)
{
	char *other = map_secret(page_size), frame[32];

	fill(other, page_size, SECRET);
	sprintf(frame, "%#llx", page_frame(self->secret));
	ASSERT_EQ(0, write_text(CORRUPT_FRAME, frame));

	EXPECT_EQ(EBUSY, hibernate());
	EXPECT_EQ(0, info_of(self->fd, "wiped"));
	EXPECT_EQ(0, probe_read(self->secret + page_size));
	EXPECT_TRUE(is_filled(other, page_size, SECRET));

	/* The page is lost then, and counted until the next boot. */
	munmap(self->secret, 2 * page_size);
	close(self->fd);
	EXPECT_EQ(EPERM, hibernate());
	EXPECT_TRUE(is_filled(other, page_size, SECRET));
}

TEST_HARNESS_MAIN
