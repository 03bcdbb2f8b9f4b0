// SPDX-License-Identifier: GPL-2.0
/*
 * The descriptor is good for mapping, and for what has no use for the contents.
 * Handed to whatever else takes a descriptor or a path, it gives none of them,
 * changes none, and leaves no second way to them. A memfd of the same size is the
 * control: what is refused here must work there, or be refused for a reason that
 * is not the memory's.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/aio_abi.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/kexec.h>
#include <linux/keyctl.h>
#include <linux/loop.h>
#include <linux/udmabuf.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Where the call is not known there is no such call. */
#ifndef SYS_kexec_file_load
#define SYS_kexec_file_load -1
#endif

#ifndef F_SET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

enum { SECRET = 1, PLAIN, BUFFER };

/* Is this what a kernel says that does not have the call? */
static bool no_such_call(int err)
{
	return !strcmp(strerrorname_np(err), "ENOSYS");
}

/* A file, mapped, and what names it. */
struct named {
	int fd;
	char *mem;
	char path[32];
};

FIXTURE(file) {
	size_t size;
	struct named secret;
	struct named plain;
	char *buf;		/* for what might come out */
	char tmp[2][32];	/* names of ordinary files, for those who need one */
};

static bool name_file(struct named *file, int fd, size_t size,
		      unsigned int seed)
{
	file->fd = fd;
	sprintf(file->path, "/proc/self/fd/%d", fd);
	file->mem = map_shared(fd, size);
	if (file->mem == MAP_FAILED)
		return false;
	fill(file->mem, size, seed);
	return true;
}

