# SPDX-License-Identifier: Apache-2.0
"""Checks of the small world that the bundled model was trained on. Standard library only.

    python3 tests/tiny/test_world.py
"""
import itertools
import json
import os
import re
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tools", "tiny"))
DATA = os.path.join(ROOT, "models", "tiny", "data")

import grammar  # noqa: E402
import lexicon  # noqa: E402
import questions  # noqa: E402
import sums  # noqa: E402
import translation  # noqa: E402
import world  # noqa: E402

SAMPLE = 1500  # training documents of each kind that are looked at
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def take(kind, sample=SAMPLE, **options):
    return list(itertools.islice(world.stream(kind, world.TRAIN_SEED, **options), sample))


def value_of(left, sign, right):
    left, right = int(left), int(right)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[sign]


def read(name):
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return f.read()


def rows(name):
    return [json.loads(line) for line in read(name).splitlines()]


class Generator(unittest.TestCase):
    def test_same_seed_same_documents_other_seed_others(self):
        for kind in world.KINDS:
            first = [d.text for d in take(kind, 50)]
            self.assertEqual(first, [d.text for d in take(kind, 50)], kind)
            other = [d.text for d in itertools.islice(world.stream(kind, "another seed"), 50)]
            self.assertNotEqual(first, other, kind)

    def test_texts_are_whole(self):
        for kind in world.KINDS:
            for document in take(kind, 300):
                self.assertNotRegex(document.text, r"[{}\[\]|]|  ", kind)
                self.assertTrue(document.text.isascii(), kind)
                self.assertTrue(document.keys, kind)

    def test_split_gives_both_sides_and_never_mixes_them(self):
        for kind in world.KINDS:
            for document in take(kind, 200):
                self.assertFalse(any(map(grammar.is_held_out, document.keys)), kind)
        for kind in ("story", "squad", "gsm8k", "summary", "translation"):
            options = {"count": 1} if kind == "squad" else {"shots": 0} if kind == "gsm8k" else {}
            for document in take(kind, 50, held_out=True, **options):
                self.assertTrue(all(map(grammar.is_held_out, document.keys)), kind)

    def test_words_are_listed_once(self):
        for name in ("NAMES", "TOWNS", "RIVERS", "JOBS", "ANIMALS", "THINGS", "GOODS", "FOODS", "SPOTS"):
            words = getattr(lexicon, name)
            self.assertEqual(len(words), len(set(words)), name)
        self.assertFalse(set(lexicon.NAMES) & set(lexicon.TOWNS))


class Reading(unittest.TestCase):
    def test_every_answer_is_its_span(self):
        answered = impossible = 0
        for document in take("squad"):
            context = document.fields["context"]
            for q in document.fields["questions"]:
                if q["start"] < 0:
                    self.assertEqual(q["answer"], "")
                    impossible += 1
                else:
                    self.assertEqual(context[q["start"]:q["start"] + len(q["answer"])], q["answer"])
                    answered += 1
        self.assertGreater(impossible, 0.2 * (answered + impossible))
        self.assertGreater(answered, 0.5 * (answered + impossible))

    def test_no_question_marked_impossible_is_answered(self):
        """No statement of the asked relation about the asked subject may stand in the paragraph."""
        for document in take("squad"):
            context = document.fields["context"]
            for q in document.fields["questions"]:
                relation, subject = q["key"][1], q["key"][2]
                if q["start"] >= 0:
                    continue
                table = questions.PERSON if relation in questions.PERSON else questions.TOWN
                for statement in table[relation][1]:
                    before, after = statement.replace("{S}", subject).split("{V}")
                    pattern = re.escape(before) + r"[\w ]+?" + re.escape(after)
                    self.assertNotRegex(context, r"(^|[.] )" + pattern + r"($| )", q["question"])


