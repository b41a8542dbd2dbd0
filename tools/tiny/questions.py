# SPDX-License-Identifier: Apache-2.0
"""Reading comprehension in the shape of SQuAD v2: a paragraph of facts, a question, a span of it or nothing.

A fact is (subject, relation, value). A paragraph tells 2 to 6 facts about two or three subjects, so that the
right relation of the wrong subject is often there to be mistaken for the answer.
"""
from dataclasses import dataclass

from grammar import ANSWER, PROMPT, Document
from lexicon import (ANIMALS, COLOURS, DAYS, FOODS, GOODS, INSTRUMENTS, IS_WOMAN, JOBS, MONTHS, MOODS, NAMES,
                     QUALITIES, RIVERS, SPOTS, THINGS, TOWNS, article)

UNANSWERABLE = "unanswerable"
IMPOSSIBLE = 0.36  # share of the questions that the paragraph does not answer
SAME = 0.08  # chance that a fact repeats a relation told of another subject: only its subject tells the two apart


def _two(first, second):
    return lambda rng: f"{rng.choice(first)} {rng.choice(second)}"


def _one(words):
    return lambda rng: rng.choice(words)


# name: (value generator, statements, questions). {S} is the subject, {V} the value (the answer's exact span).
PERSON = {
    "home": (_one(TOWNS), ["{S} lives in {V}.", "{S} has a small house in {V}.", "The home of {S} is in {V}."],
             ["Where does {S} live?", "In which town does {S} live?"]),
    "job": (_one(JOBS), ["{S} works as a {V}.", "{S} is a {V}.", "The job of {S} is that of a {V}."],
            ["What is the job of {S}?", "What does {S} work as?"]),
    "pet": (_two(MOODS + COLOURS, ANIMALS), ["{S} has a {V} as a pet.", "{S} keeps a {V} at home."],
            ["What pet does {S} have?", "Which animal does {S} keep?"]),
    "colour": (_one(COLOURS), ["{S} likes the colour {V} best.", "The favourite colour of {S} is {V}."],
               ["What is the favourite colour of {S}?", "Which colour does {S} like best?"]),
    "food": (_one(FOODS), ["{S} likes to eat {V}.", "The favourite food of {S} is {V}."],
             ["What does {S} like to eat?", "What is the favourite food of {S}?"]),
    "age": (lambda rng: str(rng.randint(6, 90)), ["{S} is {V} years old.", "The age of {S} is {V}."],
            ["How old is {S}?", "What is the age of {S}?"]),
    "moved": (lambda rng: str(rng.randint(1900, 2019)), ["{S} came to the country in {V}.", "{S} moved here in {V}."],
              ["When did {S} move here?", "In which year did {S} come to the country?"]),
    "music": (_one(INSTRUMENTS), ["{S} plays the {V}.", "{S} is good at playing the {V}."],
              ["What instrument does {S} play?", "What is {S} good at playing?"]),
    "friend": (_one(NAMES), ["The best friend of {S} is {V}.", "{S} is the best friend of {V}."],
               ["Who is the best friend of {S}?"]),
    "teacher": (_one(NAMES), ["{S} learned to read from {V}.", "The teacher of {S} was {V}."],
                ["Who was the teacher of {S}?", "From whom did {S} learn to read?"]),
    "bought": (_two(COLOURS + QUALITIES, THINGS), ["{S} bought a {V}.", "Last week, {S} bought a {V}."],
               ["What did {S} buy?", "What did {S} buy last week?"]),
    "lost": (_two(COLOURS + QUALITIES, THINGS), ["{S} lost a {V}.", "Yesterday, {S} lost a {V}."],
             ["What did {S} lose?", "What did {S} lose yesterday?"]),
    "birthday": (_one(MONTHS), ["The birthday of {S} is in {V}.", "{S} was born in {V}."],
                 ["In which month was {S} born?", "When is the birthday of {S}?"]),
    "walk": (_one(SPOTS), ["{S} walks to the {V} every day.", "Every day, {S} goes to the {V}."],
             ["Where does {S} go every day?", "Where does {S} walk to every day?"]),
    "rest": (_one(DAYS), ["{S} does not work on {V}.", "{S} rests on {V}."],
             ["On which day does {S} rest?", "When does {S} not work?"]),
    "sold": (lambda rng: f"{rng.randint(2, 60)} {rng.choice(GOODS)[1]}",
             ["{S} sold {V} at the market.", "At the market, {S} sold {V}."],
             ["What did {S} sell at the market?", "What did {S} sell?"]),
}
TOWN = {
    "mayor": (_one(NAMES), ["The mayor of {S} is {V}.", "{S} has a mayor named {V}."],
              ["Who is the mayor of {S}?", "What is the name of the mayor of {S}?"]),
    "river": (_one(RIVERS), ["The river in {S} is called the {V}.", "{S} lies on the {V}."],
              ["On which river does {S} lie?", "What is the river in {S} called?"]),
    "houses": (lambda rng: str(rng.randint(20, 990)), ["There are {V} houses in {S}.", "{S} has {V} houses."],
               ["How many houses are there in {S}?", "How many houses does {S} have?"]),
    "founded": (lambda rng: str(rng.randint(1200, 1899)), ["{S} was founded in {V}.", "People built {S} in {V}."],
                ["When was {S} founded?", "In which year did people build {S}?"]),
    "famous": (_one(FOODS), ["{S} is famous for its {V}.", "Everyone knows {S} for its {V}."],
               ["What is {S} famous for?", "What does everyone know {S} for?"]),
    "oldest": (_one(SPOTS), ["The oldest place in {S} is the {V}.", "In {S}, nothing is older than the {V}."],
               ["What is the oldest place in {S}?", "What is oldest in {S}?"]),
    "market": (_one(DAYS), ["The market in {S} is on {V}.", "On {V}, there is a market in {S}."],
               ["On which day is the market in {S}?", "When is there a market in {S}?"]),
    "flag": (_two(COLOURS, ANIMALS), ["The flag of {S} shows a {V}.", "There is a {V} on the flag of {S}."],
             ["What does the flag of {S} show?", "What is on the flag of {S}?"]),
}


