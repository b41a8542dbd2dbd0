# SPDX-License-Identifier: Apache-2.0
"""Runs the notebooks from top to bottom: on runs/demo where `./dev demo` has left it, otherwise on a small sweep of the same shape.
The packages come with `./dev test --oracles` (LATHE_ORACLES names an environment that has them); without them the test skips."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LATHE = ROOT / "build/lathe"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
PYTHON = pathlib.Path(os.environ.get("LATHE_ORACLES", CACHE / "lathe/oracles")) / "bin/python"
MODULES = ("nbclient", "nbformat", "ipykernel", "pandas", "seaborn", "plotly")

SMALL = """
name: demo
models: [bundled]
baseline: fp16
variants:
  fp16: {format: f16}
  int4-naive: {format: "int4:row"}
  nf4: {format: "nf4:b64"}
tasks: [{squad_v2: {limit: 30}}, {gsm8k: {limit: 6, max_tokens: 64}}]
probes: [size, {latency: {prompt: 16, generate: 8, repetitions: 1}}]
cost: {usd_per_hour: 0.35}
"""

# nbclient starts the kernel of the environment that runs it.
RUNNER = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(book)
NotebookClient(book, timeout=200, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
code = [c for c in book.cells if c.cell_type == "code"]
print(sum(bool(c.outputs) for c in code), "of", len(code), "cells show something")
"""


def missing():
    if not PYTHON.exists():
        return f"no {PYTHON}; ./dev test --oracles makes it"
    done = subprocess.run([PYTHON, "-c", "import " + ", ".join(MODULES)], capture_output=True, text=True)
    return done.stderr.strip().rsplit("\n", 1)[-1] if done.returncode else ""


@unittest.skipUnless(LATHE.exists(), "build/lathe is not built")
class Notebooks(unittest.TestCase):
    def test_run_from_top_to_bottom(self):
        lack = missing()
        if lack:
            self.skipTest(lack)
        with tempfile.TemporaryDirectory() as folder:
            runs = ROOT / "runs/demo"
            if not (runs / "results.jsonl").exists():
                pathlib.Path(folder, "small.yaml").write_text(SMALL)
                subprocess.run([LATHE, "sweep", "small.yaml", "--quiet"], cwd=folder, check=True, capture_output=True, timeout=280)
                runs = pathlib.Path(folder, "runs/demo")
            for book in sorted((ROOT / "notebooks").glob("*.ipynb")):
                with self.subTest(book.name):
                    done = subprocess.run([PYTHON, "-c", RUNNER, book, folder], capture_output=True, text=True, timeout=400,
                                          env=dict(os.environ, LATHE_RUNS=str(runs), PYDEVD_DISABLE_FILE_VALIDATION="1"))
                    self.assertEqual(done.returncode, 0, done.stderr[-3000:])
                    self.assertRegex(done.stdout, r"^[4-9] of")


if __name__ == "__main__":
    unittest.main()
