#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
#	baseline_guest.sh without|with|in-use [COLLECTION:TEST...]
#
# Runs all selftests, or those given, in the guest, for baseline.py. Fails if the
# kernel is not what the first word says: without secret memory, with it, or with
# some of it in use, also after the last test.

# What tests expect to find in a system.
prepare() {
	ln -s /proc/self/fd /dev/fd
	ln -s /proc/self/fd/1 /dev/stdout
	ln -s /proc/self/fd/2 /dev/stderr
	mkdir /etc
	echo 'root::0:0::/:/bin/sh
nobody::65534:65534::/:/bin/sh' >/etc/passwd
	echo 'root::0:
nogroup::65534:' >/etc/group
	# shellcheck disable=SC2016 # for the shell that runs it
	echo '#!/bin/sh
exec umount "$2"' >/bin/fusermount
	# shellcheck disable=SC2016 # for the shell that runs it
	echo '#!/bin/sh
exec su -s "$3" "$2"' >/bin/sudo
	chmod +x /bin/fusermount /bin/sudo
	mkdir /selftests/vm/huge
	mount -t hugetlbfs none /selftests/vm/huge
	mkswap /dev/ram0
	swapon /dev/ram0
	major=$(awk '$2 == "HMM_DMIRROR" { print $1 }' /proc/devices)
	mknod /dev/hmm_dmirror0 c "$major" 0
	mknod /dev/hmm_dmirror1 c "$major" 1
}

variant=$1
shift
prepare >/dev/null || exit
case $variant in
without)	hold 2>&1 | grep 'memfd_secret: Function not implemented' || exit ;;
with)		hold && killall hold || exit ;;
in-use)		hold || exit ;;
esac

for test; do
	shift
	set -- "$@" -t "$test"
done
# Also write the name of each test to the console, where it stands before the
# messages of the kernel during that test.
/selftests/run_kselftest.sh "$@" |
	awk '{ print; fflush() } /^# selftests: / { print >"/dev/kmsg"; fflush("/dev/kmsg") }'

if [ "$variant" = in-use ]; then
	killall hold
fi
