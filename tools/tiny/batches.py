# SPDX-License-Identifier: Apache-2.0
"""Packs documents into training rows.

Short rows hold whole documents of all kinds, in the kinds' shares; a document never crosses a row and attention
never crosses documents. Long rows (max_position_embeddings) hold one kind each, its documents joined by blank
lines after one `<s>`: collections of stories, and sums or questions with many solved ones before them.
"""
import os

import numpy as np
import torch

from grammar import ANSWER, PLAIN, PROMPT

LOSS_WEIGHT = np.zeros(3, np.float32)
LOSS_WEIGHT[PLAIN], LOSS_WEIGHT[PROMPT], LOSS_WEIGHT[ANSWER] = 1.0, 0.1, 3.0
LONG_KINDS = ["story", "story", "story", "squad", "gsm8k"]


class Documents:
    """The documents of one file, drawn in a fresh random order in each round."""

    def __init__(self, path, seed):
        with np.load(path) as stored:
            self.tokens, self.classes, self.offsets = stored["tokens"], stored["classes"], stored["offsets"]
        self.rng = np.random.default_rng(seed)
        self.order, self.next, self.rounds = [], 0, 0

    def __len__(self):
        return len(self.offsets) - 1

    def get(self, index):
        a, b = self.offsets[index], self.offsets[index + 1]
        return self.tokens[a:b], self.classes[a:b]

    def draw(self):
        if self.next == len(self.order):
            self.order, self.next, self.rounds = self.rng.permutation(len(self)), 0, self.rounds + 1
        self.next += 1
        return self.get(self.order[self.next - 1])


class Batches:
    def __init__(self, folder, tokenizer, shares, rows, row_length, long_length, seed):
        self.sources = {kind: Documents(os.path.join(folder, f"{kind}.npz"), (seed, i))
                        for i, kind in enumerate(shares)}
        self.rng = np.random.default_rng((seed, 99))
        means = np.array([len(s.tokens) / len(s) for s in self.sources.values()])
        chance = np.array(list(shares.values())) / means
        self.kinds, self.chance = list(self.sources), chance / chance.sum()
        self.rows, self.row_length, self.long_length = rows, row_length, long_length
        self.bos, self.pad = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("<pad>")
        self.newline = tokenizer.encode("\n", add_special_tokens=False).ids[0]
        self.open = [[] for _ in range(2 * rows)]  # rows being filled: best fit keeps padding near 1 %

    def _draw(self):
        while True:
            kind = self.kinds[np.searchsorted(np.cumsum(self.chance), self.rng.random())]
            document = self.sources[kind].draw()
            if len(document[0]) <= self.row_length + 1:
                return document

    def short(self):
        """(ids, targets, weights, mask) of `rows` packed rows."""
        used = [sum(len(d[0]) - 1 for d in row) for row in self.open]
        misses = 0
        while misses < 24:
            document = self._draw()
            need = len(document[0]) - 1
            fits = [i for i, u in enumerate(used) if u + need <= self.row_length]
            if not fits:
                misses += 1
                continue
            best = max(fits, key=lambda i: used[i])
            self.open[best].append(document)
            used[best] += need
        fullest = sorted(range(len(used)), key=lambda i: -used[i])[:self.rows]
        rows = [self.open[i] for i in fullest]
        for i in fullest:
            self.open[i] = []
        return self._tensors(rows, self.row_length, masked=True)

    def long(self, rows):
        return self._tensors([[self._long_document()] for _ in range(rows)], self.long_length, masked=False)

    def _long_document(self):
        kind = LONG_KINDS[self.rng.integers(len(LONG_KINDS))]
        source, size = self.sources[kind], 1
        tokens, classes = [np.array([self.bos])], [np.array([PLAIN])]
        gap = 2 if kind == "story" else 1  # questions already end in a newline
        while size < self.long_length + 1:
            t, c = source.draw()
            if size == 1 and kind == "story" and self.rng.random() < 0.5:
                cut = self.rng.integers(1, len(t) - 2)  # as perplexity windows do, start inside a story
                t, c = t[cut:], c[cut:]
            else:
                t, c = t[1:], c[1:]
            tokens += [t[:-1], np.full(gap, self.newline)]
            classes += [c[:-1], np.full(gap, PLAIN)]
            size += len(t) - 1 + gap
        n = self.long_length + 1
        return np.concatenate(tokens)[:n], np.concatenate(classes)[:n]

    def _tensors(self, rows, length, masked):
        ids = np.full((len(rows), length), self.pad, np.int64)
        targets, weights = ids.copy(), np.zeros((len(rows), length), np.float32)
        owner = np.zeros((len(rows), length), np.int64)
        for r, row in enumerate(rows):
            at = 0
            for number, (tokens, classes) in enumerate(row):
                n = len(tokens) - 1
                ids[r, at:at + n], targets[r, at:at + n] = tokens[:-1], tokens[1:]
                weights[r, at:at + n] = LOSS_WEIGHT[classes[1:]]
                owner[r, at:at + n] = number + 1
                at += n
        mask = None
        if masked:
            owner = torch.from_numpy(owner)
            mask = (owner[:, None, :, None] == owner[:, None, None, :]) & torch.ones(length, length).tril().bool()
        return torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(weights), mask
