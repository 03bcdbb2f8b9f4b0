// SPDX-License-Identifier: GPL-2.0
/*
 * The results of the kernel's own tests at boot. Needs a kernel with
 * SECRETMEM_KUNIT_TEST and KUNIT_DEBUGFS.
 */
#define _GNU_SOURCE
#include "testing.h"

/*
 * Check that a suite has passed. Logs its lines, and hands them to @look. Returns
 * false if the kernel does not have it.
 */
static bool expect_suite(struct __test_metadata *_metadata, const char *name,
			 void (*look)(const char *line))
{
	char path[128], text[8192], *line, *last = NULL;

	sprintf(path, "/sys/kernel/debug/kunit/%s/results", name);
	if (access(path, F_OK))
		SKIP(return false, "kernel without SECRETMEM_KUNIT_TEST");
	EXPECT_EQ(0, read_text(path, text, sizeof(text)));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		TH_LOG("%s", line);
		EXPECT_EQ(NULL, strstr(line, "not ok"));
		if (look)
			look(line);
		last = line;
	}
	/* Older kernels write "ok 1 - name". */
	ASSERT_NE(NULL, last);
	ASSERT_EQ(0, strncmp(last, "ok 1 ", 5));
	EXPECT_STREQ(name, last + (strncmp(last, "ok 1 - ", 7) ? 5 : 7));
	return true;
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
	if (!expect_suite(_metadata, "set_direct_map", look_for_splits))
		return;
	/*
	 * Of the kernels with secret memory, only those of arm64 have no large
	 * pages.
	 */
#ifndef __aarch64__
	EXPECT_TRUE(large_pages_split || frees_unmap());
#endif
}

TEST(pool_keeps_its_promises_to_the_kernel)
{
	expect_suite(_metadata, "secretmem_pool", NULL);
}

TEST_HARNESS_MAIN
