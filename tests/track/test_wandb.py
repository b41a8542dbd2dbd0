# SPDX-License-Identifier: Apache-2.0
"""tools/wandb_upload.py with a stand-in for wandb: what it sends are the verdicts of the sweep's table."""
import contextlib
import importlib.util
import json
import pathlib
import sys
import tempfile
import types
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
# p-values of four variants; Holm's correction of them in order: 0.03, 0.06, 0.06, 0.9.
P_VALUES = {"a": 0.0075, "b": 0.03, "c": 0.02, "d": 0.9}


class FakeRun:
    def __init__(self, sent, name):
        self.summary, self.saved = {}, []
        sent[name] = self

    def log(self, means):
        pass

    def save(self, path, **_):
        self.saved.append(pathlib.Path(path).name)

    def finish(self, **_):
        pass


class WandbUpload(unittest.TestCase):
    def upload(self, folders):
        sent = {}
        wandb = types.ModuleType("wandb")
        wandb.init = lambda name, **_: contextlib.nullcontext(FakeRun(sent, name))
        spec = importlib.util.spec_from_file_location("wandb_upload", ROOT / "tools/wandb_upload.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with mock.patch.dict(sys.modules, wandb=wandb), mock.patch.object(sys, "argv", ["wandb_upload.py", *map(str, folders)]):
            module.main()
        return sent

    def test_sends_corrected_verdicts_of_the_whole_sweep(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder) / "x"
            for variant, p in P_VALUES.items():
                row = {"task": "t", "metric": "f1", "value": 50.0, "p_value": p,
                       "verdict": "worse" if p < 0.05 else "undecided"}
                alone = {"task": "t", "metric": "em", "value": 1.0, "p_value": p, "verdict": row["verdict"]}
                rows = [row] + ([alone] if variant == "b" else [])
                (root / variant).mkdir(parents=True)
                (root / variant / "run.json").write_text(json.dumps(
                    {"id": variant, "variant": variant, "status": "done", "experiment": {"name": "x"}, "results": rows}))
            sent = self.upload([root])
            summary = {name: run.summary for name, run in sent.items()}
            self.assertEqual({n: s["t/f1.verdict"] for n, s in summary.items()},
                             {"a": "worse", "b": "undecided", "c": "undecided", "d": "undecided"})
            for name, expected in {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.9}.items():
                self.assertAlmostEqual(summary[name]["t/f1.p_holm"], expected, places=12)
            # Alone in its column, and sent without the others: corrected all the same.
            self.assertEqual(summary["b"]["t/em.verdict"], "worse")
            one = self.upload([root / "b"])
            self.assertEqual(list(one), ["b"])
            self.assertEqual(one["b"].summary, summary["b"])
            self.assertIn("run.json", one["b"].saved)


if __name__ == "__main__":
    unittest.main()
