// SPDX-License-Identifier: GPL-2.0
/*
 * Security modules treat a secret file like one of memfd_create(), with which
 * each test runs as well.
 *
 * The module is chosen on the kernel command line, lsm=NAME. SELinux gets its
 * policy, selinux.conf, once per boot. With LSM_POLICY=bare in the environment,
 * which a word on the kernel command line can set, the policy lacks the line
 * for secret files.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "fd_passing.h"

#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ATTR "/proc/self/attr/"
#define SECURITYFS "/sys/kernel/security"
#define SELINUXFS "/sys/fs/selinux"
#define SMACKFS "/sys/fs/smackfs"

/* Exit status of a skipped test: SKIP() in the setup does not stop the test. */
#ifdef XFAIL_ADD
#define SKIPPED KSFT_SKIP	/* the harness of later kernels */
#else
#define SKIPPED 255
#endif

/* Exit status of a child that did not get to what it is for. */
#define CHILD_FAILED 200

/* Tells a child which descriptor to check after execve(). */
#define INHERITED "LSM_INHERITED"

enum kind { ORDINARY, MEMFD, SECRET };

static const char file_path[] = "/tmp/lsm_file";

static int make_file(int kind)
{
	switch (kind) {
	case ORDINARY:
		return open(file_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	case MEMFD:
		return memfd_create("lsm", 0);
	default:
		return memfd_secret(0);
	}
}

static bool module_is_on(const char *module)
{
	char list[256] = ",", word[32];

	mount("none", SECURITYFS, "securityfs", 0, NULL);
	if (read_text(SECURITYFS "/lsm", list + 1, sizeof(list) - 2))
		return false;
	strcat(list, ",");
	sprintf(word, ",%s,", module);
	return strstr(list, word);
}

/* Why the tests of @module are skipped; NULL if they are not. */
static const char *module_is_off(const char *module)
{
	if (module_is_on(module))
		return NULL;
	if (module_is_on("selinux") || module_is_on("smack") ||
	    module_is_on("apparmor"))
		return "another security module is on";
	return "no security module is on";
}

/* A policy has to be written in a single write(). */
static bool load_policy(const char *path, const void *policy, ssize_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool loaded = write(fd, policy, len) == len;

	close(fd);
	return loaded;
}

/* How to change this process's label in the module at hand. */
static const char *identity = "%s";

static bool become(const char *who)
{
	char text[64];

	sprintf(text, identity, who);
	return !write_text(ATTR "current", text) &&
	       !drop_capability(CAP_MAC_OVERRIDE);
}

/*
 * Attempts with a descriptor; each returns 0 or the error number, which is
 * always EACCES if the module denies it.
 */

static int resize(int fd)
{
	return ftruncate(fd, page_size) ? errno : 0;
}

static int look_at(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? errno : 0;
}

static int map(int fd)
{
	return map_shared(fd, page_size) == MAP_FAILED ? errno : 0;
}

static int map_to_read(int fd)
{
	return mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0) ==
		MAP_FAILED ? errno : 0;
}

static char *mapped;

static int make_writable(int fd)
{
	return mprotect(mapped, page_size, PROT_READ | PROT_WRITE) ? errno : 0;
}

static int receive(int sock)
{
	if (receive_fd(sock) >= 0)
		return 0;
	return errno == EACCES ? EACCES : CHILD_FAILED;
}

/* The same with a new file. */

static int make_and_resize(int kind)
{
	return resize(make_file(kind));
}

static int make_and_map(int kind)
{
	return map(make_file(kind));
}

/* The result of an attempt as another subject. */
static int as(const char *who, int (*attempt)(int), int arg)
{
	pid_t pid = fork();

	if (!pid)
		_exit(become(who) ? attempt(arg) : CHILD_FAILED);
	return wait_status(pid);
}

/* The result if the descriptor is sent to another subject. */
static int pass_to(const char *who, int fd)
{
	int socks[2], status = CHILD_FAILED;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, socks))
		return -1;
	if (!send_fd(socks[0], fd))
		status = as(who, receive, socks[1]);
	close(socks[0]);
	close(socks[1]);
	return status;
}

