# SPDX-License-Identifier: GPL-2.0
#
# "make help" prints the list of the makefile that boots guests, and this one.
#
# All together:
#   make check                all tests but the longest; ends with a table of what took
#                             how long, and "N passed, N failed, N skipped"
#   make check ARCH=arm64     the boots of one architecture, also with check-more
#   make check KERNEL=lockdep TEST=size
#                             one kernel, one test, or both
#   make gates                the checks of the series, which need no boot
#   make each-patch           build the kernel at each patch, with secret memory and
#                             without; takes longer than check
#   scripts/run ./prog a b    as "make run PROG=./prog", but with the program's exit
#                             status (make turns every status but 0 into 2)
#   make tree                 build/tree: a kernel tree, one commit for each patch
#   make import               the commits of that tree back into the files here
#   make series               build/series: patches to send or to apply
#   make series PART=kernel   only those of the kernel; PART=tests: only the tests
#   make newest               tell for each hook whether it applies to the newest source
#                             of the suite, or to LINUX=, and what to do
#   make picture              docs/direct-map.svg: how the kernel maps memory, before,
#                             with and after a secret file
#   make deb                  a Debian kernel package with the series, in Debian's
#                             configuration, and tests of it in a Debian with systemd;
#                             PACKAGE=file tests that package instead. The first run
#                             takes longer than check
#   make clean                remove what is built, but not the kernel tree
#   make distclean            remove all of build/, also the tree with your commits
# Settings:
#   BASE=5.10                 the kernel version, of those that the series is carried on;
#                             if it is not given, the one that LINUX is
#   LINUX=path                a kernel tree or tarball, instead of fetching it
#   BUILD=build               folder for everything that is built
#
# The work is done by scripts/ and, in the kernel tree they make, by
# tools/testing/selftests/memfd_secret/qemu.

# The only architecture for check and check-more, if it is given.
ONLY_ARCH := $(ARCH)
ARCH := $(or $(ARCH),x86_64)
BUILD ?= build
ifneq ($(words $(CURDIR) $(BUILD)),2)
$(error $(CURDIR), $(BUILD): the kernel cannot be built in a folder with a space in its name)
endif
override BUILD := $(abspath $(BUILD))

# Do not expand $ in values given by the user.
override ARGS := $(value ARGS)
override PROG := $(value PROG)
override APPEND := $(value APPEND)
export ARGS PROG APPEND
ifneq ($(LINUX),)
override LINUX := $(abspath $(LINUX))
export LINUX
endif
# The base: BASE, or that of LINUX, or that of the top.
BASES := $(shell scripts/base list)
ifeq ($(BASE),)
override BASE := $(shell BASE= LINUX='$(LINUX)' scripts/base)
endif
ifeq ($(filter $(BASE),$(BASES)),)
$(error BASE=$(BASE): there are $(BASES))
endif
# Ports are built in a folder of their own.
OUT := $(BUILD)$(if $(filter-out $(firstword $(BASES)),$(BASE)),/$(BASE))
ifneq ($(PACKAGE),)
override PACKAGE := $(abspath $(PACKAGE))
export PACKAGE
endif
ARCHES := x86_64 i386 arm64 riscv64
ifeq ($(filter $(ARCH),$(ARCHES)),)
$(error ARCH=$(ARCH): there are $(ARCHES))
endif
ifneq ($(and $(filter baseline deb unused,$(MAKECMDGOALS)),$(filter-out x86_64,$(ARCH))),)
$(error ARCH=$(ARCH): $(filter baseline deb unused,$(MAKECMDGOALS)) is for x86_64)
endif

# Other variables that are given, on the command line or in the environment, are in
# the environment of recipes already; but not one that is overridden.
export ARCH ARCHES BASE BUILD ONLY_ARCH
# Recipes read the environment, but the kernel's makefiles must not read these.
MAKEOVERRIDES :=

HARNESS := tools/testing/selftests/memfd_secret/qemu
QEMU = $(MAKE) --no-print-directory -C $(OUT)/tree/$(HARNESS) BUILD_PATH=$(OUT)

# Which part of the series to export.
PART ?= all

.PHONY: help run shell check check-more negative stress kcsan bench baseline unused gates each-patch \
	tree series import newest picture deb clean distclean setup fetch source
.NOTPARALLEL:

help:
	@sed -n '/^# Guests:/,/^# Only here:/{/^# Only/!s/^# //p}' $(HARNESS)/Makefile
	@sed -n '/^# All together:/,/^#$$/s/^# //p' $(firstword $(MAKEFILE_LIST))

# Progress goes to stderr; stdout belongs to the program that is run.
setup:
	@scripts/setup build qemu >&2

fetch: setup
	@scripts/fetch >&2

# Enough to make patches, without compilers and QEMU.
source:
	@scripts/setup source >&2
	@scripts/fetch >&2

tree: fetch
	@scripts/series tree >&2

import: source
	@scripts/series import

series: source
	@scripts/series export --part $(PART)

newest:
	@scripts/setup source >&2
	@source=$$(scripts/fetch newest) && scripts/series hooks --base "$$source"

# The shell expands PROG and ARGS, not make: they can contain a $.
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

each-patch: tree
	@for arch in $(ARCHES); do ARCH=$$arch scripts/setup build || exit 1; done
	@scripts/each-patch

negative: tree
	@$(QEMU) negative

stress: tree
	@scripts/setup stress
	@$(QEMU) stress

check-more: tree
	@for arch in $(or $(ONLY_ARCH),$(ARCHES)); do \
		ARCH=$$arch scripts/setup build qemu || exit 1; \
	done
	@scripts/setup more
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
	@$(QEMU) baseline PRISTINE=$(OUT)/pristine

unused: tree
	@scripts/setup unused
	@scripts/series pristine >&2
	@$(QEMU) unused PRISTINE=$(OUT)/pristine

# The picture is replaced only if all went well.
picture: setup
	@mkdir -p $(OUT)
	@gcc -O2 -Wall -static -o $(OUT)/direct-map scripts/direct-map.c
	@ARCH=x86_64 scripts/run $(OUT)/direct-map >$(OUT)/direct-map.dump
	@scripts/draw-direct-map <$(OUT)/direct-map.dump >$(OUT)/direct-map.svg
	@mv $(OUT)/direct-map.svg docs/direct-map.svg

deb: tree
	@scripts/setup deb
ifeq ($(PACKAGE),)
	@scripts/fetch config >&2
	@scripts/series pristine >&2
	@scripts/deb/package
endif
	@scripts/deb/image
	@scripts/deb/boot

clean:
	rm -rf $(ARCHES:%=$(OUT)/%-*) $(OUT)/log $(OUT)/bench $(OUT)/unused $(OUT)/series $(OUT)/pristine \
		$(OUT)/each-patch $(OUT)/deb

distclean:
	rm -rf $(OUT)
