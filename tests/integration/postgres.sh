#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# postgres.sh: PostgreSQL under load in a real guest: checkpoints with RAM and without, and back, again and again. After each
# rollback its books must balance and its own checks be clean; after one with RAM the connection that was open at that instant
# works on. ROLLBACKS: how many, of which every fifth without RAM (short 5, long 50).
. "$(dirname "$0")/functions.sh"
requires_root
requires_guest
disk=$("$here/../guest/build-postgres" 2>"$work/said") || skip "no PostgreSQL for the guest: $(tail -n 1 "$work/said")"
ROLLBACKS=${VMUNDO_TEST_LONG:+50}
ROLLBACKS=${ROLLBACKS:-5}
make_fs xfs 8G
image=$fs/db.img
cp --sparse=always "$disk" "$image"
make_config "$work/db.cfg" db "file:$image,xvda,w"
sed -i 's/^memory.*/memory = 320/' "$work/db.cfg"
remember "$image"
baseline
say_limit=400 limit=400

# pg NAME ARGUMENT...: one of PostgreSQL's programs, in the guest
# shellcheck disable=SC2016
setup='pg() { p=$1; shift; chroot /mnt/0 /usr/bin/setpriv --reuid=100 --regid=100 --clear-groups /usr/lib/postgresql/15/bin/$p "$@"; }
    mount -t proc proc /mnt/0/proc; mount -o bind /dev /mnt/0/dev
    up() { pg pg_ctl -D /pg/data -l /pg/log -w -t 200 start >/dev/null 2>&1; }
    ask() { pg psql -qAtX -P pager=off -h /run/postgresql postgres -c "$1"; }
    # A client that stays connected: line by line from the one FIFO, answers into a file.
    client() { rm -f /client.in; mkfifo /client.in; : >/client.out; (pg psql -qAtX -P pager=off -h /run/postgresql postgres <>/client.in >/client.out 2>&1 &)
        echo "create temp table mine(x int); insert into mine values (42);" >/client.in; }
    through() { n=$(wc -l </client.out); echo "$1" >/client.in
        t=0; while [ "$(wc -l </client.out)" = "$n" ] && [ $t -lt 600 ]; do usleep 100000; t=$((t + 1)); done; tail -n 1 /client.out; }
    load() { (pg pgbench -h /run/postgresql -n -c 2 -T 100000 postgres >/dev/null 2>&1 &) ; }'
in_guest() { guest_say db "$*"; }
prepare() { # the functions are lost when the guest boots anew
    guest_say db "echo '$(base64 -w0 <<<"$setup")' | base64 -d >/pg.sh; . /pg.sh" >/dev/null
}
balance="select case when (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
 and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)
 and (select sum(tbalance) from pgbench_tellers) = (select coalesce(sum(delta), 0) from pgbench_history) then 'balanced' else 'WRONG' end"
balance=${balance//$'\n'/}
rows="select count(*) from pgbench_history"

step "a server with a table, a client that stays, and load"
vmundo run "$work/db.cfg"
prepare
in_guest up || fail "PostgreSQL does not start: $(in_guest 'tail -n 20 /mnt/0/pg/log')"
in_guest 'pg pgbench -q -i -s 1 -h /run/postgresql postgres 2>&1' >/dev/null
in_guest 'ask "create extension amcheck; create table since (x int)"; sync'
in_guest 'client; load'
[ "$(in_guest "through 'select x from mine;'")" = 42 ] || fail "the client has no answer: $(in_guest 'cat /client.out')"
backend=$(in_guest "through 'select pg_backend_pid();'")
wait_until 100 eval "[ \"\$(guest_say db \"ask '$rows'\")\" -gt 20 ]"
vmundo checkpoint db warm --ram
vmundo checkpoint db cold
in_guest "ask 'insert into since values (1)'"

step "$ROLLBACKS times back"
ram=0 booted=0
for ((i = 1; i <= ROLLBACKS; i++)); do
    if [ $((i % 5)) = 0 ]; then
        # As after a power failure: the server recovers from its log.
        vmundo rollback -q db cold
        prepare
        in_guest up || fail "$i: PostgreSQL does not recover: $(in_guest 'tail -n 20 /mnt/0/pg/log')"
        booted=$((booted + 1))
    else
        vmundo rollback -q db warm
        [ "$(in_guest "through 'select pg_backend_pid();'")" = "$backend" ] || fail "$i: the client has lost its connection: $(in_guest 'tail -n 5 /client.out')"
        [ "$(in_guest "through 'select x from mine;'")" = 42 ] || fail "$i: the client's session is not the one that it was"
        ram=$((ram + 1))
    fi
    said=$(in_guest "ask 'select count(*) from since'")
    [ "$said" = 0 ] || fail "$i: what was written since the checkpoint is there: $said"
    said=$(in_guest "ask \"$balance\"")
    [ "$said" = balanced ] || fail "$i: its books: $said"
    in_guest "ask 'insert into since values (1)'"
done
said=$(in_guest 'pg pg_amcheck -h /run/postgresql --heapallindexed postgres 2>&1') || fail "pg_amcheck: $said"
vmundo rollback -q db warm
in_guest 'kill -INT $(head -n 1 /mnt/0/pg/data/postmaster.pid); t=0; while [ -e /mnt/0/pg/data/postmaster.pid ] && [ $t -lt 300 ]; do usleep 200000; t=$((t + 1)); done; sync'
said=$(in_guest 'pg pg_checksums -D /pg/data --check 2>&1') || fail "pg_checksums: $said"
grep -q 'Bad checksums:  0' <<<"$said" || fail "pg_checksums: $said"
echo "$ram rollbacks with RAM (the connection worked on each time), $booted without; every time balanced; pg_amcheck and pg_checksums clean"

vmundo drop -q db
unchanged
no_traces
