# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of the machine a test has in use, looked up without vmundo's code: loop devices, mounts, processes, branches, files
in the state directory, locks on them. All that a test may leave is in these lists, or it is no leak.

The processes are the children of the reaper (tests/integration/reaper), which a daemon becomes when its parent has ended.
"""
import os
import re
import stat
import time


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def loop_files(work):
    for name in os.listdir("/sys/block"):
        file = name.startswith("loop") and read(f"/sys/block/{name}/loop/backing_file").strip()
        if file and work in file:
            yield name, file


def loops(work):
    for _, file in loop_files(work):
        yield f"loop {file}"


def mounts(work):
    for line in read("/proc/self/mountinfo").splitlines():
        if work in line:
            yield f"mount {line.split()[4]}"


def status(pid):
    """State and command line; None if it is gone, or only waits to be reaped."""
    text = read(f"/proc/{pid}/stat")
    state = text.rsplit(")", 1)[-1].split()[:1]
    if state in ([], ["Z"], ["X"]):
        return None
    return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()[:150]


def processes():
    """Pids of what commands have left running."""
    reaper = os.environ["REAPER_PID"]
    for task in os.listdir(f"/proc/{reaper}/task"):
        for pid in map(int, read(f"/proc/{reaper}/task/{task}/children").split()):
            if pid != os.getpid() and status(pid) is not None:
                yield pid


def files(top):
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            yield os.path.join(folder, name)


def branches(places, but):
    for place in places:
        for path in files(place):
            if ".vmundo" in os.path.basename(path) and not path.startswith(but):
                yield f"branch {path}"


def state(top):
    for path in files(top):
        if not os.path.basename(path).startswith("state.db"):
            kind = "" if stat.S_ISREG(os.lstat(path).st_mode) else "/"
            yield f"state {os.path.relpath(path, top)}{kind}"


def locks(top):
    """But those of the guard, which comes and goes as it likes: its own, and those on the database while it reads there."""
    inodes = set()
    for path in files(top):
        if path.endswith("/guard.lock"):
            continue
        try:
            found = os.lstat(path)
        except OSError:
            continue
        inodes.add(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    # The kernel gives the list in parts, and when it changes between two of them, a lock that stands still may be missing, or
    # be there twice.
    found = set()
    for _ in range(3):
        for line in read("/proc/locks").splitlines():
            fields = line.split()
            if "->" not in fields and len(fields) > 5 and fields[5] in inodes and \
                    "vmundo-guard" not in read(f"/proc/{fields[4]}/cmdline"):
                found.add((fields[1], fields[3], fields[5]))
    for kind, mode, _ in sorted(found):
        yield f"lock {kind} {mode}"


def settled_processes():
    """One that is just ending gets a moment for that."""
    for _ in range(100):
        found = sorted(status(pid) or "" for pid in processes())
        if not any(re.search("vmundo (?!-)", line) for line in found):
            return [f"process {line}" for line in found if line]
        time.sleep(0.01)
    return [f"process {line}" for line in found if line]


def traces(work, places, state_dir):
    found = list(loops(work)) + list(mounts(work)) + settled_processes() + list(branches(places, state_dir))
    if os.path.isdir(state_dir):
        found += list(state(state_dir)) + list(locks(state_dir))
    return sorted(found)
