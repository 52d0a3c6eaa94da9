# SPDX-License-Identifier: LGPL-2.1-or-later
# What the chunk size of a classic snapshot costs: first writes of 4 KiB at random places, first writes in sequence, the
# same places again, and the merge; and the same of a thin snapshot, and of an image in a classic snapshot, through a loop device. Emulation makes all of it slow; only the ratios between the lines mean something.
# limit: 900
new_vg chunks 1500
lvcreate -qq -y -L 256M -n origin chunks
dd if=/dev/urandom of=/dev/chunks/origin bs=1M oflag=direct status=none 2>/dev/null || true
cat >"$W/places.py" <<'P'
import mmap, os, random, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
buf = mmap.mmap(-1, 4096)
buf.write(os.urandom(4096))
random.seed(1)
places = [random.randrange(0, 128 << 20, 4096) for _ in range(1500)]
for again in range(2):
    start = time.time()
    for at in places:
        os.pwrite(fd, buf, at)
    os.fsync(fd)
    print("%.2f" % (time.time() - start), end=" ")
P
elapsed() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f ", b - a}'; }
now() { cut -d' ' -f1 /proc/uptime; }
echo "chunk  random-4K  again  sequential-64M  store-MiB  merge"
for chunk in 4 16 64 256; do
    lvcreate -qq -y -s -n snap -L 280M -c "${chunk}k" chunks/origin
    printf '%sK ' "$chunk"
    python3 "$W/places.py" /dev/chunks/snap
    t=$(now)
    dd if=/dev/zero of=/dev/chunks/snap bs=1M count=64 seek=160 oflag=direct conv=fsync status=none
    elapsed "$t" "$(now)"
    dmsetup status chunks-snap | awk '{split($4, a, "/"); printf "%d ", a[1] / 2048}'
    t=$(now)
    lvconvert -qq -y --merge -i 1 chunks/snap >/dev/null
    while lvs chunks/snap >/dev/null 2>&1; do sleep 0.2; done
    elapsed "$t" "$(now)"
    echo
done
# measured NAME DEVICE
measured() {
    printf '%s ' "$1"
    python3 "$W/places.py" "$2"
    t=$(now)
    dd if=/dev/zero of="$2" bs=1M count=64 seek=160 oflag=direct conv=fsync status=none
    elapsed "$t" "$(now)"
    echo
}
lvcreate -qq -y -L 640M -c 64k -T chunks/pool
lvcreate -qq -y -V 256M -T chunks/pool -n thin
dd if=/dev/urandom of=/dev/chunks/thin bs=1M oflag=direct status=none 2>/dev/null || true
lvcreate -qq -y -s -kn -n tsnap chunks/thin
measured thin-64K /dev/chunks/tsnap
lvremove -qq -y chunks/pool
mkfs.ext4 -q -F -m 0 -O ^has_journal /dev/chunks/origin
mkdir -p "$W/o" "$W/s"
mount /dev/chunks/origin "$W/o"
head -c 228M /dev/urandom >"$W/o/vm.img"
sync
lvcreate -qq -y -s -n snap -L 280M -c 64k chunks/origin
mount /dev/chunks/snap "$W/s"
loop=$(losetup -f --show --direct-io=on "$W/s/vm.img")
measured loop-on-64K "$loop"
