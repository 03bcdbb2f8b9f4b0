// SPDX-License-Identifier: GPL-2.0
/*
 * The results of the kernel's own tests at boot. Needs a kernel with
 * SECRETMEM_KUNIT_TEST and KUNIT_DEBUGFS.
 */
#define _GNU_SOURCE
#include "testing.h"

/* Check that a suite has passed. Logs its lines, and hands them to @look. */
static void expect_suite(struct __test_metadata *_metadata, const char *name,
			 void (*look)(const char *line))
{
	char path[128], end[64], text[8192], *line;

	sprintf(path, "/sys/kernel/debug/kunit/%s/results", name);
	if (access(path, F_OK))
		SKIP(return, "kernel without SECRETMEM_KUNIT_TEST");
	sprintf(end, "ok 1 - %s\n", name);
	ASSERT_EQ(0, read_text(path, text, sizeof(text)));
	ASSERT_LE(strlen(end), strlen(text));
	EXPECT_STREQ(end, text + strlen(text) - strlen(end));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		TH_LOG("%s", line);
		EXPECT_EQ(NULL, strstr(line, "not ok"));
		if (look)
			look(line);
	}
}

static int large_pages_split;

static void look_for_splits(const char *line)
{
	int nr;

	if (sscanf(line, " # %*s %d large pages were split", &nr) == 1)
		large_pages_split = nr;
}

TEST(direct_map_is_changed_exactly)
{
	expect_suite(_metadata, "set_direct_map", look_for_splits);
	/*
	 * Of the kernels with secret memory, only those of arm64 have no large
	 * pages.
	 */
#ifndef __aarch64__
	if (!_metadata->skip)
		EXPECT_TRUE(large_pages_split || frees_unmap());
#endif
}

TEST(pool_keeps_its_promises_to_the_kernel)
{
	expect_suite(_metadata, "secretmem_pool", NULL);
}

TEST_HARNESS_MAIN