FIXTURE_SETUP(file)
{
	int memfd = memfd_create("control", MFD_ALLOW_SEALING), i;

	self->size = 2 * page_size;
	ASSERT_EQ(0, ftruncate(memfd, self->size));
	ASSERT_TRUE(name_file(&self->plain, memfd, self->size, PLAIN));
	ASSERT_TRUE(name_file(&self->secret, secret_file(self->size),
			      self->size, SECRET));
	self->buf = map_plain(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	fill(self->buf, self->size, BUFFER);
	for (i = 0; i < 2; i++) {
		strcpy(self->tmp[i], "/tmp/secretXXXXXX");
		close(mkstemp(self->tmp[i]));
	}
}

/* Nothing was changed. */
FIXTURE_TEARDOWN(file)
{
	unlink(self->tmp[0]);
	unlink(self->tmp[1]);
	EXPECT_TRUE(is_filled(self->secret.mem, self->size, SECRET));
}

/*
 * Loop devices
 */

/* A loop device over @fd, -1 if there are none; it goes with its descriptor. */
static int loop_device(int fd, __u32 flags)
{
	struct loop_config config = {
		.fd = fd,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags,
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop;
	char path[32];

	if (control < 0)
		return -1;
	sprintf(path, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	loop = open(path, O_RDWR | O_CLOEXEC);
	if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config)) {
		close(loop);
		return -1;
	}
	return loop;
}

static int open_again(int fd, int flags)
{
	char path[32];

	sprintf(path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

TEST_F(file, loop_device_reads_nothing)
{
	int loop = loop_device(self->secret.fd, 0);
	int plain = loop_device(self->plain.fd, 0);
	char *p;

	if (loop < 0 || plain < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	EXPECT_EQ(-1, pread(loop, self->buf, self->size, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pread(open_again(loop, O_RDONLY | O_DIRECT), self->buf,
			    self->size, 0));
	EXPECT_EQ(EIO, errno);
	p = mmap(NULL, self->size, PROT_READ, MAP_PRIVATE, loop, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(SIGBUS, probe_read(p));
	EXPECT_TRUE(is_filled(self->buf, self->size, BUFFER));

	EXPECT_EQ(self->size, pread(plain, self->buf, self->size, 0));
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
}

/* Without a page cache of its own, if the file below knows how. */
TEST_F(file, loop_device_with_direct_io_reads_nothing)
{
	int loop = loop_device(self->secret.fd, LO_FLAGS_DIRECT_IO);
	struct loop_info64 info;

	if (loop < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	ASSERT_EQ(0, ioctl(loop, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(0, info.lo_flags & LO_FLAGS_DIRECT_IO);
	EXPECT_EQ(-1, ioctl(loop, LOOP_SET_DIRECT_IO, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(open_again(loop, O_RDONLY | O_DIRECT), self->buf,
			    self->size, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_TRUE(is_filled(self->buf, self->size, BUFFER));
}

static bool write_to_disk(int disk, const void *p, size_t size)
{
	return pwrite(disk, p, size, 0) == (ssize_t)size && !fsync(disk);
}

TEST_F(file, loop_device_changes_nothing)
{
	int loop = loop_device(self->secret.fd, 0);
	int plain = loop_device(self->plain.fd, 0);
	__u64 range[] = { 0, page_size };
	int writable = 0;

	if (loop < 0 || plain < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	EXPECT_EQ(-1, pwrite(loop, self->buf, self->size, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ioctl(loop, BLKDISCARD, range));
	EXPECT_EQ(-1, ioctl(loop, BLKZEROOUT, range));

	EXPECT_EQ(0, ioctl(loop, BLKROSET, &writable));
	EXPECT_FALSE(write_to_disk(loop, self->buf, self->size));
	EXPECT_EQ(-1, ioctl(loop, BLKDISCARD, range));
	EXPECT_EQ(-1, ioctl(loop, BLKZEROOUT, range));

	EXPECT_TRUE(write_to_disk(plain, self->buf, self->size));
	EXPECT_TRUE(is_filled(self->plain.mem, self->size, BUFFER));
}

/* The device has a say in how the pages of its file are allocated. */
TEST_F(file, loop_device_does_not_hinder_its_use)
{
	int fd = secret_file(self->size), loop = loop_device(fd, 0);
	char *p = map_shared(fd, self->size);

	if (loop < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, BUFFER);
	EXPECT_EQ(0, ioctl(loop, LOOP_CLR_FD));
	close(loop);
	EXPECT_EQ(0, probe_read(p + page_size));
	EXPECT_TRUE(is_filled(p, page_size, BUFFER));
}

/*
 * Who takes pages or contents by descriptor
 */

TEST_F(file, gives_no_pages_to_udmabuf)
{
	struct udmabuf_create create = {
		.memfd = self->secret.fd, .size = self->size,
	};
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item item;
	} list = {
		.head.count = 1,
		.item = { .memfd = self->secret.fd, .size = self->size },
	};
	int device = open("/dev/udmabuf", O_RDWR);

	if (device < 0)
		SKIP(return, "kernel without UDMABUF");
	EXPECT_EQ(-1, ioctl(device, UDMABUF_CREATE, &create));
	EXPECT_EQ(EBADFD, errno);
	EXPECT_EQ(-1, ioctl(device, UDMABUF_CREATE_LIST, &list));
	EXPECT_EQ(EBADFD, errno);

	ASSERT_EQ(0, fcntl(self->plain.fd, F_ADD_SEALS, F_SEAL_SHRINK));
	create.memfd = self->plain.fd;
	EXPECT_LE(0, ioctl(device, UDMABUF_CREATE, &create));
}

TEST_F(file, is_not_read_as_a_module)
{
	EXPECT_EQ(-1, syscall(SYS_finit_module, self->plain.fd, "", 0));
	if (no_such_call(errno))
		SKIP(return, "kernel without MODULES");
	EXPECT_EQ(ENOEXEC, errno);
	EXPECT_EQ(-1, syscall(SYS_finit_module, self->secret.fd, "", 0));
	EXPECT_EQ(EINVAL, errno);
}

static int load_kernel(int fd)
{
	return syscall(SYS_kexec_file_load, fd, -1, 0, NULL,
		       KEXEC_FILE_NO_INITRAMFS);
}

TEST_F(file, is_not_read_as_a_kernel)
{
	EXPECT_EQ(-1, load_kernel(self->plain.fd));
	if (no_such_call(errno))
		SKIP(return, "kernel without KEXEC_FILE");
	EXPECT_EQ(ENOEXEC, errno);
	EXPECT_EQ(-1, load_kernel(self->secret.fd));
	EXPECT_EQ(EINVAL, errno);
}

/* The error of executing @path. */
static int exec_error(const char *path)
{
	pid_t pid = fork();

	if (!pid) {
		execl(path, path, (char *)NULL);
		_exit(errno);
	}
	return wait_status(pid);
}

TEST_F(file, is_not_executed_by_its_path)
{
	ASSERT_EQ(0, fchmod(self->secret.fd, 0700));
	ASSERT_EQ(0, fchmod(self->plain.fd, 0700));
	EXPECT_EQ(EACCES, exec_error(self->secret.path));
	EXPECT_EQ(ENOEXEC, exec_error(self->plain.path));
}

static void write_script(const char *path, const char *interpreter)
{
	char line[64];

	sprintf(line, "#!%s\n", interpreter);
	chmod(path, 0700);
	write_text(path, line);
}

TEST_F(file, is_not_executed_as_an_interpreter)
{
	ASSERT_EQ(0, fchmod(self->secret.fd, 0700));
	ASSERT_EQ(0, fchmod(self->plain.fd, 0700));
	write_script(self->tmp[0], self->secret.path);
	write_script(self->tmp[1], self->plain.path);
	EXPECT_EQ(EACCES, exec_error(self->tmp[0]));
	EXPECT_EQ(ENOEXEC, exec_error(self->tmp[1]));
}

TEST_F(file, does_not_become_the_program_of_a_process)
{
	ASSERT_EQ(0, fchmod(self->secret.fd, 0700));
	ASSERT_EQ(0, fchmod(self->plain.fd, 0700));
	EXPECT_EQ(-1, prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, self->secret.fd, 0,
			    0));
	EXPECT_EQ(EACCES, errno);
	/* The old program is still mapped. */
	EXPECT_EQ(-1, prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, self->plain.fd, 0,
			    0));
	EXPECT_EQ(EBUSY, errno);
}

TEST_F(file, is_not_swapped_to)
{
	EXPECT_EQ(-1, swapon(self->plain.path, 0));
	if (no_such_call(errno))
		SKIP(return, "kernel without SWAP");
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, swapon(self->secret.path, 0));
	EXPECT_EQ(ENXIO, errno);
}

TEST_F(file, is_not_written_to_by_accounting)
{
	if (acct(self->tmp[0]) && no_such_call(errno))
		SKIP(return, "kernel without BSD_PROCESS_ACCT");
	EXPECT_EQ(0, acct(NULL));
	EXPECT_EQ(-1, acct(self->secret.path));
	EXPECT_EQ(ENXIO, errno);
}

TEST_F(file, is_not_cloned_or_deduplicated)
{
	int other = secret_file(self->size);
	struct file_dedupe_range *range;
	char space[sizeof(*range) + sizeof(range->info[0])];

	EXPECT_EQ(-1, ioctl(other, FICLONE, self->secret.fd));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, ioctl(self->secret.fd, FICLONE, other));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, ioctl(self->plain.fd, FICLONE, self->secret.fd));
	EXPECT_EQ(EXDEV, errno);
	EXPECT_EQ(-1, ioctl(self->secret.fd, FICLONE, self->plain.fd));
	EXPECT_EQ(EXDEV, errno);

	range = memset(space, 0, sizeof(space));
	range->src_length = page_size;
	range->dest_count = 1;
	range->info[0].dest_fd = other;
	if (ioctl(self->secret.fd, FIDEDUPERANGE, range))
		range->info[0].status = -errno;
	EXPECT_EQ(-EOPNOTSUPP, range->info[0].status);
}

/*
 * Mounts, links, handles: no second name
 */

/* A file system that is on block devices; false if the kernel has none. */
static bool disk_file_system(char *name)
{
	FILE *file = fopen("/proc/filesystems", "re");
	char line[64];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = line[0] == '\t' && sscanf(line, "%31s", name) == 1;
	if (file)
		fclose(file);
	return found;
}

TEST_F(file, is_no_disk_to_mount)
{
	char type[32];

	if (!disk_file_system(type))
		SKIP(return, "kernel without a file system for disks");
	EXPECT_EQ(-1, mount(self->secret.path, "/tmp", type, MS_RDONLY, NULL));
	EXPECT_EQ(ENOTBLK, errno);
}

static int bind_mount(const char *from, const char *to)
{
	int ret = mount(from, to, NULL, MS_BIND, NULL);

	if (!ret)
		umount2(to, MNT_DETACH);
	return ret;
}

TEST_F(file, is_not_mounted_elsewhere)
{
	EXPECT_EQ(-1, bind_mount(self->secret.path, self->tmp[0]));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_open_tree, AT_FDCWD, self->secret.path,
			      OPEN_TREE_CLONE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_move_mount, self->secret.fd, "", AT_FDCWD,
			      self->tmp[0], MOVE_MOUNT_F_EMPTY_PATH));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, bind_mount(self->tmp[1], self->tmp[0]));
}

TEST_F(file, is_not_mounted_over)
{
	EXPECT_EQ(-1, bind_mount(self->tmp[0], self->secret.path));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, umount2(self->secret.path, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(file, can_not_be_linked)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	unlink(self->tmp[0]);
	EXPECT_EQ(-1, linkat(self->secret.fd, "", AT_FDCWD, self->tmp[0],
			     AT_EMPTY_PATH));
	EXPECT_EQ(EXDEV, errno);
	EXPECT_EQ(-1, linkat(AT_FDCWD, self->secret.path, AT_FDCWD,
			     self->tmp[0], AT_SYMLINK_FOLLOW));
	EXPECT_EQ(EXDEV, errno);
	EXPECT_EQ(0, linkat(fd, "", AT_FDCWD, self->tmp[0], AT_EMPTY_PATH));
}

TEST_F(file, has_no_handle)
{
	struct file_handle *handle;
	char space[sizeof(*handle) + MAX_HANDLE_SZ];
	int fd = open(self->tmp[0], O_RDONLY), mount;

	handle = memset(space, 0, sizeof(space));
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH) &&
	    no_such_call(errno))
		SKIP(return, "kernel without FHANDLE");
	EXPECT_LE(0, open_by_handle_at(fd, handle, O_RDONLY));
	EXPECT_EQ(-1, open_by_handle_at(self->secret.fd, handle, O_RDONLY));
	EXPECT_EQ(ESTALE, errno);

	handle->handle_bytes = MAX_HANDLE_SZ;
	EXPECT_EQ(-1, name_to_handle_at(self->secret.fd, "", handle, &mount,
					AT_EMPTY_PATH));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

/*
 * Descriptors that come of it
 */

TEST_F(file, path_descriptor_is_good_for_nothing)
{
	int fd = open(self->secret.path, O_PATH);
	int plain = open(self->plain.path, O_PATH);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, read(fd, self->buf, self->size));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(MAP_FAILED, (void *)map_shared(fd, self->size));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, ftruncate(fd, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, open_again(fd, O_RDWR));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, open_again(fd, O_RDWR | O_TMPFILE));
	EXPECT_EQ(ENOTDIR, errno);
	EXPECT_LE(0, open_again(plain, O_RDWR));
}

TEST_F(file, own_process_gives_a_second_descriptor)
{
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	int fd = syscall(SYS_pidfd_getfd, pidfd, self->secret.fd, 0);
	char *p = map_shared(fd, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_filled(p, self->size, SECRET));
}

/* The descriptor that comes with the next event, or a negative error. */
static int event_descriptor(int group)
{
	struct pollfd pfd = { .fd = group, .events = POLLIN };
	struct fanotify_event_metadata event;

	if (poll(&pfd, 1, 10000) != 1)
		return -ETIMEDOUT;
	if (read(group, &event, sizeof(event)) != sizeof(event))
		return -errno;
	return event.fd;
}

/* A group that listens for @events of what is at @path; -1 if it can not. */
static int listener(unsigned int mark, unsigned long long events,
		    const char *path)
{
	int group = fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK |
				  FAN_CLOEXEC, O_RDWR);

	if (fanotify_mark(group, FAN_MARK_ADD | mark, events, AT_FDCWD, path))
		return -1;
	return group;
}

static int closed_file_event(int fd)
{
	char path[32];
	int group;

	sprintf(path, "/proc/self/fd/%d", fd);
	group = listener(FAN_MARK_INODE, FAN_CLOSE_WRITE, path);
	if (group < 0)
		return -errno;
	close(fd);
	fd = event_descriptor(group);
	close(group);
	return fd;
}

TEST_F(file, fanotify_gives_no_descriptor)
{
	int fd = closed_file_event(memfd_create("control", 0));

	if (fd < 0 && no_such_call(-fd))
		SKIP(return, "kernel without FANOTIFY");
	EXPECT_LE(0, fd);
	EXPECT_EQ(-ENXIO, closed_file_event(secret_file(page_size)));
}

TEST_F(file, fanotify_does_not_watch_all_of_its_kind)
{
	if (listener(FAN_MARK_MOUNT, FAN_CLOSE_WRITE, "/tmp") < 0)
		SKIP(return, "kernel without FANOTIFY");
	EXPECT_EQ(-1, listener(FAN_MARK_MOUNT, FAN_CLOSE_WRITE,
			       self->secret.path));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, listener(FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE,
			       self->secret.path));
	EXPECT_EQ(EINVAL, errno);
}

/* The error of an open() of @path that @group is asked about, and would allow. */
static int judged_open(int group, const char *path, int *descriptor)
{
	struct fanotify_response response = { .response = FAN_ALLOW };
	pid_t pid = fork();

	if (!pid)
		_exit(open(path, O_RDWR) < 0 ? errno : 0);
	*descriptor = event_descriptor(group);
	response.fd = *descriptor;
	if (response.fd >= 0 &&
	    write(group, &response, sizeof(response)) != sizeof(response))
		return -1;
	return wait_status(pid);
}

TEST_F(file, fanotify_gives_no_descriptor_to_a_judge)
{
	int secret = listener(FAN_MARK_INODE, FAN_OPEN_PERM, self->secret.path);
	int plain = listener(FAN_MARK_INODE, FAN_OPEN_PERM, self->plain.path);
	int fd;

	if (secret < 0 || plain < 0)
		SKIP(return, "kernel without FANOTIFY_ACCESS_PERMISSIONS");
	EXPECT_EQ(EPERM, judged_open(secret, self->secret.path, &fd));
	EXPECT_EQ(-ENXIO, fd);
	EXPECT_EQ(0, judged_open(plain, self->plain.path, &fd));
	EXPECT_LE(0, fd);
}

/*
 * Without descriptor and mapping nobody can read the file any more, whoever
 * still knows its name: then its memory is not kept.
 */
static void last_user_leaves(struct __test_metadata *_metadata,
			     int (*keep)(const char *path))
{
	const long size = 16 << 20, slack = 4 << 10;
	int fd = secret_file(size);
	char *p = map_shared(fd, size);
	long held, given_back;
	char path[32];

	ASSERT_NE(MAP_FAILED, (void *)p);
	sprintf(path, "/proc/self/fd/%d", fd);
	if (keep(path) < 0)
		SKIP(return, "kernel without FANOTIFY");
	memset(p, 1, size);
	held = read_field("/proc/meminfo", "MemFree");
	close(fd);
	ASSERT_EQ(0, munmap(p, size));
	given_back = held + (size >> 10) - slack;
	EXPECT_LT(given_back, free_kb_above(given_back));
}

static int open_path(const char *path)
{
	return open(path, O_PATH);
}

/* Its event about the end of the file waits to be read. */
static int listen_to_close(const char *path)
{
	return listener(FAN_MARK_INODE, FAN_CLOSE_WRITE, path);
}

TEST(path_descriptor_does_not_keep_the_memory)
{
	last_user_leaves(_metadata, open_path);
}

TEST(fanotify_event_does_not_keep_the_memory)
{
	last_user_leaves(_metadata, listen_to_close);
}

/*
 * Asynchronous input and output
 */

struct ring {
	int fd;
	unsigned int *sq_tail;
	unsigned int *sq_array;
	struct io_uring_sqe *sqes;
	unsigned int *cq_head;
	struct io_uring_cqe *cqes;
	unsigned int mask;
};

static bool make_ring(struct ring *ring)
{
	struct io_uring_params params = { };
	char *p;

	ring->fd = syscall(__NR_io_uring_setup, 1, &params);
	if (ring->fd < 0)
		return false;
	p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
		 IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  ring->fd, IORING_OFF_SQES);
	if (p == MAP_FAILED || ring->sqes == MAP_FAILED)
		return false;
	ring->sq_tail = (void *)(p + params.sq_off.tail);
	ring->sq_array = (void *)(p + params.sq_off.array);
	ring->cq_head = (void *)(p + params.cq_off.head);
	ring->cqes = (void *)(p + params.cq_off.cqes);
	ring->mask = params.cq_entries - 1;
	return true;
}

