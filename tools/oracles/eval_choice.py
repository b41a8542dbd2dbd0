# SPDX-License-Identifier: Apache-2.0
"""Golden files of the log-likelihood tasks: a tiny random Llama model, rows in the shapes of the
public sets, and what lm-evaluation-harness's own task files and Hugging Face engine give on them
(float32, CPU). Seeds are fixed. Usage: eval_choice.py TOKENIZER_DIR TEXT OUT_DIR
"""
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
import lm_eval
import lm_eval.tasks
import torch
import transformers
from lm_eval.models.huggingface import HFLM

TOKENIZER, TEXT, OUT = (pathlib.Path(p) for p in sys.argv[1:4])


def make_model():
    torch.manual_seed(17)
    config = transformers.LlamaConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.35, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(OUT, safe_serialization=True)
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]:
        shutil.copy(TOKENIZER / name, OUT / name)


def rows():
    """Rows of each shape, from sentences and words of TEXT."""
    rng = random.Random(5)
    text = TEXT.read_text()
    sentences = [s.strip() + "." for s in text.replace("\n", " ").split(".") if 20 < len(s) < 90][:4000]
    words = sorted({w for w in text.split() if w.isalpha()})
    some = lambda n: " ".join(rng.choices(words, k=n))
    out = {}
    out["arc_easy"] = [
        {"id": f"q{i}", "question": rng.choice(sentences)[:-1] + "?",
         "choices": {"text": [some(rng.randint(1, 5)) for _ in range(n)],
                     "label": list("ABCDE"[:n]) if i % 3 else list("12345"[:n])},
         "answerKey": (list("ABCDE") if i % 3 else list("12345"))[rng.randrange(n)]}
        for i in range(240) for n in [rng.choice([3, 4, 4, 4, 5])]]
    out["hellaswag"] = [
        {"activity_label": some(2).capitalize(), "ctx_a": rng.choice(sentences) + rng.choice(["", " [title]", "  [step] x"]),
         "ctx_b": some(3), "endings": [rng.choice(sentences)[5:] + rng.choice(["", " [substeps] end"]) for _ in range(4)],
         "label": str(rng.randrange(4))} for _ in range(60)]
    out["piqa"] = [{"goal": rng.choice(sentences), "sol1": some(6), "sol2": some(5), "label": rng.randrange(2)}
                   for _ in range(330)]
    out["winogrande"] = [
        {"sentence": f"{some(4)} _ {some(4)}.", "option1": some(1), "option2": some(1), "answer": rng.choice("12")}
        for _ in range(330)]
    out["mmlu"] = [
        {"question": " " + rng.choice(sentences), "subject": "abstract_algebra", "choices": [some(3) for _ in range(4)],
         "answer": rng.randrange(4)} for _ in range(60)]
    out["lambada"] = [{"text": rng.choice(sentences)[:-1]} for _ in range(60)]
    return out


def run(model, made):
    packaged = pathlib.Path(lm_eval.tasks.__file__).parent
    files = {"arc_easy": "arc/arc_easy.yaml", "hellaswag": "hellaswag/hellaswag.yaml", "piqa": "piqa/piqa.yaml",
             "winogrande": "winogrande/default.yaml", "mmlu": "mmlu/default/mmlu_abstract_algebra.yaml",
             "lambada": "lambada/lambada_openai.yaml"}
    golden = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, table in made.items():
            data = folder / f"{name}.jsonl"
            data.write_text("".join(json.dumps(r) + "\n" for r in table))
            split = "validation_split: null\ntraining_split: null\nfewshot_split: null\ntest_split: test\n"
            (folder / f"{name}.yaml").write_text(
                f"include: {packaged / files[name]}\ntask: golden_{name}\ndataset_path: json\ndataset_name: null\n"
                f"tag: null\ndataset_kwargs:\n  data_files: {{test: {data}}}\n{split}")
        manager = lm_eval.tasks.TaskManager(include_path=str(folder))
        found = lm_eval.simple_evaluate(model=model, tasks=[f"golden_{n}" for n in made], num_fewshot=0,
                                        task_manager=manager, log_samples=True, bootstrap_iters=0)
    for name in made:
        result = found["results"][f"golden_{name}"]
        samples = sorted(found["samples"][f"golden_{name}"], key=lambda s: s["doc_id"])
        golden[name] = {
            "scores": {k.split(",")[0]: v for k, v in result.items() if k.endswith(",none") and "stderr" not in k},
            "log_likelihoods": [[r[0] for r in s["filtered_resps"]] for s in samples],
        }
    return golden


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    make_model()
    made = rows()
    for name, table in made.items():
        (OUT / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table))
    model = HFLM(pretrained=str(OUT), dtype="float32", device="cpu", batch_size=8, max_length=512)
    golden = run(model, made)
    golden["generator"] = f"lm_eval {lm_eval.__version__}, transformers {transformers.__version__}"
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


main()
