# SPDX-License-Identifier: Apache-2.0
"""Short stories, and their one-sentence summaries.

A plot is a list of sentence templates; one that starts with `?` is left out half of the time. The last entry
is the summary. Slots are consistent through the story, so what is told at the start is needed at its end.
"""
from grammar import ANSWER, PLAIN, PROMPT, Document, fill
from lexicon import (ANIMALS, COLOURS, DAYS, FEELINGS, FOODS, GOODS, IS_WOMAN, JOBS, MOODS, NAMES, QUALITIES, SPOTS,
                     THINGS, TOWNS, WEATHER, WORRIES, article)

OPENINGS = [
    "[Once|Long ago], there was a {mood} {job} named {hero} who lived in {town}.",
    "{hero} was a {mood} {job} [in|from] {town}.",
    "In {town} there lived a {job} [named|called] {hero}.",
    "One {weather} {day}, {hero} went to the {spot} [near|in] {town}.",
    "It was a {weather} {day} in {town}.",
]

PLOTS = {
    "lost": ([
        "{hero} had {a_look} {thing} and [loved it very much|took it everywhere|kept it in a bag].",
        "?{He} [liked|used] the {look} {thing} every day.",
        "On {day}, {hero} lost the {thing} [at|near] the {spot}.",
        "{He} looked [everywhere|under the trees|all day], but the {thing} was not there.",
        "?{hero} was very {worry}.",
        "Then {friend} came [to the {spot}|along the road] with {a_animal}.",
        "The {animal} [ran|walked] to the {spot2} and found the {look} {thing}.",
        "?\"Is this your {thing}?\" asked {friend}.",
        "{hero} [took the {thing}|got the {thing} back] and [thanked|hugged] {friend}.",
        "[From that day on|After that], {hero} and {friend} were good friends.",
    ], "{hero} lost {a_look} {thing} at the {spot}, and the {animal} of {friend} found it."),
    "gift": ([
        "{hero} wanted to [give|bring] {friend} a gift.",
        "{He} went to the {spot} and [bought|found] {a_look} {thing}.",
        "?It cost {n} coins.",
        "?\"{friend} will like this {thing},\" [said|thought] {hero}.",
        "On {day}, {hero} met {friend} at the {spot2}.",
        "\"This {thing} is for you,\" said {hero}.",
        "{friend} was {feeling} and [gave|offered] {hero} some {food}.",
        "?They sat [together|by the road] and ate the {food}.",
        "In the evening {hero} went home to {town}, and {he} was {feeling2} too.",
    ], "{hero} gave {friend} {a_look} {thing} at the {spot2} and got some {food}."),
    "storm": ([
        "{hero} and {friend} [went|walked] to the {spot} with {a_animal}.",
        "?They carried some {food} in {a_look} {thing}.",
        "[Soon|Suddenly] a storm came, and the {animal} ran away.",
        "{friend} was {worry}, but {hero} was not.",
        "\"[We must look|Let us look] for the {animal} [in|at] the {spot2},\" said {hero}.",
        "They found the {animal} [in|near] the {spot2}, [wet and cold|under a tree].",
        "?{friend} gave the {animal} some {food}.",
        "[When the sun came out|In the evening], they all went back to {town}.",
        "{hero} and {friend} were {feeling}.",
    ], "The {animal} ran away in a storm, and {hero} and {friend} found it at the {spot2}."),
    "trade": ([
        "{hero} had {n} {goods} but no {food}.",
        "{friend} had {food} but no {goods}.",
        "They met at the {spot} on {day}.",
        "\"Will you [give|sell] me some {food} for {m} {goods}?\" asked {hero}.",
        "\"Yes, I will,\" said {friend}.",
        "{hero} gave {friend} {m} {goods} and got the {food}.",
        "?Now {hero} had {left} {goods} left.",
        "?{friend} put the {goods} [in a bag|on a table].",
        "[At home|In {town}], {hero} ate the {food} and was {feeling}.",
    ], "{hero} gave {friend} {m} {goods} for some {food} at the {spot}."),
    "help": ([
        "The {thing} of {hero} was broken, and {hero} was {worry}.",
        "?It was {a_look} {thing}, and {he} [needed|used] it every {day}.",
        "{He} went to the {spot} to [find|ask] {friend}, [the best {job2} in {town}|who was a {job2}].",
        "\"Can you [mend|repair] my {thing}?\" asked {hero}.",
        "{friend} worked for {n} [hours|days].",
        "Then the {look} {thing} was as good as new.",
        "?\"How can I thank you?\" asked {hero}.",
        "{hero} gave {friend} [some {food}|{m} coins] and [went home|walked home].",
        "{He} was {feeling} [all day|for a long time].",
    ], "The {thing} of {hero} was broken, and {friend} the {job2} mended it."),
    "race": ([
        "{hero} and {friend} had a race from the {spot} to the {spot2}.",
        "{hero} rode {a_animal}, and {friend} [ran on foot|rode a horse].",
        "?The prize was {a_look} {thing}.",
        "At first {friend} was [faster|in front].",
        "But {friend} stopped to eat some {food}.",
        "The {animal} [did not stop|ran and ran], and {hero} came to the {spot2} first.",
        "?\"You won!\" [said|called] {friend}.",
        "{hero} got the {look} {thing} and was {feeling}.",
        "[They went home together|In the evening they ate together] in {town}.",
    ], "{hero} won a race against {friend} with {a_animal} and got {a_look} {thing}."),
    "secret": ([
        "[One night|On {day}], {hero} saw a light in the {spot}.",
        "?The night was {weather} and dark.",
        "{He} [took|carried] {a_look} {thing} and went to the {spot}.",
        "There {hero} met {friend}, who had {a_animal}.",
        "\"What are you doing [here|in the {spot}]?\" asked {hero}.",
        "\"I am [looking for|hiding] {n} {goods},\" said {friend}.",
        "{hero} [helped|wanted to help] {friend} with the {thing}.",
        "They found the {n} {goods} [under a stone|behind a door] in the {spot}.",
        "?{friend} gave {hero} {m} of the {goods}.",
        "{hero} never told the secret to anyone in {town}.",
    ], "{hero} met {friend} in the {spot}, and they found {n} {goods}."),
    "journey": ([
        "{hero} wanted to see {town2}.",
        "{He} packed {food} and {a_look} {thing} and left {town} on {day}.",
        "?The road was long and the weather was {weather}.",
        "On the way {he} met {a_mood} {job2} named {friend}.",
        "{friend} [walked|went] with {hero} to the {spot}.",
        "?There they slept and ate some {food}.",
        "After {n} days they came to {town2}.",
        "{hero} [sold|showed] the {thing} at the {spot2} [for {m} coins|to a {job}].",
        "[Then|At last] {he} went home and told everyone about {town2}.",
    ], "{hero} went from {town} to {town2} with {friend} and {a_look} {thing}."),
    "party": ([
        "It was the birthday of {hero}, and {he} was {n} years old.",
        "{friend} came to the party with {a_look} {thing}.",
        "{third} came with some {food}.",
        "?There was also {a_animal} that [sang|danced].",
        "They played at the {spot} [until night|all day].",
        "{hero} liked the {thing} from {friend} [best of all|very much].",
        "But {third} was {worry}, because nobody ate the {food}.",
        "So {hero} ate all the {food}, and {third} was {feeling} [again|too].",
    ], "{hero} had a party at the {spot} and got {a_look} {thing} from {friend}."),
    "animal": ([
        "{hero} found a {mood2} {animal} [at|near] the {spot}.",
        "The {animal} was [hungry|thin and hungry].",
        "{He} gave it some {food} and [took|carried] it home to {town}.",
        "{friend}, the {job2}, said, \"That is my {animal}!\"",
        "?{hero} was {worry} for a moment.",
        "\"It likes you,\" said {friend}. \"You may keep it.\"",
        "?{friend} also gave {hero} {a_look} {thing} for the {animal}.",
        "{hero} called the {animal} {third}.",
        "Every {day} they [played|walked] together [at|to] the {spot2}.",
    ], "{hero} found {a_animal} at the {spot}, and {friend} let {him} keep it."),
}
PLOT_NAMES = list(PLOTS)


