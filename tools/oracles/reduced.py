#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether transformers reads the smaller or rotated models that `lathe compress` makes.

    tools/oracles/reduced.py LATHE MODEL CALIBRATION

MODEL (a Hugging Face directory) loses layers, heads and channels, or is rotated, and is exported to
a Hugging Face directory in f32. transformers must load that without missing or unexpected tensors.
  rotated      its logits must be those of MODEL
  smaller      they must be those of the same directory as Lathe runs it: the tokens of greatest
               probability after each of some prompts
Exit code 1 otherwise.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

RECIPES = {
    "layers": [{"layers": {"sparsity": 0.25}}],
    # Half of them: transformers wants the hidden size to be a multiple of the number of heads.
    "heads": [{"heads": {"sparsity": 0.5}}],
    "channels": [{"channels": {"sparsity": 0.25}}],
    "all": [{"layers": {"sparsity": 0.25}}, {"heads": {"sparsity": 0.5}},
            {"channels": {"sparsity": 0.25}}],
    "rotate": [{"rotate": {}}],
}
PROMPTS = ["The old man went to", "Question: where is the", "3 apples and 4 more"]
torch.set_num_threads(1)


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                       output_loading_info=True)
    return model, not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])


def logits(model, tokenizer, prompt):
    with torch.no_grad():
        return model(torch.tensor([tokenizer.encode(prompt)])).logits[0]


def continuation(lathe, folder, prompt, count):
    out = subprocess.run([lathe, "run", str(folder), "-p", prompt, "--max-tokens", str(count),
                          "--temperature", "0", "--quiet", "--json", "--threads", "1"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["text"]


def main():
    lathe, source, calibration = sys.argv[1:4]
    tokenizer = AutoTokenizer.from_pretrained(source)
    before, _ = load(source)
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for name, passes in RECIPES.items():
            folder = pathlib.Path(temporary) / name
            recipe = folder.with_suffix(".json")
            recipe.write_text(json.dumps({
                "passes": passes + [{"rtn": {"format": "f32"}}], "embeddings": "f32",
                "calibration": {"data": calibration, "samples": 8, "length": 128}}))
            made = folder.with_name(name + "-lathe")
            subprocess.run([lathe, "compress", source, "-r", str(recipe), "-o", str(made),
                            "--quiet", "--threads", "1"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([lathe, "export", str(made), "--to", "hf", "--format", "f32", "-o",
                            str(folder), "--quiet", "--threads", "1"], check=True,
                           stdout=subprocess.DEVNULL)
            after, whole = load(folder)
            size = sum(p.numel() for p in after.parameters())
            if name == "rotate":
                worst = max(float((logits(before, tokenizer, p) - logits(after, tokenizer, p)).abs().max())
                            for p in PROMPTS)
                same, said = worst < 1e-3, f"logits differ by at most {worst:.2g}"
            else:
                agree = 0
                for prompt in PROMPTS:
                    ids = torch.tensor([tokenizer.encode(prompt)])
                    with torch.no_grad():
                        made_ids = after.generate(ids, max_new_tokens=12, do_sample=False)
                    theirs = tokenizer.decode(made_ids[0][ids.shape[1]:], skip_special_tokens=True)
                    agree += theirs == continuation(lathe, folder, prompt, 12)
                same, said = agree == len(PROMPTS), f"{agree} of {len(PROMPTS)} continuations agree"
            print(f"{name:9} {size:9d} parameters, {'all' if whole else 'NOT ALL'} tensors fit; {said}")
            good &= whole and same
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