/* Does another subject's program still have the descriptor? */
static int inherit_by(const char *who, int fd)
{
	char text[64], number[16];
	pid_t pid = fork();

	if (!pid) {
		sprintf(text, identity, who);
		sprintf(number, "%d", fd);
		setenv(INHERITED, number, 1);
		if (!write_text(ATTR "exec", text))
			execl("/proc/self/exe", "lsm", NULL);
		_exit(CHILD_FAILED);
	}
	return wait_status(pid);
}

/*
 * Such a program does this in place of main(). SELinux does not close a
 * descriptor that the program may not have, but replaces it by one of its own
 * device.
 */
static void __attribute__((constructor)) look_at_inherited(void)
{
	const char *number = getenv(INHERITED);
	struct stat st;

	if (!number)
		return;
	if (fstat(atoi(number), &st))
		_exit(CHILD_FAILED);
	_exit(S_ISREG(st.st_mode) ? 0 : EACCES);
}

/*
 * SELinux
 */

static const char *selinux_policy(bool bare)
{
	static char path[PATH_MAX + 32];
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);

	while (len > 0 && path[len - 1] != '/')
		len--;
	strcpy(path + (len > 0 ? len : 0),
	       bare ? "selinux_bare.policy" : "selinux.policy");
	return path;
}

static bool selinux_domain_is(const char *domain)
{
	char text[64];

	return !read_text(ATTR "current", text, sizeof(text)) &&
	       !strcmp(text, domain);
}

/* Before a policy is loaded, all processes have the same domain. */
static bool selinux_is_empty(void)
{
	return selinux_domain_is("kernel");
}

static const char *selinux_is_off(bool bare)
{
	const char *reason = module_is_off("selinux");
	const char *word = getenv("LSM_POLICY");

	if (reason)
		return reason;
	if (bare != (word && !strcmp(word, "bare")) ||
	    (!selinux_is_empty() &&
	     !selinux_domain_is("system_u:system_r:kernel_t")))
		return "another policy is loaded";
	if (access(selinux_policy(bare), R_OK))
		return "built without checkpolicy";
	return NULL;
}

static bool selinux_start(bool bare)
{
	static char policy[1 << 16];
	ssize_t len;
	int fd;

	mount("none", SELINUXFS, "selinuxfs", 0, NULL);
	if (selinux_is_empty()) {
		fd = open(selinux_policy(bare), O_RDONLY | O_CLOEXEC);
		len = read(fd, policy, sizeof(policy));
		close(fd);
		if (len <= 0 || !load_policy(SELINUXFS "/load", policy, len))
			return false;
	}
	identity = "system_u:system_r:%s";
	return !write_text(SELINUXFS "/enforce", "1");
}

static ssize_t get_label(int fd, const char *name, char *label, size_t size)
{
	memset(label, 0, size);
	return fgetxattr(fd, name, label, size - 1);
}

FIXTURE(selinux) {
	int fd;
};