/* Submits one request, waits for it, and returns its result. */
static int ring_do(struct ring *ring, const struct io_uring_sqe *sqe)
{
	unsigned int head = *ring->cq_head;

	ring->sqes[0] = *sqe;
	ring->sq_array[0] = 0;
	__atomic_add_fetch(ring->sq_tail, 1, __ATOMIC_SEQ_CST);
	if (syscall(__NR_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return -errno;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_SEQ_CST);
	return ring->cqes[head & ring->mask].res;
}

FIXTURE(ring) {
	struct ring ring;
	struct named secret;
	struct named plain;
	char *buf;
	bool there;
};

FIXTURE_VARIANT(ring) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(ring, at_once) { };
FIXTURE_VARIANT_ADD(ring, by_a_worker) { .flags = IOSQE_ASYNC };
FIXTURE_VARIANT_ADD(ring, registered) { .flags = IOSQE_FIXED_FILE };

FIXTURE_SETUP(ring)
{
	ASSERT_TRUE(name_file(&self->plain, plain_file(page_size), page_size,
			      PLAIN));
	ASSERT_TRUE(name_file(&self->secret, secret_file(page_size), page_size,
			      SECRET));
	self->buf = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	fill(self->buf, page_size, BUFFER);
	self->there = make_ring(&self->ring);
}

FIXTURE_TEARDOWN(ring)
{
	EXPECT_TRUE(is_filled(self->secret.mem, page_size, SECRET));
}

/* The result of @sqe, done with @fd, which may be registered for it. */
static int ring_file(struct ring *ring, unsigned int flags, int fd,
		     struct io_uring_sqe sqe)
{
	int ret;

	sqe.flags = flags;
	sqe.fd = fd;
	if (!(flags & IOSQE_FIXED_FILE))
		return ring_do(ring, &sqe);
	if (syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES,
		    &fd, 1))
		return -errno;
	sqe.fd = 0;
	ret = ring_do(ring, &sqe);
	syscall(__NR_io_uring_register, ring->fd, IORING_UNREGISTER_FILES, NULL,
		0);
	return ret;
}

