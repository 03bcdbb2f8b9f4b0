// SPDX-License-Identifier: GPL-2.0
/*
 * A service for systemd that holds a key.
 *
 *	holder secret|memfd < key
 *
 * Reads the key into secret memory, or into a memfd, and tells systemd that it is
 * ready. When it is told to end, it writes the key to the standard output.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define SIZE	4096

static void *map_file(int fd)
{
	void *p;

	if (ftruncate(fd, SIZE))
		err(1, "ftruncate");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	close(fd);
	return p;
}

/* Does nothing if systemd has not started this. */
static void say_ready(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	socklen_t len;
	int fd;

	if (!path)
		return;
	len = strlen(path);
	if (len >= sizeof(addr.sun_path))
		errx(1, "NOTIFY_SOCKET: too long");
	memcpy(addr.sun_path, path, len);
	/* A socket without a file. */
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&addr,
			     offsetof(struct sockaddr_un, sun_path) + len) != 7)
		err(1, "NOTIFY_SOCKET");
	close(fd);
}

int main(int argc, char **argv)
{
	bool secret = argc == 2 && !strcmp(argv[1], "secret");
	bool memfd = argc == 2 && !strcmp(argv[1], "memfd");
	sigset_t end;
	ssize_t len;
	int fd, sig;
	char *key;

	if (!secret && !memfd)
		errx(1, "usage: holder secret|memfd < key");
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);

	fd = secret ? syscall(SYS_memfd_secret, O_CLOEXEC) : memfd_create("key", MFD_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[1]);
	key = map_file(fd);
	len = read(STDIN_FILENO, key, SIZE);
	if (len <= 0)
		err(1, "no key");
	say_ready();

	if (sigwait(&end, &sig))
		errx(1, "sigwait");
	if (write(STDOUT_FILENO, key, len) != len)
		err(1, "write");
	return 0;
}
