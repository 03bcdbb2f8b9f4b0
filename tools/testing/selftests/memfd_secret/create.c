// SPDX-License-Identifier: GPL-2.0
/*
 * The system call, and the properties of its descriptor.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "fd_passing.h"

#include <pthread.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* The kernel's value: libc has 0 where every open file is a large file. */
#if defined(__aarch64__) || defined(__arm__)
#define KERNEL_O_LARGEFILE 0400000
#else
#define KERNEL_O_LARGEFILE 0100000
#endif

TEST(only_O_CLOEXEC_is_a_flag)
{
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		unsigned int flag = 1u << bit;

		if (flag == O_CLOEXEC)
			continue;
		EXPECT_EQ(-1, memfd_secret(flag));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, memfd_secret(flag | O_CLOEXEC));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(-1, memfd_secret(~0u));
	EXPECT_EQ(EINVAL, errno);
}

TEST(O_CLOEXEC_sets_close_on_exec)
{
	EXPECT_EQ(0, fcntl(memfd_secret(0), F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(memfd_secret(O_CLOEXEC), F_GETFD));
}

#ifdef __x86_64__
static int call_32bit(int number, int arg)
{
	long ret;

	asm volatile("int $0x80" : "=a" (ret)
		     : "a" (number), "b" (arg)
		     : "r8", "r9", "r10", "r11", "memory");
	return ret;
}

TEST(i386_system_call_table_has_it)
{
	struct stat st;
	int fd;

	if (access("/proc/sys/abi/vsyscall32", F_OK))
		SKIP(return, "kernel without IA32_EMULATION");
	fd = call_32bit(447, O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(-EINVAL, call_32bit(447, 1));
	/* The call before it is another one, or none. */
	EXPECT_GT(0, call_32bit(446, 0));
}
#endif

/* The first program of a boot: the log has not lost its first lines yet. */
TEST(kernel_log_says_that_it_is_enabled)
{
	const char *log = read_kernel_log();

	ASSERT_NE(NULL, log);
	EXPECT_NE(NULL, strstr(log, "secretmem: enabled, in blocks of 2 MiB\n"));
	EXPECT_EQ(NULL, strstr(log, "secretmem: disabled: "));
}

TEST(descriptor_is_read_write_and_large)
{
	EXPECT_EQ(O_RDWR | KERNEL_O_LARGEFILE, fcntl(memfd_secret(0), F_GETFL));
	EXPECT_EQ(O_RDWR | KERNEL_O_LARGEFILE,
		  fcntl(memfd_secret(O_CLOEXEC), F_GETFL));
}

TEST(new_file_is_empty_regular_and_private)
{
	struct stat st;

	umask(0);
	ASSERT_EQ(0, fstat(memfd_secret(0), &st));
	EXPECT_EQ(S_IFREG | 0600, st.st_mode);
	EXPECT_EQ(0, st.st_size);
}

TEST(all_files_are_on_one_device)
{
	struct stat a, b;

	ASSERT_EQ(0, fstat(memfd_secret(0), &a));
	ASSERT_EQ(0, fstat(memfd_secret(0), &b));
	EXPECT_EQ(a.st_dev, b.st_dev);
}

TEST(owner_is_the_file_system_user)
{
	struct stat st;

	if (geteuid())
		SKIP(return, "needs root");
	setfsgid(4321);
	setfsuid(1234);
	ASSERT_EQ(0, fstat(memfd_secret(0), &st));
	EXPECT_EQ(1234, st.st_uid);
	EXPECT_EQ(4321, st.st_gid);
}

TEST(file_system_magic_is_SECM)
{
	struct statfs fs;

	ASSERT_EQ(0, fstatfs(memfd_secret(0), &fs));
	EXPECT_EQ(SECRETMEM_MAGIC, fs.f_type);
}

TEST(link_in_proc_names_secretmem)
{
	char path[64], name[64] = "";

	sprintf(path, "/proc/self/fd/%d", memfd_secret(0));
	EXPECT_LT(0, readlink(path, name, sizeof(name) - 1));
	EXPECT_NE(NULL, strstr(name, "secretmem")) {
		TH_LOG("the name is '%s'", name);
	}
}

TEST(reopening_through_proc_fails)
{
	char path[64];
	int fd = secret_file(page_size);

	sprintf(path, "/proc/self/fd/%d", fd);
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, open(path, O_RDONLY));
	EXPECT_EQ(ENXIO, errno);
}

TEST(reopening_through_map_files_fails)
{
	char path[96];
	char *p = map_secret(page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	sprintf(path, "/proc/self/map_files/%lx-%lx",
		(unsigned long)p, (unsigned long)(p + page_size));
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(ENXIO, errno);
}

TEST(file_is_not_executable)
{
	static char * const none[] = { NULL };
	int fd = secret_file(page_size);

	ASSERT_EQ(0, fchmod(fd, 0700));
	EXPECT_EQ(-1, syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH));
	EXPECT_EQ(EACCES, errno);
}

/* The text of fdinfo after "maker:", which is the last line. */
static const char *maker_of(int fd)
{
	static char text[1024];
	char path[48], *maker;

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text)))
		return "no fdinfo";
	maker = strstr(text, "\nmaker:\t");
	return maker ? maker + strlen("\nmaker:\t") : "no maker";
}

