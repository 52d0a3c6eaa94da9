# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is tried under faults: for each operation the state that it wants to find, and its command. What old and new state are
is not written here: old is what set_up leaves, new what the command makes of it when nothing disturbs it.
"""
import os
import shutil
import time

from world import Skipped


class Operation:
    command = ()          # arguments of vmundo
    second = "qcow2"      # the second disk: an overlay; or "raw"
    changed = True        # the branches are changed before it
    repeat = False        # not in the journal: if it failed, it is done again, instead of recovered
    shuts_down = False    # the guest is asked to power off, which nobody can undo
    reserve = False       # an instance is kept in reserve
    timed = False         # on a running QEMU's disks and RAM, which cannot be changed from outside

    ready = False         # its state is there, and untouched

    def __init__(self, world):
        self.w = world
        self.qemu = world.hypervisor == "qemu"
        self.ram = ["--ram"] if self.qemu else []

    def run_domain(self, *options):
        w = self.w
        w.vmundo("run", "-q", "-H", w.hypervisor, *options, w.config)
        if not self.changed or (self.timed and self.qemu):
            return
        if self.qemu: # it has its disks locked
            w.vmundo("stop", "-q", "--force", "vm")
        w.change_branches()
        if self.qemu and self.wants_running():
            w.vmundo("start", "-q", "vm")

    def wants_running(self):
        return True

    def set_up(self):
        self.run_domain()

    def arguments(self):
        return list(self.command)

    def settle(self):
        """What goes on although vmundo has ended comes to its end, where that is not awaited by the next command."""

    def is_told(self, _output):
        """Has it succeeded, and said what it could not do?"""
        return False

    def again(self):
        self.w.vmundo(*self.arguments())

    def tear_down(self):
        for name in ("vm-1", "vm"):
            if self.w.run("status", name) == 0:
                for label in ("cp", "child"):
                    self.w.run("unpin", "-q", name, label)
                self.w.vmundo("drop", "-q", name)
        shutil.rmtree(f"{self.w.work}/xfs/kept", ignore_errors=True)


class Run(Operation):
    def set_up(self):
        pass

    def arguments(self):
        return ["run", "-H", self.w.hypervisor, self.w.config]


class TravelReserve(Operation):
    """On the instance that waits in reserve. Another one is made when it is done, by a process of its own."""
    second = "raw"
    timed = True
    command = ("rollback", "vm", "cp")
    reserve = True

    def set_up(self):
        self.run_domain("--reserve")
        self.w.vmundo("checkpoint", "-q", "vm", "cp", "--ram")
        self.w.wait_for_reserve()


class Rollback(Operation):
    command = ("rollback", "vm")


class RollbackForget(Operation):
    command = ("rollback", "vm", "--forget", "--off")


class Keep(Operation):
    command = ("keep", "vm")

    def wants_running(self):
        return False

    def set_up(self):
        self.run_domain()
        if not self.qemu: # else it is off already
            self.w.vmundo("stop", "-q", "--force", "vm")


class KeepStop(Operation):
    """Of one that runs, as soon as it has shut down."""
    shuts_down = True
    command = ("keep", "vm", "--stop")


class Drop(Operation):
    command = ("drop", "vm")


class Stop(Operation):
    shuts_down = True

    def arguments(self):
        return ["stop", "vm"] + (["--force"] if self.qemu else [])


class Start(Operation):
    command = ("start", "vm")

    def set_up(self):
        self.run_domain()
        self.w.vmundo("stop", "-q", "--force", "vm")


class Checkpoint(Operation):
    timed = True

    def arguments(self):
        return ["checkpoint", "vm", "cp"] + self.ram


class CheckpointRam(Operation):
    """With RAM, which the null hypervisor has as well."""
    timed = True
    second = "raw"
    command = ("checkpoint", "vm", "cp", "--ram")


class Travel(Operation):
    timed = True
    command = ("rollback", "vm", "cp")

    def set_up(self):
        self.run_domain()
        self.w.vmundo("checkpoint", "-q", "vm", "cp", *self.ram)


class Undo(Operation):
    timed = True
    command = ("rollback", "vm", "--undo")

    def set_up(self):
        self.run_domain()
        self.w.vmundo("rollback", "-q", "vm")


class WithTwo(Operation):
    timed = True

    def set_up(self):
        self.run_domain()
        self.w.vmundo("checkpoint", "-q", "vm", "cp", *self.ram)
        self.w.vmundo("checkpoint", "-q", "vm", "child")


class Prune(WithTwo):
    command = ("prune", "vm", "cp")


class PruneLast(WithTwo):
    command = ("prune", "vm", "--keep-last", "1")


class Merge(Operation):
    """What is left of a checkpoint, which nobody needs, under a QEMU that has opened it by its name. No operation, and in no
    journal: it is begun anew."""
    repeat = True
    command = ("prune", "vm", "--keep-last", "5")

    def set_up(self):
        self.run_domain()
        for label in ("cp", "child", "third"):
            self.w.vmundo("checkpoint", "-q", "vm", label)
        self.w.vmundo("stop", "-q", "--force", "vm")
        self.w.vmundo("prune", "-q", "vm", "cp", "child")
        self.w.vmundo("start", "-q", "vm")


class Pin(WithTwo):
    command = ("pin", "vm", "cp")


class Unpin(WithTwo):
    command = ("unpin", "vm", "cp")

    def set_up(self):
        WithTwo.set_up(self)
        self.w.vmundo("pin", "-q", "vm", "cp")


class Fork(Operation):
    timed = True
    second = "raw"
    command = ("fork", "vm@cp")

    def set_up(self):
        self.run_domain()
        self.w.vmundo("checkpoint", "-q", "vm", "cp", *self.ram)


class DropFork(Fork):
    command = ("drop", "vm-1")

    def set_up(self):
        Fork.set_up(self)
        self.w.vmundo("fork", "-q", "vm@cp")


class KeepTo(Operation):
    timed = True

    def set_up(self):
        self.run_domain()
        self.w.vmundo("stop", "-q", "--force", "vm")

    def arguments(self):
        return ["keep", "vm", "--to", f"{self.w.work}/xfs/kept"]


class Record(Operation):
    """One more is recorded, and an older one goes."""
    timed = True
    second = "raw"
    command = ("record", "vm", "--once", "--every", "100ms", "--keep", "100ms")

    def set_up(self):
        self.run_domain()
        self.w.vmundo("record", "-q", "vm", "--once")
        self.w.vmundo("checkpoint", "-q", "vm", "child")
        time.sleep(0.1) # so old is the one that goes


class PruneRecorded(Record):
    command = ("prune", "vm", "--recorded")


class Recover(Operation):
    repeat = True
    """What a rollback left that was killed, before or after its switch."""
    command = ("recover",)
    share = 0.3
    points = None

    def set_up(self):
        self.run_domain()
        rollback = ["rollback", "vm"]
        if Recover.points is None:
            self.w.fault("kill", 0, rollback)
            Recover.points = self.w.count("kill")
            self.tear_down()
            self.w.restore_origins()
            self.run_domain()
        self.w.fault("kill", int(Recover.points * self.share), rollback)


class RecoverFinish(Recover):
    share = 0.85


class Pool(Operation):
    repeat = True
    timed = True

    def path(self):
        return f"{self.w.work}/pool"

    def create(self):
        return ["pool", "create", self.path(), "--size", "320M"]

    def again(self):
        """As its message says: one that is there and not mounted is mounted first."""
        if self.w.run(*self.arguments()) == 0:
            return
        if "pool mount" not in self.w.output():
            raise RuntimeError(f"done again it says: {self.w.output()}")
        self.w.vmundo("pool", "mount", self.path())
        self.w.run(*self.arguments())

    def tear_down(self):
        self.w.run("recover")
        if os.path.exists(self.path()):
            self.w.vmundo("pool", "mount", self.path())
        if os.path.exists(self.path()) or os.path.exists(f"{self.path()}.d"):
            self.w.run("pool", "remove", self.path())
        if os.path.exists(f"{self.path()}.d"): # an empty mount point may be the user's, and stays if it was killed
            os.rmdir(f"{self.path()}.d")


class PoolCreate(Pool):
    def set_up(self):
        pass

    def arguments(self):
        return self.create()


class PoolGrow(Pool):
    def set_up(self):
        self.w.vmundo(*self.create())

    def arguments(self):
        return ["pool", "grow", self.path(), "--size", "400M"]


class PoolRemove(PoolGrow):
    def arguments(self):
        return ["pool", "remove", self.path()]


class Lvm(Operation):
    """On volume groups, with nothing in them. What is killed, lvm and mkfs go on after it, and keep the group busy."""
    repeat = True
    timed = True

    def __init__(self, world):
        super().__init__(world)
        if not hasattr(world, "spares"):
            raise Skipped("it is for a world on volume groups: -s lvm")

    def set_up(self):
        pass

    def settle(self):
        self.w.wait_for_programs()

    def new(self):
        return f"{self.w.group}/new"

    def create(self):
        return ["volume", "create", self.new(), "--size", "12M", "--fs", "ext4"]

    def tear_down(self):
        self.settle()
        if "new" in dict(self.w.volumes()):
            self.w.vmundo("volume", "remove", self.new())


class VolumeCreate(Lvm):
    def arguments(self):
        return self.create()


class VolumeResize(Lvm):
    def set_up(self):
        self.w.vmundo(*self.create())

    def arguments(self):
        return ["volume", "resize", self.new(), "24M"]


class VolumeRemove(VolumeResize):
    def arguments(self):
        return ["volume", "remove", self.new()]


class GroupCreate(Lvm):
    """A group of its own, with a thin pool, on the first of two disks."""
    def __init__(self, world):
        super().__init__(world)
        if len(world.spares) < 2:
            raise Skipped("there are not two disks in VMUNDO_FAULT_PVS")

    def create(self):
        return ["pool", "create", self.w.spare_group, self.w.spares[0], "--thin"]

    def arguments(self):
        return self.create()

    def again(self):
        """A group without its thin pool is removed, and what the disk has on it then is to be wiped."""
        self.w.run("pool", "remove", self.w.spare_group)
        self.w.vmundo(*self.arguments(), "--wipe")

    def tear_down(self):
        self.settle()
        self.w.remove_spare_group()


class GroupGrow(GroupCreate):
    def set_up(self):
        self.w.vmundo(*self.create())

    def arguments(self):
        return ["pool", "grow", self.w.spare_group, self.w.spares[1]]

    def is_told(self, output):
        return "the thin pool" in output and "did not grow" in output

    def again(self):
        """The disk is in the group already, and the thin pool has not grown: the group is told to take all that it has."""
        if self.w.run(*self.arguments()) != 0:
            self.w.vmundo("pool", "grow", self.w.spare_group)


class GroupRemove(GroupGrow):
    def arguments(self):
        return ["pool", "remove", self.w.spare_group]

    def again(self):
        """Without a group, what is left is the mark of LVM on its disks."""
        if self.w.run(*self.arguments()) == 3:
            self.w.wipe_spares()


operations = {
    "run": Run, "travel-reserve": TravelReserve, "rollback": Rollback, "rollback-forget": RollbackForget, "keep": Keep, "keep-stop": KeepStop, "drop": Drop,
    "stop": Stop, "start": Start, "checkpoint": Checkpoint, "checkpoint-ram": CheckpointRam, "travel": Travel, "undo": Undo,
    "prune": Prune, "prune-last": PruneLast, "prune-recorded": PruneRecorded, "merge": Merge, "pin": Pin, "unpin": Unpin, "fork": Fork,
    "drop-fork": DropFork, "keepto": KeepTo, "record": Record, "recover": Recover, "recover-finish": RecoverFinish,
    "volume-create": VolumeCreate, "volume-resize": VolumeResize, "volume-remove": VolumeRemove,
    "group-create": GroupCreate, "group-grow": GroupGrow, "group-remove": GroupRemove,
    "pool-create": PoolCreate, "pool-grow": PoolGrow, "pool-remove": PoolRemove,
}