@dataclass
class Fact:
    subject: str
    relation: str
    value: str
    start: int = -1  # character offset of the value in the paragraph


def _pronoun(statement, subject):
    """The statement with a pronoun for its subject, or None where that would read wrong."""
    if not statement.startswith("{S} "):
        return None
    return ("She " if IS_WOMAN[subject] else "He ") + statement[4:]


def paragraph(rng, count, same):
    """`count` facts as (context, facts, subjects): facts carry the offset of their value in the context.

    `same` is the chance that a fact repeats, for its subject, a relation already told of another one.
    """
    people = rng.random() < 0.7
    subjects = rng.sample(NAMES if people else TOWNS, rng.choice([2, 2, 2, 3]) if count > 2 else 2)
    relations = PERSON if people else TOWN
    facts, taken = [], set(subjects)
    for index in range(count):
        subject = subjects[index] if index < len(subjects) else rng.choice(subjects)
        free = [r for r in relations if all(f.subject != subject or f.relation != r for f in facts)]
        told = [r for r in free if any(f.relation == r for f in facts)]
        relation = rng.choice(told) if told and rng.random() < same else rng.choice(free)
        value = relations[relation][0](rng)
        while value in taken:
            value = relations[relation][0](rng)
        taken.add(value)
        facts.append(Fact(subject, relation, value))
    rng.shuffle(facts)
    context, previous = "", None
    for fact in facts:
        statement = rng.choice(relations[fact.relation][1])
        short = _pronoun(statement, fact.subject) if people and previous and previous.subject == fact.subject else None
        if short and previous.relation not in ("friend", "teacher") and rng.random() < 0.6:
            statement = short
        if context:
            context += " "
        before, after = statement.split("{V}")
        before, after = before.replace("{S}", fact.subject), after.replace("{S}", fact.subject)
        if before.endswith(" a "):
            before = f"{before[:-2]}{article(fact.value)} "
        fact.start = len(context) + len(before)
        context += before + fact.value + after
        previous = fact
    return context, facts, subjects


