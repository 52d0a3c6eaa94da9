#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""concurrent.py VMUNDO WORK IMAGES SECONDS PROCESSES: random commands at once, some killed, against a model.

PROCESSES threads run one vmundo after the other on domains d0 … d7. What each said (exit code, when, killed or not) is
noted. Every few seconds nobody begins anything new on one of the domains, and when the last command on it has ended, it
is looked at: the log says in which order operations took effect, and there must be a way to give each of them to one of
the commands such that every command that reported success has its own, one that was killed has one or none, one that
was refused has none, and the model that carries them out in that order has just the state that is seen: is there a domain, does it run,
which checkpoints, and which content each checkpoint, the branch and the image have. Then new content is written to the
branch, as a guest would. So an update that is lost, or happens twice, or halfway, is seen.

A command that does not end within a minute is a deadlock. A refusal because of a lock must name a process that was at
work on that domain at that moment, with the command that it was.
"""
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time

VMUNDO, WORK, IMAGES, SECONDS, PROCESSES = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
DEADLINE = 60
SEED = int(os.environ.get("VMUNDO_TEST_SEED", time.time()))
KILLED = 0.2
TOKEN = 32
SHARED = ("d6", "d7")  # of one image, which is not kept then

problems = []
counts = {}
count_lock = threading.Lock()
recovers = []


def problem(text):
    with count_lock:
        problems.append(text)
    print("PROBLEM:", text, flush=True)


def count(what, n=1):
    with count_lock:
        counts[what] = counts.get(what, 0) + n


class Command:
    """One that was run, and what became of it."""

    def __init__(self, verb, label, args):
        self.verb, self.label, self.args = verb, label, args
        self.begun = self.ended = 0.0
        self.pid, self.code, self.killed, self.text = 0, None, False, ""

    def __repr__(self):
        return f"{' '.join(self.args)} -> {'killed' if self.killed else self.code} [{self.begun:.3f} {self.ended:.3f}]"


def run(command, kill_after=None):
    command.begun = time.time()
    with subprocess.Popen([VMUNDO] + command.args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as process:
        command.pid = process.pid
        try:
            out, _ = process.communicate(timeout=DEADLINE if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            command.killed = process.returncode == -9
            if kill_after is None:
                problem(f"does not end: {command}")
    command.text = out.decode(errors="replace")
    command.code = process.returncode
    command.ended = time.time()
    return command


class State:
    """A domain in the model. Contents are tokens; a checkpoint has one, and whether the domain ran then."""

    def __init__(self, origin):
        self.origin, self.exists, self.running = origin, False, False
        self.now, self.labels, self.left = None, {}, None

    def copy(self):
        other = State(self.origin)
        other.__dict__.update(self.__dict__)
        other.labels = dict(self.labels)
        return other

    def seen(self):
        if not self.exists:
            return (False, self.origin)
        return (True, self.running, self.now, self.origin, tuple(sorted(self.labels.items())), self.left)

    def apply(self, verb, label):
        """The state after that, None: it cannot be."""
        s = self.copy()
        if (verb == "run") == s.exists:
            return None
        if verb == "run":
            s.exists, s.running, s.now = True, True, s.origin
        elif verb in ("stop", "start"):
            if s.running != (verb == "stop"):
                return None
            s.running = verb == "start"
        elif verb == "checkpoint":
            if label in s.labels:
                return None
            s.labels[label] = (s.now, s.running)
        elif verb == "prune":
            if label not in s.labels:
                return None
            del s.labels[label]
        elif verb == "rollback":
            if label is not None and label not in s.labels:
                return None
            left = (s.now, s.running)
            (s.now, s.running), s.left = (s.origin, True) if label is None else s.labels[label], left
        elif verb == "undo":
            if s.left is None:
                return None
            (s.now, s.running), s.left = s.left, (s.now, s.running)
        elif verb in ("drop", "keep"):
            s.origin = s.now if verb == "keep" else s.origin
            s.exists, s.running, s.now, s.labels, s.left = False, False, None, {}, None
        return s


def token_at(path):
    try:
        with open(path, "rb") as f:
            return f.read(TOKEN).rstrip(b"\0").decode(errors="replace").strip()
    except OSError as e:
        return f"({e.strerror})"


class Domain:
    def __init__(self, name, image):
        self.name, self.image = name, image
        self.state = State(token_at(image))
        self.labels = []  # of late, whether they came to be or not
        self.gate = threading.Condition()
        self.inside, self.closed = 0, False
        self.commands, self.last_entry = [], 0
        self.entries()  # of before

    def enter(self):
        with self.gate:
            while self.closed:
                self.gate.wait()
            self.inside += 1

    def leave(self, command):
        with self.gate:
            self.inside -= 1
            if command:
                self.commands.append(command)
            self.gate.notify_all()

    def close(self):
        with self.gate:
            while self.closed:
                self.gate.wait()
            self.closed = True
            while self.inside:
                self.gate.wait()

    def open(self):
        with self.gate:
            self.closed = False
            self.gate.notify_all()

    # ---- looking --------------------------------------------------------------------------------------------------

    def ask(self, *args):
        command = run(Command(args[0], None, [*args, "--json"]))
        if command.code not in (0, 3):
            problem(f"{self.name}: {command}: {command.text.strip()}")
        return json.loads(command.text) if command.code == 0 else None

    def look(self):
        status = self.ask("status", self.name)
        if not status:
            return (False, token_at(self.image))
        branch = status["disks"][0]["branch"]
        head, generation, tail = branch.rsplit(".", 2)
        assert generation == str(status["generation"]), branch
        labels, left = [], None
        for row in self.ask("tree", self.name):
            if row["id"] == 0:
                continue
            content = (token_at(f"{head}.{row['id']}.{tail}"), row["state"] == "running")
            if row["label"]:
                labels.append((row["label"], content))
            else:
                left = content
        return (True, status["state"] == "running", token_at(branch), token_at(self.image), tuple(sorted(labels)), left)

    def entries(self):
        db = sqlite3.connect(f"file:{WORK}/state/state.db?mode=ro", uri=True, timeout=60)
        rows = db.execute("SELECT id, verb, begun_ms, ended_ms, outcome FROM operation WHERE domain=? AND id>?"
                          " ORDER BY id", (self.name, self.last_entry)).fetchall()
        db.close()
        if rows:
            self.last_entry = rows[-1][0]
        for row in rows:
            if row[3] is None:
                problem(f"{self.name}: operation {row} is unfinished after recover")
        return [r for r in rows if r[4] in ("done", "recovered")]

    # ---- is there a way? ------------------------------------------------------------------------------------------

    def explain(self, entries, commands, seen):
        """Search for an assignment of log entries to commands that ends in what is seen; depth first."""
        tried = set()

        def go(i, state, used):
            if (i, state.seen(), used) in tried:
                return None
            tried.add((i, state.seen(), used))
            if i == len(entries):
                owed = [c for k, c in enumerate(commands) if not used >> k & 1 and c.code == 0 and not c.killed
                        and c.verb not in ("stop", "start")]
                return state if not owed and state.seen() == seen else None
            _, verb, begun, ended, _ = entries[i]
            for k, c in enumerate(commands):
                if used >> k & 1 or c.logged != verb or not c.begun * 1000 - 2 <= begun <= c.ended * 1000 + 2:
                    continue
                if not c.killed and (c.code != 0 or ended > c.ended * 1000 + 2):
                    continue
                after = state.apply(c.verb, c.label)
                found = after and go(i + 1, after, used | 1 << k)
                if found:
                    return found
            return None

        return go(0, self.state, 0)

    def inspect(self):
        self.close()
        try:
            recover = run(Command("recover", None, ["recover"]))
            recovers.append(recover)
            if recover.code not in (0, 4):
                problem(f"{recover}: {recover.text.strip()}")
            entries, commands, self.commands = self.entries(), self.commands, []
            for c in commands:
                c.logged = "rollback" if c.verb == "undo" else c.verb
            check_holders(self, commands)
            seen = self.look()
            state = self.explain(entries, [c for c in commands if c.killed or c.code == 0], seen)
            count("looks")
            count("effects", len(entries))
            if not state:
                problem(f"{self.name}: no order of what was done explains what is there\n  before {self.state.seen()}\n"
                        f"  now    {seen}\n  log    {entries}\n  "
                        + "\n  ".join(map(str, sorted((c for c in commands if c.killed or not c.code),
                                                       key=lambda c: c.begun))))
                state = self.adopt(seen)
            self.state = state
            self.write()
        finally:
            self.open()

    def adopt(self, seen):
        s = State(seen[1] if not seen[0] else seen[3])
        if seen[0]:
            s.exists, s.running, s.now, s.labels, s.left = True, seen[1], seen[2], dict(seen[4]), seen[5]
        return s

    def write(self):
        """As a guest does."""
        if not self.state.exists:
            return
        self.state.now = f"{self.name} at {time.time():.3f}"
        with open(self.ask("status", self.name)["disks"][0]["branch"], "r+b") as f:
            f.write(self.state.now.encode().ljust(TOKEN, b"\0"))


def check_holders(domain, commands):
    """Exit 4 because of a lock: the process named was at it. recover takes the locks of all, one after the other."""
    for command in commands:
        named = re.search(r"worked on by '(\S+) \(process (\d+)\)'", command.text) if command.code == 4 else None
        if not named:
            continue
        count("refusals that name a process")
        if not any(c.pid == int(named[2]) and c.begun <= command.ended and c.ended >= command.begun
                   for c in commands + recovers):
            problem(f"{domain.name}: {command} names process {named[2]}, which was not at work: {command.text.strip()}")


def choose(rng, domain, n):
    verb = rng.choices(["run", "rollback", "undo", "drop", "stop", "start", "checkpoint", "prune", "keep"],
                       [20, 14, 4, 3, 10, 6, 16, 8, 9 if domain.name not in SHARED else 0])[0]
    label = None
    if verb == "checkpoint":
        label = f"c{n}"
        domain.labels = domain.labels[-3:] + [label]
    elif verb == "prune" or (verb == "rollback" and rng.random() < 0.6):
        label = rng.choice(domain.labels) if domain.labels else None
        if not label:
            verb, label = "run", None
    name = domain.name
    args = {"run": ["run", "-H", "null", f"{WORK}/{name}.cfg"], "rollback": ["rollback", name] + ([label] if label else []),
            "undo": ["rollback", "--undo", name], "stop": ["stop", "--force", name], "keep": ["keep", name],
            "checkpoint": ["checkpoint", name, label or ""], "prune": ["prune", name, label or ""]}
    return Command(verb, label, args.get(verb, [verb, name]))


numbers = iter(range(1, 1 << 60))


def worker(k, domains, until):
    rng = random.Random(SEED * 1000 + k)
    while time.time() < until and len(problems) < 6:
        if rng.random() < 0.1:  # those who only look are never in the way, and never see half of something
            command = run(Command("look", None, rng.choice([["list", "--json"], ["log", "--json"], ["status", "d0"]])))
            if command.code not in (0, 3) or "Traceback" in command.text:
                problem(f"{command}: {command.text.strip()}")
            count("commands")
            continue
        domain = rng.choice(domains)
        domain.enter()
        command = None
        try:
            with count_lock:
                command = choose(rng, domain, next(numbers))
            kill = rng.choice([rng.uniform(0.002, 0.03), rng.uniform(0.01, 0.3)]) if rng.random() < KILLED else None
            run(command, kill)
            count("commands")
            count("killed" if command.killed else f"exit code {command.code}")
            if not command.killed and command.code not in (0, 2, 3, 4, 5):
                problem(f"{command}: {command.text.strip()}")
        finally:
            domain.leave(command)


def main():
    print("VMUNDO_TEST_SEED", SEED, flush=True)
    domains = [Domain(f"d{n}", f"{IMAGES}/d{min(n, 6)}.img") for n in range(8)]
    until = time.time() + SECONDS
    threads = [threading.Thread(target=worker, args=(k, domains, until)) for k in range(PROCESSES)]
    for t in threads:
        t.start()
    turn = 0
    while time.time() < until and len(problems) < 6:
        time.sleep(0.1)
        domains[turn % len(domains)].inspect()
        turn += 1
    for t in threads:
        t.join(DEADLINE * 3)
        if t.is_alive():
            problem("a command does not end")
            os._exit(1)
    for domain in domains:
        domain.inspect()
    for key in sorted(counts):
        print(f"{key}: {counts[key]}")
    sys.exit(1 if problems else 0)


main()
