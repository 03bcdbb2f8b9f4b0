// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of the folder "examples", and key_check of samples/secretmem,
 * work as described, and report why if they cannot.
 *
 * Each also runs with memory of memfd_create(), which is the control: a filter
 * catches the system call, and returns a memfd instead.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "fd_passing.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define LARGE	(300 * 1000)
/* A user of this test alone, without any locked memory. */
#define USER	(50000 + getpid())
#define NOTHING	(~0u)

/* What a program is given and may use, and at which calls it is stopped. */
struct conditions {
	const char *files[2];	/* its arguments, if any */
	bool memfd;		/* instead of secret memory */
	bool missing;		/* the call does not exist */
	bool stop_at_write;
	bool stop_at_wake;	/* before a futex waiter is woken */
	bool user;		/* not root */
	bool limited;		/* locked memory */
	size_t locked;
};

struct program {
	pid_t pid;
	int end;		/* readable when it has ended */
	int out;		/* a file for its output and errors */
	int calls;		/* of the filter; -1 if it is never stopped */
};

static int file_of(const void *p, size_t size)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (write(fd, p, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET))
		abort();
	return fd;
}

/* The contents and the size of a file. */
static char *contents(int fd, size_t *size)
{
	struct stat st;
	char *p;

	if (fstat(fd, &st))
		abort();
	p = calloc(1, st.st_size + 1);
	if (pread(fd, p, st.st_size, 0) != st.st_size)
		abort();
	if (size)
		*size = st.st_size;
	return p;
}

/*
 * Install a filter that reports the calls to stop at; returns its descriptor.
 */
static int install_filter(const struct conditions *conditions)
{
	const unsigned int secret = conditions->memfd || conditions->missing ?
				    __NR_memfd_secret : NOTHING;
	/* If the call is missing, the program is not stopped at others. */
	const unsigned int action = conditions->missing ?
				    SECCOMP_RET_ERRNO | ENOSYS :
				    SECCOMP_RET_USER_NOTIF;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, secret, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 conditions->stop_at_write ? SYS_write : NOTHING, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 conditions->stop_at_wake ? SYS_futex : NOTHING, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, FUTEX_CMD_MASK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAKE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, action),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       conditions->missing ? 0 :
		       SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* Runs in the child, before it executes the program. */
static bool set_conditions(const struct conditions *conditions, int sock)
{
	int calls;

	if (conditions->limited &&
	    (limit_locked(conditions->locked) ||
	     prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)))
		return false;
	if (conditions->user && setresuid(USER, USER, USER))
		return false;
	calls = install_filter(conditions);
	return calls >= 0 && (conditions->missing || !send_fd(sock, calls));
}

static void run_program(const char *name, const char * const files[2], int in,
			int out)
{
	char path[PATH_MAX], *end;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

	/* The program is in the same folder as this one. */
	if (n < 0 || dup2(in, 0) || dup2(out, 1) != 1 || dup2(out, 2) != 2)
		_exit(127);
	path[n] = '\0';
	end = strrchr(path, '/') + 1;
	strcpy(end, name);
	execl(path, name, files[0], files[1], (char *)NULL);
	_exit(127);
}

static bool start(struct program *program, const char *name,
		  const struct conditions *conditions, int in)
{
	int socks[2];

	program->out = memfd_create("output", MFD_CLOEXEC);
	if (program->out < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC,
					   0, socks))
		return false;
	program->pid = fork();
	if (!program->pid) {
		if (set_conditions(conditions, socks[1]))
			run_program(name, conditions->files, in,
				    program->out);
		_exit(126);
	}
	program->end = syscall(SYS_pidfd_open, program->pid, 0);
	close(in);
	close(socks[1]);
	program->calls = conditions->missing ? -1 : receive_fd(socks[0]);
	close(socks[0]);
	return program->end >= 0 && (conditions->missing || program->calls >= 0);
}

/* Wait for the next call to stop at: false if the program has ended. */
static bool next_call(struct program *program, struct seccomp_notif *call)
{
	struct pollfd fds[] = {
		{ program->calls, POLLIN }, { program->end, POLLIN },
	};

	while (poll(fds, 2, -1) > 0) {
		if (fds[1].revents)
			return false;
		memset(call, 0, sizeof(*call));
		if (!ioctl(program->calls, SECCOMP_IOCTL_NOTIF_RECV, call))
			return true;
		/* The process that made the call was killed meanwhile. */
		if (errno != ENOENT)
			abort();
	}
	return false;
}

