// SPDX-License-Identifier: GPL-2.0
/*
 * Seccomp filters and audit rules know system calls by number: they have to
 * find this one under 447, on every architecture.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

/* Not __NR_memfd_secret: the tests check what that should be. */
#define NUMBER 447

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "what does audit call this architecture?"
#endif

/* No system call returns this error by itself. */
#define FILTERED ENOANO

/* A record should arrive within milliseconds; wait for this long at most. */
#define PATIENCE_MS 10000

TEST(number_447_is_this_call)
{
	struct statfs fs;

	EXPECT_EQ(NUMBER, __NR_memfd_secret);
	ASSERT_EQ(0, fstatfs(syscall(NUMBER, O_CLOEXEC), &fs));
	EXPECT_EQ(SECRETMEM_MAGIC, fs.f_type);
	EXPECT_EQ(-1, syscall(NUMBER, 1));
	EXPECT_EQ(EINVAL, errno);
}

/*
 * Whether the kernel has this call, under whatever number: a symbol sys_NAME, with
 * the prefix of the architecture.
 */
static bool has_call(const char *name)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[256], end[64];
	size_t len = sprintf(end, "sys_%s\n", name), n;
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		n = strlen(line);
		found = n > len && !strcmp(line + n - len, end);
	}
	if (f)
		fclose(f);
	return found;
}

/* They belong to calls of later kernels than the first one with this call. */
TEST(numbers_around_it_are_not_this_call)
{
	static const struct {
		int number;
		const char *name;
	} calls[] = {
		{ 441, "epoll_pwait2" }, { 442, "mount_setattr" },
		{ 443, "quotactl_fd" }, { 444, "landlock_create_ruleset" },
		{ 445, "landlock_add_rule" },
		{ 446, "landlock_restrict_self" }, { 448, "process_mrelease" },
	};
	struct statfs fs;
	size_t i;
	long ret;

	EXPECT_TRUE(has_call("getpid"));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		ret = syscall(calls[i].number, 0, 0, 0, 0, 0, 0);
		if (has_call(calls[i].name)) {
			EXPECT_FALSE(ret >= 0 && !fstatfs(ret, &fs) &&
				     fs.f_type == SECRETMEM_MAGIC);
			continue;
		}
		EXPECT_EQ(-1, ret);
		EXPECT_STREQ("ENOSYS", strerrorname_np(errno)) {
			TH_LOG("of %s", calls[i].name);
		}
	}
}

/* From now on @number fails with FILTERED in this process. */
static int filter_number(unsigned int number)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | FILTERED),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Each test is a process of its own, so a filter only affects one test. */
FIXTURE(seccomp) {
};

FIXTURE_SETUP(seccomp)
{
	EXPECT_LE(0, memfd_secret(0));
}

FIXTURE_TEARDOWN(seccomp)
{
}

static bool without_seccomp(void)
{
	return prctl(PR_GET_SECCOMP) && errno == EINVAL;
}

TEST_F(seccomp, filter_finds_it_by_its_number)
{
	if (without_seccomp())
		SKIP(return, "kernel without SECCOMP");
	ASSERT_EQ(0, filter_number(NUMBER));
	EXPECT_EQ(-1, memfd_secret(0));
	EXPECT_EQ(FILTERED, errno);
	EXPECT_EQ(-1, memfd_secret(O_CLOEXEC));
	EXPECT_EQ(FILTERED, errno);
	/* Filters run before the call checks its flags. */
	EXPECT_EQ(-1, memfd_secret(1));
	EXPECT_EQ(FILTERED, errno);
}

/* ENOSYS if the kernel has no such call; 0 if the call succeeds. */
static int error_of(long number)
{
	return syscall(number, 0, 0, 0, 0, 0, 0) < 0 ? errno : 0;
}

TEST_F(seccomp, filter_of_its_number_finds_no_other_call)
{
	int before, after;

	if (without_seccomp())
		SKIP(return, "kernel without SECCOMP");
	before = error_of(NUMBER - 1);
	after = error_of(NUMBER + 1);
	ASSERT_EQ(0, filter_number(NUMBER));
	EXPECT_EQ(before, error_of(NUMBER - 1));
	EXPECT_EQ(after, error_of(NUMBER + 1));
	EXPECT_EQ(getpid(), syscall(SYS_getpid));
	EXPECT_LE(0, memfd_create("ordinary", 0));
}

TEST_F(seccomp, filter_of_another_number_lets_it_through)
{
	if (without_seccomp())
		SKIP(return, "kernel without SECCOMP");
	ASSERT_EQ(0, filter_number(NUMBER - 1));
	EXPECT_EQ(-1, syscall(NUMBER - 1, 0));
	EXPECT_EQ(FILTERED, errno);
	EXPECT_LE(0, memfd_secret(0));
}

