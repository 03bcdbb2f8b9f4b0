// SPDX-License-Identifier: GPL-2.0
/*
 * Prints how the kernel maps memory, for scripts/draw-direct-map: its own dump
 * of the page tables before there is a secret, with a secret file of 64 MiB, and
 * after the file was closed.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define SIZE	(64UL << 20)

static void print_page_tables(const char *when)
{
	FILE *f = fopen("/sys/kernel/debug/page_tables/kernel", "re");
	char line[256];

	if (!f)
		err(1, "page_tables/kernel");
	printf("=== %s\n", when);
	while (fgets(line, sizeof(line), f))
		fputs(line, stdout);
	fclose(f);
}

static unsigned long meminfo_kb(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long kb = 0;

	if (!f)
		err(1, "/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			sscanf(line + strlen(name), ": %lu", &kb);
	fclose(f);
	return kb;
}

int main(void)
{
	int fd;
	char *p;

	print_page_tables("before");

	fd = syscall(SYS_memfd_secret, 0);
	if (fd < 0)
		err(1, "memfd_secret");
	if (ftruncate(fd, SIZE))
		err(1, "ftruncate");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	memset(p, 's', SIZE);
	print_page_tables("with a secret file of 64 MiB");

	munmap(p, SIZE);
	close(fd);
	/* All but one block is given back within a second. */
	while (meminfo_kb("SecretMemFree") > 2048)
		usleep(10000);
	print_page_tables("after it was closed");
	return 0;
}