/* Answer memfd_secret() with a memfd, and let all other calls continue. */
static void answer(struct program *program, const struct seccomp_notif *call)
{
	struct seccomp_notif_addfd file = {
		.id = call->id,
		.newfd_flags = O_CLOEXEC,
	};
	struct seccomp_notif_resp response = { .id = call->id };

	if (call->data.nr == __NR_memfd_secret) {
		file.srcfd = memfd_create("control", MFD_ALLOW_SEALING);
		response.val = ioctl(program->calls, SECCOMP_IOCTL_NOTIF_ADDFD,
				     &file);
		close(file.srcfd);
	} else {
		response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	}
	if (ioctl(program->calls, SECCOMP_IOCTL_NOTIF_SEND, &response) &&
	    errno != ENOENT)
		abort();
}

/* Wait for its end; returns its status. */
static int wait_for_end(struct program *program)
{
	struct seccomp_notif call;

	while (next_call(program, &call))
		answer(program, &call);
	close(program->calls);
	close(program->end);
	return wait_status(program->pid);
}

FIXTURE(example) {
	struct conditions conditions;
	struct program program;
	char *input;
};

FIXTURE_VARIANT(example) {
	bool memfd;
};

FIXTURE_VARIANT_ADD(example, secret) { .memfd = false };
FIXTURE_VARIANT_ADD(example, memfd) { .memfd = true };

FIXTURE_SETUP(example)
{
	self->conditions.memfd = variant->memfd;
	self->input = malloc(LARGE);
	ASSERT_NE(NULL, self->input);
	fill(self->input, LARGE, 1);
}

FIXTURE_TEARDOWN(example)
{
}

/*
 * Is the output a part of the input, from its start? Its size if so, otherwise
 * -1.
 */
static long part_of_input(const struct program *program, const char *input)
{
	size_t size;
	char *output = contents(program->out, &size);
	bool right = size <= LARGE && !memcmp(output, input, size);

	free(output);
	return right ? (long)size : -1;
}

TEST_F(example, growing_buffer_keeps_what_is_in_it)
{
	const size_t sizes[] = {
		0, 1, page_size - 1, page_size, page_size + 1, 4 * page_size,
		LARGE,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_TRUE(start(&self->program, "growing_buffer",
				  &self->conditions,
				  file_of(self->input, sizes[i])));
		EXPECT_EQ(0, wait_for_end(&self->program));
		EXPECT_EQ(sizes[i], part_of_input(&self->program, self->input));
	}
}

/*
 * How often the memory of a process contains some bytes, as far as others can
 * read it.
 */
static int copies(pid_t pid, const char *bytes, size_t size)
{
	unsigned long start, end;
	char path[64], line[512], *p, *found;
	FILE *maps;
	int mem, n = 0;
	ssize_t len;

	sprintf(path, "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	sprintf(path, "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (mem < 0 || !maps)
		abort();
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx r", &start, &end) != 2)
			continue;
		p = malloc(end - start);
		len = pread(mem, p, end - start, start);
		for (found = p; len > 0; n++, found++) {
			found = memmem(found, p + len - found, bytes, size);
			if (!found)
				break;
		}
		free(p);
	}
	fclose(maps);
	close(mem);
	return n;
}

/* Look when it has read everything, and has not written anything yet. */
TEST_F(example, growing_buffer_leaves_no_copy)
{
	struct seccomp_notif call;
	int found = -1;

	self->conditions.stop_at_write = true;
	ASSERT_TRUE(start(&self->program, "growing_buffer", &self->conditions,
			  file_of(self->input, LARGE)));
	while (next_call(&self->program, &call)) {
		if (call.data.nr == SYS_write && found < 0)
			found = copies(self->program.pid, self->input, 64);
		answer(&self->program, &call);
	}
	EXPECT_EQ(variant->memfd, found);
	EXPECT_EQ(0, wait_for_end(&self->program));
	EXPECT_EQ(LARGE, part_of_input(&self->program, self->input));
}

TEST_F(example, sealed_handover_is_for_reading)
{
	ASSERT_TRUE(start(&self->program, "sealed_handover", &self->conditions,
			  file_of("", 0)));
	EXPECT_EQ(0, wait_for_end(&self->program));
	EXPECT_STREQ("user 65534 has key 1\n"
		     "mmap to write: Operation not permitted\n"
		     "mprotect to write: Permission denied\n"
		     "user 65534 has key 2\n",
		     contents(self->program.out, NULL));
}

TEST_F(example, ring_buffer_gives_all_that_comes_in)
{
	ASSERT_TRUE(start(&self->program, "ring_buffer", &self->conditions,
			  file_of(self->input, LARGE)));
	EXPECT_EQ(0, wait_for_end(&self->program));
	EXPECT_EQ(LARGE, part_of_input(&self->program, self->input));
}

