// SPDX-License-Identifier: GPL-2.0
/*
 * Random system calls with secret files and mappings among their arguments, by
 * trinity(1), for $SECONDS.
 *
 * trinity knows nothing about secret memory. So fuzz_objects.c is preloaded,
 * and its processes are checked for secret files and pages.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define OBJECTS "/lib/fuzz_objects.so"
#define GROUP "/sys/fs/cgroup/fuzz"
#define FOLDER "/tmp/fuzz"
#define SOCKETS FOLDER "/trinity.socketcache"
#define NOBODY 65534
#define MEMLOCK (32 * MB)
#define BYSTANDER MB
#define MAX_PID 32768
/* Not too long: trinity stops using calls that fail, and files fill up. */
#define ROUND 120
/* Allow this many rounds that end before the first call. */
#define PATIENCE 5

/* Bystanders: memory of this program, which runs as another user. */
FIXTURE(fuzzer) {
	char *secret;
	char *plain;
};

/*
 * No capability but these, which lift limits of memory: others give access to
 * this program, or can end the machine.
 */
FIXTURE_VARIANT(fuzzer) {
	int capabilities[4];
	int number;
};

FIXTURE_VARIANT_ADD(fuzzer, plain_user) { };
FIXTURE_VARIANT_ADD(fuzzer, privileged_user) {
	.capabilities = { CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_NICE },
	.number = 3,
};

/* What was seen of the fuzzer's processes, by PID. */
enum { SEEN, WITH_FILE, WITH_MAPPING, WITH_PAGES, FACTS };
static bool facts[FACTS][MAX_PID];

static int count(int fact)
{
	int pid, n = 0;

	for (pid = 0; pid < MAX_PID; pid++)
		n += facts[fact][pid];
	return n;
}

/*
 * Start and end
 */

/* Keep only these capabilities, also across execve(). */
static bool keep_capabilities(const int *capabilities, int number)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { };
	int i;

	for (i = 0; i < number; i++) {
		struct __user_cap_data_struct *d =
			&data[CAP_TO_INDEX(capabilities[i])];

		d->effective |= CAP_TO_MASK(capabilities[i]);
		d->permitted = d->effective;
		d->inheritable = d->effective;
	}
	if (syscall(SYS_capset, &header, data))
		return false;
	for (i = 0; i < number; i++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
			  capabilities[i], 0, 0))
			return false;
	return true;
}

static bool limit(int resource, rlim_t value)
{
	const struct rlimit rlimit = { value, value };

	return !setrlimit(resource, &rlimit);
}

/*
 * A list of sockets that can be made, which trinity would find out by itself
 * and cache. It opens all of these at the start, so the list is short, as each
 * socket has a chance to crash it: in its options it may pick a protocol that
 * is one beyond the end of its table.
 */
