// SPDX-License-Identifier: GPL-2.0
/*
 * Stressors of stress-ng(1) work on secret and other memory, more of it than
 * the machine has, for $SECONDS.
 *
 * Needs a disk, DISK, whose contents are not needed, for swap space.
 */
#define _GNU_SOURCE
#include "stress.h"

#include "swapspace.h"

#define DISK "/dev/vda"
#define REPORT "/tmp/stress-ng.yaml"
#define SWAP_PAGES (1024 * MB / 4096)
#define KEPT (8 * MB)
#define FRESH MB
/* Time after $SECONDS to finish; debug kernels are slow. */
#define GRACE 180

/* Stressors that have to make progress; vm is there to make others swap. */
static const char * const stressors[] = {
	"secretmem", "mmap", "madvise", "mlock", "fork", "vm-splice",
	"userfaultfd",
};

/* A secret and an ordinary mapping, and the running stressors. */
FIXTURE(pressure) {
	char *secret;
	char *plain;
	pid_t pid;
	time_t end;
};

static void __attribute__((noreturn)) run_stressors(void)
{
	/* Overcommit: more than is available. */
	long kb = read_field("/proc/meminfo", "MemAvailable") / 4 * 5;
	char vm_bytes[32], timeout[32];
	const char *argv[64] = {
		"stress-ng", "--temp-path", "/tmp", "--timeout", timeout,
		"--verify", "--metrics", "--yaml", REPORT,
		"--secretmem", "2",
		"--mmap", "1", "--mmap-bytes", "4m",
		"--madvise", "1", "--mlock", "1", "--fork", "1",
		"--vm-splice", "1",
		"--userfaultfd", "1", "--userfaultfd-bytes", "16m",
		"--vm", "1", "--vm-bytes", vm_bytes, "--vm-populate",
		"--vm-method", "rand-set",
		NULL
	};

	sprintf(vm_bytes, "%ldk", kb);
	sprintf(timeout, "%ld", seconds());
	execvp(argv[0], (char **)argv);
	perror(argv[0]);
	_exit(127);
}

FIXTURE_SETUP(pressure)
{
	self->secret = map_secret(KEPT);
	self->plain = map_plain(KEPT);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill(self->secret, KEPT, 1);
	fill(self->plain, KEPT, 2);

	/* A test that failed may have left it. */
	swapoff(DISK);
	ASSERT_TRUE(make_swap(DISK, SWAP_PAGES));
	ASSERT_EQ(0, swapon(DISK, 0));
	ASSERT_EQ(0, write_text("/proc/self/oom_score_adj", "-1000"));

	unlink(REPORT);
	self->end = now() + seconds() + GRACE;
	self->pid = fork();
	if (!self->pid)
		run_stressors();
}

FIXTURE_TEARDOWN(pressure)
{
	EXPECT_EQ(0, swapoff(DISK));
}

/* Have the stressors ended? At @end they are killed. */
static bool have_ended(pid_t pid, time_t end, int *status)
{
	if (waitpid(pid, status, WNOHANG) == pid)
		return true;
	if (now() < end)
		return false;
	kill(pid, SIGKILL);
	waitpid(pid, status, 0);
	return true;
}

/* How many operations the stressor has done; 0 also if it was left out. */
static long done_by(const char *stressor)
{
	FILE *report = fopen(REPORT, "re");
	char line[256], word[64];
	bool found = false;
	long done = 0;

	while (report && fgets(line, sizeof(line), report)) {
		if (sscanf(line, " - stressor: %63s", word) == 1)
			found = !strcmp(word, stressor);
		else if (found && sscanf(line, " bogo-ops: %ld", &done) == 1)
			break;
	}
	if (report)
		fclose(report);
	return done;
}

TEST_F(pressure, stressors_find_nothing_wrong)
{
	int status;
	size_t i;

	while (!have_ended(self->pid, self->end, &status))
		usleep(100000);
	EXPECT_EQ(0, status);
	for (i = 0; i < ARRAY_SIZE(stressors); i++) {
		EXPECT_LT(0, done_by(stressors[i])) {
			TH_LOG("%s has done nothing", stressors[i]);
		}
	}
}

static bool fresh_memory_is_good(void)
{
	char *p = map_secret(FRESH);
	bool good = p != MAP_FAILED && is_zero(p, FRESH);

	if (good) {
		fill(p, FRESH, 3);
		good = is_filled(p, FRESH, 3);
	}
	munmap(p, FRESH);
	return good;
}

TEST_F(pressure, secrets_stay_in_memory_and_whole)
{
	int status, pages = KEPT / page_size;
	long swapped = 0, rounds, kb;

	for (rounds = 0; !have_ended(self->pid, self->end, &status); rounds++) {
		ASSERT_TRUE(fresh_memory_is_good());
		ASSERT_EQ(pages, resident_pages(self->secret, KEPT));
		kb = read_field("/proc/self/status", "VmSwap");
		if (kb > swapped)
			swapped = kb;
		usleep(100000);
	}
	EXPECT_TRUE(is_filled(self->secret, KEPT, 1));
	EXPECT_TRUE(is_filled(self->plain, KEPT, 2));
	EXPECT_LT(0, rounds);
	EXPECT_LT(0, swapped) {
		TH_LOG("not even ordinary memory was swapped");
	}
}

TEST_HARNESS_MAIN
