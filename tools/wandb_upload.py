#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends finished runs to Weights & Biases through its own client (pip install wandb).

    tools/wandb_upload.py RUNS… [--project NAME] [--entity NAME]

RUNS are folders that `lathe sweep` wrote. Each run becomes a W&B run in a group named after the experiment; its id follows
from the sweep, the run and its settings, so that sending it again updates it. Verdicts are corrected over the sweep (Holm). WANDB_API_KEY, WANDB_BASE_URL and
WANDB_MODE=offline (which writes ./wandb for a later `wandb sync`) work as everywhere with wandb.
"""
import argparse
import hashlib
import json
import math
import pathlib
import sys


def find_runs(folders):
    for folder in map(pathlib.Path, folders):
        files = [f for f in sorted(folder.rglob("run.json")) if "model" not in f.relative_to(folder).parts]
        if not files:
            sys.exit(f"wandb_upload: {folder} holds no runs (no run.json)")
        for file in files:
            try:
                run = json.loads(file.read_text())
                run["id"], run["variant"], run["status"], run["results"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                sys.exit(f"wandb_upload: {file}: not a run: {error!r}")
            yield file.parent, run


def root_of(folder, run):
    for _ in pathlib.PurePosixPath(run["id"]).parts:
        folder = folder.parent
    return folder


def run_key(folder, run):
    root = root_of(folder, run)
    sweep = root / "sweep_id"
    # Without an id (a sweep that was never tracked) the place on this machine stands in for it.
    name = sweep.read_text().split()[0] if sweep.exists() else str(root.resolve())
    settings = (folder / "hash").read_text() if (folder / "hash").exists() else ""
    sha = lambda text: hashlib.sha256(text.encode()).hexdigest()
    return sha(f"{sha(name)}/{run['id']}/{settings}")[:32]


def correct(runs):
    """Verdicts by Holm's procedure over one metric of one task in all runs of an experiment, as the sweep's table has them."""
    families = {}
    for run in runs:
        experiment = (run.get("experiment") or {}).get("name", "")
        for row in run["results"] if run["status"] != "failed" else []:
            if isinstance(row.get("p_value"), (int, float)):
                key = (experiment, row["task"], row["metric"], row.get("convention") or "")
                families.setdefault(key, []).append(row)
    for rows in families.values():
        largest = 0.0
        for rank, row in enumerate(sorted(rows, key=lambda r: r["p_value"])):
            largest = max(largest, (len(rows) - rank) * row["p_value"])
            row["p_holm"] = min(1.0, largest)
            if row["p_holm"] >= 0.05 and row.get("verdict") in ("better", "worse"):
                row["verdict"] = "undecided"


def summary_of(run):
    out = {"status": run["status"]}
    for row in run["results"]:
        key = f"{row['task']}/{row['metric']}" + (f".{row['convention']}" if row.get("convention") else "")
        for suffix, field in (("", "value"), (".low", "low"), (".high", "high"), (".delta", "baseline_delta"), (".p_holm", "p_holm"),
                              (".verdict", "verdict")):
            if row.get(field) not in (None, ""):
                out[key + suffix] = row[field]
    return out


def running_means(folder):
    """(samples so far, {"running/task/score": mean}) as samples.jsonl grows."""
    file = folder / "samples.jsonl"
    if not file.exists():
        return
    sums, counts = {}, {}
    for line in file.read_text(errors="replace").splitlines():
        try:
            sample = json.loads(line)
        except ValueError:
            continue  # cut short by a crash
        task = sample.get("task", "")
        counts[task] = counts.get(task, 0) + 1
        for name, value in sample.get("scores", {}).items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                sums[task, name] = sums.get((task, name), 0) + value
        yield counts[task], {f"running/{t}/{n}": s / counts[t] for (t, n), s in sums.items() if t == task}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders that lathe sweep wrote")
    parser.add_argument("--project", help="project (default: the experiment's name)")
    parser.add_argument("--entity", help="team or user (default: the account's)")
    options = parser.parse_args()
    runs = list(find_runs(options.runs))
    # A run's verdicts depend on the other runs of its sweep, those that are not sent included.
    everyone = {}
    for root in {root_of(folder, run).resolve() for folder, run in runs}:
        everyone |= {folder.resolve(): run for folder, run in find_runs([root])}
    correct(everyone.values())
    runs = [(folder, everyone.get(folder.resolve(), run)) for folder, run in runs]
    try:
        import wandb
    except ImportError:
        sys.exit("wandb_upload: the wandb package is missing: pip install wandb")
    for folder, run in runs:
        experiment = run.get("experiment") or {}
        name = experiment.get("name", "lathe")
        config = {k: run.get(k) for k in ("variant", "baseline", "model", "recipe", "tasks", "environment")}
        with wandb.init(project=options.project or name, entity=options.entity, group=name, name=run["id"], job_type="lathe",
                        id=run_key(folder, run), resume="allow", config=config) as target:
            for _, means in running_means(folder):
                target.log(means)
            target.summary.update(summary_of(run))
            for file in ("run.json", "samples.jsonl", "trace.json", "memory.json"):
                if (folder / file).exists():
                    target.save(str((folder / file).resolve()), base_path=str(folder.resolve()), policy="now")
            if run["status"] != "done":
                target.summary["error"] = run.get("error")
                target.finish(exit_code=1)


if __name__ == "__main__":
    main()
