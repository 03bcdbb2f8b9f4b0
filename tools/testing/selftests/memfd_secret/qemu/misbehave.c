// SPDX-License-Identifier: GPL-2.0
/*
 * Does one of the things after which a boot must be judged as failed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#define LKDTM	"/sys/kernel/debug/provoke-crash/DIRECT"

/* A passing test in TAP, so that only the misdeed can be the reason. */
static void pass(void)
{
	printf("TAP version 13\n1..1\nok 1 good\n");
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static void panic(void)
{
	write_to("/proc/sysrq-trigger", "c");
}

static void warn(void)
{
	pass();
	write_to(LKDTM, "WARNING");
}

static void bug(void)
{
	pass();
	write_to(LKDTM, "BUG");
}

/* Only KASAN notices this use after free: the test goes on and passes. */
static void use(void)
{
	pass();
	write_to(LKDTM, "READ_AFTER_FREE");
}

static void message(void)
{
	pass();
	write_to("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at nowhere");
}

static void hang(void)
{
	pass();
	for (;;)
		pause();
}

static void off(void)
{
	pass();
	fflush(stdout);
	reboot(RB_POWER_OFF);
}

/* Reports what init would report, but without the nonce. */
static void forge(void)
{
	pass();
	write_to(getenv("CONTROL"), "exit 0 0 0\ndone 0\n");
}

static void status(void)
{
	pass();
	exit(3);
}

static void crash(void)
{
	pass();
	raise(SIGSEGV);
}

static void fail(void)
{
	printf("TAP version 13\n1..2\nok 1 good\nnot ok 2 bad\n");
}

static void incomplete(void)
{
	printf("TAP version 13\n1..2\nok 1 good\n");
}

static void noplan(void)
{
	printf("TAP version 13\nok 1 good\n");
}

static void skip(void)
{
	printf("TAP version 13\n1..1\nok 1 # SKIP no reason\n");
}

static void skipall(void)
{
	printf("TAP version 13\n1..0 # SKIP no reason\n");
	exit(4);
}

static const struct {
	const char *name;
	void (*act)(void);
} deeds[] = {
	{ "panic", panic },
	{ "warn", warn },
	{ "bug", bug },
	{ "use", use },
	{ "message", message },
	{ "hang", hang },
	{ "off", off },
	{ "forge", forge },
	{ "status", status },
	{ "signal", crash },
	{ "fail", fail },
	{ "incomplete", incomplete },
	{ "noplan", noplan },
	{ "skip", skip },
	{ "skipall", skipall },
	{ NULL, NULL }
};

int main(int argc, char **argv)
{
	int i;

	for (i = 0; argc == 2 && deeds[i].name; i++) {
		if (strcmp(argv[1], deeds[i].name))
			continue;
		deeds[i].act();
		return 0;
	}
	fprintf(stderr, "misbehave: no such deed\n");
	return 2;
}
