#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files anew in a temporary folder and compares them with tests/golden.

    check.py [--python PYTHON] [--only SCRIPT…]

Prints a line for each script on stderr and "PASSED FAILED SKIPPED" on stdout. A script is skipped when it needs
data that is not there (LATHE_SHARED, by default ../shared) or a package that is not installed, and that is said.
JSON is compared as numbers within RELATIVE, because the last digits of a sum depend on the machine's instruction
set; the keys of VERSIONS are not compared; all other files byte for byte, but for the order within a
safetensors header.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
SHARED = pathlib.Path(os.environ.get("LATHE_SHARED") or ROOT.parent / "shared")
RELATIVE = 2e-5  # of the largest number in the same list, or of the number itself outside a list
VERSIONS = {"generator", "versions", "transformers_version"}
HELPERS = {"check.py", "families_gguf.py", "families_models.py"}  # make no golden file themselves

# script: (arguments, what it makes). {out} is the temporary folder, {shared} the larger data.
SCRIPTS = {
    "compress_methods.py": (["{out}/compress/methods.json", "--layer", "{shared}/data/weights/tiny-llm-layer0.safetensors"],
                            ["compress/methods.json"]),
    "compress_scales.py": (["{out}/compress/scales.json"], ["compress/scales.json"]),
    "encoders.py": (["tiny", "{out}/encoders/tiny-bert"], ["encoders/tiny-bert"]),
    "eval_choice.py": (["{root}/models/tiny", "{root}/models/tiny/data/text.txt", "{out}/eval/choice"], ["eval/choice"]),
    "eval_gsm8k.py": (["{out}/eval/gsm8k.json"], ["eval/gsm8k.json"]),
    "eval_overlap.py": (["{shared}/data", "{out}/eval/overlap.json"], ["eval/overlap.json"]),
    "eval_python_text.py": (["{out}/eval/python_text.json"], ["eval/python_text.json"]),
    "eval_squad.py": (["{squad_metrics}", "{shared}/data/qa/squad_v2_dev_half.json", "{out}/eval/squad.json"],
                      ["eval/squad.json"]),
    "eval_statistics.py": (["{out}/eval/statistics.json"], ["eval/statistics.json"]),
    "eval_statistics_many.py": (["{out}/eval/statistics_many.json"], ["eval/statistics_many.json"]),
    "eval_ter.py": (["{root}/tests/golden/eval/overlap.json", "{shared}/data", "{out}/eval/ter.json"],
                    ["eval/ter.json"]),
    "eval_windows.py": (["{out}/eval/perplexity_windows.json"], ["eval/perplexity_windows.json"]),
    "families.py": (["{out}/families"], ["families"]),
    "formats.py": (["{out}/formats"], ["formats"]),
    "imatrix.py": (["{root}/tests/golden/families/llama", "{out}/compress"],
                   ["compress/imatrix.gguf", "compress/imatrix.dat", "compress/imatrix.json"]),
    "io_files.py": (["{out}/io"], ["io"]),
    "onnx_files.py": (["{out}/onnx"], ["onnx"]),
}
NO_GOLDEN_FILE = {"math_coefficients.py",  # prints constants that stand in a source
                  "exports.py",  # compares what `lathe export` writes with its readers
                  "reduced.py"}  # the same for models that lost layers, heads or channels


