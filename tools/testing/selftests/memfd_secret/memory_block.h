/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks of memory, which go offline and online as a whole.
 */
#ifndef SELFTEST_MEMORY_BLOCK_H
#define SELFTEST_MEMORY_BLOCK_H

#include "movement.h"

static inline long block_size(void)
{
	char text[32];

	return read_text(MEMORY "block_size_bytes", text, sizeof(text)) ? 0 :
		strtoul(text, NULL, 16);
}

static inline long block_of(unsigned long long entry)
{
	return (entry & PM_FRAME) * page_size / block_size();
}

static inline int set_block(long block, const char *state)
{
	char path[64];

	snprintf(path, sizeof(path), MEMORY "memory%ld/state", block);
	return timed_write(path, state);
}

static inline bool block_says(long block, const char *name, const char *text)
{
	char path[64], content[64];

	snprintf(path, sizeof(path), MEMORY "memory%ld/%s", block, name);
	return !read_text(path, content, sizeof(content)) &&
		!strncmp(content, text, strlen(text));
}

/* Take a block offline that has only movable pages; -1 if there is none. */
static inline long take_block_offline(void)
{
	char path[64];
	long block;

	for (block = 0; block < 1024; block++) {
		snprintf(path, sizeof(path), MEMORY "memory%ld", block);
		if (access(path, F_OK) ||
		    !block_says(block, "valid_zones", "Movable") ||
		    set_block(block, "offline"))
			continue;
		return block;
	}
	return -1;
}

static inline int node_of_block(long block)
{
	char path[64];
	int node;

	for (node = 0; node < 64; node++) {
		snprintf(path, sizeof(path), MEMORY "memory%ld/node%d", block,
			 node);
		if (!access(path, F_OK))
			return node;
	}
	return 0;
}

#endif /* SELFTEST_MEMORY_BLOCK_H */