TEST_F(ring, reads_nothing)
{
	struct iovec iov = { self->buf, page_size };
	const struct io_uring_sqe sqes[] = {
		{ .opcode = IORING_OP_READ, .addr = (uintptr_t)self->buf,
		  .len = page_size },
		{ .opcode = IORING_OP_READV, .addr = (uintptr_t)&iov, .len = 1 },
		{ .opcode = IORING_OP_READ_FIXED, .addr = (uintptr_t)self->buf,
		  .len = page_size },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, syscall(__NR_io_uring_register, self->ring.fd,
			     IORING_REGISTER_BUFFERS, &iov, 1));
	for (i = 0; i < ARRAY_SIZE(sqes); i++) {
		fill(self->buf, page_size, BUFFER);
		EXPECT_EQ(-EINVAL, ring_file(&self->ring, variant->flags,
					     self->secret.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->buf, page_size, BUFFER));
		EXPECT_EQ(page_size, ring_file(&self->ring, variant->flags,
					       self->plain.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->buf, page_size, PLAIN));
	}
}

TEST_F(ring, changes_nothing)
{
	struct iovec iov = { self->buf, page_size };
	const struct io_uring_sqe sqes[] = {
		{ .opcode = IORING_OP_WRITE, .addr = (uintptr_t)self->buf,
		  .len = page_size },
		{ .opcode = IORING_OP_WRITEV, .addr = (uintptr_t)&iov, .len = 1 },
		{ .opcode = IORING_OP_WRITE_FIXED, .addr = (uintptr_t)self->buf,
		  .len = page_size },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, syscall(__NR_io_uring_register, self->ring.fd,
			     IORING_REGISTER_BUFFERS, &iov, 1));
	for (i = 0; i < ARRAY_SIZE(sqes); i++) {
		EXPECT_EQ(-EINVAL, ring_file(&self->ring, variant->flags,
					     self->secret.fd, sqes[i]));
		EXPECT_EQ(page_size, ring_file(&self->ring, variant->flags,
					       self->plain.fd, sqes[i]));
		EXPECT_TRUE(is_filled(self->plain.mem, page_size, BUFFER));
	}
}

