#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of a model in a Python library on the CPU, for peer.py --peer-command.

usage: python_peers.py transformers|transformers-nf4|openvino MODEL [--threads N] [--prompt N] [--generate N]

transformers      MODEL is a Hugging Face directory, run in BF16
transformers-nf4  the same, loaded by bitsandbytes as NF4 with double quantization, products in BF16
openvino          MODEL is a GGUF file that OpenVINO GenAI reads itself (Q4_0, Q8_0, F16)

Loads the model, warms up and prints `prefill N` and `decode N`: tokens per second of --prompt tokens into an empty cache, and
of --generate tokens one after the other after a single one. Tokens are random: with ignored ends, what they are does not
matter. Needs torch, transformers and bitsandbytes, or openvino-genai.
"""

import argparse
import time


def with_transformers(args, quantized):
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    options = {"dtype": torch.bfloat16}
    if quantized:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, device_map="cpu", **options).eval()
    tokens = torch.randint(3, model.config.vocab_size, (1, args.prompt), generator=torch.manual_seed(1))

    def prefill():
        start = time.perf_counter()
        model(tokens, use_cache=True, logits_to_keep=1)
        return args.prompt / (time.perf_counter() - start)

    def decode(count):
        state = model(tokens[:, :1], use_cache=True)
        start = time.perf_counter()
        for _ in range(count):
            chosen = state.logits[:, -1:].argmax(-1)
            state = model(chosen, past_key_values=state.past_key_values, use_cache=True)
        return count / (time.perf_counter() - start)

    with torch.inference_mode():
        prefill(), decode(4)
        return prefill(), decode(args.generate)


def with_openvino(args):
    import numpy
    import openvino
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(args.model, "CPU", INFERENCE_NUM_THREADS=args.threads)
    random = numpy.random.default_rng(1)

    def run(prompt, generate):
        config = openvino_genai.GenerationConfig(max_new_tokens=generate, ignore_eos=True, do_sample=False)
        ids = openvino.Tensor(random.integers(3, 30000, (1, prompt), dtype=numpy.int64))
        mask = openvino.Tensor(numpy.ones((1, prompt), dtype=numpy.int64))
        return pipeline.generate(openvino_genai.TokenizedInputs(ids, mask), config).perf_metrics

    run(args.prompt, 2), run(1, 4)
    first = run(args.prompt, 2).get_ttft().mean
    return args.prompt / first * 1000, 1000 / run(1, args.generate + 1).get_tpot().mean


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=["transformers", "transformers-nf4", "openvino"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    args = parser.parse_args()
    prefill, decode = (with_openvino(args) if args.library == "openvino"
                       else with_transformers(args, args.library == "transformers-nf4"))
    print(f"prefill {prefill:.2f}\ndecode {decode:.2f}")


if __name__ == "__main__":
    main()
