# SPDX-License-Identifier: LGPL-2.1-or-later
# Thirty rollbacks in a row of a running domain with an image in a volume, then drop: nothing is left in the control domain
# that was not there before, nor does anything grow on the way.
# limit: 1500
ROLLBACKS=$(long 30 100)
new_vg thirty 400
lvcreate -q -y -L 32M -n files thirty
mkfs.ext4 -q /dev/thirty/files
mkdir -p "$W/files"
mount /dev/thirty/files "$W/files"
truncate -s 8M "$W/files/vm.img"
sync
idle_cfg d30 "file:$W/files/vm.img,xvda,w"

# What there is that is this scenario's: others run beside it.
left() {
    lvs --noheadings -o lv_name thirty
    dmsetup ls | grep -o '^thirty-[^	 ]*' || true
    losetup --noheadings --list -O BACK-FILE | grep -F "$W/" || true
    grep -F "$W/" /proc/self/mountinfo | cut -d' ' -f5
    xenstore-ls -f / 2>/dev/null | grep -E '"d30|thirty' || true
    # shellcheck disable=SC2009
    ps -eo args | grep -F "$W/" | grep -v grep || true
    ls /var/lib/xen/userdata-* 2>/dev/null | xargs -r grep -lE '"d30' || true
    xl list | grep -o '^d30[^ ]*' || true
    find "$VMUNDO_STATE_DIR" -mindepth 1 -path '*/mnt/*' -o -path '*/domains/*' -o -path '*/locks/*' 2>/dev/null || true
}
of_one_domain() { left | sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g; s/ +$//; s/[0-9]+/N/g' | sort; }

before=$(left)
say "run"
vmundo run -q --size 16M "$W/d30.cfg"
grep -q 'script=/.*/vmundo-xen-block' "$VMUNDO_STATE_DIR"/domains/d30/run.1/xl.cfg || fail "our block script is not used"
want=$(of_one_domain)
domid=$(xl domid d30)
for ((i = 1; i <= ROLLBACKS; i++)); do
    vmundo rollback -q d30
    now=$(xl domid d30)
    [ "$now" -gt "$domid" ] || fail "rollback $i: the domain is $now, and was $domid"
    domid=$now
done
say "$ROLLBACKS rollbacks done"
same "$(of_one_domain)" "$want" "what one domain takes"
vmundo status d30 | grep -q running || fail "it does not run"
vmundo drop -q d30
rm -f "$VMUNDO_STATE_DIR"/locks/.origin-* # of origins, not of domains; recover removes them too
until_true 30 eval '! pgrep -f "$VMUNDO_STATE_DIR" >/dev/null' # the guard looks now and then
same "$(left)" "$before" "what is left"
vmundo recover | grep -q 'nothing to recover' || fail "something was left to recover"

say "and with Xen's own block script, where ours is not installed"
ours=$(find / -xdev -name vmundo-xen-block -type f -not -path '/rig/*' | head -n 1)
[ "$ours" ] || fail "our block script is not installed"
mkdir "$W/libexec"
ln -s "${ours%/*}/vmundo-guard" "$W/libexec/"
export VMUNDO_LIBEXEC_DIR=$W/libexec
vmundo run -q --size 16M "$W/d30.cfg"
vmundo rollback -q d30
grep -q 'script=' "$VMUNDO_STATE_DIR"/domains/d30/run.*/xl.cfg && fail "there is a block script all the same"
vmundo drop -q d30
until_true 30 eval '! pgrep -f "$VMUNDO_STATE_DIR" >/dev/null'
rm -f "$VMUNDO_STATE_DIR"/locks/.origin-*
same "$(left)" "$before" "what is left"
say done
