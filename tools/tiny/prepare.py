# SPDX-License-Identifier: Apache-2.0
"""Generates and tokenizes the training documents, one file per kind, and small validation files.

    python prepare.py --tokenizer ../../models/tiny --out DATA --millions 30

A file `KIND.npz` holds `tokens` (uint16), `classes` (uint8, grammar's weight classes) and `offsets` (document
starts, int64). Every document is `<s> … </s>`. `valid-KIND.npz` is the same from the held-out side of the split.
"""
import argparse
import os

import numpy as np
from tokenizers import Tokenizer

from grammar import ANSWER
from questions import IMPOSSIBLE, SAME
from world import HELD_OUT_SEED, TRAIN_SEED, stream

# Share of the training tokens by kind: the trainer draws documents in the same proportions.
SHARES = {"story": 0.07, "squad": 0.60, "recall": 0.08, "gsm8k": 0.14, "drill": 0.03, "summary": 0.06, "translation": 0.02}
VALIDATION_OPTIONS = {"squad": {"count": 1, "facts": 4}, "gsm8k": {"shots": 0}}
BATCH = 2000


def encode(tokenizer, documents, token_budget=None, document_budget=None):
    """Returns (tokens, classes, offsets) of documents until a budget is reached."""
    bos, eos = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    tokens, classes, offsets = [], [], [0]
    while True:
        batch = [next(documents) for _ in range(BATCH if document_budget is None else document_budget)]
        pieces = [text for document in batch for text, _ in document.segments]
        encoded = iter(tokenizer.encode_batch(pieces, add_special_tokens=False))
        for document in batch:
            ids, kinds = [bos], [document.segments[0][1]]
            for _, weight_class in document.segments:
                piece = next(encoded).ids
                ids += piece
                kinds += [weight_class] * len(piece)
            ids.append(eos)
            kinds.append(ANSWER if kinds[-1] == ANSWER else kinds[-1])
            tokens.append(np.array(ids, np.uint16))
            classes.append(np.array(kinds, np.uint8))
            offsets.append(offsets[-1] + len(ids))
        if document_budget is not None or offsets[-1] >= token_budget:
            return np.concatenate(tokens), np.concatenate(classes), np.array(offsets, np.int64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--millions", type=float, default=30, help="training tokens, in millions")
    parser.add_argument("--same", type=float, default=SAME,
                        help="chance of a relation told of two subjects (a phase with 1 teaches to tell them apart)")
    parser.add_argument("--kinds", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--impossible", type=float, default=IMPOSSIBLE,
                        help="share of unanswerable questions in training (a first phase with few teaches the lookup)")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    tokenizer = Tokenizer.from_file(os.path.join(args.tokenizer, "tokenizer.json"))
    for kind in args.kinds:
        held = stream(kind, HELD_OUT_SEED + "-validation", held_out=kind not in ("drill", "recall"), **VALIDATION_OPTIONS.get(kind, {}))
        valid = encode(tokenizer, held, document_budget=200)
        options = {"impossible": args.impossible, "same": args.same} if kind == "squad" else {}
        train = encode(tokenizer, stream(kind, TRAIN_SEED, **options), token_budget=int(args.millions * 1e6 * SHARES[kind]))
        for prefix, data in (("valid-", valid), ("", train)):
            np.savez(os.path.join(args.out, f"{prefix}{kind}.npz"),
                     **dict(zip(("tokens", "classes", "offsets"), data)))
        documents = len(train[2]) - 1
        print(f"{kind}: {documents} documents, {len(train[0])} tokens, {len(train[0]) / documents:.1f} each", flush=True)


if __name__ == "__main__":
    main()
