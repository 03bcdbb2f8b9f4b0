/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passing descriptors over a socket, one with each message.
 */
#ifndef SELFTEST_FD_PASSING_H
#define SELFTEST_FD_PASSING_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* 0, or -1 and errno. */
static inline int send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = "", c = 0;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

/*
 * The descriptor, or -1 and errno: EACCES if there was one that this process
 * may not have. For the kernel that is no error: the message arrives without
 * it.
 */
static inline int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock, &msg, 0);
	int fd;

	if (n < 0)
		return -1;
	if (!CMSG_FIRSTHDR(&msg)) {
		errno = msg.msg_flags & MSG_CTRUNC ? EACCES : ENOMSG;
		return -1;
	}
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

#endif /* SELFTEST_FD_PASSING_H */
