"""Golden file for src/lathe/eval/metrics/python_text.*: what Python's str and re say of code points.

Generator: Python 3.11 (Unicode 14). Code points that this version does not assign are left out, so
that a newer Unicode library may know more of them.
Usage: eval_python_text.py OUT.json
"""
import json
import re
import sys
import unicodedata


def kind(code):
    char = chr(code)
    if unicodedata.category(char) == "Cn":
        return "?"
    assert bool(re.match(r"\s", char)) == char.isspace()
    return "s" if char.isspace() else "w" if re.match(r"\w", char) else "-"


def runs(kinds):
    """[[first code point, kind], …], one for each change."""
    out = []
    for code, k in kinds:
        if not out or out[-1][1] != k:
            out.append([code, k])
    return out


def main():
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    lower = {chr(c): chr(c).lower() for c in codes if chr(c).lower() != chr(c)}
    # How a character beside a capital sigma decides between the two small ones: before it, between
    # a letter and it, and after it.
    def sigma(code):
        char = chr(code)
        if unicodedata.category(char) == "Cn":
            return "?"
        last = [(char + "Σ").lower()[-1], ("A" + char + "Σ").lower()[-1],
                ("AΣ" + char).lower()[1], ("AΣ" + char + "A").lower()[1]]
        return "".join("f" if c == "ς" else "m" for c in last)

    phrases = ["ΟΔΥΣΣΕΥΣ", "Σ", "ΑΣ.", "Σ'Σ", "ΑΣ ΒΣ", "İstanbul", "ǅ ǈ", "ẞ", "K Å",
               "STRASSE", "ⅣΣ", "Α\u0301Σ\u0301", "Α.Σ", "ΣΑ", "1Σ", "ΑΣ1", "aΣ\u00adb"]
    spaced = "".join(chr(c) + "x" for c in range(0x3100) if chr(c).isspace()) + " \t\n"
    broken = [b"abc", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82\xac", b"\xe2(\xa1",
              b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80x", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
              b"\xf5\x80", b"\x80\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xc3\xa9\xa9",
              b"\xf0\x90\xc3\xa9", b""]
    golden = {
        "generator": "Python " + sys.version.split()[0] + ", Unicode " + unicodedata.unidata_version,
        "kinds": runs((c, kind(c)) for c in codes),
        "sigma": runs((c, sigma(c)) for c in codes),
        "lower": [[ord(k), v] for k, v in lower.items()],
        "lower_phrases": [[p, p.lower()] for p in phrases],
        "split": [spaced, spaced.split()],
        "decode": [[b.hex(), b.decode("utf-8", "replace")] for b in broken],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(golden, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


main()