/*
 * Kill the process that is about to wake the other one, which holds the mutex.
 */
TEST_F(example, ring_buffer_ends_if_one_of_its_processes_is_killed)
{
	struct seccomp_notif call;
	int n, wakes;

	self->conditions.stop_at_wake = true;
	for (n = 1; n <= 8; n++) {
		ASSERT_TRUE(start(&self->program, "ring_buffer",
				  &self->conditions,
				  file_of(self->input, LARGE)));
		for (wakes = 0; next_call(&self->program, &call); ) {
			if (call.data.nr == SYS_futex && ++wakes == n)
				kill(call.pid, SIGKILL);
			else
				answer(&self->program, &call);
		}
		EXPECT_LE(n, wakes);
		EXPECT_EQ(1, wait_for_end(&self->program));
		EXPECT_LE(0, part_of_input(&self->program, self->input));
	}
}

#define KEY_SIZE 31

/* Two keys in files, of which the second is what a client sends, or none is. */
static void give_keys(struct conditions *conditions, char *keys)
{
	static char names[2][64];
	int i;

	for (i = 0; i < 2; i++) {
		sprintf(names[i], "/proc/%d/fd/%d", getpid(),
			file_of(keys + i * KEY_SIZE, KEY_SIZE));
		conditions->files[i] = names[i];
	}
}

TEST_F(example, key_check_finds_the_key_that_was_sent)
{
	int i;

	give_keys(&self->conditions, self->input);
	for (i = 0; i < 3; i++) {
		static const char * const answers[] = {
			"key 1\n", "key 2\n", "no key\n",
		};

		ASSERT_TRUE(start(&self->program, "key_check",
				  &self->conditions,
				  file_of(self->input + i * KEY_SIZE,
					  KEY_SIZE)));
		EXPECT_EQ(0, wait_for_end(&self->program));
		EXPECT_STREQ(answers[i], contents(self->program.out, NULL));
	}
}

/* An area of a process, as a line of maps has it. */
struct area {
	unsigned long start, end;
	char access[5], line[512];
};

static bool next_area(FILE *maps, struct area *area)
{
	return fgets(area->line, sizeof(area->line), maps) &&
	       sscanf(area->line, "%lx-%lx %4s", &area->start, &area->end,
		      area->access) == 3;
}

