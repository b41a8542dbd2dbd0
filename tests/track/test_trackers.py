# SPDX-License-Identifier: Apache-2.0
"""What `lathe` writes for MLflow and TensorBoard, read back with their own clients: a real MLflow server, its file store,
TensorBoard's event reader. The packages come with `./dev test --oracles` (LATHE_ORACLES names an environment that has them);
without them the test skips itself.

Run with --read KIND TARGET, in that environment, it prints what the client finds as JSON.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
LATHE = ROOT / "build/lathe"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
PYTHON = pathlib.Path(os.environ.get("LATHE_ORACLES", CACHE / "lathe/oracles")) / "bin/python"

EXPERIMENT = """
name: tracked
models: [bundled]
baseline: fp16
variants:
  fp16: {format: f16}
  nf4: {format: "nf4:b64"}
  broken: {format: "int8:row"}
tasks: [{squad_v2: {limit: 6}}]
probes: [size]
track: {mlflow: "%s", mlflow_files: %s, tensorboard: %s}
"""


def read_mlflow(uri):
    from mlflow import MlflowClient
    client = MlflowClient(uri)
    out = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            path = next((a.path for a in client.list_artifacts(run.info.run_id) if a.path == "samples.jsonl"), None)
            local = client.download_artifacts(run.info.run_id, path) if path else None
            history = client.get_metric_history(run.info.run_id, "running/squad_v2/f1")
            out.setdefault(run.info.run_name, []).append({
                "experiment": experiment.name, "id": run.info.run_id, "status": run.info.status,
                "params": run.data.params, "tags": run.data.tags, "metrics": run.data.metrics,
                "artifacts": sorted(a.path for a in client.list_artifacts(run.info.run_id)),
                "samples": pathlib.Path(local).read_text() if local else None,
                "running": [[m.step, m.value] for m in history]})
    return out


def read_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    out = {}
    for file in pathlib.Path(folder).rglob("*tfevents*"):
        events = EventAccumulator(str(file.parent))
        events.Reload()
        tags = events.Tags()
        out[file.parent.name] = {
            "scalars": {t: [[e.step, e.value] for e in events.Scalars(t)] for t in tags["scalars"]},
            "text": {t: events.Tensors(t)[0].tensor_proto.string_val[0].decode() for t in tags["tensors"]}}
    return out


def has(module):
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def read(kind, target):
    environment = dict(os.environ, MLFLOW_ALLOW_FILE_STORE="true", TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run([PYTHON, __file__, "--read", kind, target], capture_output=True, text=True, env=environment, timeout=240)
    if done.returncode != 0:
        raise AssertionError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


@unittest.skipUnless(LATHE.exists(), "build/lathe is not built")
@unittest.skipUnless(has("mlflow"), f"no mlflow in {PYTHON}; ./dev test --oracles installs it")
class Trackers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        cls.url = f"http://127.0.0.1:{port}"
        cls.log = open(cls.folder / "server.log", "w")
        cls.server = subprocess.Popen(
            [PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{cls.folder}/mlflow.db", "--artifacts-destination", str(cls.folder / "artifacts")],
            stdout=cls.log, stderr=subprocess.STDOUT, start_new_session=True)
        for _ in range(240):
            try:
                urllib.request.urlopen(cls.url + "/health", timeout=2).read()
                return
            except OSError:
                if cls.server.poll() is not None:
                    break
                time.sleep(0.5)
        cls.tearDownClass()
        raise AssertionError("the MLflow server did not start: " + (cls.folder / "server.log").read_text()[-2000:])

    @classmethod
    def tearDownClass(cls):
        if cls.server.poll() is None:
            os.killpg(cls.server.pid, signal.SIGTERM)
        cls.server.wait(30)
        cls.log.close()
        cls.temporary.cleanup()

    def lathe(self, *arguments):
        return subprocess.run([LATHE, *arguments], capture_output=True, text=True, cwd=self.folder, timeout=240)

    def test_a_sweep_killed_and_resumed_is_tracked_once(self):
        (self.folder / "x.yaml").write_text(EXPERIMENT % (self.url, "files", "tb"))
        broken = self.folder / "runs/tracked/broken/model"  # in the way of that variant's model, so that it fails
        broken.parent.mkdir(parents=True)
        broken.write_text("not a model")
        # Killed once the first run is on the server.
        killed = subprocess.Popen([LATHE, "sweep", "x.yaml"], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first = self.folder / "runs/tracked/fp16/run.json"
        for _ in range(600):
            if first.exists() or killed.poll() is not None:
                break
            time.sleep(0.1)
        killed.kill()
        killed.wait()
        self.assertTrue(first.exists())
        done = self.lathe("sweep", "x.yaml")
        self.assertEqual(done.returncode, 1, done.stderr)  # "broken" fails
        again = self.lathe("report", "runs/tracked", "--mlflow", self.url)
        self.assertEqual(again.returncode, 0, again.stderr)

        results = [json.loads(line) for line in (self.folder / "runs/tracked/results.jsonl").read_text().splitlines()]
        files = read("mlflow", f"file://{self.folder}/files")
        for found in (read("mlflow", self.url), files):
            self.assertEqual(sorted(found), ["broken", "fp16", "nf4", "tracked"])
            self.assertEqual({len(runs) for runs in found.values()}, {1}, "one run each, however often it was sent")
            parent = found["tracked"][0]
            for name in ("fp16", "nf4"):
                run = found[name][0]
                self.assertEqual(run["status"], "FINISHED")
                self.assertEqual(run["tags"]["mlflow.parentRunId"], parent["id"])
                self.assertEqual(run["params"]["variant"], name)
                self.assertIn("environment.cpu", run["tags"])
                self.assertEqual(run["samples"], (self.folder / f"runs/tracked/{name}/samples.jsonl").read_text())
                self.assertIn("run.json", run["artifacts"])
                wanted = {f"{r['task']}/{r['metric']}": r["value"] for r in results if r["run"] == name}
                self.assertGreaterEqual(len(wanted), 3)
                for key, value in wanted.items():
                    self.assertEqual(run["metrics"][key], value, key)
                self.assertEqual([step for step, _ in run["running"]], [1, 2, 3, 4, 5, 6])
            broken = found["broken"][0]
            self.assertEqual(broken["status"], "FAILED")
            self.assertIn("no model that Lathe has written", broken["tags"]["lathe.error"])
            self.assertEqual(parent["status"], "FAILED")
            self.assertIn("report.html", parent["artifacts"])
            self.assertEqual(parent["metrics"]["sweep/failed"], 1)

        if not has("tensorboard"):
            self.skipTest(f"no tensorboard in {PYTHON}: its reader was not asked")
        events = read("tensorboard", str(self.folder / "tb"))
        self.assertEqual(sorted(events), ["broken", "fp16", "nf4"])
        for name in ("fp16", "nf4"):
            for r in results:
                if r["run"] == name:
                    step, value = events[name]["scalars"][f"{r['task']}/{r['metric']}"][0]
                    self.assertEqual(step, 0)
                    self.assertAlmostEqual(value, r["value"], delta=1e-6 * abs(r["value"]))
            self.assertEqual(len(events[name]["scalars"]["running/squad_v2/f1"]), 6)
            self.assertIn("variant", events[name]["text"]["settings"])


if __name__ == "__main__" and sys.argv[1:2] == ["--read"]:
    print(json.dumps({"mlflow": read_mlflow, "tensorboard": read_tensorboard}[sys.argv[2]](sys.argv[3])))
elif __name__ == "__main__":
    unittest.main()