/*
 * Audit: the test acts as the audit daemon, to which the kernel sends records,
 * mixed with the answers to its requests.
 */

struct message {
	struct nlmsghdr header;
	char data[AUDIT_MESSAGE_TEXT_MAX];
};

static int send_message(int sock, int type, int flags, const void *data,
			size_t size)
{
	struct message message = {
		.header = {
			.nlmsg_len = NLMSG_LENGTH(size),
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | flags,
		},
	};

	memcpy(message.data, data, size);
	return send(sock, &message, NLMSG_LENGTH(size), 0) < 0 ? -errno : 0;
}

/* The next message of this type; false if none comes. */
static bool receive_message(int sock, int type, struct message *message)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	ssize_t n;

	do {
		if (poll(&pfd, 1, PATIENCE_MS) != 1)
			return false;
		n = recv(sock, message, sizeof(*message) - 1, 0);
		if (n < NLMSG_HDRLEN)
			return false;
	} while (message->header.nlmsg_type != type);
	/* A record's nlmsg_len does not count the header, so it is no help. */
	((char *)message)[n] = '\0';
	return true;
}

/* Send a request; returns the kernel's answer, 0 or an error. */
static int request(int sock, int type, const void *data, size_t size)
{
	int err = send_message(sock, type, NLM_F_ACK, data, size);
	struct message answer;
	struct nlmsgerr error;

	if (err)
		return err;
	if (!receive_message(sock, NLMSG_ERROR, &answer))
		return -ETIMEDOUT;
	memcpy(&error, answer.data, sizeof(error));
	return error.error;
}

static int get_status(int sock, struct audit_status *status)
{
	int err = send_message(sock, AUDIT_GET, 0, NULL, 0);
	struct message answer;

	if (err)
		return err;
	if (!receive_message(sock, AUDIT_GET, &answer))
		return -ETIMEDOUT;
	memcpy(status, answer.data, sizeof(*status));
	return 0;
}

static int set_status(int sock, bool enabled, pid_t daemon)
{
	struct audit_status status = {
		.mask = AUDIT_STATUS_ENABLED | AUDIT_STATUS_PID,
		.enabled = enabled,
		.pid = daemon,
	};

	return request(sock, AUDIT_SET, &status, sizeof(status));
}

/* Add or delete the rule that logs each call of NUMBER when it returns. */
static int change_rule(int sock, int how)
{
	struct audit_rule_data rule = {
		.flags = AUDIT_FILTER_EXIT,
		.action = AUDIT_ALWAYS,
		.field_count = 1,
		.fields[0] = AUDIT_ARCH,
		.fieldflags[0] = AUDIT_EQUAL,
		.values[0] = ARCH,
		.mask[AUDIT_WORD(NUMBER)] = AUDIT_BIT(NUMBER),
	};

	return request(sock, how, &rule, sizeof(rule));
}

/* Let a child make the call; returns the descriptor it got. */
static int call_elsewhere(void)
{
	/*
	 * Neither the audit daemon nor processes older than auditing are
	 * logged.
	 */
	pid_t pid = fork();

	if (!pid) {
		syscall(NUMBER - 1, 0);
		syscall(NUMBER + 1, 0);
		_exit(memfd_secret(O_CLOEXEC));
	}
	return wait_status(pid);
}

TEST(audit_rule_finds_it_by_its_number)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
	struct message record = { };
	struct audit_status before = { };
	char call[64], result[64];

	if (sock < 0 && errno == EPROTONOSUPPORT)
		SKIP(return, "kernel without AUDIT");
	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, get_status(sock, &before));
	if (before.pid)
		SKIP(return, "there is an audit daemon already");

	EXPECT_EQ(0, set_status(sock, true, getpid()));
	EXPECT_EQ(0, change_rule(sock, AUDIT_ADD_RULE));
	sprintf(result, " success=yes exit=%d a0=%x ", call_elsewhere(),
		O_CLOEXEC);
	sprintf(call, " arch=%x syscall=447 ", ARCH);
	EXPECT_TRUE(receive_message(sock, AUDIT_SYSCALL, &record));
	EXPECT_NE(NULL, strstr(record.data, call)) {
		TH_LOG("no '%s' in '%s'", call, record.data);
	}
	EXPECT_NE(NULL, strstr(record.data, result)) {
		TH_LOG("no '%s' in '%s'", result, record.data);
	}
	EXPECT_EQ(0, change_rule(sock, AUDIT_DEL_RULE));
	EXPECT_EQ(0, set_status(sock, before.enabled, 0));
}

TEST_HARNESS_MAIN
