# SPDX-License-Identifier: GPL-2.0
#
# The commands of this project; "make help" lists them. The work is done by
# scripts/ and, in the kernel tree they make, by tools/testing/selftests/memfd_secret/qemu.

# For check, if given: the only architecture.
ONLY_ARCH := $(ARCH)
ARCH := $(or $(ARCH),x86_64)
BUILD ?= build
ifneq ($(words $(CURDIR) $(BUILD)),2)
$(error $(CURDIR), $(BUILD): the kernel can not be built in a folder with a space in its name)
endif
override BUILD := $(abspath $(BUILD))

# A dollar in them is a dollar.
override ARGS := $(value ARGS)
override PROG := $(value PROG)
override APPEND := $(value APPEND)
export ARGS PROG APPEND
ifneq ($(LINUX),)
override LINUX := $(abspath $(LINUX))
endif
ARCHES := x86_64 i386 arm64 riscv64
ifeq ($(filter $(ARCH),$(ARCHES)),)
$(error ARCH=$(ARCH): there are $(ARCHES))
endif
ifneq ($(and $(filter baseline,$(MAKECMDGOALS)),$(filter-out x86_64,$(ARCH))),)
$(error ARCH=$(ARCH): baseline is for x86_64)
endif

# The others are exported where they are given, on the command line or in the environment.
export ARCH ARCHES BUILD ONLY_ARCH
# Everything below reads the environment, and no kernel makefile may take these for its own.
MAKEOVERRIDES :=

QEMU = $(MAKE) --no-print-directory -C $(BUILD)/tree/tools/testing/selftests/memfd_secret/qemu \
	BUILD_PATH=$(BUILD)
STATUS_FILE ?=
TOTALS ?=
ALSO ?=
# Which part of the series to export.
PART ?= all

.PHONY: help run shell check check-more negative stress kcsan bench baseline gates tree series import \
	newest clean distclean setup fetch guest-run guest-check guest-check-all
.NOTPARALLEL:

help:
	@echo 'Commands:'
	@echo '  make run                  boot the kernel in QEMU and show secret memory at work'
	@echo '  make run PROG=./prog ARGS="a b"'
	@echo '                            run a static program of yours in that kernel, as root'
	@echo '  scripts/run ./prog a b    the same, and its exit status is the exact one'
	@echo '                            (make turns every status but 0 into 2)'
	@echo '  make shell                a prompt in that kernel; exit ends it'
	@echo '  make check                all tests; ends with a table of what took how long, and'
	@echo '                            "N passed, N failed, N skipped"'
	@echo '  make check ARCH=arm64     the boots of one architecture'
	@echo '  make check KERNEL=faults TEST=size'
	@echo '                            one kernel, one test, or both'
	@echo '  make gates                the checks of the series, which need no boot'
	@echo '  make negative             boots that the harness must judge as failed'
	@echo '  make stress               a fuzzer, stressors and a model, for about 100 minutes;'
	@echo '                            APPEND=SECONDS=30 makes each test that short'
	@echo '  make check-more           what make check has no time for, KASAN above all;'
	@echo '                            ARCH=arm64 is one architecture'
	@echo '  make kcsan                tests on a kernel that looks for data races'
	@echo '  make bench                what it costs, beside memfd_create(): a table, CSV, a plot'
	@echo '  make bench PEER=1         Debian kernels 6.12 and newest beside ours, x86_64 only'
	@echo "  make baseline             the kernel's other selftests, without the series and with"
	@echo '                            it, for about ten minutes; TEST=vm is one collection'
	@echo '  make tree                 build/tree: a kernel tree, one commit for each patch'
	@echo '  make import               the commits of that tree back into the files here'
	@echo '  make series               build/series: patches to send or to apply'
	@echo '  make series PART=kernel   those without the tests; PART=tests: the tests alone'
	@echo '  make newest               says of the newest 5.10 source of the suite (or of LINUX=)'
	@echo '                            whether each hook applies to it, and what to do'
	@echo '  make clean                remove what is built, but not the kernel tree'
	@echo '  make distclean            remove all of build/, the tree with your commits too'
	@echo 'Settings:'
	@echo '  ARCH=x86_64               x86_64, i386, arm64 or riscv64'
	@echo '  KERNEL=plain              plain, lockdep, kasan, kcsan, faults (allocations can be'
	@echo '                            made to fail), or without (the feature)'
	@echo '  SMP=1 MEM=512M            processors and memory of the guest'
	@echo '  APPEND="words"            for the kernel command line; -word leaves a default one'
	@echo '                            out: APPEND=-secretmem.enable=1; A=b is in the environment'
	@echo '  TIMEOUT=300               seconds until a boot is given up'
	@echo '  ACCEL=tcg                 or kvm'
	@echo '  BOOTS=3                   how often bench boots each kernel'
	@echo '  LINUX=path                a Linux 5.10 tree or tarball, instead of fetching it'
	@echo '  BUILD=build               folder for all that is built'
	@echo '  JOBS=n                    compilers at a time, and processors for guests'

# What is said on the way is no output of the program that run is for.
setup:
	@scripts/setup build qemu >&2

fetch: setup
	@scripts/fetch >&2

tree: fetch
	@scripts/series tree >&2

import: fetch
	@scripts/series import

series: fetch
	@scripts/series export --part $(PART)

newest: setup
	@source=$$(scripts/fetch newest) && scripts/series hooks --base "$$source"

# The name of the program and its arguments are the shell's to read, not make's.
run:
	@if [ "$$PROG" ]; then set -f; scripts/run "$$PROG" $$ARGS; else scripts/run; fi

shell: tree
	@$(QEMU) shell

check: tree
	@scripts/setup check
	@scripts/check

gates: tree
	@scripts/setup check
	@$(QEMU) kernel KERNEL=lockdep
	@scripts/gates

negative: tree
	@$(QEMU) negative

stress: tree
	@scripts/setup stress
	@$(QEMU) stress

check-more: tree
	@for arch in $(or $(ONLY_ARCH),$(ARCHES)); do \
		ARCH=$$arch scripts/setup build qemu || exit 1; \
	done
	@$(QEMU) check-more

kcsan: tree
	@$(QEMU) kcsan

bench: tree
	@scripts/setup bench
ifneq ($(PEER),)
	@scripts/fetch peers
endif
	@$(QEMU) bench

baseline: tree
	@scripts/setup baseline
	@scripts/series pristine >&2
	@$(QEMU) baseline BASE=$(BUILD)/pristine

# For scripts/run and scripts/check.
guest-run: tree
	@$(QEMU) run STATUS_FILE=$(STATUS_FILE)

guest-check guest-check-all:
	@$(QEMU) $(@:guest-%=%) TOTALS=$(TOTALS) ALSO=$(ALSO)

clean:
	rm -rf $(ARCHES:%=$(BUILD)/%-*) $(BUILD)/log $(BUILD)/bench $(BUILD)/series $(BUILD)/pristine

distclean:
	rm -rf $(BUILD)
