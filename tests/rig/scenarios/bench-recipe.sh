# SPDX-License-Identifier: LGPL-2.1-or-later
# How long a rollback takes until the new domain runs, and until the command ends: typed by hand, as in the recipe that
# vmundo grew from, against `vmundo rollback`, alternating, on a classic volume and on a thin one; and how many lvm and xl
# processes come before the new domain runs. By hand the image is served by QEMU (qdisk), the quicker way under emulation;
# xl's own way for image files (Xen's block script makes a loop device) is measured in the first round only. The guest does
# nothing, so that what is timed is the hosts' work. Only the ratios mean something here. In the environment: ROUNDS, and VOLUMES for
# one of both.
# limit: 1800
ROUNDS=${ROUNDS:-5}
new_vg bench 3000
lvcreate -q -y -L 256M -n files bench
lvcreate -q -y -L 600M -T bench/pool
lvcreate -q -y -V 256M -T bench/pool -n thin
for volume in ${VOLUMES:-files thin}; do
    mkfs.ext4 -q "/dev/bench/$volume"
    mkdir -p "$W/$volume" "$W/$volume.S"
    mount "/dev/bench/$volume" "$W/$volume"
    truncate -s 32M "$W/$volume/vm.img"
    mkfs.ext4 -q "$W/$volume/vm.img"
    idle_cfg "v$volume" "file:$W/$volume/vm.img,xvda,w"
    idle_cfg "h$volume" "format=raw,vdev=xvda,access=w,backendtype=qdisk,target=$W/$volume.S/vm.img"
done
idle_cfg hloop "file:$W/files.S/vm.img,xvda,w"
sync

now() { date +%s%3N; }
domid() { xl domid "$1" 2>/dev/null || echo 0; }
snapshot() {
    case $1 in
    files) lvcreate -q -L 64M -s -n "$1.S" "bench/$1" ;;
    thin) lvcreate -q -s -kn -n "$1.S" "bench/$1" ;;
    esac
    mount "/dev/bench/$1.S" "$W/$1.S"
}
by_hand() { # VOLUME DOMAIN
    xl destroy "$2"
    umount "$W/$1.S"
    lvremove -q -y "bench/$1.S"
    snapshot "$1"
    xl create -q "$W/$2.cfg"
}
# timed DOMAIN COMMAND...: sets runs and ends, milliseconds from the command's beginning
timed() {
    local domain=$1 begun awaits
    shift
    sleep 2 # what the last one left to do is over
    xen-tool await "$domain" "$(domid "$domain")" >"$W/runs" &
    awaits=$!
    sleep 0.2
    begun=$(now)
    "$@"
    ends=$(($(now) - begun))
    wait "$awaits"
    runs=$(($(<"$W/runs") - begun))
}
declare -A sum=()
note() { sum[$1]="${sum[$1]:-} $runs"; printf '%-14s runs after %5d ms, ends after %5d ms\n' "$1" "$runs" "$ends"; }
median() { tr ' ' '\n' <<<"$1" | sed '/^$/d' | sort -n | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
median_of() { median "${sum[$1]:-}"; }
ratio() { awk -v a="$(median_of "$1")" -v b="$(median_of "$2")" 'BEGIN {if (a && b) printf "%.2f", a / b; else print "not measured"}'; }

hand() { # VOLUME DOMAIN
    snapshot "$1"
    xl create -q "$W/$2.cfg"
    timed "$2" by_hand "$1" "$2"
    note "$2"
    xl destroy "$2"
    until_true 20 umount "$W/$1.S"
    lvremove -q -y "bench/$1.S"
}
# One domain at a time: memory and processors are for the one that is looked at.
for ((round = 1; round <= ROUNDS; round++)); do
    [ "$round" != 1 ] || [ "${VOLUMES:-}" ] || hand files hloop
    for volume in ${VOLUMES:-files thin}; do
        hand "$volume" "h$volume"
        vmundo run -q --size 64M "$W/v$volume.cfg"
        timed "v$volume" vmundo rollback -q "v$volume"
        note "v$volume"
        vmundo drop -q "v$volume"
    done
done
# strace stays as long as anything lives that was started under it, and that xl does.
traced() {
    strace -I 2 -f -qq -ttt -e signal=none -e trace=execve -o "$1" sh -c '"$@"; : >"$0"' "$1.done" "${@:2}" &
    until_true 300 test -e "$1.done"
    kill $!
    wait $! || true
}
for volume in ${VOLUMES:-files thin}; do
    vmundo run -q --size 64M "$W/v$volume.cfg"
    timed "v$volume" traced "$W/exec.$volume" vmundo rollback -q "v$volume"
    running=$(<"$W/runs")
    grep -E 'execve\(' "$W/exec.$volume" | grep -v ENOENT |
        awk -v volume="$volume" -v running="$running" '{before = $2 * 1000 < running; what = "other"}
            /"lvm"/ {what = "lvm"} /\["xl"/ {what = "xl"} {n[what (before ? " before" : " after")]++; if (before) list = list "\n    " $3 " " $4 " " $5}
            END {for (k in n) print "processes of vmundo on " volume ", " k " the domain runs: " n[k]; print list}'
    vmundo drop -q "v$volume"
done
say "medians until the new domain runs, ms: $(for k in "${!sum[@]}"; do echo -n "$k $(median_of "$k"), "; done)"
say "vmundo's rollback to the recipe's: classic $(ratio vfiles hfiles) (where Xen's block script makes loop devices $(ratio vfiles hloop)), thin $(ratio vthin hthin)"
awk -v r="$(ratio vfiles hfiles)" 'BEGIN {exit !(r + 0 <= 0.6)}' || fail "not within 0.6 of the recipe"