static bool choose_sockets(void)
{
	static const unsigned int sockets[][3] = {
		{ AF_UNIX, SOCK_STREAM, 0 }, { AF_UNIX, SOCK_DGRAM, 0 },
		{ AF_INET, SOCK_STREAM, 0 }, { AF_INET, SOCK_DGRAM, 0 },
		{ AF_NETLINK, SOCK_RAW, 0 }, { AF_ALG, SOCK_SEQPACKET, 0 },
	};
	int fd = open(SOCKETS, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	bool ok = write(fd, sockets, sizeof(sockets)) == sizeof(sockets);

	close(fd);
	return ok;
}

/* Changes of the file system are gone when it ends. */
static bool enter_jail(void)
{
	return !write_text(GROUP "/cgroup.procs", "0") &&
		!write_text("/proc/self/oom_score_adj", "0") &&
		!unshare(CLONE_NEWNS) &&
		!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		!mount("none", FOLDER, "tmpfs", 0, "size=32m,mode=1777") &&
		!chdir(FOLDER) && choose_sockets() &&
		limit(RLIMIT_MEMLOCK, MEMLOCK) && limit(RLIMIT_NPROC, 128) &&
		limit(RLIMIT_CORE, 0);
}

static bool become_user(const int *capabilities, int number)
{
	return !prctl(PR_SET_KEEPCAPS, 1) &&
		!setresgid(NOBODY, NOBODY, NOBODY) &&
		!setresuid(NOBODY, NOBODY, NOBODY) &&
		keep_capabilities(capabilities, number);
}

static void __attribute__((noreturn))
run_fuzzer(int output, const char *group, const int *capabilities, int number)
{
	/*
	 * Leave out what others would wait for: real-time tasks, and listeners
	 * that must allow each open(). The latter also taints the kernel, which
	 * ends a round.
	 */
	const char *argv[16] = {
		"trinity", "-q", "-l", "off", "-C", "4",
		"-x", "sched_setscheduler", "-x", "sched_setattr",
		"-x", "fanotify_mark",
		group ? "-g" : NULL, group, NULL
	};

	if (dup2(output, 1) < 0 || dup2(output, 2) < 0 || !enter_jail() ||
	    !become_user(capabilities, number)) {
		perror("fuzz");
		_exit(1);
	}
	setenv("LD_PRELOAD", OBJECTS, 1);
	execvp(argv[0], (char **)argv);
	perror(argv[0]);
	_exit(127);
}

/* List the processes of the group in @pids; returns how many there are. */
static int list_processes(pid_t *pids, int max)
{
	FILE *file = fopen(GROUP "/cgroup.procs", "re");
	int n = 0;

	while (file && n < max && fscanf(file, "%d", &pids[n]) == 1)
		n++;
	if (file)
		fclose(file);
	return n;
}

/* Returns false if some are left after a minute. */
static bool kill_all(void)
{
	pid_t pids[256];
	int i, n, tries;

	for (tries = 0; tries < 600; tries++) {
		n = list_processes(pids, ARRAY_SIZE(pids));
		if (!n)
			return true;
		for (i = 0; i < n; i++)
			kill(pids[i], SIGKILL);
		usleep(100000);
	}
	return false;
}

/*
 * What the processes of trinity have
 */

static bool is_secret(const char *name)
{
	return !strncmp(name, "/secretmem", 10);
}

static bool has_file(pid_t pid)
{
	char path[64], name[64];
	ssize_t len;
	int fd;

	for (fd = 0; fd < 512; fd++) {
		sprintf(path, "/proc/%d/fd/%d", pid, fd);
		len = readlink(path, name, sizeof(name) - 1);
		name[len < 0 ? 0 : len] = '\0';
		if (is_secret(name))
			return true;
	}
	return false;
}

static void look_at_mappings(pid_t pid)
{
	char path[64], line[512], name[64];
	bool secret = false;
	FILE *file;

	sprintf(path, "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		name[0] = '\0';
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &start, &end,
			   name) >= 2) {
			secret = is_secret(name);
			facts[WITH_MAPPING][pid] |= secret;
		} else if (secret && !strncmp(line, "Rss:", 4)) {
			facts[WITH_PAGES][pid] |= atol(line + 4) > 0;
		}
	}
	if (file)
		fclose(file);
}

static void look(pid_t except)
{
	pid_t pids[256];
	int i, n = list_processes(pids, ARRAY_SIZE(pids));

	for (i = 0; i < n; i++) {
		if (pids[i] == except || pids[i] >= MAX_PID)
			continue;
		facts[SEEN][pids[i]] = true;
		facts[WITH_FILE][pids[i]] |= has_file(pids[i]);
		look_at_mappings(pids[i]);
	}
}