/* Finds the area of a file, with the one before it and the one after it. */
static bool find_area(pid_t pid, const char *name, struct area found[3])
{
	char path[64];
	bool there;
	FILE *maps;

	sprintf(path, "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		abort();
	there = next_area(maps, &found[0]) && next_area(maps, &found[1]);
	while (there && !strstr(found[1].line, name)) {
		found[0] = found[1];
		there = next_area(maps, &found[1]);
	}
	there = there && next_area(maps, &found[2]);
	fclose(maps);
	return there;
}

/* Looked at when the child has sent the second key and is about to print the answer. */
TEST_F(example, key_check_keeps_its_keys_from_others)
{
	const char *name = variant->memfd ? "/memfd:control" : "/secretmem";
	struct area around[3], of_child[3];
	struct seccomp_notif call;
	pid_t pid, child = 0;
	int found[2] = { -1, -1 }, found_in_child = -1;
	bool has_keys = false, child_has_keys = true;

	give_keys(&self->conditions, self->input);
	self->conditions.stop_at_write = true;
	ASSERT_TRUE(start(&self->program, "key_check", &self->conditions,
			  file_of(self->input + KEY_SIZE, KEY_SIZE)));
	pid = self->program.pid;
	while (next_call(&self->program, &call)) {
		if (call.data.nr == SYS_write && !child) {
			child = call.pid;
			found[0] = copies(pid, self->input, KEY_SIZE);
			found[1] = copies(pid, self->input + KEY_SIZE, KEY_SIZE);
			found_in_child = copies(child, self->input + KEY_SIZE,
						KEY_SIZE);
			has_keys = find_area(pid, name, around);
			child_has_keys = find_area(child, name, of_child);
		}
		answer(&self->program, &call);
	}
	EXPECT_NE(pid, child);
	EXPECT_EQ(variant->memfd, found[0]);
	EXPECT_EQ(variant->memfd, found[1]);
	EXPECT_EQ(0, found_in_child);
	EXPECT_FALSE(child_has_keys);

	ASSERT_TRUE(has_keys);
	EXPECT_STREQ("---p", around[0].access);
	EXPECT_EQ(around[1].start, around[0].end);
	EXPECT_STREQ("rw-s", around[1].access);
	EXPECT_STREQ("---p", around[2].access);
	EXPECT_EQ(around[1].end, around[2].start);

	EXPECT_EQ(0, wait_for_end(&self->program));
	EXPECT_STREQ("key 2\n", contents(self->program.out, NULL));
}

static const char * const names[] = {
	"growing_buffer", "sealed_handover", "ring_buffer",
};

/* Zeros, for programs whose input does not matter. */
static char input[LARGE];

static bool succeeds(const char *name, const struct conditions *conditions,
		     size_t size)
{
	struct program program;

	return start(&program, name, conditions, file_of(input, size)) &&
	       !wait_for_end(&program);
}

/* Does it fail with this message and no other output? */
static bool fails(const char *name, const struct conditions *conditions,
		  size_t size, const char *reason)
{
	char expected[128], *output;
	struct program program;
	bool right;

	if (!start(&program, name, conditions, file_of(input, size)) ||
	    wait_for_end(&program) != 1)
		return false;
	sprintf(expected, "%s: %s\n", name, reason);
	output = contents(program.out, NULL);
	right = !strcmp(output, expected);
	if (!right)
		printf("# instead of '%s': %s\n", reason, output);
	free(output);
	return right;
}

TEST(examples_say_that_there_is_no_secret_memory)
{
	static const char reason[] =
		"memfd_secret (booted with secretmem.enable=1?): Function not implemented";
	const struct conditions missing = { .missing = true };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_TRUE(fails(names[i], &missing, 0, reason));
}

static const char locked[] =
	"mmap (more than ulimit -l?): Resource temporarily unavailable";

TEST(examples_say_that_no_memory_can_be_locked)
{
	const struct conditions limited = { .limited = true };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_TRUE(fails(names[i], &limited, 0, locked));
}

TEST(growing_buffer_says_that_it_can_not_grow)
{
	static const char reason[] =
		"mremap (more than ulimit -l?): Resource temporarily unavailable";
	const struct conditions limited = {
		.user = true, .limited = true, .locked = 4 * page_size,
	};

	EXPECT_TRUE(succeeds("growing_buffer", &limited, 4 * page_size - 1));
	EXPECT_TRUE(fails("growing_buffer", &limited, 4 * page_size, reason));
}

TEST(sealed_handover_says_that_it_is_for_root)
{
	const struct conditions user = { .user = true };

	EXPECT_TRUE(fails("sealed_handover", &user, 0,
			  "to become another user: Operation not permitted"));
}

/* The default limit of kernels before 5.16. */
TEST(ring_buffer_needs_no_more_than_anybody_may_lock)
{
	const struct conditions limited = {
		.user = true, .limited = true, .locked = 16 * page_size,
	};

	EXPECT_TRUE(succeeds("ring_buffer", &limited, LARGE));
}

#define FALLBACK "key_check: memfd_secret: Function not implemented; " \
		 "keys are in locked memory, which debuggers can read\n"
#define NOT_LOCKED "key_check: mlock (more than ulimit -l?): Operation not permitted\n"

TEST(key_check_says_that_it_goes_without_secret_memory)
{
	struct conditions missing = { .missing = true };
	char keys[2 * KEY_SIZE];
	struct program program;

	fill(keys, sizeof(keys), 1);
	give_keys(&missing, keys);
	ASSERT_TRUE(start(&program, "key_check", &missing,
			  file_of(keys, KEY_SIZE)));
	EXPECT_EQ(0, wait_for_end(&program));
	EXPECT_STREQ(FALLBACK "key 1\n", contents(program.out, NULL));
}

TEST(key_check_says_that_no_memory_can_be_locked)
{
	struct conditions limited = { .limited = true };
	char keys[2 * KEY_SIZE];
	struct program program;

	fill(keys, sizeof(keys), 1);
	give_keys(&limited, keys);
	EXPECT_TRUE(fails("key_check", &limited, 0, locked));

	limited.missing = true;
	ASSERT_TRUE(start(&program, "key_check", &limited, file_of("", 0)));
	EXPECT_EQ(1, wait_for_end(&program));
	EXPECT_STREQ(FALLBACK NOT_LOCKED, contents(program.out, NULL));
}

TEST(key_check_says_that_a_key_is_missing_or_too_long)
{
	struct conditions conditions = { .files[0] = "/dev/null" };

	EXPECT_TRUE(fails("key_check", &conditions, 0,
			  "/dev/null: not 1 to 31 bytes"));
	conditions.files[0] = "/dev/zero";
	EXPECT_TRUE(fails("key_check", &conditions, 0,
			  "/dev/zero: not 1 to 31 bytes"));
	conditions.files[0] = NULL;
	EXPECT_TRUE(fails("key_check", &conditions, 0,
			  "usage: key_check FILE... < request"));
}

TEST_HARNESS_MAIN
