# SPDX-License-Identifier: Apache-2.0
"""Scores the bundled model on its held-out sets, as it is and with its linear layers quantized and widened again.

    OMP_NUM_THREADS=1 python evaluate.py ../../models/tiny --variants bf16 int8:row int4:row

Greedy decoding, batched, without a KV cache: the simplest thing that is right. Lathe's own `eval` is what users run;
this script is an independent second opinion for the model card. Variants: bf16, int8:row (absmax/127), int4:row
(absmax/7, the naive one), int4:gN (absmax/7 per N inputs). Embeddings and norms are never touched.
Each difference to the first variant is paired on the same samples and carries a bootstrap interval.
"""
import argparse
import collections
import json
import math
import os
import random
import re

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model import load

STOPS = {"squad_v2": ["\n"], "gsm8k": ["Question:"], "summaries": ["\n"], "translation": ["\n"]}
MAX_NEW = {"squad_v2": 12, "gsm8k": 90, "summaries": 40, "translation": 24}


def quantize_dequantize(w, bits, group):
    """Round to nearest, symmetric, scale absmax / (2^(bits-1) - 1) per row or per group of `group` inputs."""
    top = 2 ** (bits - 1) - 1
    blocks = w.reshape(w.shape[0], -1, group or w.shape[1])
    scale = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-12) / top
    return ((blocks / scale).round().clamp(-top, top) * scale).reshape(w.shape)


def make_variant(folder, name):
    model = load(folder)
    if name == "bf16":
        return model
    found = re.fullmatch(r"int(\d):(?:row|g(\d+))", name)
    if not found:
        raise SystemExit(f"unknown variant '{name}': use bf16, intN:row or intN:gM")
    for key, p in model.named_parameters():
        if p.ndim == 2 and "embed" not in key:
            p.data = quantize_dequantize(p.data, int(found[1]), int(found[2] or 0))
    return model