TEST_F(ring, splices_nothing)
{
	const unsigned int flags = variant->flags & ~IOSQE_FIXED_FILE;
	struct io_uring_sqe out = {
		.opcode = IORING_OP_SPLICE,
		.off = -1,
		.len = page_size,
		.splice_fd_in = self->secret.fd,
	};
	struct io_uring_sqe in = {
		.opcode = IORING_OP_SPLICE,
		.splice_off_in = -1,
		.len = page_size,
	};
	int fds[2];

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	EXPECT_EQ(-EINVAL, ring_file(&self->ring, flags, fds[1], out));
	EXPECT_EQ(-1, read(fds[0], self->buf, page_size));
	EXPECT_EQ(EAGAIN, errno);
	out.splice_fd_in = self->plain.fd;
	EXPECT_EQ(page_size, ring_file(&self->ring, flags, fds[1], out));

	in.splice_fd_in = fds[0];
	EXPECT_EQ(-EINVAL, ring_file(&self->ring, flags, self->secret.fd, in));
	EXPECT_EQ(page_size, ring_file(&self->ring, flags, self->plain.fd, in));
}

/* What has no use for the contents gets the answer that its system call gets. */
TEST_F(ring, answers_as_the_system_calls_do)
{
	const struct {
		struct io_uring_sqe sqe;
		int secret;
		int plain;
	} calls[] = {
		{ { .opcode = IORING_OP_FSYNC }, 0, 0 },
		{ { .opcode = IORING_OP_FADVISE,
		    .fadvise_advice = POSIX_FADV_DONTNEED }, 0, 0 },
		/* fallocate() has its arguments in another order. */
		{ { .opcode = IORING_OP_FALLOCATE, .addr = page_size,
		    .len = FALLOC_FL_COLLAPSE_RANGE }, -EOPNOTSUPP,
		  -EOPNOTSUPP },
		{ { .opcode = IORING_OP_SEND, .addr = (uintptr_t)self->buf,
		    .len = page_size }, -ENOTSOCK, -ENOTSOCK },
	};
	size_t i;

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(calls[i].secret,
			  ring_file(&self->ring, variant->flags,
				    self->secret.fd, calls[i].sqe));
		EXPECT_EQ(calls[i].plain,
			  ring_file(&self->ring, variant->flags, self->plain.fd,
				    calls[i].sqe));
	}
}

