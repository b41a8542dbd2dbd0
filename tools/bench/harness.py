#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times lathe eval beside lm-evaluation-harness with transformers, on the same model, rows, machine and threads.

usage: harness.py MODEL [--tasks gsm8k,mmlu,arc_easy] [--lathe build/lathe] [--data FOLDER] [--limit N] [--peer-limit N]
                  [--batch N] [--dtype float32|bfloat16] [--max-tokens N] [--rounds N] [--threads N] [--lock FILE]

MODEL is a Hugging Face directory. FOLDER holds gsm8k/train.jsonl and gsm8k/test.jsonl, and for mmlu
qa/mmlu_gemma_cpp.json (questions with five worked examples before each); without it, and for arc_easy, rows come from
tests/golden/eval/choice. gsm8k and mmlu have 5 shots, arc_easy none; mmlu's rows all name one subject, so that both
programs see one text. The two programs run in turn, ROUNDS times; printed are medians of seconds per row with the
smallest and largest. Lathe's time is that of the whole program, start and loading included; the harness's is what it
spends in its model alone. float32 is LATHE_MATH=exact, bfloat16 LATHE_MATH=fast. FILE is locked while something is
timed, for machines that several people share.
"""
import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = pathlib.Path(__file__).resolve().parents[2]
CHOICE = ROOT / "tests/golden/eval/choice"
PEER_FILES = {"gsm8k": "gsm8k/gsm8k.yaml", "arc_easy": "arc/arc_easy.yaml", "mmlu": "mmlu/default/mmlu_abstract_algebra.yaml"}
SHOTS = {"gsm8k": 5, "arc_easy": 0, "mmlu": 5}


def mmlu_rows(path):
    """Question rows of a file of few-shot prompts; the first prompt's worked examples are the shots of all."""
    shots, rows = [], []
    for sample in json.loads(path.read_text())["samples"]:
        blocks = re.findall(r"([^\n][^\0]*?)\n\(A\) (.*)\n\(B\) (.*)\n\(C\) (.*)\n\(D\) (.*)\n\nAnswer: ?([A-D]?)(?:\n\n|$)",
                            sample["prompt"].split("\n\n", 1)[1])
        parsed = [{"question": b[0], "choices": list(b[1:5]), "answer": "ABCD".find(b[5]) if b[5] else sample["input_label"],
                   "subject": "abstract_algebra"} for b in blocks]
        if len(parsed) == 6:
            shots = shots or parsed[:5]
            rows.append(parsed[5])
    return rows, shots


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def files_of(task, data, folder):
    """Test rows and worked examples."""
    if task == "gsm8k":
        return data / "gsm8k/test.jsonl", data / "gsm8k/train.jsonl"
    if task == "mmlu" and (data / "qa/mmlu_gemma_cpp.json").exists():
        rows, shots = mmlu_rows(data / "qa/mmlu_gemma_cpp.json")
        return write_rows(folder / "rows.jsonl", rows), write_rows(folder / "shots.jsonl", shots)
    return CHOICE / f"{task}.jsonl", CHOICE / f"{task}.jsonl"


def lathe(options, task, test, shots, folder):
    samples = folder / "samples.jsonl"
    command = [options.lathe, "eval", options.model, "--tasks", task, "--limit", str(options.limit), "--json", "--quiet",
               "--threads", str(options.threads), "--set", f"{task}.data={test}", "--samples", str(samples)]
    if SHOTS[task]:
        command += ["--set", f"{task}.shots={SHOTS[task]}", "--set", f"{task}.shots_data={shots}"]
    if task == "gsm8k":
        command += ["--set", f"gsm8k.max_tokens={options.max_tokens}"]
    environment = {**os.environ, "LATHE_MATH": "exact" if options.dtype == "float32" else "fast"}
    start = time.perf_counter()
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    seconds = time.perf_counter() - start
    rows = json.loads(out)["results"]
    texts = [json.loads(line).get("prediction", "") for line in samples.read_text().splitlines()]
    return seconds / rows[0]["n"], {r["metric"]: r["value"] for r in rows}, texts


class Peer:
    def __init__(self, options):
        import torch
        from lm_eval.models.huggingface import HFLM
        torch.set_num_threads(options.threads)
        self.options = options
        self.model = HFLM(pretrained=options.model, dtype=options.dtype, device="cpu", batch_size=options.batch)
        self.seconds, self.texts = 0, []
        for name in ("generate_until", "loglikelihood"):
            setattr(self.model, name, self.timed(getattr(self.model, name)))

    def timed(self, function):
        def call(requests, *rest, **named):
            start = time.perf_counter()
            out = function(requests, *rest, **named)
            self.seconds += time.perf_counter() - start
            self.texts += [text for text in out if isinstance(text, str)]
            return out
        return call

    def tokens(self, texts):
        """Mean length of answers, in tokens."""
        return statistics.mean(len(self.model.tokenizer.encode(text, add_special_tokens=False)) for text in texts)

    def run(self, task, test, shots, folder):
        import lm_eval
        import lm_eval.tasks
        packaged = pathlib.Path(lm_eval.tasks.__file__).parent / PEER_FILES[task]
        text = (f"include: {packaged}\ntask: timed_{task}\ndataset_path: json\ndataset_name: null\ntag: null\n"
                f"dataset_kwargs:\n  data_files: {{test: {test}, train: {shots}}}\n"
                "validation_split: null\ntraining_split: train\nfewshot_split: train\ntest_split: test\n"
                "fewshot_config: {sampler: first_n}\n")
        (folder / f"{task}.yaml").write_text(text)
        manager = lm_eval.tasks.TaskManager(include_path=str(folder))
        self.seconds, self.texts = 0, []
        found = lm_eval.simple_evaluate(
            model=self.model, tasks=[f"timed_{task}"], num_fewshot=SHOTS[task], task_manager=manager,
            limit=self.options.peer_limit, bootstrap_iters=0, gen_kwargs=f"max_gen_toks={self.options.max_tokens}")
        scores = {k: float(v) for k, v in found["results"][f"timed_{task}"].items() if isinstance(v, float)}
        return self.seconds / self.options.peer_limit, scores, self.texts


@contextlib.contextmanager
def alone(lock):
    if not lock:
        yield
        return
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tasks", default="gsm8k,mmlu,arc_easy")
    parser.add_argument("--lathe", default=str(ROOT / "build/lathe"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--peer-limit", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--lock")
    options = parser.parse_args()
    peer = Peer(options)
    for task in options.tasks.split(","):
        ours, theirs = [], []
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            files = files_of(task, options.data.resolve(), folder)
            for _ in range(options.rounds):
                with alone(options.lock):
                    theirs.append(peer.run(task, *files, folder))
                with alone(options.lock):
                    ours.append(lathe(options, task, *files, folder))
        a, b = ([run[0] for run in runs] for runs in (ours, theirs))
        ratio = statistics.median(b) / statistics.median(a)
        print(f"{task} {options.dtype}: lathe {statistics.median(a):.4f} s/row [{min(a):.4f}, {max(a):.4f}], "
              f"lm-eval {statistics.median(b):.4f} s/row [{min(b):.4f}, {max(b):.4f}], ratio {ratio:.2f}", flush=True)
        if peer.texts:
            print(f"  tokens of an answer, mean: lathe {peer.tokens(ours[-1][2]):.1f}, lm-eval {peer.tokens(peer.texts):.1f}",
                  flush=True)
        print(f"  scores: lathe {ours[-1][1]}, lm-eval {theirs[-1][1]}", flush=True)


main()
