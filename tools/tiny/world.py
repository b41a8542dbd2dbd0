# SPDX-License-Identifier: Apache-2.0
"""The small world: a seeded stream of training documents, and held-out evaluation sets that do not overlap it.

Every document names the combinations it teaches (`Document.keys`, e.g. this relation of this person with this
value). `grammar.is_held_out` assigns each combination to one side. `stream(..., held_out=False)` gives only
documents whose combinations are all on the training side; the evaluation sets use only combinations of the other side.

    python3 world.py --show squad            prints a few documents of a kind
    python3 world.py --write ../../models/tiny/data
"""
import argparse
import json
import os
import random

from grammar import Document, is_held_out
from questions import reading, recall
from stories import story, summary
from sums import drill, gsm8k, sum_story
from translation import translation

KINDS = {"story": story, "squad": reading, "gsm8k": gsm8k, "drill": drill, "summary": summary,
         "translation": translation, "recall": recall}
TRAIN_SEED, HELD_OUT_SEED = "lathe-world-train", "lathe-world-test"


def stream(kind, seed, held_out=False, **options):
    """Endless documents of one kind. With `held_out`, every combination in a document is a held-out one."""
    rng = random.Random(f"{seed}/{kind}/{'held-out' if held_out else 'train'}")
    make = KINDS[kind]
    while True:
        document = make(rng, **options)
        if all(is_held_out(key) == held_out for key in document.keys):
            yield document


def _take(documents, count):
    return [next(documents) for _ in range(count)]


def squad_set(seed, count):
    """SQuAD v2's own JSON shape. One paragraph gives one to three questions; articles are named after a subject."""
    rng = random.Random(f"{seed}/squad-set")
    articles, total, impossible, seen = {}, 0, 0, set()
    while total < count:
        document = reading(rng, count=rng.choice([4, 6]), facts=rng.randint(3, 6))
        context = document.fields["context"]
        held = [q for q in document.fields["questions"] if is_held_out(q["key"])]
        if 3 * (impossible + 1) > total + 3:  # keep the unanswerable ones at a third
            held = [q for q in held if q["start"] >= 0]
        if not held or context in seen:
            continue
        seen.add(context)
        qas = []
        for q in held:
            answers = [] if q["start"] < 0 else [{"text": q["answer"], "answer_start": q["start"]}]
            qas.append({"id": f"tiny-{total:04d}", "question": q["question"], "is_impossible": not answers,
                        "answers": answers})
            total += 1
            impossible += not answers
        articles.setdefault(document.fields["subject"], []).append({"context": context, "qas": qas})
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]
    return {"version": "lathe-tiny-1", "data": data}


def gsm8k_set(seed, count):
    rng = random.Random(f"{seed}/gsm8k-set")
    rows, seen = [], set()
    while len(rows) < count:
        question, answer, key = sum_story(rng)
        if is_held_out(key) and key not in seen:
            seen.add(key)
            rows.append({"question": question, "answer": answer})
    return rows


def plain_text(seed, size_bytes):
    """Held-out stories separated by blank lines."""
    documents, out, size = stream("story", seed, held_out=True), [], 0
    while size < size_bytes:
        out.append(next(documents).text)
        size += len(out[-1]) + 2
    return "\n\n".join(out) + "\n"


CALIBRATION_SHARES = {"story": 4, "squad": 3, "gsm8k": 4, "summary": 2, "translation": 2}


def calibration_text(seed, size_bytes):
    """Documents of the training distribution (training side of the split, a seed of its own)."""
    rng = random.Random(f"{seed}/calibration")
    streams = {kind: stream(kind, seed + "-calibration") for kind in CALIBRATION_SHARES}
    kinds = [kind for kind, share in CALIBRATION_SHARES.items() for _ in range(share)]
    out, size = [], 0
    while size < size_bytes:
        out.append(next(streams[rng.choice(kinds)]).text.rstrip("\n"))
        size += len(out[-1]) + 2
    return "\n\n".join(out) + "\n"


def write_sets(folder, seed=HELD_OUT_SEED):
    """Writes every evaluation file; the bytes depend on the seed only."""
    os.makedirs(folder, exist_ok=True)

    def put(name, text):
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as f:
            f.write(text)

    def lines(rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    put("squad_v2.json", json.dumps(squad_set(seed, 1000), indent=1) + "\n")
    put("gsm8k.jsonl", lines(gsm8k_set(seed, 500)))
    put("text.txt", plain_text(seed, 150_000))
    put("calibration.txt", calibration_text(TRAIN_SEED, 150_000))
    put("summaries.jsonl", lines(d.fields for d in _take(stream("summary", seed, held_out=True), 150)))
    put("translation.jsonl", lines(d.fields for d in _take(stream("translation", seed, held_out=True), 150)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", choices=sorted(KINDS), help="print a few training documents of this kind")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--write", metavar="FOLDER", help="write the evaluation sets there")
    args = parser.parse_args()
    if args.show:
        print("\n---\n".join(d.text for d in _take(stream(args.show, TRAIN_SEED), args.count)))
    if args.write:
        write_sets(args.write)


if __name__ == "__main__":
    main()