TEST_F(ring, does_not_open_it_again)
{
	const unsigned int flags = variant->flags & ~IOSQE_FIXED_FILE;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_OPENAT,
		.addr = (uintptr_t)self->secret.path,
		.open_flags = O_RDWR,
	};

	if (!self->there)
		SKIP(return, "kernel without IO_URING");
	EXPECT_EQ(-ENXIO, ring_file(&self->ring, flags, AT_FDCWD, sqe));
	sqe.addr = (uintptr_t)self->plain.path;
	EXPECT_LE(0, ring_file(&self->ring, flags, AT_FDCWD, sqe));
}

/* The result of one request, which may be an error. */
static int aio_do(int fd, int opcode, void *buf, size_t size)
{
	struct iocb iocb = {
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buf,
		.aio_nbytes = size,
	};
	struct iocb *iocbs[] = { &iocb };
	aio_context_t context = 0;
	struct io_event event;
	int ret;

	if (syscall(SYS_io_setup, 1, &context))
		return -errno;
	if (syscall(SYS_io_submit, context, 1, iocbs) == 1 &&
	    syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1)
		ret = event.res;
	else
		ret = -errno;
	syscall(SYS_io_destroy, context);
	return ret;
}

TEST_F(file, aio_reads_nothing)
{
	struct iovec iov = { self->buf, self->size };
	int ret = aio_do(self->plain.fd, IOCB_CMD_PREAD, self->buf, self->size);

	if (ret < 0 && no_such_call(-ret))
		SKIP(return, "kernel without AIO");
	EXPECT_EQ(self->size, ret);
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PREAD, self->buf,
				  self->size));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PREADV, &iov, 1));
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
}

