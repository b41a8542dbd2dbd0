#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times this build against llama.cpp (or a fork of it) on the same GGUF files, round by round in turn.

usage: peer.py --peer PATH | --peer-command COMMAND [--lathe FILE] [--rounds N] [--threads N] [--batch N,N] [--json FILE] MODEL.gguf …

PATH is llama-bench, or a folder that holds it (bin/ and build/bin/ are looked into too). COMMAND, to which the model's path is
added, is any other program that prints lines `prefill N` and `decode N` (python_peers.py). A MODEL may be written as
OURS=THEIRS where the two programs need different files. Each round runs, for each model, the peer and then Lathe, each in
a process of its own that warms up first:

  prefill   512 tokens into an empty cache
  decode    64 tokens, one after the other, from an empty cache
  batch     with --batch: N sequences of 32 tokens each decode 32 more together (llama-batched-bench); tokens of all of them
            per second

Printed are medians over the rounds, the smallest and largest value in brackets, and the ratio of the medians. What runs
beside it on the machine falsifies it; --prefix puts a command such as `taskset -c 0,1` before every program.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

PREFILL, DECODE, BATCH = 512, 64, 32
SECONDS = 600


def find(peer, name):
    if peer.is_file():
        peer = peer.parent
    for folder in (peer, peer / "bin", peer / "build" / "bin"):
        if (folder / name).is_file():
            return str(folder / name)
    raise SystemExit(f"peer.py: no {name} in {peer}, {peer}/bin or {peer}/build/bin")


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"peer.py: exit {done.returncode}: {shlex.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


class Peer:
    def __init__(self, args):
        self.bench = find(args.peer, "llama-bench")
        self.batched = find(args.peer, "llama-batched-bench") if args.batch else None
        self.prefix, self.threads = args.prefix, str(args.threads)
        self.more, self.batch = args.peer_args, args.batch

    def run(self, model):
        text = output([*self.prefix, self.bench, "-m", model, "-t", self.threads, "-p", str(PREFILL), "-n", str(DECODE),
                       "-r", "1", "-o", "json", *self.more])
        # Some forks print a line of their own before the result.
        for row in json.loads(text[text.index("["):]):
            yield "prefill" if row["n_gen"] == 0 else "decode", row["avg_ts"]
        if not self.batch:
            return
        positions = max(self.batch) * 2 * BATCH
        text = output([*self.prefix, self.batched, "-m", model, "-t", self.threads, "-c", str(positions),
                       "-npp", str(BATCH), "-ntg", str(BATCH), "-npl", ",".join(map(str, self.batch)),
                       "--output-format", "jsonl"])
        for line in text.splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                yield f"batch {row['pl']}", row["speed_tg"]


class Command:
    def __init__(self, args):
        self.command = [*args.prefix, *args.peer_command]

    def run(self, model):
        for line in output([*self.command, model]).splitlines():
            test, _, value = line.partition(" ")
            if test in ("prefill", "decode"):
                yield test, float(value)


class Lathe:
    def __init__(self, args):
        self.command = [*args.prefix, str(args.lathe), "profile"]
        self.options = ["--threads", str(args.threads), "--repetitions", "1", "--json", "--quiet"]
        self.batch = args.batch

    def rows(self, model, *more):
        return json.loads(output([*self.command, model, *self.options, *more]))["results"]

    def run(self, model):
        for row in self.rows(model, "--prompt", str(PREFILL), "--generate", "2"):
            if row["metric"] == "prefill_tokens_per_s":
                yield "prefill", row["value"]
        more = ["--batch", ",".join(map(str, self.batch))] if self.batch else []
        for row in self.rows(model, "--prompt", "1", "--generate", str(DECODE + 1), *more):
            if row["metric"] == "decode_tokens_per_s":
                yield "decode", row["value"]
            if row["metric"] == "batched_decode_tokens_per_s":
                yield f"batch {row['sequences']}", row["value"]


def spread(values):
    digits = 1 if statistics.median(values) < 200 else 0
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}–{max(values):.{digits}f}]"


def report(models, times):
    print("| model | test | peer, tok/s | Lathe, tok/s | Lathe / peer |\n|---|---|---|---|---|")
    for model in models:
        for test in times[model]:
            peer, ours = times[model][test]["peer"], times[model][test]["lathe"]
            if not peer or not ours:
                continue
            ratio = statistics.median(ours) / statistics.median(peer)
            print(f"| {Path(model).stem} | {test} | {spread(peer)} | {spread(ours)} | {ratio:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    peer = parser.add_mutually_exclusive_group(required=True)
    peer.add_argument("--peer", type=Path)
    peer.add_argument("--peer-command", type=shlex.split)
    parser.add_argument("--lathe", type=Path, default=Path("build/lathe"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[])
    parser.add_argument("--peer-args", type=shlex.split, default=[], help="for llama-bench, such as '-rtr 1'")
    parser.add_argument("--prefix", type=shlex.split, default=[], help="a command put before every program")
    parser.add_argument("--json", type=Path, help="also write every single value to this file")
    args = parser.parse_args()
    for name in [part for model in args.models for part in model.split("=")] + [args.lathe]:
        if not Path(name).exists():
            parser.error(f"{name}: no such file")
    programs = {"peer": Command(args) if args.peer_command else Peer(args), "lathe": Lathe(args)}
    times = {model: {} for model in args.models}
    for round_number in range(args.rounds):
        for model in args.models:
            files = model.split("=")
            for name, program in programs.items():
                print(f"round {round_number + 1} of {args.rounds}: {model}: {name}", file=sys.stderr)
                for test, value in program.run(files[-1] if name == "peer" else files[0]):
                    times[model].setdefault(test, {"peer": [], "lathe": []})[name].append(value)
    report(args.models, times)
    if args.json:
        args.json.write_text(json.dumps(times, indent=1) + "\n")


if __name__ == "__main__":
    main()