class Sums(unittest.TestCase):
    def check(self, question, answer):
        lines = answer.split("\n")
        self.assertRegex(lines[-1], r"^#### \d+$")
        result = None
        for line in lines[:-1]:
            found = EQUATION.findall(line)
            self.assertEqual(len(found), 1, line)
            left, sign, right, result = found[0]
            self.assertEqual(value_of(left, sign, right), int(result), line)
            self.assertLessEqual(int(result), sums.LIMIT)
        self.assertEqual(int(lines[-1][5:]), int(result), answer)
        self.assertLessEqual(len(lines) - 1, 3)
        self.assertTrue(question.endswith("?"), question)

    def test_arithmetic_of_training_documents(self):
        for document in take("gsm8k"):
            self.check(document.fields["question"], document.fields["answer"])
        for document in take("drill", 300):
            for left, sign, right, result in EQUATION.findall(document.text):
                self.assertEqual(value_of(left, sign, right), int(result))

    def test_arithmetic_of_the_held_out_set(self):
        for row in rows("gsm8k.jsonl"):
            self.check(row["question"], row["answer"])


class Translation(unittest.TestCase):
    def test_vocabulary_is_one_to_one(self):
        roots = list(translation.LATHIAN.values())
        self.assertEqual(len(roots), len(set(roots)))

    def test_verb_comes_last_and_articles_go(self):
        for document in take("translation", 300):
            source, target = document.fields["source"], document.fields["target"]
            self.assertEqual(source.split()[0], target.split()[0])
            self.assertNotIn(" the ", target)
            root = re.sub(r"(to|ra)?\.$", "", target.split()[-1])
            verbs = {translation.LATHIAN[base] for base, _ in translation.VERBS}
            self.assertTrue(root in verbs or target.split()[-1][:-1] in verbs, target)


class HeldOutSets(unittest.TestCase):
    """The files that are checked in."""

    def test_files_are_what_the_generator_gives(self):
        with tempfile.TemporaryDirectory() as folder:
            world.write_sets(folder)
            for name in sorted(os.listdir(folder)):
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    self.assertEqual(f.read(), read(name), f"{name}: write it again with tools/tiny/world.py --write")

    def test_squad_file_has_its_shape(self):
        squad = json.loads(read("squad_v2.json"))
        ids, impossible = set(), 0
        for article in squad["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    ids.add(qa["id"])
                    impossible += qa["is_impossible"]
                    self.assertEqual(qa["is_impossible"], not qa["answers"])
                    for answer in qa["answers"]:
                        start = answer["answer_start"]
                        self.assertEqual(paragraph["context"][start:start + len(answer["text"])], answer["text"])
        self.assertGreaterEqual(len(ids), 1000)
        self.assertTrue(0.28 < impossible / len(ids) < 0.38, impossible / len(ids))

    def test_no_overlap_with_training_documents(self):
        """Neither a combination nor a whole question, sum, story or sentence pair is met in training."""
        stories = set(read("text.txt").rstrip("\n").split("\n\n"))
        self.assertFalse(stories & {d.text for d in take("story", 4000)})
        paragraphs = {p["context"] for a in json.loads(read("squad_v2.json"))["data"] for p in a["paragraphs"]}
        self.assertFalse(paragraphs & {d.fields["context"] for d in take("squad", 4000)})
        asked = {row["question"] for row in rows("gsm8k.jsonl")}
        self.assertFalse(asked & {d.fields["question"] for d in take("gsm8k", 4000)})
        told = {row["document"] for row in rows("summaries.jsonl")}
        self.assertFalse(told & {d.fields["document"] for d in take("summary", 4000)})
        said = {row["source"] for row in rows("translation.jsonl")}
        self.assertFalse(said & {d.fields["source"] for d in take("translation", 20000)})

    def test_sizes(self):
        self.assertEqual(len(rows("gsm8k.jsonl")), 500)
        self.assertEqual(len(rows("summaries.jsonl")), 150)
        self.assertEqual(len(rows("translation.jsonl")), 150)
        for name in ("text.txt", "calibration.txt"):
            self.assertTrue(148_000 < len(read(name)) < 156_000, name)


if __name__ == "__main__":
    unittest.main()
