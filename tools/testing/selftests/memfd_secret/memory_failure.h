/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A secret file of which one page is going to fail, and ordinary memory.
 */
#ifndef SELFTEST_MEMORY_FAILURE_H
#define SELFTEST_MEMORY_FAILURE_H

#include "hwpoison.h"

#define PAGES	64
#define VICTIM	30

enum { SECRET = 1, PLAIN };

FIXTURE(failure) {
	bool there;
	size_t size;
	int fd;
	char *mem;
	char *victim;
	char *plain;
	unsigned long long frames[PAGES];
	unsigned long long frame;	/* of the victim */
};

FIXTURE_VARIANT(failure) {
	bool written;
};

FIXTURE_VARIANT_ADD(failure, written) { .written = true };
FIXTURE_VARIANT_ADD(failure, read) { };

FIXTURE_SETUP(failure)
{
	struct sigaction action = {
		.sa_sigaction = failure_handler, .sa_flags = SA_SIGINFO,
	};
	size_t i;

	self->there = !access(HWPOISON "corrupt-pfn", W_OK);
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));

	self->size = PAGES * page_size;
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, self->size);
	self->plain = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	if (variant->written)
		fill(self->mem, self->size, SECRET);
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, probe_read(self->mem + i * page_size));
		self->frames[i] = page_frame(self->mem + i * page_size);
	}
	self->victim = self->mem + VICTIM * page_size;
	self->frame = self->frames[VICTIM];
	ASSERT_NE(0, self->frame);
	fill(self->plain, page_size, PLAIN);
}

FIXTURE_TEARDOWN(failure)
{
	munmap(self->mem, self->size);
	close(self->fd);
}

/* All pages of @mem but the victim. */
static inline bool rest_is_whole(const char *mem, bool written)
{
	size_t i;

	for (i = 0; i < PAGES * page_size; i++)
		if (i / page_size != VICTIM &&
		    mem[i] != (char)(written ? pattern(SECRET, i) : 0))
			return false;
	return true;
}

#endif /* SELFTEST_MEMORY_FAILURE_H */
