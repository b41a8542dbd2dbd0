#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a sweep of eight variants and four tasks on a real model twice, once undisturbed and once killed with -9 in the
middle, and compares every digit.

usage: killed_sweep.py MODEL --data FOLDER [--lathe build/lathe] [--kills N] [--seed N] [--threads N] [--keep FOLDER]

FOLDER holds text/wikitext2.test.raw, qa/squad_v2_dev_half.json, gsm8k/test.jsonl and summarization/dialogsum.test.jsonl.
A kill goes to the sweep and all that it has started, after a number of samples that the seed chooses, each kill in its
own part of what the undisturbed sweep wrote. Compared are every row of results.json (value, interval, difference,
p-values, verdict) and every line of samples.jsonl. Ends with 0 where nothing differs.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPERIMENT = """\
name: x
models: [{model}]
baseline: f16
variants:
  f16:      {{format: f16}}
  int8:     {{format: "int8:row"}}
  int4-g32: {{format: "int4:g32"}}
  int4-row: {{format: "int4:row"}}
  nf4:      {{format: "nf4:b64,dq"}}
  fp4:      {{format: "fp4:b64"}}
  pruned:   {{prune: {{method: magnitude, sparsity: 0.3}}, format: f16}}
  hybrid:   {{prune: {{method: magnitude, sparsity: 0.2}}, format: "int4:g32"}}
tasks:
  - perplexity: {{data: {data}/text/wikitext2.test.raw, window: 128, limit: 4}}
  - squad_v2: {{data: {data}/qa/squad_v2_dev_half.json, limit: 4, max_tokens: 8, batch: 2}}
  - gsm8k: {{data: {data}/gsm8k/test.jsonl, limit: 2, max_tokens: 24, batch: 1}}
  - dialogsum: {{data: {data}/summarization/dialogsum.test.jsonl, limit: 2, max_tokens: 16, batch: 1}}
probes: [size]
"""


def sample_lines(folder):
    """Whole lines of samples by variant, sorted: the order in which batches end is no part of the result."""
    lines = {}
    for path in sorted(folder.glob("x/*/samples.jsonl")):
        lines[path.parent.name] = sorted(path.read_text().split("\n")[:-1])
    return lines


def count(folder):
    return sum(len(lines) for lines in sample_lines(folder).values())


class Sweep:
    def __init__(self, arguments, runs):
        self.runs, self.errors = runs, tempfile.TemporaryFile()
        command = [arguments.lathe, "sweep", str(arguments.keep / "x.yaml"), "-o", str(runs), "--quiet", "--threads",
                   str(arguments.threads)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.errors, start_new_session=True)

    def finish(self):
        if self.process.wait() != 0:
            self.errors.seek(0)
            sys.exit(f"the sweep failed:\n{self.errors.read().decode()}")

    def kill_after(self, samples):
        while self.process.poll() is None and count(self.runs) < samples:
            time.sleep(0.02)
        if self.process.poll() is not None:
            sys.exit(f"the sweep ended before its kill after {samples} samples")
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--lathe", default=str(ROOT / "build/lathe"))
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="where the two sweeps are written (default: a folder that goes)")
    arguments = parser.parse_args()
    temporary = None
    if arguments.keep is None:
        temporary = tempfile.TemporaryDirectory()
        arguments.keep = pathlib.Path(temporary.name)
    arguments.keep.mkdir(parents=True, exist_ok=True)
    (arguments.keep / "x.yaml").write_text(
        EXPERIMENT.format(model=arguments.model.resolve(), data=arguments.data.resolve()))
    whole, killed = arguments.keep / "whole", arguments.keep / "killed"
    if killed.exists() or whole.exists():
        sys.exit(f"{arguments.keep} holds sweeps already; give another folder")

    start = time.monotonic()
    Sweep(arguments, whole).finish()
    total, seconds = count(whole), time.monotonic() - start
    print(f"undisturbed: {total} samples in {seconds:.0f} s")
    rng = random.Random(arguments.seed)
    for kill in range(arguments.kills):
        part = total / (arguments.kills + 1)
        at = int(part * (kill + 0.5 + rng.random()))
        Sweep(arguments, killed).kill_after(at)
        done = len(list(killed.glob("x/*/run.json")))
        print(f"kill -9 number {kill + 1}: at {count(killed)} samples, {done} of 8 runs finished")
    Sweep(arguments, killed).finish()

    ours, theirs = (json.loads((folder / "x/results.json").read_text())["results"] for folder in (killed, whole))
    numbers = sum(isinstance(value, (int, float)) for row in theirs for value in row.values())
    different = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]]
    for a, b in different[:5]:
        print("differs:", a, b, sep="\n  ")
    a, b = sample_lines(killed), sample_lines(whole)
    lines = sum(a.get(variant, []) != lines for variant, lines in b.items())
    print(f"{len(theirs)} rows with {numbers} numbers: {len(different)} rows differ"
          f"; samples of {len(b)} variants, {total} lines: {lines} variants differ")
    return 0 if not different and not lines and len(ours) == len(theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
