// SPDX-License-Identifier: GPL-2.0
/*
 * A file is sealed against writing while others write to it and unmap it: all
 * writes have happened before the call returns. $RACES / 50 rounds.
 */
#define _GNU_SOURCE
#include "threads.h"

#define PAGES	64

static int fd;
static char *mem;
static size_t size;

static void *write_until_unmapped(void *unused)
{
	char c = 0;
	size_t i;

	for (;; c++)
		for (i = 0; i < size; i += page_size)
			if (probe_write(mem + i, c))
				return NULL;
}

static void *unmap(void *unused)
{
	if (munmap(mem, size))
		complain();
	return NULL;
}

static void *map_and_write_until_sealed(void *unused)
{
	char *p, c = 0;

	while ((p = map_shared(fd, page_size)) != MAP_FAILED) {
		if (probe_write(p, ++c))
			complain();
		munmap(p, page_size);
	}
	if (errno != EPERM)
		complain();
	return NULL;
}

static void seal(void)
{
	while (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		if (errno != EBUSY)
			complain();
}

/* Copy the first byte of each page. */
static void look(const char *p, char *bytes)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		bytes[i] = p[i * page_size];
}

FIXTURE(sealed) {
	pthread_t threads[2];
};

FIXTURE_VARIANT(sealed) {
	void *(*others[2])(void *unused);
};

FIXTURE_VARIANT_ADD(sealed, while_it_is_unmapped) {
	.others = { write_until_unmapped, unmap },
};

FIXTURE_VARIANT_ADD(sealed, while_it_is_mapped) {
	.others = { map_and_write_until_sealed, map_and_write_until_sealed },
};

FIXTURE_SETUP(sealed)
{
	size = PAGES * page_size;
}

FIXTURE_TEARDOWN(sealed)
{
}

TEST_F(sealed, nothing_changes_any_more)
{
	char then[PAGES], now[PAGES], *p;
	long n;

	for (n = 0; n < races() / 50; n++) {
		fd = secret_file(size);
		ASSERT_LE(0, fd);
		if (variant->others[1] == unmap) {
			mem = map_shared(fd, size);
			ASSERT_NE(MAP_FAILED, (void *)mem);
		}
		ASSERT_EQ(0, pthread_create(&self->threads[0], NULL,
					    variant->others[0], NULL));
		ASSERT_EQ(0, pthread_create(&self->threads[1], NULL,
					    variant->others[1], NULL));
		seal();
		p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, (void *)p);
		look(p, then);
		pthread_join(self->threads[0], NULL);
		pthread_join(self->threads[1], NULL);
		look(p, now);
		ASSERT_EQ(0, memcmp(then, now, PAGES));
		ASSERT_EQ(0, wrong);
		munmap(p, size);
		close(fd);
	}
}

TEST_HARNESS_MAIN
