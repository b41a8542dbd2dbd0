# SPDX-License-Identifier: Apache-2.0
"""Sums told as stories, in the shape of GSM8K: one to three worked steps, each with its equation, then `#### n`.

A story keeps one running quantity. A step changes it and writes one line with one operation. All numbers stay
within 0 to LIMIT, what is added or taken away within STEP, products and quotients within a small multiplication table:
some two thousand facts in all, which is what a few million parameters can learn along the way.
"""
from grammar import ANSWER, PROMPT, Document, fill
from lexicon import CONTAINERS, DAYS, GOODS, IS_WOMAN, NAMES, SPOTS

LIMIT = 60
STEP = 15


def _he(name):
    return "she" if IS_WOMAN[name] else "he"


class _Story:
    """The story under construction: sentences told, lines worked, the numbers that identify it."""

    def __init__(self, rng):
        self.rng = rng
        self.hero, self.other, self.third = rng.sample(NAMES, 3)
        self.one, self.many = rng.choice(GOODS)
        self.sentences, self.lines, self.numbers, self.shape = [], [], [], []

    def tell(self, template, **values):
        slots = {"P": self.hero, "Q": self.other, "R": self.third, "items": self.many, "he": _he(self.hero),
                 "spot": self.rng.choice(SPOTS), "day": self.rng.choice(DAYS)} | values
        return fill(self.rng, template, slots)

    def say(self, template, **values):
        self.sentences.append(self.tell(template, **values))

    def work(self, left, sign, right, template):
        """Writes one line: `template` with {E} replaced by the equation. Returns the result."""
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[sign]
        self.lines.append(self.tell(template, E=f"{left} {sign} {right} = {result}"))
        self.numbers += [left, right]
        self.shape.append(sign)
        return result


# --- beginnings: return the running quantity of the hero, or None if nothing was worked yet ---

def _begin_plain(s):
    value = s.rng.randint(2, 40)
    s.say("{P} [has|had|finds] {v} {items}.", v=value)
    return value


def _begin_two_days(s):
    a, b = s.rng.randint(2, 40), s.rng.randint(2, STEP)
    s.say("{P} [picks|buys|finds] {a} {items} on {day} and {b} {items} the next day.", a=a, b=b)
    return s.work(a, "+", b, "{P} has {E} {items}.")


def _begin_boxes(s):
    a, b = s.rng.randint(2, 6), s.rng.randint(2, 10)
    box, boxes = s.rng.choice(CONTAINERS)
    s.say("{P} has {a} {boxes} with {b} {items} in each {box}.", a=a, b=b, box=box, boxes=boxes)
    return s.work(a, "*", b, "{P} has {E} {items}.")


def _begin_times(s):
    k, b = s.rng.randint(2, 6), s.rng.randint(2, 10)
    s.say("{Q} has {b} {items}, and {P} has {k} times as many as {Q}.", k=k, b=b)
    return s.work(k, "*", b, "{P} has {E} {items}.")


def _begin_more(s):
    a, b = s.rng.randint(2, 40), s.rng.randint(2, STEP)
    s.say("{Q} has {a} {items}, and {P} has {b} more than {Q}.", a=a, b=b)
    return s.work(a, "+", b, "{P} has {E} {items}.")


def _begin_fewer(s):
    a = s.rng.randint(8, 50)
    b = s.rng.randint(2, min(STEP, a - 2))
    s.say("{Q} has {a} {items}, and {P} has {b} fewer than {Q}.", a=a, b=b)
    return s.work(a, "-", b, "{P} has {E} {items}.")


# --- middles: take and return the running quantity, or return None where they do not fit ---

def _gain(s, value):
    if value > LIMIT - 3:
        return None
    b = s.rng.randint(2, min(STEP, LIMIT - value))
    s.say("[Then {R} gives {P} {b} more.|{P} gets {b} more from {R}.|At the {spot}, {P} finds {b} more.|"
          "On {day}, {he} buys {b} more.]", b=b)
    return s.work(value, "+", b, "{P} then has {E} {items}.")


def _lose(s, value):
    if value < 4:
        return None
    b = s.rng.randint(2, min(STEP, value - 1))
    s.say("[{P} gives {b} of them to {R}.|Then {he} loses {b} of them.|{P} sells {b} of them at the {spot}.|"
          "On {day}, {he} gives {b} away.]", b=b)
    return s.work(value, "-", b, "{P} has {E} {items} left.")


def _half(s, value):
    if value % 2 or value > 40:
        return None
    s.say("{P} [gives half of them away|sells half of them|loses half of them].")
    return s.work(value, "/", 2, "{P} keeps {E} {items}.")


def _double(s, value):
    if value > 20:
        return None
    s.say("Then {he} [finds|gets] as many again.")
    return s.work(value, "*", 2, "{P} then has {E} {items}.")


