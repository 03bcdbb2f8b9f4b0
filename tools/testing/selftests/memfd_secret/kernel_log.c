// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel log has nothing of a secret, however its holder dies. On x86 the
 * kernel prints the bytes around the instruction pointer when SIGSEGV kills a
 * process; so the tests jump into secret memory and around it. The same in
 * ordinary memory is the control. Other architectures print no code at all.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <ctype.h>

/* The printed bytes begin this far before the instruction pointer. */
#define CODE_BEFORE	42
#define CODE_SIZE	64

#if defined(__x86_64__)
#define PRINTS_CODE	true
#elif defined(__i386__)
#define PRINTS_CODE	true
#else
#define PRINTS_CODE	false
#endif

/* This many secret bytes in a row are no coincidence. */
#define RUN		4

enum { LEFT = 1, MIDDLE, RIGHT };

/*
 * Settings that decide whether the kernel prints anything, and the values
 * needed.
 */
static const struct {
	const char *path;
	const char *value;
} settings[] = {
	{ "/proc/sys/debug/exception-trace", "1" },
	{ "/proc/sys/kernel/printk_ratelimit", "0" },
	{ "/proc/sys/kernel/print-fatal-signals", "0" },
};

/*
 * The middle one of three pages: once secret and once ordinary, with the same
 * contents. The pages around it are ordinary.
 */
FIXTURE(jump) {
	char *secret;
	char *plain;
	int log;
	char saved[ARRAY_SIZE(settings)][32];
};

FIXTURE_VARIANT(jump) {
	bool touched;		/* by the child that jumps */
	bool fatal_signals;	/* are printed as well */
};

FIXTURE_VARIANT_ADD(jump, touched) { .touched = true };
FIXTURE_VARIANT_ADD(jump, untouched) { };
FIXTURE_VARIANT_ADD(jump, touched_fatal) {
	.touched = true, .fatal_signals = true,
};

FIXTURE_VARIANT_ADD(jump, untouched_fatal) { .fatal_signals = true };

/*
 * The middle page is mapped again after it is filled, so it is in no page table
 * yet.
 */
static char *map_three_pages(int fd)
{
	char *area = map_plain(3 * page_size), *middle = area + page_size;
	char *p = map_shared(fd, page_size);

	if (area == MAP_FAILED || p == MAP_FAILED)
		return MAP_FAILED;
	fill(p, page_size, MIDDLE);
	munmap(p, page_size);
	fill(area, page_size, LEFT);
	fill(middle + page_size, page_size, RIGHT);
	return mmap(middle, page_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, 0);
}

FIXTURE_SETUP(jump)
{
	size_t i;

	self->secret = map_three_pages(secret_file(page_size));
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	self->plain = map_three_pages(plain_file(page_size));
	ASSERT_NE(MAP_FAILED, (void *)self->plain);

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		ASSERT_EQ(0, read_text(settings[i].path, self->saved[i],
				       sizeof(self->saved[i])));
		ASSERT_EQ(0, write_text(settings[i].path, settings[i].value));
	}
	if (variant->fatal_signals)
		ASSERT_EQ(0, write_text(settings[i - 1].path, "1"));
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

FIXTURE_TEARDOWN(jump)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		write_text(settings[i].path, self->saved[i]);
	EXPECT_TRUE(is_filled(self->secret, page_size, MIDDLE));
}

/* The value of a word of two hexadecimal digits, or of <two>; -1 otherwise. */
static int hex_byte(const char *word, size_t len)
{
	char digits[3] = "";

	if (len == 4 && word[0] == '<' && word[3] == '>') {
		word++;
		len = 2;
	}
	if (len != 2 || !isxdigit(word[0]) || !isxdigit(word[1]))
		return -1;
	memcpy(digits, word, 2);
	return strtol(digits, NULL, 16);
}

/* Parse the next bytes in a row of *@text, and advance it past them. */
static int hex_bytes(const char **text, unsigned char *bytes, int max)
{
	int n = 0, byte;
	size_t len;

	while (n < max && **text) {
		len = strcspn(*text, " ");
		byte = hex_byte(*text, len);
		if (byte >= 0)
			bytes[n++] = byte;
		else if (n)
			break;
		*text += len;
		*text += strspn(*text, " ");
	}
	return n;
}

