// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's first process: it sets the system up, runs the commands of
 * /job/commands one after the other, and reports each on the control port.
 *
 * Two virtio ports lead to the host. The output of the commands goes to "job".
 * Commands write to a terminal, so that lines arrive in order and none is lost
 * in a buffer if a command crashes. A mark follows the output of each command,
 * so that the host can tell it from the output of the next one.
 *
 * Reports go to "control", one a line. The driver lets only one process at a
 * time open a port. Therefore this process closes "control" after each report:
 * commands also use it, and find its path in $CONTROL.
 *
 * An error in here is printed on the console and ends the guest. The host then
 * misses the reports and judges the boot as failed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGS	64
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define PORTS		"/sys/class/virtio-ports"

static char nonce[64];
static char control_path[64];
static int job_fd = -1;

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void die(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	power_off();
}

static void mount_one(const char *type, const char *where)
{
	if (mkdir(where, 0755) && errno != EEXIST)
		die(where);
	if (mount(type, where, type, 0, NULL) && errno != EBUSY)
		die(where);
}

static void mount_all(void)
{
	mount_one("devtmpfs", "/dev");
	mkdir("/dev/pts", 0755);
	mount_one("devpts", "/dev/pts");
	mount_one("tmpfs", "/dev/shm");
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("debugfs", "/sys/kernel/debug");
	mount_one("cgroup2", "/sys/fs/cgroup");
	mount_one("tmpfs", "/tmp");
	chmod("/tmp", 01777);
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		return;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("loopback");
	close(fd);
}