TEST(fdinfo_says_who_made_the_file)
{
	char expected[64];
	pid_t pid;
	int fd;

	ASSERT_EQ(0, prctl(PR_SET_NAME, "the maker"));
	sprintf(expected, "%d the maker\n", getpid());
	fd = memfd_secret(0);
	EXPECT_STREQ(expected, maker_of(fd));
	/* Neither the current holder nor the maker's current name. */
	ASSERT_EQ(0, prctl(PR_SET_NAME, "renamed"));
	EXPECT_STREQ(expected, maker_of(fd));
	pid = fork();
	if (!pid)
		_exit(strcmp(expected, maker_of(fd)));
	EXPECT_EQ(0, wait_status(pid));
}

static void *make_in_thread(void *fd)
{
	prctl(PR_SET_NAME, "thread");
	*(int *)fd = memfd_secret(0);
	return NULL;
}

TEST(fdinfo_names_the_process_not_the_thread)
{
	char expected[64];
	pthread_t thread;
	int fd = -1;

	ASSERT_EQ(0, prctl(PR_SET_NAME, "process"));
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_in_thread, &fd));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	sprintf(expected, "%d process\n", getpid());
	EXPECT_STREQ(expected, maker_of(fd));
}

TEST(name_of_the_maker_does_not_break_fdinfo)
{
	char expected[64];

	ASSERT_EQ(0, prctl(PR_SET_NAME, "a\nsize:\t1\033[m"));
	sprintf(expected, "%d a\\nsize:\\t1\\e[m\n", getpid());
	EXPECT_STREQ(expected, maker_of(memfd_secret(0)));
}

/*
 * In a PID namespace with its own /proc: 0 if both files are shown as they
 * should be.
 */
static int look_from_inside(int outer)
{
	prctl(PR_SET_NAME, "inside");
	if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL))
		return 1;
	return (strcmp("0\n", maker_of(outer)) ? 2 : 0) |
	       (strcmp("1 inside\n", maker_of(memfd_secret(0))) ? 4 : 0);
}

/* The name of a maker is not shown where its PID is not visible. */
TEST(fdinfo_has_the_PID_of_its_proc)
{
	int fd = memfd_secret(0);
	pid_t pid = fork(), child;

	if (!pid) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS))
			_exit(errno == EPERM ? 100 : 101);
		child = fork();
		if (!child)
			_exit(look_from_inside(fd));
		_exit(wait_status(child));
	}
	pid = wait_status(pid);
	if (pid == 100)
		SKIP(return, "needs root");
	EXPECT_EQ(0, pid);
}

