#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A state database that is damaged, lost, or of a newer version.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs
for name in a b; do
    make_disk "$fs/$name.img" 32M state=$name
    make_config "$work/$name.cfg" $name "file:$fs/$name.img,xvda,w"
done
baseline
remember "$fs/a.img" "$fs/b.img"
vmundo run "$work/a.cfg"
guest_say a "echo changed >state"
vmundo run -H null "$work/b.cfg"
vmundo stop --force b
branches="$(field a disks.0.branch) $(field b disks.0.branch)"
db=$VMUNDO_STATE_DIR/state.db

check_rebuilt() {
    expect_exit 0 "a +running" vmundo list
    expect_exit 0 "b +off" vmundo list
    [ "$(field a disks.0.branch) $(field b disks.0.branch)" = "$branches" ] || fail "other branches than before"
    guest_has a state changed
    expect_exit 0 "nothing to recover" vmundo recover
}

# All that is in the write-ahead log goes to the database, so that damaging that hits something.
checkpoint() {
    python3 -c 'import sqlite3, sys
sqlite3.connect(sys.argv[1]).execute("PRAGMA wal_checkpoint(TRUNCATE)")' "$db"
    rm -f "$db-wal" "$db-shm"
}

step "overwritten with garbage"
checkpoint
dd if=/dev/urandom of="$db" bs=4k count=4 conv=notrunc status=none
expect_exit 1 "vmundo recover" vmundo list
expect_exit 1 "vmundo recover" vmundo rollback a
expect_exit 0 "recovered" vmundo recover
ls "$db".damaged* >/dev/null || fail "the damaged database was not put aside"
check_rebuilt

step "cut short"
checkpoint
truncate -s 5000 "$db"
expect_exit 1 "vmundo recover" vmundo status a
expect_exit 0 "recovered" vmundo recover
check_rebuilt

step "gone"
rm -f "$db" "$db-wal" "$db-shm"
for command in "run $work/a.cfg" "run -H null $work/b.cfg" "rollback a" "drop b"; do
    # shellcheck disable=SC2086 # words
    expect_exit 1 "vmundo recover" vmundo $command
done
expect_exit 0 "recovered" vmundo recover
check_rebuilt

step "a newer version is left alone"
sum_before=$(python3 - "$db" <<'P'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute("PRAGMA user_version").fetchone()[0])
db.execute("PRAGMA user_version = 1000")
db.commit()
P
)
for command in list "status a" "rollback a" "drop a" recover; do
    # shellcheck disable=SC2086 # words
    expect_exit 1 "newer" vmundo $command
done
python3 - "$db" "$sum_before" <<'P'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
assert db.execute("PRAGMA user_version").fetchone()[0] == 1000
db.execute("PRAGMA user_version = " + sys.argv[2])
db.commit()
P
guest_has a state changed

step "and everything still works"
vmundo rollback a
guest_has a state a
vmundo drop a
vmundo drop b
rm -f "$db".damaged*
unchanged
no_traces drop
