# SPDX-License-Identifier: Apache-2.0
"""Trains the byte-level BPE tokenizer of the bundled model and writes it in Hugging Face form.

    python tokenizer.py ../../models/tiny

Vocabulary 2048; every digit is a token of its own; `<s>`, `</s>`, `<pad>`; `<s>` is put before each text.
Needs the `tokenizers` package (made with 0.22). Same seed, same bytes.
"""
import json
import os
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from world import KINDS, stream

VOCABULARY = 2048
CHARACTERS_PER_KIND = 1_000_000
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def corpus():
    for kind in KINDS:
        documents, size = stream(kind, "lathe-tokenizer"), 0
        while size < CHARACTERS_PER_KIND:
            text = next(documents).text
            size += len(text)
            yield text


def build():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BOS, EOS, PAD], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, bos)])
    return tokenizer


def write(tokenizer, folder):
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))

    def put(name, value):
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as f:
            f.write(json.dumps(value, indent=2) + "\n")

    names = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    put("special_tokens_map.json", names)
    put("tokenizer_config.json", names | {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "add_bos_token": True,
        "add_eos_token": False, "clean_up_tokenization_spaces": False})


if __name__ == "__main__":
    made = build()
    if made.get_vocab_size() != VOCABULARY:
        sys.exit(f"the corpus gives only {made.get_vocab_size()} tokens, not {VOCABULARY}: add words to lexicon.py")
    write(made, sys.argv[1])
