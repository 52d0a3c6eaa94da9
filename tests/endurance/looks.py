# SPDX-License-Identifier: LGPL-2.1-or-later
"""What there is of vmundo's: a look at it, to be compared with another, taken with the command line and with one's own eyes."""
import fnmatch
import json
import os
import re
import subprocess
import tempfile

SECTOR = 512


def check(ok, text):
    if not ok:
        raise AssertionError(text)


VMUNDO = os.environ["VMUNDO"]
VOLATILE = {"state", "started", "since", "used", "detail"}  # a test may add to it


def vmundo(*args, codes=(0,)):
    p = subprocess.run([VMUNDO, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60,
                       check=False)
    out = p.stdout.decode(errors="replace")
    check(p.returncode in codes, f"vmundo {' '.join(args)}: exit code {p.returncode}: {out}")
    return out


def steady(text):
    rows = json.loads(text)
    for row in rows:
        if row.get("recorded"):
            row["recorded"] = True
        for key in VOLATILE:
            row.pop(key, None)
    return rows


class Look:
    """domains, their trees, files with their content, names in the state directory; which files guests write to, and which
    are what a rollback has left behind."""

    def __init__(self, where):
        state = os.environ["VMUNDO_STATE_DIR"]
        self.domains, self.trees, self.files, self.active, self.left = steady(vmundo("list", "--json")), {}, {}, set(), []
        for name in (d["name"] for d in self.domains):
            self.trees[name] = steady(vmundo("tree", name, "--all", "--json"))
            self.left += [f"@{name}.*.{row['id']}.*" for row in self.trees[name] if not row["label"] and not row["recorded"]]
        self.state = state_names(f"./{name}" for _, name in files_below(state))
        for path, name in files_below(where):
            if not path.startswith(f"{state}/") and not name.endswith(".cfg"):
                self.files[name] = content(path)

    def find_active(self, where):
        for name in (d["name"] for d in self.domains):
            status = json.loads(vmundo("status", name, "--json"))
            self.active |= {os.path.relpath(d["branch"], where) for d in status["disks"] if d.get("branch")}
            rams = [f for f in self.files if re.search(rf"@{re.escape(name)}[.].*[.]ram$", f)]
            self.active |= set(sorted(rams, key=lambda f: [int(n) for n in f.split(".")[-3:-1]])[-1:])

    def may_be_torn(self, name):
        return name in self.active or any(fnmatch.fnmatch(name, "*" + pattern) for pattern in self.left)

    @staticmethod
    def noted(directory, where):
        subprocess.run(["cp", "-a", f"{directory}/.", where], check=True)
        look = Look(where)
        look.find_active(where)
        subprocess.run(["find", where, "-mindepth", "1", "-delete"], check=True)
        return look


def files_below(top):
    for directory, _, names in os.walk(top):
        for name in names:
            path = f"{directory}/{name}"
            yield path, os.path.relpath(path, top)


def content(path):
    if path.endswith(".qcow2"):
        with tempfile.NamedTemporaryFile() as raw:
            subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, raw.name], check=True)
            return raw.read()
    with open(path, "rb") as f:
        return f.read()


# Which files an instance's directory holds is the hypervisor's business, and a lock file is only removed in passing.
def state_names(names):
    return sorted(n for n in names if n and "/run." not in n and "state.db" not in n and "/locks/" not in n)


def summary(data):
    tags = [bytes(data[i:i + 8]).decode(errors="replace") for i in range(0, len(data), SECTOR)]
    runs = []
    for tag in tags:
        if not runs or runs[-1][0] != tag:
            runs.append([tag, 0])
        runs[-1][1] += 1
    return f"{len(data)} bytes: " + " ".join(f"{tag}x{n}" for tag, n in runs[:12])