/* Do the @n bytes contain any RUN bytes of the secret in a row? */
static bool has_secret(const unsigned char *bytes, int n)
{
	size_t at;
	int i;

	for (i = 0; i + RUN <= n; i++)
		for (at = 0; at + RUN <= page_size; at++)
			if (bytes[i] == pattern(MIDDLE, at) &&
			    bytes[i + 1] == pattern(MIDDLE, at + 1) &&
			    bytes[i + 2] == pattern(MIDDLE, at + 2) &&
			    bytes[i + 3] == pattern(MIDDLE, at + 3))
				return true;
	return false;
}

/* What the kernel printed, in numbers of lines. */
struct said {
	int of_child;		/* about the child's end, on x86 */
	int code;		/* about its code */
	int code_with_bytes;
	int code_as_expected;
	int with_secret;
};

static void count_line(struct said *said, const char *text,
		       const unsigned char *expected, pid_t pid)
{
	const char *code = strstr(text, "Code: ");
	unsigned char bytes[CODE_SIZE + 1];
	char who[32];
	int n;

	sprintf(who, "[%d]: segfault at ", pid);
	said->of_child += !!strstr(text, who);
	if (code) {
		n = hex_bytes(&code, bytes, sizeof(bytes));
		said->code++;
		said->code_with_bytes += n > 0;
		said->code_as_expected += n == CODE_SIZE &&
					  !memcmp(bytes, expected, CODE_SIZE);
	}
	while ((n = hex_bytes(&text, bytes, sizeof(bytes))))
		said->with_secret += has_secret(bytes, n);
}

/*
 * Start a child that jumps to @target, after reading a byte at @touch if that
 * is not NULL.
 */
static pid_t start_jumper(const char *target, const char *touch)
{
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		if (touch)
			probe_read(touch);
		((void (*)(void))target)();
		_exit(0);
	}
	return pid;
}

/* Let a child die at @target, and count what the kernel prints about it. */
static struct said jump_to(struct __test_metadata *_metadata, int log,
			   const char *target, const char *touch)
{
	unsigned char expected[CODE_SIZE];
	struct said said = { };
	char text[8192];
	pid_t pid;

	memcpy(expected, target - CODE_BEFORE, CODE_SIZE);
	pid = start_jumper(target, touch);
	EXPECT_LT(128, wait_status(pid));
	while (next_record(log, text, sizeof(text)))
		count_line(&said, text, expected, pid);
	EXPECT_EQ(PRINTS_CODE, said.of_child);
	return said;
}

/*
 * Jump to @offset in the page, or next to it. @secret: is a part of the bytes
 * that would be printed secret? They are less than a page, so in at most two
 * pages.
 */
static void jump(struct __test_metadata *_metadata,
		 const FIXTURE_DATA(jump) * self,
		 const FIXTURE_VARIANT(jump) * variant, long offset, bool secret)
{
	const int lines = PRINTS_CODE << variant->fatal_signals;
	struct said said;

	said = jump_to(_metadata, self->log, self->secret + offset,
		       variant->touched ? self->secret : NULL);
	EXPECT_EQ(0, said.with_secret);
	EXPECT_EQ(lines, said.code);
	EXPECT_EQ(secret ? 0 : lines, said.code_with_bytes);
	EXPECT_EQ(secret ? 0 : lines, said.code_as_expected);

	said = jump_to(_metadata, self->log, self->plain + offset, self->plain);
	EXPECT_EQ(lines, said.code_as_expected);
}

TEST_F(jump, into_it_prints_nothing_of_it)
{
	jump(_metadata, self, variant, page_size / 2, true);
}

TEST_F(jump, to_its_start_prints_nothing_of_it)
{
	jump(_metadata, self, variant, 0, true);
}

TEST_F(jump, to_its_end_prints_nothing_of_it)
{
	jump(_metadata, self, variant, page_size - 1, true);
}

TEST_F(jump, closely_before_it_prints_nothing_of_it)
{
	jump(_metadata, self, variant, -1, true);
	jump(_metadata, self, variant, -8, true);
	jump(_metadata, self, variant, CODE_BEFORE - CODE_SIZE + 1, true);
}

TEST_F(jump, closely_behind_it_prints_nothing_of_it)
{
	jump(_metadata, self, variant, page_size, true);
	jump(_metadata, self, variant, page_size + CODE_BEFORE - 1, true);
}

TEST_F(jump, farther_away_prints_what_is_there)
{
	jump(_metadata, self, variant, CODE_BEFORE - CODE_SIZE, false);
	jump(_metadata, self, variant, page_size + CODE_BEFORE, false);
}

TEST_HARNESS_MAIN
