# SPDX-License-Identifier: LGPL-2.1-or-later
"""The small world in which a domain lives while faults are injected: XFS and ext4 in loop devices, images with a content
that is known, a state directory, and a way to run vmundo. look() says all of what it is like, as a list of lines, so that
two states can be compared; what differs from run to run between two equal states (times, numbers of instances) is not in it.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import leaks

HERE = os.path.dirname(os.path.realpath(__file__))
NOISE_AT, NOISE_SIZE = 320 << 10, 128 << 10


class Skipped(Exception):
    pass


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def scratch():
    """Memory, where there is enough: nothing here has to outlive a power cut, and flushing a disk takes most of the time."""
    memory = "/dev/shm"
    try:
        s = os.statvfs(memory)
    except OSError:
        return "/tmp"
    return memory if os.access(memory, os.W_OK) and s.f_bavail * s.f_frsize > 2 << 30 else "/tmp"


def sh(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class World:
    size = 1 << 20
    machine = 'type = "hvm"\nmemory = 64\nserial = "pty"\n'
    patience = int(os.environ.get("RIG_PATIENCE", "1"))

    def __init__(self, hypervisor):
        self.hypervisor = hypervisor
        build = os.path.realpath(os.environ.get("VMUNDO_BUILD", os.path.join(HERE, "../../build")))
        self.build = build
        self.program = os.environ.get("VMUNDO", f"{build}/src/cli/vmundo")
        self.inject = f"{build}/tests/fault/fault-inject.so"
        self.work = tempfile.mkdtemp(prefix="vmundo-test.", dir=os.environ.get("VMUNDO_FAULT_WORK", scratch()))
        self.state_dir = f"{self.work}/state"
        self.second = None
        self.known = {}
        self.mounted = []

    # ---- making it, and taking it down --------------------------------------------------------------------------

    def make(self, second):
        """second: "qcow2", an image on ext4, or "raw", another one on XFS"""
        self.need("mkfs.xfs", "qemu-img", "qemu-io")
        for kind in ("xfs", "ext4"):
            self.make_fs(kind)
        self.make_contents()
        sh("qemu-img", "convert", "-O", "qcow2", f"{self.pristine}/raw", f"{self.pristine}/qcow2")
        self.raw = f"{self.work}/xfs/raw.img"
        self.second = f"{self.work}/ext4/data.qcow2" if second == "qcow2" else f"{self.work}/xfs/second.img"
        self.second_format = second
        self.make_rest()

    def make_contents(self):
        self.pristine = f"{self.work}/pristine"
        os.mkdir(self.pristine)
        self.noise = os.urandom(NOISE_SIZE)
        content = os.urandom(self.size * 3 // 4) + bytes(self.size // 4)
        changed = content[:NOISE_AT] + self.noise + content[NOISE_AT + NOISE_SIZE:]
        for name, data in (("raw", content), ("changed", changed), ("noise", self.noise)):
            with open(f"{self.pristine}/{name}", "wb") as f:
                f.write(data)
        self.contents = {hashlib.sha256(content).hexdigest(): "raw", hashlib.sha256(changed).hexdigest(): "changed"}

    def make_rest(self):
        self.make_libexec()
        self.config = f"{self.work}/vm.cfg"
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f'name = "vm"\n{self.machine}disk = ['
                    f' "format=raw,vdev=xvda,access=rw,target={self.raw}",'
                    f' "format={self.second_format},vdev=xvdb,access=rw,target={self.second}" ]\n')
        self.restore_origins()
        self.vmundo("list")
        self.baseline = self.traces()

    @staticmethod
    def need(*programs):
        for program in programs:
            if not shutil.which(program):
                raise Skipped(f"{program} is not installed")

    def make_fs(self, kind):
        image, place = f"{self.work}/{kind}.image", f"{self.work}/{kind}"
        os.mkdir(place)
        with open(image, "wb") as f:
            f.truncate(512 << 20)
        sh(f"mkfs.{kind}", "-q", *(["-m", "reflink=1"] if kind == "xfs" else []), image)
        if subprocess.run(["mount", "-o", "loop", image, place], stderr=subprocess.DEVNULL, check=False).returncode:
            raise Skipped(f"cannot mount {kind} in a loop device here")
        self.mounted.append(place)

    def make_libexec(self):
        """Those that stay with a domain, in one directory as when they are installed; and, for faults in programs that are
        started, the same once more with fault-spawned in their place."""
        real = f"{self.work}/real"
        for folder in ("libexec", "wrapped", "real", "spawn"):
            os.mkdir(f"{self.work}/{folder}")
        os.symlink(real, f"{self.work}/spawn/real")
        for program in self.helpers():
            for folder in ("libexec", "real"):
                os.symlink(program, f"{self.work}/{folder}/{os.path.basename(program)}")
        for name in ("qemu-img", "qemu-system-x86_64", "mkfs.xfs", "mkfs.ext4", "lvm", "xl", "thin_delta"):
            if shutil.which(name):
                os.symlink(shutil.which(name), f"{real}/{name}")
        for name in os.listdir(real):
            os.symlink(f"{self.build}/tests/fault/fault-spawned", f"{self.work}/wrapped/{name}")

    def helpers(self):
        """Where they are: in the build; or in VMUNDO_FAULT_LIBEXEC, as they are installed."""
        installed = os.environ.get("VMUNDO_FAULT_LIBEXEC")
        if installed:
            return [f"{installed}/{name}" for name in os.listdir(installed)]
        return [f"{self.build}/src/{'monitor' if name == 'hook' else name}/vmundo-{name}"
                for name in ("monitor", "hook", "recorder", "reserve", "guard")]

    def close(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.end_processes()
        self.unmount([])
        shutil.rmtree(self.work, ignore_errors=True)

    def unmount(self, but):
        """All below our directory, and what of loop devices remains."""
        for line in reversed(list(leaks.mounts(self.work))):
            if line.split()[1] not in but:
                subprocess.run(["umount", "-l", line.split()[1]], check=False, stderr=subprocess.DEVNULL)
        for name, file in leaks.loop_files(self.work):
            if file not in [f"{place}.image" for place in but]:
                subprocess.run(["losetup", "-d", f"/dev/{name}"], check=False, stderr=subprocess.DEVNULL)

    # ---- running vmundo -----------------------------------------------------------------------------------------

    def environment(self, **more):
        env = {**os.environ, "LC_ALL": "C", "VMUNDO_STATE_DIR": self.state_dir,
               "VMUNDO_LIBEXEC_DIR": f"{self.work}/libexec"}
        env["PATH"] += ":/usr/sbin:/sbin"
        return {**env, **more}

    def start(self, arguments, env=None, program=None):
        with open(f"{self.work}/output", "wb") as out:
            return subprocess.Popen((program or []) + [self.program] + arguments, stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=out, env=env or self.environment(), start_new_session=True)

    def run(self, *arguments, env=None, seconds=60):
        """The exit code, negative for a signal; None: it hung, and was killed."""
        child = self.start(list(arguments), env)
        try:
            return child.wait(seconds * self.patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None

    def output(self):
        return leaks.read(f"{self.work}/output")

    def vmundo(self, *arguments):
        code = self.run(*arguments)
        if code != 0:
            raise RuntimeError(f"vmundo {' '.join(arguments)} ended with {code}: {self.output()}")
        return self.output()

    # ---- contents -----------------------------------------------------------------------------------------------

    def wait_for_reserve(self):
        """Until nobody makes one any more."""
        for _ in range(500):
            if not any("vmundo-reserve" in (leaks.status(pid) or "") for pid in leaks.processes()):
                return
            time.sleep(0.02)
        raise RuntimeError("vmundo-reserve does not end")

    def end_hanging(self):
        """What hangs as told and vmundo leaves alone: see Volumes."""

    def wait_for_guards(self):
        """There are none but in a world with volume groups."""

    def origins(self):
        return {self.raw: "raw", self.second: self.second_format}

    def restore_origins(self):
        for path, kind in self.origins().items():
            if not os.path.exists(path) or digest(path) != digest(f"{self.pristine}/{kind}"):
                shutil.copyfile(f"{self.pristine}/{kind}", path)

    def branches(self):
        """Of the running generation: the newest of each"""
        clones = [p for p in leaks.files(f"{self.work}/xfs") if re.search(r"@vm\..*\.1\.clone$", p)]
        overlays = [p for p in leaks.files(f"{self.work}/ext4") if p.endswith(".qcow2") and ".vmundo/" in p]
        return clones, sorted(overlays, key=lambda p: int(p.split(".")[-2]))[-1:]

    def change_branches(self):
        clones, overlays = self.branches()
        for path in clones:
            with open(path, "r+b") as f:
                f.seek(NOISE_AT)
                f.write(self.noise)
        for path in overlays:
            self.change_overlay(path)

    def change_overlay(self, path):
        """qemu-io takes long; the same overlay changed in the same way is the same file."""
        key = (path, digest(path))
        if key not in self.known:
            sh("qemu-io", "-f", "qcow2", "-c", f"write -q -s {self.pristine}/noise {NOISE_AT} {NOISE_SIZE}", path)
            with open(path, "rb") as f:
                self.known[key] = f.read()
            return
        with open(path, "r+b") as f:
            f.write(self.known[key])
            f.truncate()

    def content(self, path):
        """"raw", "changed", or neither"""
        if path.startswith(f"{self.work}/xfs"):
            return self.contents.get(digest(path), "other content")
        chain = [p for p in leaks.files(f"{self.work}/ext4") if p.endswith(".qcow2")]
        key = (path, tuple(sorted((p, digest(p)) for p in chain)))
        if key not in self.known:
            self.known[key] = self.compare(path)
        return self.known[key]

    def compare(self, path):
        for name in ("raw", "changed"):
            if subprocess.run(["qemu-img", "compare", "-q", "-U", "-f", "raw", "-F", "qcow2", f"{self.pristine}/{name}",
                               path], check=False, stderr=subprocess.DEVNULL).returncode == 0:
                return name
        return "other content"

    # ---- what it is like ----------------------------------------------------------------------------------------

    def traces(self):
        found = leaks.traces(self.work, [f"{self.work}/xfs", f"{self.work}/ext4"], self.state_dir)
        pools = leaks.read(f"{self.state_dir}/pools.json")
        return [line for line in found if "path" in pools or line != "state pools.json"] # that of no pools stays

    def normal_traces(self):
        for line in self.traces():
            if re.search(r"/run\.[0-9]*/\.*(saved\.json|moved)", line):
                continue
            yield re.sub(r"^process .*(qemu-system|vmundo-[a-z]+).*", r"process \1", re.sub(r"run\.[0-9]+", "run.N", line))

    def database(self):
        """Read with nothing of vmundo's."""
        with sqlite3.connect(f"file:{self.state_dir}/state.db?mode=ro", uri=True) as db:
            for row in db.execute("SELECT name, hypervisor, config, running, every_ms, record FROM domain ORDER BY name"):
                record = json.loads(row[5])
                base = {key: record.get(key) for key in ("base", "home", "generation", "reserve", "keep_reserve")}
                yield f"domain {row[:5]} {base}"
            for row in db.execute("SELECT domain, id, parent, label, recorded, pinned, running, ram, consistency FROM checkpoint"
                                  " ORDER BY domain, id"):
                yield f"checkpoint {row}"
            for row in db.execute("SELECT domain, verb, stage FROM operation WHERE ended_ms IS NULL"):
                yield f"unfinished {row}"
        db.close()

    def fold_log(self):
        """SQLite's log grows with each command, and is read by each: without this no two runs would have the same calls."""
        with sqlite3.connect(f"{self.state_dir}/state.db") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def power(self):
        for path in leaks.files(f"{self.state_dir}/domains"):
            if path.endswith("/running"):
                yield f"instance {re.sub('run.[0-9]+', 'run.N', os.path.relpath(path, self.state_dir))}: {leaks.read(path)}"
        if self.hypervisor != "null":
            for line in self.vmundo("list").splitlines()[1:]:
                yield f"listed {line.split()[:3]}"

    def images(self):
        for path in sorted(leaks.files(self.work)):
            inside = re.match(r"(xfs|ext4)/(\.vmundo/|kept/|raw\.img|second\.img|data\.qcow2)", os.path.relpath(path, self.work))
            if inside and os.path.isfile(path):
                yield f"image {os.path.relpath(path, self.work)}: {self.content(path)}"
        for path in self.origins():
            s = os.lstat(path)
            xattrs = [(k, os.getxattr(path, k)) for k in os.listxattr(path)]
            yield f"origin {path}: {s.st_mode:o} {s.st_uid} {s.st_gid} {s.st_size} {xattrs}"

    def pool(self):
        for path in (f"{self.work}/pool", f"{self.work}/pool.d"):
            if os.path.exists(path):
                room = os.statvfs(path).f_blocks if os.path.ismount(path) else 0
                yield f"pool {path}: {os.path.isdir(path) or os.path.getsize(path)} {room}"

    def reserves(self):
        """The generations that are in reserve. Their numbers are of no meaning."""
        with sqlite3.connect(f"file:{self.state_dir}/state.db?mode=ro", uri=True) as db:
            records = [json.loads(row[0]) for row in db.execute("SELECT record FROM domain")]
        db.close()
        return [r["reserve"] for r in records if r.get("reserve")]

    def look(self):
        mark = leaks.read(f"{self.state_dir}/id")
        lines = list(self.normal_traces()) + list(self.database()) + list(self.power()) + list(self.images()) \
            + list(self.pool())
        for n in self.reserves():
            lines = [re.sub(rf"(\.{n})(\.[0-9]+\.ram|\.clone)|('reserve': ){n}\b", r"\3.R\2", line) for line in lines]
        lines = [line.replace(mark, "ID") if mark else line for line in lines]
        return [re.sub(r"\.[0-9]+\.ram", ".N.ram", line) for line in lines] # the number of the instance, as with run.N

    # ---- beginning anew -----------------------------------------------------------------------------------------

    def end_processes(self):
        for _ in range(200): # whose parent ends becomes ours
            left = list(leaks.processes())
            if not left:
                return
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def begin_anew(self):
        """After a failure: everything that there is goes, with none of vmundo's help."""
        self.end_processes()
        self.unmount(self.mounted)
        shutil.rmtree(self.state_dir, ignore_errors=True)
        for place in self.mounted:
            for name in os.listdir(place):
                path = os.path.join(place, name)
                if path not in self.origins():
                    shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        for path in (f"{self.work}/pool", f"{self.work}/pool.d"):
            if os.path.exists(path):
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        self.restore_origins()
        self.vmundo("list")

