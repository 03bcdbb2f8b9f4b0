// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel's own tests of the direct map said at boot. Needs a kernel with
 * SECRETMEM_KUNIT_TEST and KUNIT_DEBUGFS.
 */
#define _GNU_SOURCE
#include "testing.h"

#define RESULTS "/sys/kernel/debug/kunit/set_direct_map/results"

TEST(direct_map_is_changed_exactly)
{
	static const char suite[] = "ok 1 - set_direct_map\n";
	char text[8192], *line;
	bool large = false;
	int n;

	if (access(RESULTS, F_OK))
		SKIP(return, "kernel without SECRETMEM_KUNIT_TEST");
	ASSERT_EQ(0, read_text(RESULTS, text, sizeof(text)));
	ASSERT_LE(strlen(suite), strlen(text));
	EXPECT_STREQ(suite, text + strlen(text) - strlen(suite));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		TH_LOG("%s", line);
		EXPECT_EQ(NULL, strstr(line, "not ok"));
		if (sscanf(line, " # %*s %d large pages were split", &n) == 1)
			large = n;
	}
	/* Only arm64 has none where it has secret memory. */
#ifndef __aarch64__
	EXPECT_TRUE(large || frees_unmap());
#endif
}

TEST_HARNESS_MAIN
