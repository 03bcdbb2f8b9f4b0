// SPDX-License-Identifier: GPL-2.0
/*
 * For a kernel booted without secret memory, or one that cannot have it.
 */
#define _GNU_SOURCE
#include "testing.h"

TEST(disabled_system_call_is_ENOSYS)
{
	EXPECT_EQ(-1, memfd_secret(0));
	EXPECT_STREQ("ENOSYS", strerrorname_np(errno));
	EXPECT_EQ(-1, memfd_secret(O_CLOEXEC));
	EXPECT_STREQ("ENOSYS", strerrorname_np(errno));
}

TEST(disabled_system_call_does_not_look_at_flags)
{
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		EXPECT_EQ(-1, memfd_secret(1u << bit));
		EXPECT_STREQ("ENOSYS", strerrorname_np(errno));
	}
}

/* One line with the reason if the feature was asked for, otherwise none. */
TEST(disabled_system_call_is_explained_in_the_log)
{
	const char *log = read_kernel_log(), *line;
	static char cmdline[4096];
	bool asked;

	ASSERT_EQ(0, read_text("/proc/cmdline", cmdline, sizeof(cmdline)));
	asked = strstr(cmdline, "secretmem.enable=1");
	ASSERT_NE(NULL, log);

	line = strstr(log, "secretmem: ");
	EXPECT_EQ(asked, !!line);
	if (!line)
		return;
	EXPECT_EQ(line, strstr(log, "secretmem: disabled: "));
	EXPECT_EQ(NULL, strstr(line + 1, "secretmem: "));
}

TEST_HARNESS_MAIN
