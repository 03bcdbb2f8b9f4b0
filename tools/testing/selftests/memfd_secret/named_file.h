/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A secret file and a memfd of the same size, the control, each with a mapping
 * and a path in /proc.
 */
#ifndef SELFTEST_NAMED_FILE_H
#define SELFTEST_NAMED_FILE_H

#include "testing.h"

enum { SECRET = 1, PLAIN, BUFFER };

/* Does this error mean that the kernel lacks the call? */
static inline bool no_such_call(int err)
{
	return !strcmp(strerrorname_np(err), "ENOSYS");
}

/* A file, its mapping and a path that leads to it. */
struct named {
	int fd;
	char *mem;
	char path[32];
};

static inline bool name_file(struct named *file, int fd, size_t size,
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

static inline int open_again(int fd, int flags)
{
	char path[32];

	sprintf(path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

FIXTURE(file) {
	size_t size;
	struct named secret;
	struct named plain;
	char *buf;		/* for what might come out */
	char tmp[2][32];	/* names of ordinary files */
};

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

#endif /* SELFTEST_NAMED_FILE_H */
