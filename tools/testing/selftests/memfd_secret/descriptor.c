// SPDX-License-Identifier: GPL-2.0
/*
 * The descriptor of a secret file, handed to a call that takes pages or contents
 * by descriptor or path, gives none of them, and leaves no second name of the file
 * and no second way to open it. A memfd of the same size is the control: what is
 * refused here must work there, or be refused for a reason that is not the
 * memory's.
 */
#define _GNU_SOURCE
#include "named_file.h"

#include <linux/fs.h>
#include <linux/kexec.h>
#include <linux/udmabuf.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>

/* Not defined for this architecture. */
#ifndef SYS_kexec_file_load
#define SYS_kexec_file_load -1
#endif

/*
 * Calls that take pages or contents by descriptor
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

/* The error of execve() of @path. */
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

/* Find a file system for block devices; false if the kernel has none. */
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
	/* The latter in kernels where no file without a name is mounted over. */
	EXPECT_TRUE(errno == EINVAL || errno == ENOENT);
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
 * Further descriptors of the file
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

/* A group that listens for @events of the file at @path; -1 on error. */
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

/* The error of an open() of @path for which @group is asked, and allows it. */
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
 * Without a descriptor and a mapping nobody can read the file any more, even if
 * its name is still known. Its memory must be freed then.
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

/* The event about the closing of the file stays in the queue, unread. */
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

TEST_HARNESS_MAIN