/* Reads the first line of a file, without its newline. */
static bool read_file(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");
	bool ok = f && fgets(buf, size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static bool find_port(const char *want, char *path, size_t size)
{
	char file[512], name[64];
	struct dirent *de;
	bool found = false;
	DIR *dir = opendir(PORTS);

	while (dir && !found && (de = readdir(dir))) {
		snprintf(file, sizeof(file), PORTS "/%s/name", de->d_name);
		if (!read_file(file, name, sizeof(name)) || strcmp(name, want))
			continue;
		snprintf(path, size, "/dev/%.32s", de->d_name);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

static void find_ports(void)
{
	char job_path[64];
	int tries;

	/* The names arrive some time after the driver has found the device. */
	for (tries = 0; tries < 500; tries++) {
		if (find_port("control", control_path, sizeof(control_path)) &&
		    find_port("job", job_path, sizeof(job_path)))
			break;
		usleep(10000);
	}
	job_fd = open(job_path, O_WRONLY | O_CLOEXEC);
	if (job_fd < 0)
		die("the job port");
	setenv("CONTROL", control_path, 1);
}

static void read_nonce(void)
{
	if (!read_file("/job/nonce", nonce, sizeof(nonce)))
		die("/job/nonce");
	unlink("/job/nonce");
}

static int open_control(void)
{
	int fd = open(control_path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("the control port");
	return fd;
}

/* Sends "<verb> <nonce> <first> [<second>]"; @second only if not negative. */
static void report(const char *verb, int first, int second)
{
	int fd = open_control();

	dprintf(fd, "%s %s %d", verb, nonce, first);
	if (second >= 0)
		dprintf(fd, " %d", second);
	dprintf(fd, "\n");
	close(fd);
}

static void run_child(char *line, int tty)
{
	char *argv[MAX_ARGS + 1];
	int argc = 0;

	for (char *arg = strtok(line, " "); arg && argc < MAX_ARGS;
	     arg = strtok(NULL, " "))
		argv[argc++] = arg;
	argv[argc] = NULL;

	setsid();
	if (dup2(open("/dev/null", O_RDONLY), 0) < 0 ||
	    dup2(tty, 1) < 0 || dup2(tty, 2) < 0)
		_exit(126);
	closefrom(3);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static pid_t start_command(char *line, int *output)
{
	struct termios raw = { 0 };
	pid_t pid;
	int tty;

	cfmakeraw(&raw);
	raw.c_cflag |= CREAD;
	if (openpty(output, &tty, NULL, &raw, NULL))
		die("openpty");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		run_child(line, tty);
	close(tty);
	return pid;
}

/* Reaps children that have ended. Returns true, and @status, if @pid is one. */
static bool has_ended(pid_t pid, int *status)
{
	bool ended = false;
	pid_t one;
	int st;

	while ((one = waitpid(-1, &st, WNOHANG)) > 0) {
		if (one != pid)
			continue;
		*status = st;
		ended = true;
	}
	return ended;
}

static void write_job(const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(job_fd, buf, len);

		if (n < 0)
			die("the job port");
		buf += n;
		len -= n;
	}
}

/*
 * Copies what the command writes to the job port, until no process has its
 * terminal open. When the command has ended, all other processes are killed:
 * those it has left must not disturb the next command.
 */
static int wait_and_copy(pid_t pid, int output)
{
	struct pollfd pfd = { .fd = output, .events = POLLIN };
	static char buf[65536];
	bool ended = false;
	int status = 0;
	ssize_t n;

	for (;;) {
		if (poll(&pfd, 1, 20) > 0) {
			n = read(output, buf, sizeof(buf));
			if (n <= 0)
				break;
			write_job(buf, n);
		}
		if (!ended && has_ended(pid, &status)) {
			ended = true;
			kill(-1, SIGKILL);
		}
	}
	while (!ended) {
		ended = has_ended(pid, &status);
		usleep(1000);
	}
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
	return status;
}

static void run_command(int index, char *line)
{
	int output, status;
	pid_t pid;

	report("start", index, -1);
	pid = start_command(line, &output);
	status = wait_and_copy(pid, output);
	close(output);

	/* The mark begins with a NUL, which the output of no test contains. */
	dprintf(job_fd, "%cend %s %d\n", 0, nonce, index);
	if (WIFSIGNALED(status))
		report("signal", index, WTERMSIG(status));
	else
		report("exit", index, WEXITSTATUS(status));
}

static void run_commands(void)
{
	FILE *f = fopen("/job/commands", "r");
	char line[4096];

	if (!f)
		die("/job/commands");
	for (int index = 0; fgets(line, sizeof(line), f); index++) {
		line[strcspn(line, "\n")] = '\0';
		run_command(index, line);
	}
	fclose(f);
}

static bool write_kmemleak(const char *text)
{
	int fd = open(KMEMLEAK, O_WRONLY);

	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	/* The kernel has kmemleak, but it is disabled. */
	if (n < 0 && errno == EPERM)
		return false;
	if (n < 0)
		die(KMEMLEAK);
	close(fd);
	return true;
}

/*
 * Reports objects that nothing points to. An object must be five seconds old,
 * kmemleak's minimum age. Scan twice: a stale pointer can mislead a scan.
 */
static void report_leaks(void)
{
	int lines = 0;
	char line[256];
	FILE *f;

	if (access(KMEMLEAK, F_OK) || !write_kmemleak("scan"))
		return;
	sleep(6);
	write_kmemleak("scan");

	f = fopen(KMEMLEAK, "r");
	while (f && fgets(line, sizeof(line), f)) {
		fprintf(stderr, "%s", line);
		lines++;
	}
	if (!f || ferror(f))
		die(KMEMLEAK);
	fclose(f);
	report("leaks", lines, -1);
}

/* Waits until the host has read everything and says so; 10 s at most. */
static void say_done(void)
{
	int fd = open_control();
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	dprintf(fd, "done %s\n", nonce);
	poll(&pfd, 1, 10000);
	close(fd);
}

static void run_shell(void)
{
	struct winsize ws = {
		.ws_row = atoi(getenv("LINES") ?: "24"),
		.ws_col = atoi(getenv("COLUMNS") ?: "80"),
	};
	char tty[64] = "/dev/";
	pid_t pid;
	int fd;

	/* /dev/console cannot be a controlling terminal; its device can. */
	if (!read_file("/sys/class/tty/console/active", tty + 5, sizeof(tty) - 5))
		die("the console's name");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		setsid();
		fd = open(tty, O_RDWR);
		if (fd < 0 || ioctl(fd, TIOCSCTTY, 1))
			_exit(126);
		ioctl(fd, TIOCSWINSZ, &ws);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		unsetenv("LINES");
		unsetenv("COLUMNS");
		execl("/bin/busybox", "sh", "-l", NULL);
		_exit(127);
	}
	while (wait(NULL) != pid)
		;
}

int main(void)
{
	setenv("PATH", "/bin", 1);
	/*
	 * Turn rseq off. The kernel writes to the rseq area of a thread that
	 * was preempted, and sends SIGSEGV if it cannot allocate the page for
	 * that. This would kill tests that make allocations fail. Not on i386:
	 * static programs can crash there while they parse this variable,
	 * because they make a system call before they are able to.
	 */
	if (sizeof(long) == 8)
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
	mount_all();
	loopback_up();
	if (!access("/job/shell", F_OK)) {
		run_shell();
	} else {
		find_ports();
		read_nonce();
		run_commands();
		report_leaks();
		say_done();
	}
	power_off();
}
