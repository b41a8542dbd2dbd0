"""Makes the golden token ids in tests/golden/text/.

Generator: Hugging Face tokenizers and the sentencepiece package.  Made with tokenizers 0.23.3,
sentencepiece 0.2.3, Python 3.11.  Seed 1.

    python tools/oracles/text_tokens.py train [SHARED_FOLDER]   # the small tokenizers, then `ids`
    python tools/oracles/text_tokens.py ids [SHARED_FOLDER]

hard.json      texts made to break tokenizers, with their full ids for each tokenizer
shared.json    recipes for real texts from the shared folder (file, first byte, size), and for each
               large tokenizer the first 8 hexadecimal digits of the SHA-256 of each text's ids
small/*.json, *.model   small tokenizers trained on public-domain text (Tiny Shakespeare and Tang
               poems): byte-level BPE, Unigram, SentencePiece BPE and Unigram, WordPiece, and
               variants that use the less common components
"""

import hashlib
import io
import json
import pathlib
import random
import re
import sys
import unicodedata

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / ".." / "shared")
OUT = ROOT / "tests/golden/text"
SMALL = OUT / "small"
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def hard_texts():
    r = random.Random(1)
    pools = [
        [chr(c) for c in range(128)],
        [chr(c) for c in range(0x80, 0x250)],
        [" ", "  ", "\n", "\t", "\r\n", "\u3000", "\xa0", "\u2009", "\u180e", "\x85", "\u200b", "\u2028"],
        ["🙂", "👩\u200d👩\u200d👧", "🇨🇿", "❤️", "\u0301", "e\u0301", "ﬁ", "ſ", "'S", "'ll", "ß", "İ", "\u212a", "가", "ᄀ", "ᅡ",
         "ﷺ", "१", "٣", "²", "Ⅷ", "\u2126", "n\u0303\u0323", "Å", "ｱ", "㌀", "½"],
        ["hello", " world", "The", "12345", "3.14", "...", "!!!", "don't", "日本", "語", "کتاب", "ไทย", "Straße", "naïve"],
        ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<tool_call>", "<|im_end|>", "▁", "<0x41>", "Ġ", "[CLS]",
         "[MASK]", "<add>", "<word>", " <left>", "<right> "],
    ]
    texts = ["", " ", "\0", "a", "▁", "▁▁a ▁", "a" * 3000, " " * 500, "x" + " " * 300 + "y", "\n" * 200, "日" * 300,
             "é" * 120, "e\u0301" * 100, "\u0301\u0323" * 40, "ab" * 600, "Donaudampfschifffahrtsgesellschaft" * 8, "0123456789" * 30,
             "Hello <s>world</s> <|endoftext|>!", "<s><s>", " <s> ", "a<unk>b", "I'm you'RE we'Ll 'sfoo", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ℵ",
             "<add>x<add> a<word>b <word> c<word>", "a  <left>  b  <right>  c", "\x01\x02\x7f\x80\x9f", "￿\ufffd\ufeff"]
    for _ in range(120):
        chosen = r.sample(pools, r.randint(1, 4))
        texts.append("".join(r.choice(r.choice(chosen)) for _ in range(r.randint(1, 40))))
    # Characters of Unicode 3.2 only: what was added later has properties that differ between the
    # Unicode versions of the libraries, not between their algorithms.
    old = [chr(c) for c in range(0x20000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co")]
    early = [c for c in old if c < "\u3000"]
    for _ in range(30):
        texts.append("".join(r.choice(r.choice([old, early])) for _ in range(r.randint(1, 30))))
    return texts


def recipes():
    """(file, first byte, size): whole characters only, at least 1,000 texts."""
    out = []

    def lines(file, count, join=1):
        data = (SHARED / file).read_bytes()
        at, found = 0, 0
        while at < len(data) and found < count:
            end = at
            for _ in range(join):
                end = data.find(b"\n", end) + 1 or len(data)
            if end - at > 1:
                out.append((file, at, end - at))
                found += 1
            at = end

    def chunks(file, count, size):
        data = (SHARED / file).read_bytes()
        step = max(size, len(data) // count)
        whole = lambda i: next(j for j in range(min(i, len(data)), len(data) + 1) if j == len(data) or data[j] & 0xC0 != 0x80)
        for k in range(count):
            begin, end = whole(k * step), whole(k * step + size)
            if end > begin:
                out.append((file, begin, end - begin))

    for language in ["cs", "de", "fr", "en"]:
        lines(f"data/translation/multi30k.test_2016_flickr.{language}", 100)
    lines("data/translation/wmt17_en_de.ref.de", 60)
    chunks("data/models/zh-poem-750K/poetry_corpus.json", 200, 300)
    chunks("data/text/wikipedia_30.txt", 120, 900)
    chunks("data/text/wikitext2.test.raw", 80, 700)
    chunks("data/text/tinyshakespeare.txt", 40, 700)
    chunks("data/text/c4_300.jsonl", 60, 700)
    chunks("data/gsm8k/test.jsonl", 60, 500)
    chunks("data/instruct/alpaca_5000.json", 60, 600)
    chunks("data/tokenizers/qwen2.5/merges.txt", 60, 500)
    chunks("data/models/zh-poem-750K/vocab.json", 10, 800)
    chunks("data/tokenizers/qwen3/tokenizer_config.json", 10, 900)
    chunks("data/text/wikitext2.test.raw", 2, 60000)
    return out


def ids_hash(ids):
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:8]


def spm_encode(path, special):
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pattern = re.compile("(" + "|".join(map(re.escape, special)) + ")") if special else None

    def encode(text):
        ids = [model.bos_id()]
        for part in pattern.split(text) if pattern else [text]:
            if special and part in special:
                ids.append(model.piece_to_id(part))
            elif part:
                ids += model.encode(part)
        return ids

    return encode


def large():
    folder = SHARED / "data/tokenizers"
    for name in ["gpt2", "llama2", "mistral-7b-v0.1", "qwen3"]:
        t = Tokenizer.from_file(str(folder / name / "tokenizer.json"))
        yield name, lambda text, t=t: t.encode(text).ids
    # Qwen2.5 has Qwen3's rules and vocabulary with 22 of its added tokens (only vocab.json and
    # merges.txt are at hand).
    spec = json.loads((folder / "qwen3/tokenizer.json").read_text())
    spec["added_tokens"] = spec["added_tokens"][:22]
    q = Tokenizer.from_str(json.dumps(spec))
    yield "qwen2.5", lambda text: q.encode(text).ids
    yield "llama2 tokenizer.model", spm_encode(folder / "llama2/tokenizer.model", ["<s>", "</s>", "<unk>"])
    yield "tok512.model", spm_encode(SHARED / "data/models/stories260K/tok512.model", ["<s>", "</s>", "<unk>"])


def small():
    for path in sorted(SMALL.glob("*.json")):
        t = Tokenizer.from_file(str(path))
        yield path.name, lambda text, t=t: t.encode(text).ids
    for path in sorted(SMALL.glob("*.model")):
        yield path.name, spm_encode(path, ["<s>", "</s>", "<unk>"])


def make_ids():
    texts = hard_texts()
    hard = {"texts": texts, "large": {}, "small": {}, "decoded": {}}
    for name, encode in large():
        hard["large"][name] = [ids_hash(encode(t)) for t in texts]
    for name, encode in small():
        hard["small"][name] = [encode(t) for t in texts]
    for path in sorted(SMALL.glob("*.json")):
        t = Tokenizer.from_file(str(path))
        hard["decoded"][path.name] = [t.decode(i, skip_special_tokens=False) for i in hard["small"][path.name]]
    (OUT / "hard.json").write_text(json.dumps(hard, separators=(",", ":")) + "\n")
    made = recipes()
    real = {"recipes": made, "ids": {}}
    contents = [(SHARED / f).read_bytes()[a : a + n].decode() for f, a, n in made]
    for name, encode in large():
        real["ids"][name] = " ".join(ids_hash(encode(t)) for t in contents)
    (OUT / "shared.json").write_text(json.dumps(real, separators=(",", ":")) + "\n")
    print(len(texts), "hard texts,", len(made), "texts from the shared folder,", sum(map(len, contents)), "characters")


def train():
    SMALL.mkdir(parents=True, exist_ok=True)
    english = (SHARED / "data/text/tinyshakespeare.txt").read_text()[:200000]
    poems = json.loads((SHARED / "data/models/zh-poem-750K/poetry_corpus.json").read_text())
    corpus = english.split("\n") + [p["content"] for p in poems[:300]]

    def save(name, t):
        spec = json.loads(t.to_str())
        (SMALL / name).write_text(json.dumps(spec, ensure_ascii=False, separators=(",", ":")) + "\n")

    def byte_level(prefix=False):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        t.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet,
                                                          show_progress=False))
        return t

    t = byte_level()
    t.add_tokens([AddedToken("<word>", single_word=True, normalized=False), AddedToken("<left>", lstrip=True, normalized=False),
                  AddedToken("<right>", rstrip=True, normalized=False), AddedToken("<add>")])
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 0), ("<|endoftext|>", 0))
    save("byte_level_added.json", t)
    t = byte_level()
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    spec = json.loads(t.to_str())
    spec["model"]["ignore_merges"] = True
    save("byte_level_split.json", Tokenizer.from_str(json.dumps(spec)))
    t = byte_level(True)
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("contiguous"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t.add_tokens([AddedToken("<ADD>", normalized=True)])
    save("byte_level_lower.json", t)

    def unigram(scheme, split):
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
        t.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
        t.train_from_iterator(corpus[:4000], trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>",
                                                                     show_progress=False))
        t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
        return t

    save("unigram.json", unigram("always", True))
    save("unigram_first.json", unigram("first", False))
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
                                                            show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    save("wordpiece.json", t)
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Split("e", "merged_with_previous"),
                                               pre_tokenizers.Split("th", "merged_with_next")])
    t.decoder = decoders.BPEDecoder()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=80,
                                                      show_progress=False))
    save("bpe_suffix.json", t)

    def spm(name, **options):
        buffer = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([c for c in corpus[:-260] if c.strip()]), model_writer=buffer,
                                                 num_threads=1, minloglevel=2, **options)
        (SMALL / name).write_bytes(buffer.getvalue())

    spm("spm_bpe.model", model_type="bpe", vocab_size=700, byte_fallback=True, character_coverage=0.98,
        normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<add>", "th"])
    spm("spm_unigram.model", model_type="unigram", vocab_size=700, character_coverage=0.98, user_defined_symbols=["<add>"],
        hard_vocab_limit=False)
    # What a Unigram tokenizer.json looks like when it was converted from SentencePiece: the
    # precompiled character map of nmt_nfkc, and byte fallback.
    import sentencepiece.sentencepiece_model_pb2 as pb2
    proto = pb2.ModelProto()
    proto.ParseFromString((SMALL / "spm_unigram.model").read_bytes())
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=0, byte_fallback=False))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace()
    save("unigram_charsmap.json", t)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("train", "ids"):
        sys.exit(__doc__)
    if sys.argv[1] == "train":
        train()
    make_ids()
