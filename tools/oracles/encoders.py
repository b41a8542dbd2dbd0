#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Vectors of sentence encoders, from transformers.

    encoders.py tiny OUT                       OUT/: a tiny random BERT as sentence-transformers saves it, and golden.json
    encoders.py vectors MODEL OUT.json TEXT…   golden.json of a model that is there, for the lines of text files and
                                               the texts of .jsonl rows [--count N: so many of each, evenly spread]
    encoders.py samples MODEL SAMPLES.jsonl    recomputes every `coherence` of a samples file
    encoders.py speed MODEL OUT.json           texts a second over the texts of a golden file [--threads N]

golden.json: {"generator", "versions", "max_tokens", "texts", "ids", "vectors"}. A vector is the mean of the last hidden
states over all tokens of the text, special ones included, scaled to length 1, in float32: what sentence-transformers
computes for this chain of modules; `vectors` compares with that library where it is installed.
"""
import argparse
import json
import pathlib
import time

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

GENERATOR = "tools/oracles/encoders.py"
SEED = 7301
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghilmnoprstuwy"
WORDS = ["the", "cat", "sat", "on", "a", "mat", "snow", "fell", "all", "day", "cafe", ".", ",", "!", "猫"]
PIECES = ["##s", "##ing", "##ly", "##y", "##ed"]
TEXTS = ["", "The cat sat on the mat.", "the cat sat on the mat", "A cat!", "Snow fell all day, all day, all day.",
         "Café", "snowing", "zebra", "  the\tcat\n\nsat  ", "猫 the 猫", "the [SEP] cat", "cat " * 40,
         "snow fell on the cat, on the mat, on all the cats all day, snowly."]


def tiny_tokenizer():
    vocab = {}
    for token in SPECIAL + WORDS + list(LETTERS) + PIECES + ["##" + letter for letter in LETTERS]:
        vocab.setdefault(token, len(vocab))
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def make_tiny(out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "1_Pooling").mkdir(exist_ok=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    config = transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=2,
                                     num_attention_heads=2, intermediate_size=24, max_position_embeddings=24,
                                     layer_norm_eps=1e-3, attn_implementation="eager")
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, p in model.named_parameters():
            draw = torch.randn(p.shape, generator=generator)
            # Attention far from uniform; words that weigh more than biases, so that texts differ.
            gain = 0.5 if "query" in name or "key" in name else 1.0 if "word_embeddings" in name else 0.3
            p.copy_(1 + 0.3 * draw if name.endswith("LayerNorm.weight") else
                    0.1 * draw if p.dim() == 1 else gain * draw)
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    write(out / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])
    write(out / "1_Pooling/config.json", {
        "word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    write(out / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    write(out / "golden.json", golden(Encoder(out), TEXTS))


class Encoder:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.max_tokens = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.tokenizer.enable_truncation(self.max_tokens)
        self.model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32,
                                                            attn_implementation="eager").eval()

    def ids(self, text):
        return self.tokenizer.encode(text).ids

    def vectors(self, ids):
        """Of texts that go through the model together, padded."""
        longest = max(map(len, ids))
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest)
        for i, row in enumerate(ids):
            tokens[i, :len(row)] = torch.tensor(row)
            mask[i, :len(row)] = 1
        with torch.no_grad():
            states = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=1)


def golden(encoder, texts):
    ids = [encoder.ids(text) for text in texts]
    vectors = torch.cat([encoder.vectors([row]) for row in ids])
    padded = torch.cat([encoder.vectors(ids[i:i + 16]) for i in range(0, len(ids), 16)])
    apart = (vectors - padded).abs().max().item()
    if apart > 1e-5:
        raise SystemExit(f"padding changes a vector by {apart:g}")
    return {"generator": GENERATOR, "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "max_tokens": encoder.max_tokens, "texts": texts, "ids": ids,
            "vectors": [[float(f"{x:.9g}") for x in row] for row in vectors.tolist()]}


def texts_of(file, count):
    """So many texts of a file, evenly spread: its lines, or the texts in the rows of a .jsonl."""
    lines = [line.strip() for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    if file.endswith(".jsonl"):
        lines = [value for line in lines for value in json.loads(line).values() if isinstance(value, str)]
    return lines[::max(1, len(lines) // count)][:count]


def make_vectors(arguments):
    encoder = Encoder(arguments.model)
    document = golden(encoder, [text for file in arguments.texts for text in texts_of(file, arguments.count)])
    write(arguments.out, document)
    lengths = [len(row) for row in document["ids"]]
    print(f"{len(lengths)} texts of {min(lengths)} to {max(lengths)} tokens, "
          f"{sum(length == encoder.max_tokens for length in lengths)} of the greatest length")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        print("sentence-transformers is not installed")
        return
    theirs = SentenceTransformer(str(arguments.model), device="cpu").encode(document["texts"])
    apart = (torch.tensor(theirs) - torch.tensor(document["vectors"])).abs().max().item()
    print(f"largest difference from sentence-transformers' vectors: {apart:.2g}")


def check_samples(arguments):
    encoder = Encoder(arguments.model)
    worst, count = 0.0, 0
    for line in arguments.samples.read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        if "coherence" not in sample["scores"]:
            continue
        prompt = sample["detail"].get("own_prompt", sample["detail"]["prompt"])
        pair = [encoder.vectors([encoder.ids(text)])[0] for text in (prompt, sample["detail"]["prediction"])]
        worst = max(worst, abs(float(pair[0] @ pair[1]) - sample["scores"]["coherence"]))
        count += 1
    print(f"{count} samples, largest difference {worst:.2g}")


def measure(arguments):
    torch.set_num_threads(arguments.threads)
    texts = json.loads(arguments.golden.read_text())["texts"]
    encoder = Encoder(arguments.model)
    encoder.model.set_attn_implementation("sdpa")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # as sentence-transformers: less padding

    def run():
        ids = [encoder.ids(texts[i]) for i in order]
        for i in range(0, len(ids), 32):
            encoder.vectors(ids[i:i + 32])

    run()
    times = []
    for _ in range(arguments.repetitions):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    times.sort()
    print(f"{len(texts) / times[len(times) // 2]:.1f} texts/s, {arguments.threads} threads, median of {len(times)}")


def write(path, document):
    path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    tiny = commands.add_parser("tiny")
    tiny.add_argument("out", type=pathlib.Path)
    vectors = commands.add_parser("vectors")
    vectors.add_argument("model", type=pathlib.Path)
    vectors.add_argument("out", type=pathlib.Path)
    vectors.add_argument("texts", nargs="+")
    vectors.add_argument("--count", type=int, default=80)
    samples = commands.add_parser("samples")
    samples.add_argument("model", type=pathlib.Path)
    samples.add_argument("samples", type=pathlib.Path)
    speed = commands.add_parser("speed")
    speed.add_argument("model", type=pathlib.Path)
    speed.add_argument("golden", type=pathlib.Path)
    speed.add_argument("--threads", type=int, default=2)
    speed.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "tiny":
        make_tiny(arguments.out)
    elif arguments.command == "vectors":
        make_vectors(arguments)
    elif arguments.command == "samples":
        check_samples(arguments)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