TEST_F(file, aio_changes_nothing)
{
	struct iovec iov = { self->buf, self->size };
	int ret = aio_do(self->plain.fd, IOCB_CMD_PWRITE, self->buf,
			 self->size);

	if (ret < 0 && no_such_call(-ret))
		SKIP(return, "kernel without AIO");
	EXPECT_EQ(self->size, ret);
	EXPECT_TRUE(is_filled(self->plain.mem, self->size, BUFFER));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PWRITE, self->buf,
				  self->size));
	EXPECT_EQ(-EINVAL, aio_do(self->secret.fd, IOCB_CMD_PWRITEV, &iov, 1));
}

/*
 * What any file answers
 */

static int fibmap(int fd)
{
	int block = 0;

	return ioctl(fd, FIBMAP, &block);
}

static int fiemap(int fd)
{
	struct fiemap fiemap = { .fm_length = ~0ULL };

	return ioctl(fd, FS_IOC_FIEMAP, &fiemap);
}

static int fionread(int fd)
{
	int size = -1;

	return ioctl(fd, FIONREAD, &size) ? -1 : size;
}

static int figetbsz(int fd)
{
	int size = -1;

	return ioctl(fd, FIGETBSZ, &size) ? -1 : size;
}

static int freeze(int fd)
{
	return ioctl(fd, FIFREEZE, 0);
}

static int trim(int fd)
{
	struct fstrim_range range = { .len = ~0ULL };

	return ioctl(fd, FITRIM, &range);
}

static int zero_blocks(int fd)
{
	__u64 range[] = { 0, page_size };

	return ioctl(fd, BLKZEROOUT, range);
}

static int poll_once(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };

	return poll(&pfd, 1, 0) == 1 ? pfd.revents : -1;
}

static int poll_by_aio(int fd)
{
	errno = -aio_do(fd, IOCB_CMD_POLL, (void *)POLLIN, 0);
	return -1;
}

static int direct_io(int fd)
{
	return fcntl(fd, F_SETFL, O_DIRECT);
}

static int append(int fd)
{
	return fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK | O_ASYNC | O_NOATIME);
}

static int own(int fd)
{
	return fcntl(fd, F_SETOWN, getpid()) | fcntl(fd, F_SETSIG, SIGIO);
}

static int read_lease(int fd)
{
	return fcntl(fd, F_SETLEASE, F_RDLCK);
}

static int write_lease(int fd)
{
	return fcntl(fd, F_SETLEASE, F_WRLCK);
}

static int watch(int fd)
{
	return fcntl(fd, F_NOTIFY, DN_ACCESS);
}

static int write_hint(int fd)
{
	__u64 hint = 3;		/* RWH_WRITE_LIFE_MEDIUM */

	if (fcntl(fd, F_SET_RW_HINT, &hint))
		return -1;
	hint = 0;
	return fcntl(fd, F_GET_RW_HINT, &hint) ? -1 : hint;
}

static int pipe_size(int fd)
{
	return fcntl(fd, F_SETPIPE_SZ, page_size);
}

static int lock_whole(int fd)
{
	return flock(fd, LOCK_EX);
}

static int lock_range(int fd)
{
	struct flock lock = { .l_type = F_WRLCK };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int change_mode(int fd)
{
	return fchmod(fd, 0640);
}

static int change_owner(int fd)
{
	return fchown(fd, 1234, 4321);
}

static int change_times(int fd)
{
	const struct timespec times[] = { { .tv_sec = 1 }, { .tv_sec = 2 } };

	return futimens(fd, times);
}

struct call {
	const char *name;
	int (*call)(int fd);
};

#define CALL(name) { #name, name }

/* The answer, or the error as a negative number. */
static int answer(const struct call *call, int fd)
{
	int ret = call->call(fd);

	return ret < 0 ? -errno : ret;
}

TEST_F(file, what_is_not_about_contents_is_as_for_a_memfd)
{
	static const struct call calls[] = {
		CALL(fibmap), CALL(fiemap), CALL(fionread), CALL(figetbsz),
		CALL(freeze), CALL(trim), CALL(zero_blocks), CALL(poll_once),
		CALL(poll_by_aio), CALL(direct_io), CALL(append), CALL(own),
		CALL(read_lease), CALL(write_lease), CALL(watch),
		CALL(write_hint), CALL(pipe_size), CALL(lock_whole),
		CALL(lock_range), CALL(change_mode), CALL(change_owner),
		CALL(change_times),
	};
	struct stat secret, plain;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(answer(&calls[i], self->plain.fd),
			  answer(&calls[i], self->secret.fd)) {
			TH_LOG("%s", calls[i].name);
		}
	}
	ASSERT_EQ(0, fstat(self->plain.fd, &plain));
	ASSERT_EQ(0, fstat(self->secret.fd, &secret));
	EXPECT_EQ(plain.st_mode, secret.st_mode);
	EXPECT_EQ(plain.st_uid, secret.st_uid);
	EXPECT_EQ(plain.st_gid, secret.st_gid);
	EXPECT_EQ(plain.st_size, secret.st_size);
	EXPECT_EQ(plain.st_mtime, secret.st_mtime);
}

