// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Many keys in one file of secret memory.
 *
 *	key_check FILE... < request
 *
 * Each FILE has one key. The program reads what a client sends from the standard
 * input and prints which of the keys it is, if any. The process that reads the
 * request and prints the answer is a child that has no access to the keys: the
 * parent compares.
 *
 * A page is the least that a secret file can take, and RLIMIT_MEMLOCK limits the
 * sum, so all keys share one file. The pages before and after them are mapped
 * without any access, so that running past either end is SIGSEGV.
 *
 * Without memfd_secret() the keys are in ordinary memory that is locked and not
 * dumped, and the program says so: the kernel, and processes that may trace this
 * one, can read them there.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define KEY_SIZE	32
#define NO_KEY		(-1)

struct keys {
	int nr;
	unsigned char key[][KEY_SIZE];	/* filled up with zeros */
};

static size_t round_up(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page;
}

/* Reserves addresses for @size bytes and a page without access on either side. */
static void *reserve(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, size + 2 * page, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p + page;
}

static void map_secret(void *at, size_t size, int fd)
{
	if (ftruncate(fd, size))
		err(1, "ftruncate");
	if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0) == MAP_FAILED)
		err(1, "mmap (more than ulimit -l?)");
	/* The mapping keeps the memory, and nobody needs the descriptor. */
	close(fd);
}

static void map_locked(void *at, size_t size)
{
	if (mmap(at, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		err(1, "mmap");
	if (mlock(at, size))
		err(1, "mlock (more than ulimit -l?)");
	if (madvise(at, size, MADV_DONTDUMP))
		err(1, "MADV_DONTDUMP");
}

static struct keys *make_keys(size_t size)
{
	void *at = reserve(size);
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);

	if (fd >= 0) {
		map_secret(at, size, fd);
	} else if (errno == ENOSYS) {
		warnx("memfd_secret: %s; keys are in locked memory, which debuggers can read",
		      strerror(errno));
		map_locked(at, size);
	} else {
		err(1, "memfd_secret");
	}
	if (madvise(at, size, MADV_DONTFORK))
		err(1, "MADV_DONTFORK");
	return at;
}

/* Straight into its place: a stream of the C library would keep a copy. */
static void read_key(unsigned char *key, int fd, const char *name)
{
	size_t done = 0;
	ssize_t n;

	do {
		n = read(fd, key + done, KEY_SIZE - done);
		if (n < 0)
			err(1, "%s", name);
		done += n;
	} while (n);
	if (!done || done == KEY_SIZE)
		errx(1, "%s: not 1 to %d bytes", name, KEY_SIZE - 1);
}

static void read_key_file(unsigned char *key, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	read_key(key, fd, path);
	close(fd);
}

/* Takes the same time whichever key it is, and wherever it differs. */
static int find_key(const struct keys *keys, const unsigned char *request)
{
	int i, j, found = NO_KEY;
	unsigned char differ;

	for (i = 0; i < keys->nr; i++) {
		differ = 0;
		for (j = 0; j < KEY_SIZE; j++)
			differ |= keys->key[i][j] ^ request[j];
		if (!differ)
			found = i;
	}
	return found;
}

/* The parent: answers one request. */
static void answer(int sock, const struct keys *keys)
{
	unsigned char request[KEY_SIZE];
	int found = NO_KEY;

	if (recv(sock, request, KEY_SIZE, MSG_WAITALL) == KEY_SIZE)
		found = find_key(keys, request);
	explicit_bzero(request, KEY_SIZE);
	/* If the child has ended, it has said why. */
	send(sock, &found, sizeof(found), MSG_NOSIGNAL);
}

/* The child: touching a key would be SIGSEGV here. */
static void ask(int sock)
{
	unsigned char request[KEY_SIZE] = { 0 };
	int found, n;

	read_key(request, STDIN_FILENO, "request");
	if (send(sock, request, KEY_SIZE, MSG_NOSIGNAL) != KEY_SIZE)
		err(1, "send");
	/* The request may have been a key, which is not to stay here. */
	explicit_bzero(request, KEY_SIZE);
	if (recv(sock, &found, sizeof(found), MSG_WAITALL) != sizeof(found))
		errx(1, "no answer");
	if (found == NO_KEY)
		n = dprintf(STDOUT_FILENO, "no key\n");
	else
		n = dprintf(STDOUT_FILENO, "key %d\n", found + 1);
	if (n < 0)
		err(1, "write");
}

int main(int argc, char **argv)
{
	size_t size = round_up(sizeof(struct keys) + argc * KEY_SIZE);
	int socks[2], status;
	struct keys *keys;
	pid_t pid;

	if (argc < 2)
		errx(1, "usage: key_check FILE... < request");
	/* Nobody without CAP_SYS_PTRACE can trace this process. */
	if (prctl(PR_SET_DUMPABLE, 0))
		err(1, "PR_SET_DUMPABLE");
	keys = make_keys(size);
	for (keys->nr = 0; keys->nr < argc - 1; keys->nr++)
		read_key_file(keys->key[keys->nr], argv[keys->nr + 1]);

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
		err(1, "socketpair");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(socks[0]);
		ask(socks[1]);
		return 0;
	}
	close(socks[1]);
	answer(socks[0], keys);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	/* The kernel wipes secret memory when it is unmapped, but no other. */
	explicit_bzero(keys, size);
	munmap(keys, size);
	return status ? 1 : 0;
}