# --- endings: ask. Return the final value, or None where they do not fit ---

def _ask_count(s, value):
    if not s.lines:
        return None
    s.say("How many {items} does {P} have [now|in the end]?")
    return value


def _ask_together(s, value):
    if value > LIMIT - 3:
        return None
    b = s.rng.randint(2, min(STEP, LIMIT - value))
    s.say("{R} has {b} {items}. How many {items} do {P} and {R} have together?", b=b)
    return s.work(value, "+", b, "Together they have {E} {items}.")


def _ask_share(s, value):
    fits = [k for k in range(2, 7) if value % k == 0 and 2 <= value // k <= 10]
    if not fits:
        return None
    k = s.rng.choice(fits)
    s.say("{P} shares them equally among {k} [friends|children]. How many {items} does each get?", k=k)
    return s.work(value, "/", k, "Each gets {E} {items}.")


def _ask_price(s, value):
    if value > 10:
        return None
    k = s.rng.randint(2, 6)
    s.say("{P} sells all of them for {k} coins each. How many coins does {P} get?", k=k)
    return s.work(value, "*", k, "{P} gets {E} coins.")


def _ask_difference(s, value):
    if value < 4:
        return None
    b = s.rng.randint(2, min(STEP, value - 1))
    s.say("{R} has {b} {items}. How many more {items} does {P} have than {R}?", b=b)
    return s.work(value, "-", b, "{P} has {E} more {items}.")


def _ask_missing(s, value):
    if value > LIMIT - 3:
        return None
    goal = s.rng.randint(value + 2, min(value + STEP, LIMIT))
    s.say("{P} wants to have {b} {items}. How many more does {P} need?", b=goal)
    return s.work(goal, "-", value, "{P} needs {E} more {items}.")


BEGINNINGS = [_begin_plain, _begin_plain, _begin_two_days, _begin_boxes, _begin_times, _begin_more, _begin_fewer]
MIDDLES = [_gain, _lose, _gain, _lose, _half, _double]
ENDINGS = [_ask_count, _ask_count, _ask_together, _ask_share, _ask_price, _ask_difference, _ask_missing]


def _attempt(rng):
    s = _Story(rng)
    value = rng.choice(BEGINNINGS)(s)
    if value > LIMIT:
        return None
    steps = rng.choice([1, 2, 2, 3])
    if rng.random() < 0.1:  # a number that is not needed
        s.say("{P} is {n} years old.", n=rng.randint(6, 60))
    while len(s.lines) < steps - 1:
        value = rng.choice(MIDDLES)(s, value)
        if value is None:
            return None
    ask = rng.choice(ENDINGS)
    if ask is _ask_count and len(s.lines) < steps:
        value = rng.choice(MIDDLES)(s, value)
    value = ask(s, value) if value is not None else None
    if value is None or not 0 <= value <= LIMIT or len(s.lines) > 3:
        return None
    return s, value


def sum_story(rng):
    """Returns (question, answer, key); the answer ends in `\\n#### n`."""
    while True:
        made = _attempt(rng)
        if made:
            s, value = made
            return (" ".join(s.sentences), "\n".join(s.lines) + f"\n#### {value}",
                    ("gsm8k", tuple(s.shape), tuple(s.numbers)))


def gsm8k(rng, shots=None):
    """A sum, sometimes after one or two solved ones, separated by blank lines."""
    shots = rng.choice([0, 0, 0, 0, 1, 2]) if shots is None else shots
    segments, keys, fields = [], [], {}
    for index in range(shots + 1):
        question, answer, key = sum_story(rng)
        segments += [(("\n" if index else "") + f"Question: {question}\nAnswer:", PROMPT), (f" {answer}\n", ANSWER)]
        keys.append(key)
        fields = {"question": question, "answer": answer}
    return Document("gsm8k", segments, keys, fields)


def _equation(rng):
    sign = rng.choice("+++----*/")
    if sign in "*/":
        a, b = rng.randint(2, 6), rng.randint(2, 10)
        return (a, "*", b, a * b) if sign == "*" else (a * b, "/", a, b)
    a, b = rng.randint(2, LIMIT - 2), rng.randint(2, STEP)
    b = min(b, LIMIT - a)
    if sign == "+":
        return a, "+", b, a + b
    return (a + b, "-", a, b) if rng.random() < 0.4 else (a + b, "-", b, a)


def drill(rng):
    """A page of bare equations, as in a child's exercise book."""
    segments, keys = [], []
    for _ in range(rng.randint(6, 16)):
        a, sign, b, result = _equation(rng)
        segments += [(f"{a} {sign} {b} =", PROMPT), (f" {result}\n", ANSWER)]
        keys.append(("drill", a, sign, b))
    return Document("drill", segments, keys)