TEST_F(file, has_no_attributes_of_a_file_system)
{
	struct fsxattr fsxattr = { };
	int flags = FS_IMMUTABLE_FL;

	EXPECT_EQ(-1, ioctl(self->secret.fd, FS_IOC_SETFLAGS, &flags));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->secret.fd, FS_IOC_GETFLAGS, &flags));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->secret.fd, FS_IOC_FSGETXATTR, &fsxattr));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, fsetxattr(self->secret.fd, "user.test", "value", 5, 0));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

static int as_directory(int fd)
{
	return fchdir(fd);
}

static int as_socket(int fd)
{
	return listen(fd, 1);
}

static int as_terminal(int fd)
{
	return isatty(fd) ? 0 : -1;
}

static int as_namespace(int fd)
{
	return syscall(SYS_setns, fd, 0);
}

static int as_inotify(int fd)
{
	return inotify_add_watch(fd, "/tmp", IN_OPEN);
}

static int as_fanotify(int fd)
{
	return fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/tmp");
}

static int as_epoll(int fd)
{
	struct epoll_event event;

	return epoll_wait(fd, &event, 1, 0);
}

static int as_timer(int fd)
{
	struct itimerspec spec;

	return timerfd_gettime(fd, &spec);
}

static int as_signals(int fd)
{
	sigset_t set;

	sigemptyset(&set);
	return signalfd(fd, &set, 0);
}

static int as_pipe_to_tee(int fd)
{
	int fds[2];

	return pipe(fds) ? -1 : tee(fd, fds[1], 1, SPLICE_F_NONBLOCK);
}

static int as_pipe_to_fill(int fd)
{
	struct iovec iov = { &fd, sizeof(fd) };

	return vmsplice(fd, &iov, 1, SPLICE_F_NONBLOCK);
}

static int as_ring(int fd)
{
	return syscall(__NR_io_uring_enter, fd, 1, 1, 0, NULL, 0);
}

static int as_process(int fd)
{
	return syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0);
}

static int as_process_with_files(int fd)
{
	return syscall(SYS_pidfd_getfd, fd, 0, 0);
}

static int as_mount(int fd)
{
	return syscall(SYS_fsmount, fd, 0, 0);
}

static int as_mount_context(int fd)
{
	return syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* Whatever kind of file a call is for, it asks. */
TEST_F(file, is_not_taken_for_another_kind)
{
	static const struct call calls[] = {
		CALL(as_directory), CALL(as_socket), CALL(as_terminal),
		CALL(as_namespace), CALL(as_inotify), CALL(as_fanotify),
		CALL(as_epoll), CALL(as_timer), CALL(as_signals),
		CALL(as_pipe_to_tee), CALL(as_pipe_to_fill), CALL(as_ring),
		CALL(as_process), CALL(as_process_with_files), CALL(as_mount),
		CALL(as_mount_context),
	};
	int ret;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		ret = answer(&calls[i], self->secret.fd);
		EXPECT_GT(0, ret) {
			TH_LOG("%s", calls[i].name);
		}
		EXPECT_EQ(answer(&calls[i], self->plain.fd), ret) {
			TH_LOG("%s", calls[i].name);
		}
	}
}

static int lock_of_child(int fd)
{
	struct flock lock = { .l_type = F_WRLCK };

	if (fcntl(fd, F_SETLK, &lock) != -1)
		return 0;
	return errno;
}

TEST_F(file, record_lock_keeps_others_out)
{
	struct flock lock = { .l_type = F_WRLCK };
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->secret.fd, F_SETLK, &lock));
	pid = fork();
	if (!pid)
		_exit(lock_of_child(self->secret.fd));
	EXPECT_EQ(EAGAIN, wait_status(pid));
}

/* A pointer into a mapping, in a call that keeps what it finds there. */
TEST_F(file, key_takes_its_payload_from_a_mapping)
{
	int key = syscall(SYS_add_key, "big_key", "test", self->secret.mem,
			  self->size, KEY_SPEC_PROCESS_KEYRING);

	if (key < 0 && (no_such_call(errno) || errno == ENODEV))
		SKIP(return, "kernel without BIG_KEYS");
	EXPECT_EQ(self->size, syscall(SYS_keyctl, KEYCTL_READ, key, self->buf,
				      self->size));
	EXPECT_TRUE(is_filled(self->buf, self->size, SECRET));
}

TEST_HARNESS_MAIN