FIXTURE_VARIANT(selinux) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(selinux, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(selinux, secret) { .kind = SECRET };

FIXTURE_SETUP(selinux)
{
	const char *reason = selinux_is_off(false);

	if (reason)
		SKIP(_exit(SKIPPED), "%s", reason);
	ASSERT_TRUE(selinux_start(false));
	ASSERT_TRUE(become("owner_t"));
	self->fd = make_file(variant->kind);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(selinux)
{
	close(self->fd);
}

TEST_F(selinux, has_the_label_of_its_creators_files)
{
	char label[64];

	ASSERT_LT(0, get_label(self->fd, "security.selinux", label,
			       sizeof(label)));
	EXPECT_STREQ("system_u:object_r:owner_tmpfs_t", label);
}

TEST_F(selinux, is_received_by_those_allowed_to_use_it)
{
	EXPECT_EQ(0, pass_to("friend_t", self->fd));
	EXPECT_EQ(EACCES, pass_to("reader_t", self->fd));
	EXPECT_EQ(EACCES, pass_to("stranger_t", self->fd));
}

TEST_F(selinux, is_kept_across_exec_by_those_allowed_to_use_it)
{
	EXPECT_EQ(0, inherit_by("friend_t", self->fd));
	EXPECT_EQ(EACCES, inherit_by("reader_t", self->fd));
	EXPECT_EQ(EACCES, inherit_by("stranger_t", self->fd));
}

TEST_F(selinux, is_resized_by_those_allowed_to_write)
{
	EXPECT_EQ(EACCES, as("stranger_t", resize, self->fd));
	EXPECT_EQ(EACCES, as("reader_t", resize, self->fd));
	EXPECT_EQ(0, as("friend_t", resize, self->fd));
}

TEST_F(selinux, tells_its_attributes_to_those_allowed_to_get_them)
{
	EXPECT_EQ(EACCES, as("stranger_t", look_at, self->fd));
	EXPECT_EQ(0, as("reader_t", look_at, self->fd));
}

TEST_F(selinux, is_mapped_by_those_allowed_to_map)
{
	EXPECT_EQ(EACCES, as("stranger_t", map, self->fd));
	EXPECT_EQ(EACCES, as("reader_t", map, self->fd));
	EXPECT_EQ(0, as("reader_t", map_to_read, self->fd));
	EXPECT_EQ(0, as("friend_t", map, self->fd));
}

TEST_F(selinux, mapping_is_made_writable_by_those_allowed_to_write)
{
	mapped = mmap(NULL, page_size, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)mapped);
	EXPECT_EQ(EACCES, as("stranger_t", make_writable, -1));
	EXPECT_EQ(EACCES, as("reader_t", make_writable, -1));
	EXPECT_EQ(0, as("friend_t", make_writable, -1));
}

/* A policy that knows memfds, but not secret files. */
FIXTURE(selinux_bare) {
};

FIXTURE_SETUP(selinux_bare)
{
	const char *reason = selinux_is_off(true);

	if (reason)
		SKIP(_exit(SKIPPED), "%s", reason);
	ASSERT_TRUE(selinux_start(true));
}

FIXTURE_TEARDOWN(selinux_bare)
{
}

TEST_F(selinux_bare, file_is_unlabeled)
{
	int memfd = make_file(MEMFD), secret = make_file(SECRET);
	char label[64];

	ASSERT_LT(0, get_label(memfd, "security.selinux", label,
			       sizeof(label)));
	EXPECT_STREQ("system_u:object_r:tmpfs_t", label);
	ASSERT_LT(0, get_label(secret, "security.selinux", label,
			       sizeof(label)));
	EXPECT_STREQ("system_u:object_r:unlabeled_t", label);
}

TEST_F(selinux_bare, file_is_of_no_use_to_its_creator)
{
	EXPECT_EQ(0, as("owner_t", make_and_resize, MEMFD));
	EXPECT_EQ(EACCES, as("owner_t", make_and_resize, SECRET));
	EXPECT_EQ(0, as("owner_t", make_and_map, MEMFD));
	EXPECT_EQ(EACCES, as("owner_t", make_and_map, SECRET));
}

TEST_F(selinux_bare, file_is_of_use_where_unlabeled_files_are)
{
	EXPECT_EQ(0, as("kernel_t", make_and_resize, SECRET));
	EXPECT_EQ(0, as("kernel_t", make_and_map, SECRET));
}

/*
 * Smack. "_" is the label of everything without a label of its own; everyone
 * may read it.
 */

FIXTURE(smack) {
	int fd;
};

FIXTURE_VARIANT(smack) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(smack, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(smack, secret) { .kind = SECRET };

FIXTURE_SETUP(smack)
{
	const char *reason = module_is_off("smack");

	if (reason)
		SKIP(_exit(SKIPPED), "%s", reason);
	mount("none", SMACKFS, "smackfs", 0, NULL);
	ASSERT_EQ(0, write_text(SMACKFS "/load2", "Friend Owner rw"));
	ASSERT_EQ(0, write_text(SMACKFS "/load2", "Reader Owner r"));
	ASSERT_TRUE(become("Owner"));
	self->fd = make_file(variant->kind);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(smack)
{
	close(self->fd);
}

TEST_F(smack, has_the_label_of_its_creator)
{
	char label[64];

	ASSERT_LT(0, get_label(self->fd, "security.SMACK64", label,
			       sizeof(label)));
	EXPECT_STREQ("Owner", label);
}

TEST_F(smack, is_of_use_to_its_creator)
{
	EXPECT_EQ(0, look_at(self->fd));
	EXPECT_EQ(0, resize(self->fd));
	EXPECT_EQ(0, pass_to("Owner", self->fd));
}

TEST_F(smack, is_received_by_those_allowed_to_use_it)
{
	EXPECT_EQ(0, pass_to("Friend", self->fd));
	EXPECT_EQ(EACCES, pass_to("Reader", self->fd));
	EXPECT_EQ(EACCES, pass_to("_", self->fd));
}

TEST_F(smack, is_resized_by_those_allowed_to_write)
{
	EXPECT_EQ(EACCES, as("_", resize, self->fd));
	EXPECT_EQ(EACCES, as("Reader", resize, self->fd));
	EXPECT_EQ(0, as("Friend", resize, self->fd));
}

TEST_F(smack, tells_its_attributes_to_those_allowed_to_read)
{
	EXPECT_EQ(EACCES, as("_", look_at, self->fd));
	EXPECT_EQ(0, as("Reader", look_at, self->fd));
}

/*
 * AppArmor knows files by path, and does not restrict files without one, such
 * as memfds. An ordinary file shows that the profiles work.
 */

/*
 * Two profiles in the binary form that the kernel reads, both without any rule:
 * "owner" only complains about violations, "stranger" enforces. A string is
 * preceded by its length including the NUL.
 */
#define U32(n) "\2" n "\0\0\0"
#define PROFILE(name, complain) \
	"\4\10\0version\0" U32("\5") \
	"\4\10\0profile\0\7\5" name "\0" \
	"\4\6\0flags\0\7" U32("\0") U32(complain) U32("\0") "\10" \
	U32("\0") U32("\0") U32("\0") U32("\0") \
	"\10"

static const char profiles[] =
	PROFILE("\6\0owner", "\1") PROFILE("\11\0stranger", "\0");

FIXTURE(apparmor) {
	int fd;
};

FIXTURE_VARIANT(apparmor) {
	enum kind kind;
	int error;		/* the stranger's, for any attempt */
};

FIXTURE_VARIANT_ADD(apparmor, ordinary) { .kind = ORDINARY, .error = EACCES };
FIXTURE_VARIANT_ADD(apparmor, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(apparmor, secret) { .kind = SECRET };

FIXTURE_SETUP(apparmor)
{
	const char *reason = module_is_off("apparmor");

	if (reason)
		SKIP(_exit(SKIPPED), "%s", reason);
	ASSERT_TRUE(load_policy(SECURITYFS "/apparmor/.replace", profiles,
				sizeof(profiles) - 1));
	identity = "changeprofile %s";
	ASSERT_TRUE(become("owner"));
	self->fd = make_file(variant->kind);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(apparmor)
{
	close(self->fd);
	unlink(file_path);
}

TEST_F(apparmor, is_received_if_it_has_no_path)
{
	EXPECT_EQ(0, pass_to("owner", self->fd));
	EXPECT_EQ(variant->error, pass_to("stranger", self->fd));
}

TEST_F(apparmor, is_resized_if_it_has_no_path)
{
	EXPECT_EQ(variant->error, as("stranger", resize, self->fd));
	EXPECT_EQ(0, as("owner", make_and_resize, variant->kind));
}

TEST_F(apparmor, is_mapped_if_it_has_no_path)
{
	EXPECT_EQ(variant->error, as("stranger", map, self->fd));
	EXPECT_EQ(0, as("owner", map, self->fd));
}

TEST_HARNESS_MAIN
