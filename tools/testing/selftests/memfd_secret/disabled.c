// SPDX-License-Identifier: GPL-2.0
/*
 * For a kernel that was not asked for secret memory, or can not have it.
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

TEST_HARNESS_MAIN
