# SPDX-License-Identifier: Apache-2.0
"""A toy translation: English to Lathian, a made-up language with a regular vocabulary and word order.

Lathian puts the verb last, adjectives after their noun, has no articles, and marks: many `-ki`, past `-to`,
future `-ra`, `not` as `na` before the verb, a place as noun + `-ne`. Names stay as they are.
"""
import random

from grammar import ANSWER, PROMPT, Document
from lexicon import ANIMALS, COLOURS, NAMES, QUALITIES, SPOTS, THINGS

VERBS = [("see", "saw"), ("find", "found"), ("buy", "bought"), ("sell", "sold"), ("like", "liked"), ("want", "wanted"),
         ("bring", "brought"), ("need", "needed"), ("lose", "lost"), ("keep", "kept"), ("paint", "painted"),
         ("wash", "washed"), ("carry", "carried"), ("hide", "hid"), ("draw", "drew"), ("watch", "watched")]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def _vocabulary():
    """English word → Lathian root. Made from a fixed seed; roots are two syllables and all different."""
    rng = random.Random("lathian")
    onsets, vowels = "b d f g h k l m n p r s t v z sh th br tr".split(), "aeiou"
    words = [v for v, _ in VERBS] + NUMBERS + THINGS + ANIMALS + COLOURS + QUALITIES + SPOTS + ["and"]
    roots, used = {}, {"na"}
    for word in dict.fromkeys(words):
        root = ""
        while not root or root in used:
            root = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(2)) + rng.choice(["", "", "l", "n"])
        used.add(root)
        roots[word] = root
    return roots


LATHIAN = _vocabulary()
_IRREGULAR = {"knife": "knives", "shelf": "shelves", "box": "boxes", "sheep": "sheep", "mouse": "mice", "goose": "geese",
              "pony": "ponies", "fox": "foxes", "puzzle": "puzzles", "couch": "couches", "brush": "brushes"}


def plural(word):
    return _IRREGULAR.get(word, word + "s")


def _third(verb):
    return {"carry": "carries", "wash": "washes", "watch": "watches"}.get(verb, verb + "s")


def _noun_phrase(rng):
    """(English, Lathian, what identifies it)."""
    noun = rng.choice(THINGS + ANIMALS)
    adjective = rng.choice(COLOURS + QUALITIES) if rng.random() < 0.6 else None
    number = rng.choice(NUMBERS) if rng.random() < 0.35 else None
    english = [number or "the"] + ([adjective] if adjective else []) + [plural(noun) if number else noun]
    lathian = [LATHIAN[noun] + ("ki" if number else "")] + ([LATHIAN[adjective]] if adjective else [])
    lathian += [LATHIAN[number]] if number else []
    return " ".join(english), " ".join(lathian), (number, adjective, noun)


def translation(rng):
    """One sentence pair: `English: …\\nLathian: …\\n`."""
    subject = rng.choice(NAMES)
    base, past = rng.choice(VERBS)
    thing, thing_l, thing_key = _noun_phrase(rng)
    tense, negative = rng.choice(["now", "past", "past", "future"]), rng.random() < 0.15
    if negative:
        verb = {"now": "does not ", "past": "did not ", "future": "will not "}[tense] + base
    else:
        verb = {"now": _third(base), "past": past, "future": "will " + base}[tense]
    verb_l = ("na " if negative else "") + LATHIAN[base] + {"now": "", "past": "to", "future": "ra"}[tense]
    english, lathian = f"{subject} {verb} {thing}", f"{subject} {thing_l}"
    spot = None
    if rng.random() < 0.3:
        other, other_l, other_key = _noun_phrase(rng)
        english, lathian, thing_key = f"{english} and {other}", f"{lathian} {LATHIAN['and']} {other_l}", (thing_key, other_key)
    if rng.random() < 0.4:
        spot = rng.choice(SPOTS)
        english, lathian = f"{english} at the {spot}", f"{lathian} {LATHIAN[spot]}ne"
    source, target = english + ".", f"{lathian} {verb_l}."
    return Document("translation", [(f"English: {source}\nLathian:", PROMPT), (f" {target}\n", ANSWER)],
                    [("translation", subject, base, thing_key)], {"source": source, "target": target})
