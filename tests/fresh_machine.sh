#!/usr/bin/env bash
# Checks every promise in the head of tools/setup on a Debian 12 that has nothing: a debootstrap in a scratch folder, entered
# by chroot, deleted at the end. Needs root and about 3 GB. Part of `make check-all`.
#
#   tests/fresh_machine.sh [--build]    --build also runs `make` there, which takes minutes
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
[ "$(id -u)" -eq 0 ] || { echo "fresh_machine: needs root" >&2; exit 1; }
scratch=$(mktemp -d /tmp/pgdba-fresh.XXXXXX)
export PGDBA_TREES=$scratch/trees
trap 'rm -rf --one-file-system "$scratch"' EXIT
problems=0
check() { if "${@:2}"; then echo "ok      $1"; else echo "FAILED  $1"; problems=$((problems + 1)); fi; }
inside() { tools/debian-tree run 12 --bind "$scratch/clone" --chdir "$scratch/clone" "$@"; }

tools/debian-tree 12 --packages "passwd" > /dev/null
tree=$(tools/debian-tree path 12)
mkdir "$scratch/clone"
git ls-files -z | xargs -0 cp -a --parents -t "$scratch/clone"
chmod 755 "$scratch" "$scratch/trees"
# What the tree's own maker put there must not do tools/setup's work for it.
rm -f "$tree/usr/sbin/policy-rc.d" "$tree/etc/postgresql-common/createcluster.d/pgdba.conf"
rm -rf "$tree/etc/postgresql-common"
packages() { chroot "$tree" dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'; }
processes() { for root in /proc/[0-9]*/root; do [ "$(readlink "$root" 2>/dev/null)" = "$tree" ] && echo "$root"; done || true; }

echo "== an ordinary user without sudo"
packages > "$scratch/before"
if inside --user nobody -- tools/setup run > "$scratch/out" 2>&1; then status=0; else status=$?; fi
check "ends with 1" test "$status" -eq 1
check "says what is missing and the command for root" grep -q 'you are not root and there is no sudo. As root, run:  apt-get install .*postgresql' "$scratch/out"
packages > "$scratch/after"
check "changes nothing" cmp -s "$scratch/before" "$scratch/after"

echo "== libboost1.74-dev in the way"
inside -- sh -c 'apt-get update && apt-get install -y --no-install-recommends libboost1.74-dev' > "$scratch/out" 2>&1
packages > "$scratch/before"
find "$tree/etc" "$tree/usr/sbin" -newer "$scratch/out" > "$scratch/files-before"
if inside -- tools/setup run > "$scratch/out" 2>&1; then status=0; else status=$?; fi
check "ends with 1" test "$status" -eq 1
check "names the package and the way out" grep -q 'apt-get remove libboost1.74-dev' "$scratch/out"
packages > "$scratch/after"
check "changes nothing" cmp -s "$scratch/before" "$scratch/after"
inside -- apt-get purge -y libboost1.74-dev > /dev/null 2>&1

echo "== root, nothing there"
packages > "$scratch/before"
began=$SECONDS
check "succeeds" inside -- tools/setup test
echo "        ($((SECONDS - began)) s)"
packages | cut -d' ' -f1 > "$scratch/after"
check "removed no package" test -z "$(cut -d' ' -f1 "$scratch/before" | grep -vxFf "$scratch/after")"
check "left no policy-rc.d" test ! -e "$tree/usr/sbin/policy-rc.d"
check "left createcluster.conf as Debian ships it" sh -c "! chroot '$tree' dpkg --verify postgresql-common | grep /etc/"
check "left nothing in createcluster.d" test -z "$(ls -A "$tree/etc/postgresql-common/createcluster.d" 2>/dev/null)"
check "made no cluster of Debian's" test -z "$(ls -A "$tree/etc/postgresql" 2>/dev/null)$(ls -d "$tree"/var/lib/postgresql/*/main 2>/dev/null)"
check "started nothing" test -z "$(processes)"
began=$(date +%s%N)
check "a second run succeeds" inside -- tools/setup test
echo "        ($((($(date +%s%N) - began) / 1000000)) ms with everything there)"

echo "== a policy-rc.d and a createcluster.d of the machine's own"
printf '#!/bin/sh\n# the machine owner wrote this\nexit 104\n' > "$tree/usr/sbin/policy-rc.d"
mkdir -p "$tree/etc/postgresql-common/createcluster.d"
echo "start_conf = 'manual'" > "$tree/etc/postgresql-common/createcluster.d/mine.conf"
inside -- apt-get purge -y haproxy etcd-server postgresql postgresql-15 > /dev/null 2>&1
sha256sum "$tree/usr/sbin/policy-rc.d" "$tree"/etc/postgresql-common/createcluster.d/* > "$scratch/sums"
stat -c '%a %n' "$tree/usr/sbin/policy-rc.d" > "$scratch/mode"
check "brings back what is missing" inside -- tools/setup test
check "leaves both as they were" sh -c "sha256sum --quiet -c '$scratch/sums' && stat -c '%a %n' '$tree/usr/sbin/policy-rc.d' | cmp -s - '$scratch/mode'"
check "adds nothing beside them" test "$(ls "$tree"/etc/postgresql-common/createcluster.d/* "$tree"/usr/sbin/policy-rc.d* | wc -l)" -eq 2
check "made no cluster of Debian's" test -z "$(ls -A "$tree/etc/postgresql" 2>/dev/null)$(ls -d "$tree"/var/lib/postgresql/*/main 2>/dev/null)"
check "started nothing" test -z "$(processes)"

if [ "${1:-}" = --build ]; then
  echo "== make"
  began=$SECONDS
  check "builds" inside -- make
  echo "        ($((SECONDS - began)) s)"
  check "the program runs" inside -- bin/pgdba --version
fi
echo "$problems problems"
[ "$problems" -eq 0 ]