def _slots(rng):
    hero, friend, third = rng.sample(NAMES, 3)
    town, town2 = rng.sample(TOWNS, 2)
    spot, spot2 = rng.sample(SPOTS, 2)
    look = rng.choice(COLOURS if rng.random() < 0.6 else QUALITIES)
    n = rng.randint(3, 20)
    m = rng.randint(1, n - 1)
    woman = IS_WOMAN[hero]
    animal, mood, mood2 = rng.choice(ANIMALS), rng.choice(MOODS), rng.choice(MOODS)
    feeling, feeling2 = rng.sample(FEELINGS, 2)
    many = rng.choice(GOODS)[1]
    return {
        "hero": hero, "friend": friend, "third": third, "town": town, "town2": town2, "spot": spot, "spot2": spot2,
        "look": look, "a_look": f"{article(look)} {look}", "thing": rng.choice(THINGS), "n": n, "m": m if m > 1 else 2,
        "left": n - (m if m > 1 else 2), "goods": many, "food": rng.choice(FOODS), "animal": animal,
        "a_animal": f"{article(animal)} {animal}", "mood": mood, "a_mood": f"{article(mood)} {mood}", "mood2": mood2,
        "job": rng.choice(JOBS), "job2": rng.choice(JOBS), "day": rng.choice(DAYS), "weather": rng.choice(WEATHER),
        "feeling": feeling, "feeling2": feeling2, "worry": rng.choice(WORRIES), "he": "she" if woman else "he",
        "He": "She" if woman else "He", "him": "her" if woman else "him",
    }


def _tell(rng, slots, plot, with_opening):
    sentences, summary = PLOTS[plot]
    told = [fill(rng, rng.choice(OPENINGS), slots)] if with_opening else []
    for sentence in sentences:
        if sentence[0] == "?":
            if rng.random() < 0.5:
                continue
            sentence = sentence[1:]
        told.append(fill(rng, sentence, slots))
    return " ".join(told), fill(rng, summary, slots)


def _key(kind, plot, slots):
    return (kind, plot, slots["hero"], slots["friend"], slots["thing"], slots["spot"])


def story(rng):
    """One story as plain text."""
    plot, slots = rng.choice(PLOT_NAMES), _slots(rng)
    text, _ = _tell(rng, slots, plot, True)
    return Document("story", [(text, PLAIN)], [_key("story", plot, slots)], {"text": text})


def summary(rng):
    """A shorter story with its summary: `Text: …\\nSummary: …\\n`."""
    plot, slots = rng.choice(PLOT_NAMES), _slots(rng)
    text, short = _tell(rng, slots, plot, False)
    return Document("summary", [(f"Text: {text}\nSummary:", PROMPT), (f" {short}\n", ANSWER)],
                    [_key("summary", plot, slots)], {"document": text, "summary": short})