#define HIBERNATE	"/sys/module/secretmem/parameters/hibernate"

TEST(secrets_hinder_hibernation_unless_booted_otherwise)
{
	char line[4096], policy[16];
	struct stat st;

	ASSERT_EQ(0, read_text("/proc/cmdline", line, sizeof(line)));
	ASSERT_EQ(0, read_text(HIBERNATE, policy, sizeof(policy)));
	EXPECT_STREQ(strstr(line, "secretmem.hibernate=wipe") ? "wipe\n" :
		     "refuse\n", policy);
	ASSERT_EQ(0, stat(HIBERNATE, &st));
	EXPECT_EQ(S_IFREG | 0644, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
}

TEST(what_hibernation_does_is_one_of_two_words)
{
	static const char * const words[] = { "x", "1", "wipe refuse", "wip", "\n" };
	char saved[16], policy[16];
	size_t i;

	ASSERT_EQ(0, read_text(HIBERNATE, saved, sizeof(saved)));
	if (access(HIBERNATE, W_OK))
		SKIP(return, "needs root");
	EXPECT_EQ(0, write_text(HIBERNATE, "refuse"));
	EXPECT_EQ(0, write_text(HIBERNATE, "wipe\n"));
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		EXPECT_EQ(-1, write_text(HIBERNATE, words[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, read_text(HIBERNATE, policy, sizeof(policy)));
	EXPECT_STREQ("wipe\n", policy);
	EXPECT_EQ(0, write_text(HIBERNATE, saved));
}

TEST(too_many_descriptors_give_EMFILE)
{
	struct rlimit limit = { .rlim_cur = 20, .rlim_max = 20 };
	int fd, last = -1;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	while ((fd = memfd_secret(0)) >= 0)
		last = fd;
	EXPECT_EQ(EMFILE, errno);
	EXPECT_EQ(19, last);
	close(last);
	EXPECT_EQ(last, memfd_secret(0));
}

TEST(too_many_open_files_give_ENFILE)
{
	int limit = open("/proc/sys/fs/file-max", O_RDWR);
	char saved[32] = "";

	if (limit < 0)
		SKIP(return, "needs root");
	ASSERT_LT(0, read(limit, saved, sizeof(saved) - 1));
	ASSERT_EQ(0, drop_capability(CAP_SYS_ADMIN));
	EXPECT_EQ(1, pwrite(limit, "0", 1, 0));
	EXPECT_EQ(-1, memfd_secret(0));
	EXPECT_EQ(ENFILE, errno);
	EXPECT_EQ(strlen(saved), pwrite(limit, saved, strlen(saved), 0));
	EXPECT_LE(0, memfd_secret(0));
}

TEST(files_can_come_and_go_without_end)
{
	int i, fd;

	for (i = 0; i < 20000; i++) {
		fd = memfd_secret(0);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, close(fd));
	}
}

TEST(contents_live_while_only_a_descriptor_lives)
{
	int fd = secret_file(4 * page_size);
	char *p = map_shared(fd, 4 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, 3 * page_size, 1);
	EXPECT_EQ(0, probe_read(p + 3 * page_size));
	ASSERT_EQ(0, munmap(p, 4 * page_size));

	p = map_shared(fd, 4 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_filled(p, 3 * page_size, 1));
	EXPECT_TRUE(is_zero(p + 3 * page_size, page_size));
}

TEST(contents_live_while_only_a_mapping_lives)
{
	int fd = secret_file(2 * page_size);
	char *p = map_shared(fd, 2 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, 1);
	ASSERT_EQ(0, close(fd));
	EXPECT_TRUE(is_filled(p, page_size, 1));
	EXPECT_EQ(0, probe_write(p + page_size, 1));
}

TEST(files_do_not_share_contents)
{
	char *a = map_secret(page_size), *b = map_secret(page_size);

	ASSERT_NE(MAP_FAILED, (void *)a);
	ASSERT_NE(MAP_FAILED, (void *)b);
	fill(a, page_size, 1);
	EXPECT_TRUE(is_zero(b, page_size));
	fill(b, page_size, 2);
	EXPECT_TRUE(is_filled(a, page_size, 1));
}

TEST(fresh_memory_is_zero_also_where_secrets_were)
{
	const size_t size = 256 * page_size;
	int round;
	char *p;

	for (round = 0; round < 4; round++) {
		p = map_secret(size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		EXPECT_TRUE(is_zero(p, size));
		memset(p, 0xa5, size);
		ASSERT_EQ(0, munmap(p, size));
	}
}

static void last_user_leaves(struct __test_metadata *_metadata, bool watched)
{
	const long size = 32 << 20, slack = 4 << 10;
	int fd = secret_file(size);
	long before, held, given_back;
	char *p = map_shared(fd, size);
	char link[32];

	ASSERT_NE(MAP_FAILED, (void *)p);
	sprintf(link, "/proc/self/fd/%d", fd);
	if (watched)
		ASSERT_LE(0, inotify_add_watch(inotify_init(), link, IN_ATTRIB));
	before = read_field("/proc/meminfo", "MemFree");
	memset(p, 1, size);
	held = read_field("/proc/meminfo", "MemFree");
	EXPECT_GT(before - (size >> 10) + slack, held);
	close(fd);
	ASSERT_EQ(0, munmap(p, size));
	given_back = held + (size >> 10) - slack;
	EXPECT_LT(given_back, free_kb_above(given_back));
}

TEST(last_user_gives_the_memory_back)
{
	last_user_leaves(_metadata, false);
}

/* A watch keeps the inode, but must not keep the memory. */
TEST(last_user_gives_the_memory_back_though_watched)
{
	last_user_leaves(_metadata, true);
}

/* Does descriptor @fd show contents @seed, and can @reply be left there? */
static int visit(int fd, unsigned int seed, unsigned int reply)
{
	void *p = map_shared(fd, page_size);

	if (p == MAP_FAILED || !is_filled(p, page_size, seed))
		return 1;
	fill(p, page_size, reply);
	return 0;
}

/* The other end of the exec test: this program once more. */
static void __attribute__((constructor)) visit_after_exec(void)
{
	const char *fd = getenv("SECRET_FD");

	if (fd) {
		testing_init();
		_exit(visit(atoi(fd), 1, 2));
	}
}

FIXTURE(shared) {
	int fd;
	char *mem;
};

FIXTURE_SETUP(shared)
{
	self->fd = secret_file(page_size);
	self->mem = map_shared(self->fd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, page_size, 1);
}

FIXTURE_TEARDOWN(shared)
{
	EXPECT_TRUE(is_filled(self->mem, page_size, 2));
}

TEST_F(shared, file_is_shared_by_fork)
{
	pid_t pid = fork();

	if (!pid)
		_exit(visit(self->fd, 1, 2));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(shared, mapping_is_shared_by_fork)
{
	pid_t pid = fork();

	if (!pid) {
		if (!is_filled(self->mem, page_size, 1))
			_exit(1);
		fill(self->mem, page_size, 2);
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(shared, file_is_shared_by_exec)
{
	pid_t pid = fork();

	if (!pid) {
		char fd[16];

		sprintf(fd, "%d", self->fd);
		setenv("SECRET_FD", fd, 1);
		execl("/proc/self/exe", "visit", (char *)NULL);
		_exit(127);
	}
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(shared, file_is_shared_by_SCM_RIGHTS)
{
	int sv[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = fork();
	if (!pid) {
		close(self->fd);
		munmap(self->mem, page_size);
		_exit(visit(receive_fd(sv[1]), 1, 2));
	}
	EXPECT_EQ(0, send_fd(sv[0], self->fd));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_HARNESS_MAIN
