# SPDX-License-Identifier: LGPL-2.1-or-later
"""A world on LVM: the domain has a logical volume, and an image in a file system on another one, in which somebody else's
image is, too. Both are in the volume group $VMUNDO_FAULT_VG, which the scenario of the rig has made. For groups that are made
there are the disks $VMUNDO_FAULT_PVS. With the hypervisor
xen it is a PV guest that does nothing, with the kernel $VMUNDO_FAULT_KERNEL.

What is left of it is looked up with lvs, dmsetup, /proc, /sys, xl and xenstore: volumes, device-mapper's devices and
whether they are suspended, mounts, loop devices, processes, locks, Xen's domains and what serves their disks.
"""
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time

import leaks
from world import NOISE_AT, NOISE_SIZE, World, sh

BLKFLSBUF = 0x1261
OTHER_SIZE = 1 << 20


def lines_of(*argv):
    done = subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def device_mapper(*columns):
    """Somebody else's device that goes while it lists them makes it fail."""
    for _ in range(10):
        try:
            return lines_of("dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", ",".join(columns))
        except subprocess.CalledProcessError:
            time.sleep(0.1)
    raise RuntimeError("dmsetup info fails again and again")


def lvm(*argv):
    """Without dmeventd, which would be one more process."""
    for _ in range(5): # udev, or another lvm, can have a disk open for a moment
        done = subprocess.run(["lvm", argv[0], "--config", "activation { monitoring=0 }"] + list(argv[1:]), check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return
        subprocess.run(["udevadm", "settle"], check=False)
        time.sleep(0.5)
    raise RuntimeError(f"lvm {' '.join(argv)} failed: {done.stderr}")


class Volumes(World):
    size = 4 << 20
    thin = False

    def __init__(self, hypervisor):
        super().__init__(hypervisor)
        self.group = os.environ["VMUNDO_FAULT_VG"]
        self.spare_group = f"{self.group}.spare"
        self.spares = os.environ.get("VMUNDO_FAULT_PVS", "").split()
        self.domids = set() # as far as they were seen
        if hypervisor == "xen":
            self.machine = f'kernel = "{os.environ["VMUNDO_FAULT_KERNEL"]}"\nmemory = 16\nvcpus = 1\non_crash = "destroy"\n'

    # ---- making it, and taking it down --------------------------------------------------------------------------

    def make(self, _second):
        self.make_contents()
        self.raw = f"/dev/{self.group}/disk"
        self.second = f"{self.work}/files/vm.img"
        self.second_format = "raw"
        with open(f"{self.pristine}/other", "wb") as f:
            f.write(os.urandom(OTHER_SIZE))
        self.data = {}
        for name in ("raw", "changed", "other"):
            with open(f"{self.pristine}/{name}", "rb") as f:
                self.data[name] = f.read()
        os.mkdir(f"{self.work}/files")
        self.make_volumes()
        self.make_rest()

    def make_volumes(self):
        if self.thin:
            lvm("lvcreate", "-qq", "-y", "-L", "100M", "-T", f"{self.group}/thinpool")
        for name, size in (("disk", "4M"), ("files", "32M")):
            where = ["-V", size, "-T", f"{self.group}/thinpool"] if self.thin else ["-L", size, self.group]
            lvm("lvcreate", "-qq", "-y", "-n", name, *where)
        sh("mkfs.ext4", "-q", f"/dev/{self.group}/files")
        sh("mount", f"/dev/{self.group}/files", f"{self.work}/files")
        shutil.copyfile(f"{self.pristine}/other", f"{self.work}/files/other.img")
        self.restore_origins()

    def remove_volumes(self):
        """All of them, whatever state they are in."""
        self.unmount([])
        if self.hypervisor == "xen":
            for name in self.xen_domains():
                subprocess.run(["xl", "destroy", name], check=False)
        subprocess.run(["udevadm", "settle"], check=False)
        subprocess.run(["lvm", "lvremove", "-qq", "-ff", "-y", self.group], check=False, stderr=subprocess.DEVNULL)
        for line in device_mapper("name"):
            if line.startswith(f"{self.group}-"):
                subprocess.run(["dmsetup", "remove", "--retry", "-f", line], check=False)
        lvm("lvremove", "-qq", "-ff", "-y", self.group)

    def wipe_spares(self):
        subprocess.run(["udevadm", "settle"], check=False)
        for disk in self.spares:
            sh("wipefs", "-q", "-a", disk)

    def remove_spare_group(self):
        if self.spares:
            subprocess.run(["lvm", "vgremove", "-qq", "-ff", "-y", self.spare_group], check=False, stderr=subprocess.DEVNULL)
            self.wipe_spares()

    def begin_anew(self):
        self.end_processes()
        self.remove_spare_group()
        self.remove_volumes()
        shutil.rmtree(self.state_dir, ignore_errors=True)
        self.make_volumes()
        self.vmundo("list")
        self.baseline = self.traces()

    def close(self):
        self.end_processes()
        self.remove_volumes()
        super().close()

    def restore_origins(self):
        """In its place: an image must not become another file, nor may what was written stay in the page cache alone."""
        for path in (self.raw, self.second):
            if os.path.exists(path) and self.content(path) == "raw":
                continue
            with open(f"{self.pristine}/raw", "rb") as f, open(path, "r+b" if os.path.exists(path) else "wb") as to:
                to.write(f.read())
                to.flush()
                os.fsync(to.fileno())

    # ---- contents -----------------------------------------------------------------------------------------------

    def mounted_branches(self):
        for line in leaks.mounts(self.state_dir):
            yield line.split()[1]

    def change_branches(self):
        devices = [f"/dev/{self.group}/{name}" for name in self.active() if name.startswith("disk.vmundo.")]
        for path in devices[-1:] + [f"{place}/vm.img" for place in self.mounted_branches()]:
            with open(path, "r+b") as f:
                f.seek(NOISE_AT)
                f.write(self.noise[:NOISE_SIZE])
                f.flush()
                os.fsync(f.fileno())

    def active(self):
        """Names of volumes that have a device, the newest generation last."""
        return sorted(os.listdir(f"/dev/{self.group}"), key=lambda name: (len(name), name))

    def content(self, path):
        """Compared, not summed up: that takes long under emulation."""
        with open(path, "rb") as f:
            if path.startswith("/dev/"):
                fcntl.ioctl(f, BLKFLSBUF)
            found = f.read()
        for name, data in self.data.items():
            if found == data:
                return name
        return "other content"

    @staticmethod
    def file_system(device):
        """Its kind, how large it is, and whether fsck finds anything."""
        header = subprocess.run(["dumpe2fs", "-h", device], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        blocks = re.search(r"Block count: *(\d+)", header.stdout)
        checked = subprocess.run(["e2fsck", "-n", "-f", device], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return f"{blocks[1]} blocks, e2fsck {checked.returncode}" if blocks else "no ext4"

    def images(self):
        """Origins and branches. Of those that are not active the name is seen alone, but a rollback to them shows the content."""
        for name in self.active():
            if name.startswith("disk"):
                yield f"image {name}: {self.content(f'/dev/{self.group}/{name}')}"
        if "new" in self.active():
            yield f"volume new: {self.file_system(f'/dev/{self.group}/new')}"
        for place in [f"{self.work}/files"] + sorted(self.mounted_branches()):
            for name in ("vm.img", "other.img"):
                yield f"image {place}/{name}: {self.content(f'{place}/{name}')}"

    # ---- what it is like ----------------------------------------------------------------------------------------

    def volumes(self):
        """Names, and what is known of each but whether it is open, which udev has it for a moment."""
        for line in lines_of("lvm", "lvs", "--noheadings", "--separator", "|", "-o",
                             "lv_name,lv_attr,lv_size,origin,pool_lv,lv_tags", self.group):
            name, attr, *rest = line.split("|")
            yield name, "|".join([attr[0], attr[1], attr[4], attr[8:]] + rest)

    def spare_traces(self):
        """Of the group that is made: its volumes, and what is on the disks for it."""
        of = ["--noheadings", "--separator", "|", "-S", f"vg_name={self.spare_group}"]
        for line in lines_of("lvm", "vgs", *of, "-o", "vg_name,vg_tags,pv_count") if self.spares else []:
            yield f"spare group {line}"
        for line in lines_of("lvm", "lvs", "--all", *of, "-o", "lv_name,lv_size,lv_tags") if self.spares else []:
            yield f"spare volume {line}"
        for disk in self.spares:
            found = subprocess.run(["blkid", "-p", "-o", "value", "-s", "TYPE", disk], check=False, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
            yield f"spare disk {disk}: {found.stdout.strip()}"

    def devices(self):
        for line in device_mapper("name", "suspended"):
            if line.startswith((f"{self.group}-", f"{self.spare_group}-")):
                yield line

    def lvm_locks(self):
        """vmundo's own for a group, and lvm's."""
        inodes = set()
        for path in (f"/run/vmundo-lvm.{self.group}.lock", f"/run/lock/lvm/V_{self.group}"):
            if os.path.exists(path):
                inodes.add(str(os.stat(path).st_ino))
        for line in leaks.read("/proc/locks").splitlines():
            fields = line.split()
            if "->" not in fields and fields[5].split(":")[-1] in inodes:
                yield f"lock of {self.group}: {fields[1]} {fields[3]}"

    def xen_domains(self):
        """Ours, by the names that the driver gives: other tests have domains, too."""
        ours = [line.split()[:2] for line in lines_of("xl", "list")[1:] if re.match(r"vm(--new|--old)?\s", line)]
        self.domids |= {domid for _, domid in ours}
        return [name for name, _ in ours]

    def xen(self):
        for name in self.xen_domains():
            yield f"xen domain {name}"
        served = subprocess.run(["xenstore-ls", "-f", "/local/domain/0/backend"], check=False, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for kind, domid, device in sorted(re.findall(r"/backend/(\w+)/(\d+)/(\d+)/frontend = ", served)):
            if domid in self.domids:
                yield f"xen serves {kind} {device}"

    def traces(self):
        """Without the guard, which looks now and then whether it is still wanted; the directory of mount points stays."""
        found = super().traces()
        found += [f"volume {name}: {text}" for name, text in self.volumes()] + [f"device {line}" for line in self.devices()]
        found += list(self.spare_traces()) + list(self.lvm_locks()) + (list(self.xen()) if self.hypervisor == "xen" else [])
        return sorted(line for line in found if line != "state mnt/" and not re.match("process .*vmundo-guard", line))

    def end_hanging(self):
        """No lvm is ever killed by vmundo: it comes to its end some time, and whoever comes after waits for that."""
        for pid in leaks.processes():
            if re.match("lvm ", leaks.status(pid) or "") and os.readlink(f"/proc/{pid}/exe").endswith("/fault-spawned"):
                os.kill(pid, signal.SIGKILL)

    def wait_for_programs(self):
        for _ in range(600 * self.patience):
            if not any(re.match(r"(\S*/)?(lvm|mkfs|fsadm|resize2fs)", leaks.status(pid) or "") for pid in leaks.processes()):
                return
            time.sleep(0.1)
        raise RuntimeError("a program that was started does not end")

    def wait_for_guards(self):
        for _ in range(300 * self.patience):
            if not any("vmundo-guard" in (leaks.status(pid) or "") for pid in leaks.processes()):
                return
            time.sleep(0.1)
        raise RuntimeError("vmundo-guard does not end")


class ThinVolumes(Volumes):
    thin = True
