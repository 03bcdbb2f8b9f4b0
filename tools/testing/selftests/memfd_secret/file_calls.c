// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that are not about contents return the same for a secret file and a
 * memfd, and calls for another kind of file refuse both.
 */
#define _GNU_SOURCE
#include "named_file.h"
#include "ring.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#ifndef F_SET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

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

/* The result, or a negative error. */
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

/* Calls for another kind of file check what they get. */
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

/* A pointer into a mapping works in a call that keeps what it finds there. */
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
