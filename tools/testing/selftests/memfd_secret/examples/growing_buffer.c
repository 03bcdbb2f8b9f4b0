// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A buffer in secret memory for a secret of unknown length.
 *
 * It reads all of the standard input, for example a private key, and then
 * writes it to the standard output. So the program that produces the secret has
 * finished before the secret is used:
 *
 *	gpg --decrypt key.gpg | growing_buffer | daemon
 *
 * When the buffer is full the file is extended, then the mapping, which may
 * move. The kernel moves page table entries then, not contents: nothing stays
 * behind at the old address, as it does with realloc(). A stream of the C
 * library would have a copy of its own. read() and write() leave none in this
 * process.
 *
 * Linux 5.14 and later let a program set the size only once: there a full
 * buffer is an error. Several files, with a mapping each, work everywhere.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

struct buffer {
	int fd;
	char *mem;
	size_t size;	/* of the file, and of its mapping */
	size_t used;
};

static void make_buffer(struct buffer *buffer, size_t size)
{
	buffer->fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	if (buffer->fd < 0)
		err(1, "memfd_secret (booted with secretmem.enable=1?)");
	if (ftruncate(buffer->fd, size))
		err(1, "ftruncate");
	buffer->mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   buffer->fd, 0);
	if (buffer->mem == MAP_FAILED)
		err(1, "mmap (more than ulimit -l?)");
	buffer->size = size;
	buffer->used = 0;
}

static void grow_buffer(struct buffer *buffer, size_t size)
{
	char *mem;

	if (ftruncate(buffer->fd, size))
		err(1, "ftruncate");
	mem = mremap(buffer->mem, buffer->size, size, MREMAP_MAYMOVE);
	if (mem == MAP_FAILED)
		err(1, "mremap (more than ulimit -l?)");
	buffer->mem = mem;
	buffer->size = size;
}

/* The contents are gone with the last mapping and the last descriptor. */
static void drop_buffer(struct buffer *buffer)
{
	munmap(buffer->mem, buffer->size);
	close(buffer->fd);
}

static void read_all(struct buffer *buffer, int fd)
{
	ssize_t n;

	do {
		if (buffer->used == buffer->size)
			grow_buffer(buffer, 2 * buffer->size);
		n = read(fd, buffer->mem + buffer->used,
			 buffer->size - buffer->used);
		if (n < 0)
			err(1, "read");
		buffer->used += n;
	} while (n);
}

static void write_all(const struct buffer *buffer, int fd)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < buffer->used; done += n) {
		n = write(fd, buffer->mem + done, buffer->used - done);
		if (n < 0)
			err(1, "write");
	}
}

int main(void)
{
	struct buffer buffer;

	make_buffer(&buffer, sysconf(_SC_PAGESIZE));
	read_all(&buffer, STDIN_FILENO);
	write_all(&buffer, STDOUT_FILENO);
	drop_buffer(&buffer);
	return 0;
}
