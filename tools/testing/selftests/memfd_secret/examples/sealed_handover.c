// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A secret is passed from its maker to a process of another user, which can
 * read it and nothing else. Run it as root, which is the maker; nobody (65534)
 * receives it.
 *
 * The maker maps the file and then seals it: nobody can map it writable any
 * more (F_SEAL_FUTURE_WRITE), change its size (F_SEAL_SHRINK, F_SEAL_GROW), or
 * add a seal (F_SEAL_SEAL). The existing mapping stays writable, so the maker
 * can replace the secret. A receiver checks the seals first: without them the
 * sender could shorten the file, and a reader would get SIGBUS.
 *
 * Linux 5.14 and later do not seal secret files: there F_ADD_SEALS fails with
 * EINVAL.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define SEALS	(F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NOBODY	65534

struct secret {
	unsigned int number;
	unsigned char key[32];
};

/* No message came. If the other process has ended, it has reported why. */
static void __attribute__((noreturn)) lost(const char *what)
{
	if (errno && errno != EPIPE && errno != ECONNRESET)
		err(1, "%s", what);
	exit(1);
}

/* Send a message of one byte, with a descriptor if @fd is not negative. */
static void send_message(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;

	if (fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		header = CMSG_FIRSTHDR(&msg);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != 1)
		lost("sendmsg");
}

/* Receive a message: the descriptor that came with it, or -1. */
static int receive_message(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;
	ssize_t n;

	errno = 0;
	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		lost("recvmsg");
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void new_key(struct secret *secret, unsigned int number)
{
	secret->number = number;
	if (getrandom(secret->key, sizeof(secret->key), 0) < 0)
		err(1, "getrandom");
}

static void make(int sock)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	struct secret *secret;

	if (fd < 0)
		err(1, "memfd_secret (booted with secretmem.enable=1?)");
	if (ftruncate(fd, sizeof(*secret)))
		err(1, "ftruncate");
	secret = mmap(NULL, sizeof(*secret), PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd, 0);
	if (secret == MAP_FAILED)
		err(1, "mmap (more than ulimit -l?)");
	if (fcntl(fd, F_ADD_SEALS, SEALS))
		err(1, "F_ADD_SEALS");

	new_key(secret, 1);
	send_message(sock, fd);
	/* The receiver reports when it has used the first key. */
	receive_message(sock);
	new_key(secret, 2);
	send_message(sock, -1);
}

static const struct secret *map_sealed(int fd)
{
	const struct secret *secret;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		err(1, "F_GET_SEALS");
	if ((seals & SEALS) != SEALS)
		errx(1, "the file is not sealed");
	if (fstat(fd, &st) || st.st_size < (off_t)sizeof(*secret))
		errx(1, "the file is too short");
	secret = mmap(NULL, sizeof(*secret), PROT_READ, MAP_SHARED, fd, 0);
	if (secret == MAP_FAILED)
		err(1, "mmap (more than ulimit -l?)");
	return secret;
}

static void receive(int sock)
{
	const struct secret *secret;
	int fd;

	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		err(1, "to become another user");
	fd = receive_message(sock);
	secret = map_sealed(fd);
	printf("user %d has key %u\n", getuid(), secret->number);

	if (mmap(NULL, sizeof(*secret), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 0) != MAP_FAILED)
		errx(1, "the file can be mapped to write");
	printf("mmap to write: %m\n");
	if (!mprotect((void *)secret, sizeof(*secret), PROT_READ | PROT_WRITE))
		errx(1, "the mapping can be made writable");
	printf("mprotect to write: %m\n");

	send_message(sock, -1);
	receive_message(sock);
	printf("user %d has key %u\n", getuid(), secret->number);
}

int main(void)
{
	int socks[2], status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		err(1, "socketpair");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(socks[0]);
		receive(socks[1]);
		return 0;
	}
	close(socks[1]);
	make(socks[0]);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	return status ? 1 : 0;
}