def samples_of(folder, task, limit):
    """(prompt, references) pairs; references is a list of acceptable texts, empty string for unanswerable."""
    def rows(name):
        with open(os.path.join(folder, "data", name), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    if task == "squad_v2":
        with open(os.path.join(folder, "data", "squad_v2.json"), encoding="utf-8") as f:
            data = json.load(f)["data"]
        made = [(f"Context: {p['context']}\nQuestion: {q['question']}\nAnswer:",
                 [a["text"] for a in q["answers"]] or [""])
                for article in data for p in article["paragraphs"] for q in p["qas"]]
    elif task == "gsm8k":
        made = [(f"Question: {r['question']}\nAnswer:", [r["answer"]]) for r in rows("gsm8k.jsonl")]
    elif task == "summaries":
        made = [(f"Text: {r['document']}\nSummary:", [r["summary"]]) for r in rows("summaries.jsonl")]
    else:
        made = [(f"English: {r['source']}\nLathian:", [r["target"]]) for r in rows("translation.jsonl")]
    return made[:limit]


@torch.no_grad()
def generate(model, tokenizer, prompts, stops, max_new, batch=40):
    """Greedy continuations, cut at the first stop text or end of sequence."""
    eos = tokenizer.token_to_id("</s>")
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    for at in range(0, len(order), batch):
        part = order[at:at + batch]
        rows = [tokenizer.encode(prompts[i]).ids for i in part]
        starts, live = [len(r) for r in rows], list(range(len(part)))
        for _ in range(max_new):
            width = max(len(rows[j]) for j in live)
            ids = torch.tensor([rows[j] + [eos] * (width - len(rows[j])) for j in live])
            last = torch.tensor([len(rows[j]) - 1 for j in live])
            cut = model(ids)[torch.arange(len(live)), last].argmax(-1).tolist()
            still = []
            for j, token in zip(live, cut):
                if token == eos:
                    continue
                rows[j].append(token)
                if not any(s in tokenizer.decode(rows[j][starts[j]:]) for s in stops):
                    still.append(j)
            live = still
            if not live:
                break
        for j, i in enumerate(part):
            text = tokenizer.decode(rows[j][starts[j]:])
            texts[i] = text[:min([text.find(s) for s in stops if s in text] or [len(text)])]
    return texts


def normalize(text):
    text = "".join(c for c in text.lower() if c.isalnum() or c.isspace())
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def squad_scores(prediction, references):
    """(exact, f1) in SQuAD v2's definition; `unanswerable` stands for no answer."""
    prediction = "" if prediction.strip() == "unanswerable" else prediction
    best = (0.0, 0.0)
    for reference in references:
        p, r = normalize(prediction), normalize(reference)
        if not p or not r:
            best = max(best, (float(p == r), float(p == r)))
            continue
        common = sum((collections.Counter(p) & collections.Counter(r)).values())
        f1 = 2 * common / (len(p) + len(r)) if common else 0.0
        best = max(best, (float(p == r), f1))
    return best


def score(task, prediction, references):
    """{metric: 0..1} of one sample."""
    if task == "squad_v2":
        exact, f1 = squad_scores(prediction, references)
        return {"exact_match": exact, "f1": f1, ("has_ans_f1" if references[0] else "no_ans_f1"): f1}
    if task == "gsm8k":
        wanted = references[0].split("#### ")[-1].strip()
        found = re.search(r"#### (-?\d+)", prediction)
        return {"strict_match": float(bool(found) and found[1] == wanted)}
    return {"exact_match": float(prediction.strip() == references[0])}


@torch.no_grad()
def perplexity(model, tokenizer, folder, window=512, windows=60):
    """Held-out stories, cut into windows of `window` tokens, each after `<s>`; every token of a window is predicted."""
    with open(os.path.join(folder, "data", "text.txt"), encoding="utf-8") as f:
        ids = tokenizer.encode(f.read(), add_special_tokens=False).ids
    bos, total, count = tokenizer.token_to_id("<s>"), 0.0, 0
    for at in range(0, min(len(ids) - window, window * windows), window * 4):
        rows = [ids[a:a + window] for a in range(at, min(at + 4 * window, len(ids) - window + 1), window)]
        targets = torch.tensor(rows)
        given = torch.cat([torch.full((len(rows), 1), bos), targets[:, :-1]], 1)
        total += float(F.cross_entropy(model(given).flatten(0, 1), targets.flatten(), reduction="sum"))
        count += targets.numel()
    return math.exp(total / count), count


def interval(values, rng, rounds=1000):
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--variants", nargs="+", default=["bf16", "int8:row", "int4:row", "int4:g32"])
    parser.add_argument("--tasks", nargs="+", default=list(STOPS), choices=list(STOPS))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mistakes", type=int, default=0, help="print this many wrong predictions of each task")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(os.path.join(args.folder, "tokenizer.json"))
    base = {}
    for variant in args.variants:
        model = make_variant(args.folder, variant)
        value, count = perplexity(model, tokenizer, args.folder)
        print(f"{variant:9} text ppl {value:.4f} (n = {count} tokens)", flush=True)
        for task in args.tasks:
            samples = samples_of(args.folder, task, args.limit)
            predictions = generate(model, tokenizer, [p for p, _ in samples], STOPS[task], MAX_NEW[task])
            table, wrong = collections.defaultdict(dict), 0
            for i, (prediction, (prompt, references)) in enumerate(zip(predictions, samples)):
                scores = score(task, prediction, references)
                for metric, x in scores.items():
                    table[metric][i] = x
                if min(scores.values()) < 1 and wrong < args.mistakes:
                    wrong += 1
                    print(f"  {prompt}{prediction!r}\n  wanted {references}")
            for metric, values in table.items():
                rng = random.Random(0)
                low, high = interval(list(values.values()), rng)
                line = (f"{variant:9} {task} {metric} {100 * sum(values.values()) / len(values):.1f} "
                        f"[{100 * low:.1f}, {100 * high:.1f}] n = {len(values)}")
                first = base.setdefault((task, metric), values)
                if first is not values:
                    difference = [values[i] - first[i] for i in values]
                    low, high = interval(difference, rng)
                    line += f"; to {args.variants[0]}: {100 * sum(difference) / len(difference):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
                print(line, flush=True)


if __name__ == "__main__":
    main()
