# SPDX-License-Identifier: Apache-2.0
"""Trains the bundled model: one CPU core and an hour for `tiny`, a GPU for `sibling`.

    OMP_NUM_THREADS=1 python train.py --data DATA --out RUN --minutes 60

The learning rate warms up, stays, then falls linearly to zero at the planned end of wall-clock time, or of
processor time (`--processor-time`: on a machine that others use, or that pauses the run). Every
`--validate` minutes it logs, for each kind, the loss on answers and the share of answers that are right to the last
token when each token is predicted from the true ones before it. Stopped, it resumes from RUN/state.pt.
RUN/model is the exported model (average of the last weights); give it the tokenizer files to use it.
"""
import argparse
import json
import os
import signal
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import optimizer
from batches import Batches, Documents
from grammar import ANSWER, PLAIN
from model import CONFIGS, Llama, save
from prepare import SHARES


def rate(done, warm_up, decay_from):
    """Factor of the peak learning rate at fraction `done` of the time."""
    if done < warm_up:
        return max(done / warm_up, 0.01)
    return 1.0 if done < decay_from else max(0.0, (1 - done) / (1 - decay_from))


@torch.no_grad()
def validate(model, documents, pad, device, limit=64):
    """(loss per scored token, share of documents whose scored tokens are all the most likely ones)."""
    rows = [documents.get(i) for i in range(min(limit, len(documents)))]
    length = max(len(t) for t, _ in rows) - 1
    ids = torch.full((len(rows), length), pad)
    targets, scored = ids.clone(), torch.zeros(len(rows), length, dtype=torch.bool)
    for r, (t, c) in enumerate(rows):
        t = torch.from_numpy(t.astype(np.int64))
        ids[r, :len(t) - 1], targets[r, :len(t) - 1] = t[:-1], t[1:]
        c = torch.from_numpy(c[1:].astype(np.int64))
        scored[r, :len(c)] = (c == ANSWER) | (c == PLAIN)
    loss = count = right = 0
    for r in range(0, len(rows), 32):
        part = slice(r, r + 32)
        logits = model(ids[part].to(device)).float().cpu()
        flat = F.cross_entropy(logits.flatten(0, 1), targets[part].flatten(), reduction="none").view_as(targets[part])
        loss += float(flat[scored[part]].sum())
        count += int(scored[part].sum())
        right += int(((logits.argmax(-1) == targets[part]) | ~scored[part]).all(1).sum())
    return loss / count, right / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=sorted(CONFIGS), default="tiny")
    parser.add_argument("--data", required=True, help="folder that prepare.py wrote")
    parser.add_argument("--tokenizer", default=os.path.join(os.path.dirname(__file__), "../../models/tiny"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--processor-time", action="store_true",
                        help="count minutes of processor time, so that other programs' share does not shorten the run")
    parser.add_argument("--until", type=float, metavar="MINUTES",
                        help="stop at this point of the schedule, to go on later with other data or shares")
    parser.add_argument("--share", action="append", default=[], metavar="KIND=SHARE",
                        help="another share of the tokens for a kind; the shares are then scaled to sum to 1")
    parser.add_argument("--validate", type=float, default=5, metavar="MINUTES")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--rows", type=int, default=12, help="rows in a batch of short rows")
    parser.add_argument("--row-length", type=int, default=224)
    parser.add_argument("--long-every", type=int, default=24, help="each this-many-th batch has long rows")
    parser.add_argument("--matrix-lr", type=float, default=0.02)
    parser.add_argument("--other-lr", type=float, default=0.004)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--decay-from", type=float, default=0.3, help="fraction of the time where the rate begins to fall")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--steps", type=int, help="stop after this many steps (to measure speed)")
    args = parser.parse_args()

    shares = dict(SHARES)
    for given in args.share:
        kind, _, share = given.partition("=")
        if kind not in shares:
            parser.error(f"--share {given}: the kinds are {', '.join(shares)}")
        shares[kind] = float(share)
    end = 60 * (args.until if args.until is not None else args.minutes)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    os.makedirs(args.out, exist_ok=True)
    tokenizer = Tokenizer.from_file(os.path.join(args.tokenizer, "tokenizer.json"))
    config = CONFIGS[args.config]
    if args.layers:
        config.num_hidden_layers = args.layers
    model = Llama(config).to(device)
    averaged = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizers = optimizer.make(model, args.matrix_lr, args.other_lr, args.weight_decay)

    def weighted_loss(ids, targets, weights, mask):
        logits = model(ids, mask)
        token_loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        return (token_loss * weights.flatten()).sum() / weights.sum()

    loss_of = torch.compile(weighted_loss, dynamic=False) if args.compile else weighted_loss
    state_path = os.path.join(args.out, "state.pt")
    step = seen = 0
    spent = 0.0
    if os.path.exists(state_path):
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        averaged, step, seen, spent = state["averaged"], state["step"], state["seen"], state["spent"]
        for o, s in zip(optimizers, state["optimizers"]):
            o.load_state_dict(s)
    batches = Batches(args.data, tokenizer, shares, args.rows, args.row_length, config.max_position_embeddings,
                      args.seed + step)
    held_out = {kind: Documents(os.path.join(args.data, f"valid-{kind}.npz"), 0) for kind in SHARES}
    long_rows = max(1, args.rows * args.row_length // config.max_position_embeddings)
    log = open(os.path.join(args.out, "log.jsonl"), "a", buffering=1)
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {device}", flush=True)

    def checkpoint():
        torch.save({"model": model.state_dict(), "averaged": averaged, "step": step, "seen": seen, "spent": spent,
                    "optimizers": [o.state_dict() for o in optimizers]}, state_path + ".tmp")
        os.replace(state_path + ".tmp", state_path)
        save(model, os.path.join(args.out, "model"), averaged)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    now = time.process_time if args.processor_time else time.time
    begin = now() - spent
    next_check, recent = spent + 60 * args.validate, []
    while not stop and spent < end and (args.steps is None or step < args.steps):
        factor = rate(spent / (60 * args.minutes), 0.01, args.decay_from)
        for o in optimizers:
            for group in o.param_groups:
                group["lr"] = group["peak"] * factor
        long = args.long_every and step % args.long_every == args.long_every - 1
        ids, targets, weights, mask = batches.long(long_rows) if long else batches.short()
        ids, targets, weights = ids.to(device), targets.to(device), weights.to(device)
        mask = None if mask is None else mask.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=not args.float32):
            loss = loss_of(ids, targets, weights, mask)
        loss.backward()
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        step += 1
        seen += int((weights > 0).sum())
        keep = min(0.995, step / (step + 20))
        for k, v in model.state_dict().items():
            averaged[k].lerp_(v, 1 - keep)
        recent.append(float(loss.detach()))
        spent = now() - begin
        if step % 50 == 0:
            print(f"step {step} {spent / 60:.1f} min, {seen / 1e6:.2f} M tokens, {seen / spent:.0f} tok/s, "
                  f"lr x {factor:.2f}, loss {np.mean(recent[-50:]):.3f}", flush=True)
        if spent >= next_check:
            next_check = spent + 60 * args.validate
            weights_now = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(averaged)
            scores = {kind: validate(model, d, batches.pad, device) for kind, d in held_out.items()}
            model.load_state_dict(weights_now)
            row = {"step": step, "minutes": round(spent / 60, 2), "tokens": seen,
                   "loss": round(float(np.mean(recent[-100:])), 4),
                   "valid": {k: [round(x, 4) for x in v] for k, v in scores.items()}}
            log.write(json.dumps(row) + "\n")
            print("valid " + " ".join(f"{k} {l:.3f}/{100 * a:.0f}%" for k, (l, a) in scores.items()), flush=True)
            checkpoint()
            begin = now() - spent  # validation is not training time
    checkpoint()
    print(f"done: {step} steps, {seen} tokens, {spent / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
