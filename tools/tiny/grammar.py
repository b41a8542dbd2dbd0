# SPDX-License-Identifier: Apache-2.0
"""A tiny text grammar, and the document type that every generator of the world returns.

Templates: `[a|b|c]` picks one alternative, `{slot}` inserts a value. Alternatives do not nest.
"""
import hashlib
import re
from dataclasses import dataclass, field

# Weight classes of text segments. The trainer maps a class to a loss weight.
PLAIN, PROMPT, ANSWER = 0, 1, 2

HELD_OUT_SHARE = 12  # one combination in this many is kept for the held-out sets

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass
class Document:
    """One training or evaluation document.

    kind: story, squad, gsm8k, drill, summary or translation.
    segments: (text, weight class); joined they are the document.
    keys: the combinations that this document teaches (or tests), for the split between training and held-out.
    fields: the parts in structured form, for the evaluation files.
    """
    kind: str
    segments: list
    keys: list
    fields: dict = field(default_factory=dict)

    @property
    def text(self):
        return "".join(text for text, _ in self.segments)


def fill(rng, template, slots):
    """Expands one template. Picks are made left to right, so a seed gives one text."""
    text = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    return text.format_map(slots)


def is_held_out(key):
    """Whether the combination `key` belongs to the held-out sets; stable across processes and versions of Python."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_SHARE == 0