def _ask(rng, facts, subjects, others, impossible):
    """One (question, answer, start, key); start is -1 and the answer empty when the paragraph does not say."""
    relations = PERSON if subjects[0] in IS_WOMAN else TOWN
    if rng.random() < impossible:
        known = {(f.subject, f.relation) for f in facts}
        told = sorted({f.relation for f in facts})
        while True:
            subject = rng.choice(others) if rng.random() < 0.1 else rng.choice(subjects)
            relation = rng.choice(told) if rng.random() < 0.1 else rng.choice(list(relations))
            if (subject, relation) not in known and not any(
                    f.value == subject and f.relation == relation for f in facts):
                break
        question = rng.choice(relations[relation][2]).replace("{S}", subject)
        return question, "", -1, ("squad", relation, subject, subjects[0], "none")
    fact = rng.choice(facts)
    question = rng.choice(relations[fact.relation][2]).replace("{S}", fact.subject)
    return question, fact.value, fact.start, ("squad", fact.relation, fact.subject, fact.value)


def reading(rng, count=None, facts=None, impossible=IMPOSSIBLE, same=SAME):
    """A paragraph of `facts` facts (by default 2 to 6) with `count` questions (by default 1 to 6), each at most once.

    `impossible` is the share of unanswerable ones. Several questions on one paragraph teach the lookup with fewer tokens; short paragraphs teach it sooner.
    """
    context, facts, subjects = paragraph(rng, facts or rng.choice([2, 2, 3, 3, 3, 4, 4, 5, 6]), same)
    pool = NAMES if subjects[0] in IS_WOMAN else TOWNS
    others = [s for s in rng.sample(pool, 6) if s not in context]
    count = count or rng.choice([1, 2, 4, 6])
    asked = {}
    for _ in range(count * 3):
        question, answer, start, key = _ask(rng, facts, subjects, others, impossible)
        asked.setdefault(question, (answer, start, key))
        if len(asked) == count:
            break
    segments = [(f"Context: {context}", PROMPT)]
    for question, (answer, _, _) in asked.items():
        segments += [(f"\nQuestion: {question}\nAnswer:", PROMPT), (f" {answer or UNANSWERABLE}", ANSWER)]
    segments.append(("\n", ANSWER))
    questions = [{"question": q, "answer": a, "start": s, "key": k} for q, (a, s, k) in asked.items()]
    return Document("squad", segments, [k for _, _, k in asked.values()],
                    {"context": context, "questions": questions, "subject": subjects[0]})


def recall(rng):
    """Facts told twice, the second time in another order and half of the time in other words.

    The densest lesson in what questions need: every value of the second telling must be looked up by subject and
    relation in the first. Only those values count as answers.
    """
    context, facts, subjects = paragraph(rng, rng.choice([2, 3, 3, 4]), SAME)
    table = PERSON if subjects[0] in IS_WOMAN else TOWN
    segments = [(context, PROMPT)]
    rng.shuffle(facts)
    for index, fact in enumerate(facts):
        statement = rng.choice(table[fact.relation][1])
        before, after = statement.replace("{S}", fact.subject).split("{V}")
        if before.endswith(" a "):
            before = before[:-2] + article(fact.value) + " "
        segments += [(("\n" if index == 0 else " ") + before.rstrip(" "), PROMPT), (" " + fact.value, ANSWER), (after, PROMPT)]
    return Document("recall", segments, [("squad", f.relation, f.subject, f.value) for f in facts])