def differs(found, expected, where=""):
    """The first difference of two JSON values, as text; None if there is none."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(set(expected) | set(found)):
            if key in VERSIONS:
                continue
            if key not in expected or key not in found:
                return f"{where}/{key} is only in {'the golden file' if key in expected else 'the new one'}"
            said = differs(found[key], expected[key], f"{where}/{key}")
            if said:
                return said
        return None
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{where}: {len(found)} entries, the golden file has {len(expected)}"
        if expected and all(isinstance(v, (int, float)) for v in expected + found):
            scale = max(abs(v) for v in expected)
            for i, (a, b) in enumerate(zip(found, expected)):
                if a != b and not abs(a - b) <= RELATIVE * scale:
                    return f"{where}[{i}]: {a}, the golden file has {b}"
            return None
        for i, (a, b) in enumerate(zip(found, expected)):
            said = differs(a, b, f"{where}[{i}]")
            if said:
                return said
        return None
    if isinstance(expected, float) or isinstance(found, float):
        if isinstance(found, (int, float)) and isinstance(expected, (int, float)):
            if found == expected or abs(found - expected) <= RELATIVE * abs(expected):
                return None
    elif found == expected:
        return None
    return f"{where}: {found!r}, the golden file has {expected!r}"


def same_file(new, old):
    """Equal bytes; for safetensors an equal header and equal data, since its writer orders metadata at random."""
    a, b = new.read_bytes(), old.read_bytes()
    if a == b or old.suffix != ".safetensors":
        return a == b
    ends = [8 + int.from_bytes(x[:8], "little") for x in (a, b)]
    headers = [json.loads(x[8:end]) for x, end in zip((a, b), ends)]
    return headers[0] == headers[1] and a[ends[0]:] == b[ends[1]:]


def compare(made, golden):
    """Complaints about what the script made at `made` against what is kept at `golden`."""
    names = sorted(p.relative_to(golden) for p in golden.rglob("*") if p.is_file()) if golden.is_dir() else [None]
    complaints = []
    for name in names:
        new, old = (made / name, golden / name) if name else (made, golden)
        if name and name.name == "README.md":
            continue
        if not new.exists():
            complaints.append(f"{old} is kept, but no script makes it")
        elif old.suffix == ".json":
            said = differs(json.loads(new.read_text("utf-8")), json.loads(old.read_text("utf-8")))
            if said:
                complaints.append(f"{old}: {said}")
        elif not same_file(new, old):
            complaints.append(f"{old}: the bytes differ")
    if golden.is_dir():
        extra = sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file() and not (golden / p.relative_to(made)).exists())
        complaints += [f"{golden / name} is missing: the script makes it" for name in extra]
    return complaints


def reason_to_skip(arguments, squad_metrics):
    if any("{shared}" in a for a in arguments) and not (SHARED / "data").is_dir():
        return f"needs the shared data, and there is no {SHARED}/data (LATHE_SHARED)"
    if any("{squad_metrics}" in a for a in arguments) and not squad_metrics:
        return "needs squad_metrics.py of transformers 4.57.1 (--squad-metrics)"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has requirements.txt")
    parser.add_argument("--squad-metrics", type=pathlib.Path, help="transformers/data/metrics/squad_metrics.py, 4.57.1")
    parser.add_argument("--only", nargs="*", default=[], metavar="SCRIPT")
    options = parser.parse_args()
    folder = pathlib.Path(__file__).parent
    there = {p.name for p in folder.glob("*.py")} - HELPERS - NO_GOLDEN_FILE
    passed = failed = skipped = 0
    for name in sorted(there | set(SCRIPTS)):
        if options.only and name not in options.only:
            continue
        if name not in SCRIPTS or name not in there:
            print(f"oracle {name}: FAILED: SCRIPTS in check.py and the folder do not agree on it", file=sys.stderr)
            failed += 1
            continue
        arguments, makes = SCRIPTS[name]
        reason = reason_to_skip(arguments, options.squad_metrics)
        with tempfile.TemporaryDirectory() as out:
            complaints = []
            if not reason:
                for kind in ("eval", "families", "formats", "io"):
                    (pathlib.Path(out) / kind).mkdir()
                filled = [a.format(out=out, root=ROOT, shared=SHARED, squad_metrics=options.squad_metrics) for a in arguments]
                run = subprocess.run([options.python, str(folder / name), *filled], cwd=ROOT, text=True,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if "ModuleNotFoundError" in run.stdout:
                    reason = run.stdout.strip().splitlines()[-1]
                elif run.returncode != 0:
                    complaints = [f"exit {run.returncode}", *run.stdout.strip().splitlines()[-15:]]
                else:
                    for made in makes:
                        complaints += compare(pathlib.Path(out) / made, GOLDEN / made)
        if reason:
            skipped += 1
            print(f"oracle {name}: skipped: {reason}", file=sys.stderr)
        elif complaints:
            failed += 1
            print(f"oracle {name}: FAILED", *complaints[:20], sep="\n  ", file=sys.stderr)
        else:
            passed += 1
            print(f"oracle {name}: the golden files are what it makes", file=sys.stderr)
    print(passed, failed, skipped)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
