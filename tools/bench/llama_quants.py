#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's quantized files, with importances of its own, beside Lathe's methods; Lathe evaluates both.

usage: llama_quants.py MODEL --bin FOLDER --calibration FILE --text FILE [--peer TYPE…] [--ours FORMAT=METHOD…]
                       [--samples N] [--length N] [--limit N] [--lathe build/lathe] [--work FOLDER] [--threads N]

MODEL is written as an F16 GGUF file, the baseline. FOLDER holds llama-imatrix and llama-quantize; the first reads as
many tokens of the calibration text as Lathe does (N windows of LENGTH tokens). Embeddings and lm_head stay in 16 bits on both sides,
so that the matrices of the blocks alone differ; printed are their bits per weight, the perplexity of FILE (llama.cpp's
convention, window 512, at most --limit windows), what is lost of it, and the KL divergence from the baseline. With
--work the files stay and a second call repeats only what is missing.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def block_bits(lathe, model):
    matrices = [m for m in json.loads(run(lathe, "inspect", model, "--matrices", "--json"))["model"]["matrices"]
                if ".layers." in m["name"]]
    return 8 * sum(m["bytes"] for m in matrices) / sum(m["rows"] * m["cols"] for m in matrices)


def score(options, model, base):
    command = [options.lathe, "eval", model, "--tasks", "perplexity", "--set", f"perplexity.data={options.text}",
               "--against", base, "--json", "--threads", options.threads]
    if options.limit:
        command += ["--limit", options.limit]
    rows = {(r["task"], r["metric"]): r["value"] for r in json.loads(run(*command))["results"]}
    return rows["perplexity", "ppl"], rows["divergence", "kl_mean"]


def peers(options, base, work):
    importances = work / "importances.gguf"
    if options.peer and not importances.exists():
        run(options.bin / "llama-imatrix", "-m", base, "-f", options.calibration, "-o", importances, "-c", options.length,
            "--chunks", options.samples, "-t", options.threads)
    for kind in options.peer:
        out = work / f"{kind}.gguf"
        if not out.exists():
            run(options.bin / "llama-quantize", "--imatrix", importances, "--token-embedding-type", "f16",
                "--output-tensor-type", "f16", base, out, kind, options.threads)
        yield f"llama.cpp {kind}, imatrix", out


def ours(options, base, work):
    for spec in options.ours:
        form, method = spec.split("=")
        out = work / spec.replace(":", "-").replace("=", "-")
        if not out.exists():
            command = [options.lathe, "compress", base, "-o", out, "--format", form, "--method", method, "--threads", options.threads]
            if method not in ("rtn", "hqq"):
                command += ["--calibration", options.calibration, "--samples", options.samples, "--sample-length", options.length]
            run(*command)
        yield f"{form}, {method}", out


def compare(options, work):
    base = work / "base.gguf"
    if not base.exists():
        run(options.lathe, "export", options.model, "--to", "gguf", "--format", "f16", "--no-verify", "-o", base)
    exact, _ = score(options, base, base)
    print(f"16 bits: perplexity {exact:.4f}", flush=True)
    print("| | bits/weight in the blocks | perplexity | loss | KL, nats |\n|---|---:|---:|---:|---:|", flush=True)
    for make in (peers, ours):
        for name, model in make(options, base, work):
            perplexity, divergence = score(options, model, base)
            print(f"| {name} | {block_bits(options.lathe, model):.2f} | {perplexity:.4f} | {perplexity - exact:.4f} | "
                  f"{divergence:.5f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--peer", nargs="*", default=["Q4_K_M", "Q3_K_M"])
    parser.add_argument("--ours", nargs="*", default=["nf4:b64=rtn", "int4:g64=awq+gptq", "int3:g64=awq+gptq"])
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--lathe", default="build/lathe")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.work:
        chosen.work.mkdir(parents=True, exist_ok=True)
        compare(chosen, chosen.work)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(chosen, pathlib.Path(folder))