FIXTURE_SETUP(fuzzer)
{
	self->secret = map_secret(BYSTANDER);
	self->plain = map_plain(BYSTANDER);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill(self->secret, BYSTANDER, 1);
	fill(self->plain, BYSTANDER, 2);
	ASSERT_EQ(0, write_text("/proc/self/oom_score_adj", "-1000"));
	ASSERT_EQ(0, write_text("/sys/fs/cgroup/cgroup.subtree_control",
				"+memory"));
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_EQ(0, mkdir(FOLDER, 0755));
	ASSERT_EQ(0, write_text(GROUP "/memory.max", "256M"));
	/* Remove System V shared memory together with its last user. */
	write_text("/proc/sys/kernel/shm_rmid_forced", "1");
	memset(facts, 0, sizeof(facts));
}

FIXTURE_TEARDOWN(fuzzer)
{
	rmdir(FOLDER);
}

/* Print its output as comments. Some of the lines count its calls. */
static void read_output(FILE *output, long *calls)
{
	char line[512];
	char *text;

	while (fgets(line, sizeof(line), output)) {
		text = strstr(line, "] ");
		if (text && strstr(text, " iterations."))
			sscanf(text, "] %ld iterations.", calls);
		text = strstr(line, "Ran ");
		if (text)
			sscanf(text, "Ran %ld syscalls.", calls);
		printf("# %s", line);
	}
	clearerr(output);
}

/* Let it end by itself, so that it prints how many calls it has made. */
static void stop_fuzzer(pid_t pid)
{
	int tries;

	kill(pid, SIGINT);
	for (tries = 0; tries < 20 && !waitpid(pid, NULL, WNOHANG); tries++)
		sleep(1);
}

/*
 * Run it until @end, or until it crashes, which happens sometimes. Adds to
 * @calls; returns true if nothing of it is left.
 */
static bool fuzz(const char *group, const int *capabilities, int number,
		 time_t end, long *calls)
{
	long calls_here = 0;
	bool ended = false;
	FILE *output;
	int fds[2];
	pid_t pid;
	bool gone;

	if (pipe(fds))
		return false;
	fflush(stdout);
	pid = fork();
	if (!pid)
		run_fuzzer(fds[1], group, capabilities, number);
	close(fds[1]);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	output = fdopen(fds[0], "r");
	while (now() < end && !ended) {
		look(pid);
		read_output(output, &calls_here);
		sleep(1);
		ended = waitpid(pid, NULL, WNOHANG);
	}
	if (!ended)
		stop_fuzzer(pid);
	gone = kill_all();
	read_output(output, &calls_here);
	fclose(output);
	*calls += calls_here;
	return gone;
}

TEST_F(fuzzer, does_no_harm)
{
	const time_t end = now() + seconds();
	int rounds, fruitless = 0;
	long calls = 0, before;
	time_t round_end;

	/*
	 * Rounds of all system calls and rounds of those about memory take
	 * turns.
	 */
	for (rounds = 0; now() < end && fruitless < PATIENCE; rounds++) {
		before = calls;
		round_end = now() + ROUND < end ? now() + ROUND : end;
		ASSERT_TRUE(fuzz(rounds % 2 ? "vm" : NULL,
				 variant->capabilities, variant->number,
				 round_end, &calls)) {
			TH_LOG("processes that cannot be killed");
		}
		fruitless = calls > before ? 0 : fruitless + 1;
	}
	printf("# %ld calls in %d rounds, %d processes seen: ", calls, rounds,
	       count(SEEN));
	printf("%d with a secret file, %d with a secret mapping, %d with secret pages\n",
	       count(WITH_FILE), count(WITH_MAPPING), count(WITH_PAGES));
	EXPECT_GT(PATIENCE, fruitless);
	EXPECT_LT(seconds(), calls);
	EXPECT_LT(0, count(WITH_FILE));
	EXPECT_LT(0, count(WITH_MAPPING));
	EXPECT_LT(0, count(WITH_PAGES));
	EXPECT_EQ(0, rmdir(GROUP));
	EXPECT_TRUE(is_filled(self->secret, BYSTANDER, 1));
	EXPECT_TRUE(is_filled(self->plain, BYSTANDER, 2));
}

TEST_HARNESS_MAIN
