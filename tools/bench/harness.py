#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times lathe eval beside lm-evaluation-harness with transformers, on the same model, rows, machine and threads.

usage: harness.py MODEL --tasks gsm8k,arc_easy,mmlu [--lathe build/lathe] [--data FOLDER] [--limit N] [--peer-limit N]
                  [--batch N] [--dtype float32|bfloat16] [--max-tokens N] [--rounds N] [--threads N]

MODEL is a Hugging Face directory. FOLDER holds gsm8k/train.jsonl and gsm8k/test.jsonl; multiple-choice rows come from
tests/golden/eval/choice. gsm8k and mmlu have 5 shots, arc_easy none. The two programs run in turn, ROUNDS times; the
printed figures are medians of seconds per row. Lathe's include starting the program and loading the model, the
harness's do not.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = pathlib.Path(__file__).resolve().parents[2]
CHOICE = ROOT / "tests/golden/eval/choice"
PEER_FILES = {"gsm8k": "gsm8k/gsm8k.yaml", "arc_easy": "arc/arc_easy.yaml", "mmlu": "mmlu/default/mmlu_abstract_algebra.yaml"}
SHOTS = {"gsm8k": 5, "arc_easy": 0, "mmlu": 5}


def files_of(task, data):
    if task == "gsm8k":
        return data / "gsm8k/test.jsonl", data / "gsm8k/train.jsonl"
    return CHOICE / f"{task}.jsonl", CHOICE / f"{task}.jsonl"


def lathe(options, task):
    test, shots = files_of(task, options.data)
    command = [options.lathe, "eval", options.model, "--tasks", task, "--limit", str(options.limit), "--json", "--quiet",
               "--threads", str(options.threads), "--set", f"{task}.data={test}"]
    if SHOTS[task]:
        command += ["--set", f"{task}.shots={SHOTS[task]}", "--set", f"{task}.shots_data={shots}"]
    if task == "gsm8k":
        command += ["--set", f"gsm8k.max_tokens={options.max_tokens}"]
    start = time.perf_counter()
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    rows = json.loads(out)["results"]
    return seconds / rows[0]["n"], {r["metric"]: r["value"] for r in rows}


class Peer:
    def __init__(self, options):
        import torch
        from lm_eval.models.huggingface import HFLM
        torch.set_num_threads(options.threads)
        self.options = options
        self.model = HFLM(pretrained=options.model, dtype=options.dtype, device="cpu", batch_size=options.batch)

    def run(self, task, folder):
        import lm_eval
        import lm_eval.tasks
        test, shots = files_of(task, self.options.data)
        packaged = pathlib.Path(lm_eval.tasks.__file__).parent / PEER_FILES[task]
        text = (f"include: {packaged}\ntask: timed_{task}\ndataset_path: json\ndataset_name: null\ntag: null\n"
                f"dataset_kwargs:\n  data_files: {{test: {test}, train: {shots}}}\n"
                "validation_split: null\ntraining_split: train\nfewshot_split: train\ntest_split: test\n"
                "fewshot_config: {sampler: first_n}\n")
        (folder / f"{task}.yaml").write_text(text)
        manager = lm_eval.tasks.TaskManager(include_path=str(folder))
        start = time.perf_counter()
        found = lm_eval.simple_evaluate(
            model=self.model, tasks=[f"timed_{task}"], num_fewshot=SHOTS[task], task_manager=manager,
            limit=self.options.peer_limit, bootstrap_iters=0, gen_kwargs=f"max_gen_toks={self.options.max_tokens}")
        seconds = time.perf_counter() - start
        scores = {k.split(",")[0]: v for k, v in found["results"][f"timed_{task}"].items() if "stderr" not in k}
        return seconds / self.options.peer_limit, scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tasks", default="gsm8k,arc_easy,mmlu")
    parser.add_argument("--lathe", default=str(ROOT / "build/lathe"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--peer-limit", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    peer = Peer(options)
    for task in options.tasks.split(","):
        ours, theirs = [], []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                theirs.append(peer.run(task, pathlib.Path(folder))[0])
                ours.append(lathe(options, task)[0])
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{task:10s} lathe {a:8.4f} s/row [{min(ours):.4f}, {max(ours):.4f}]   lm-eval {b:8.4f} s/row "
              f"[{min(theirs):.4f}, {max(theirs):.4f}]   ratio {b / a:.2f}", flush=True)


main()
