# SPDX-License-Identifier: Apache-2.0
"""`lathe sweep --launcher` with a real mpirun (oversubscribed on this machine) and a real one-node Slurm that the test
brings up: the merged results equal those of a sweep in one process. Skips where Debian's openmpi-bin or slurm-wlm are missing,
and, for Slurm, where the test does not run as root."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LATHE = ROOT / "build/lathe"

EXPERIMENT = """
name: spread
models: [bundled]
baseline: fp16
variants:
  fp16: {format: f16}
  int8: {format: "int8:row"}
  nf4: {format: "nf4:b64"}
  broken: {format: "int8:row"}
tasks: [{squad_v2: {limit: 6}}]
probes: [size]
"""

SLURM = """
ClusterName=lathe
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@unittest.skipUnless(LATHE.exists(), "build/lathe is not built")
class Launchers(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        (self.folder / "x.yaml").write_text(EXPERIMENT)

    def sweep(self, runs, *options, **environment):
        blocked = self.folder / runs / "spread/broken/model"  # in the way of that variant's model, so that it fails
        blocked.parent.mkdir(parents=True)
        blocked.write_text("not a model")
        return subprocess.run([LATHE, "sweep", "x.yaml", "-o", runs, "--threads", "1", *options], cwd=self.folder,
                              capture_output=True, text=True, timeout=280, env=dict(os.environ, **environment))

    def results(self, runs):
        rows = [json.loads(line) for line in (self.folder / runs / "spread/results.jsonl").read_text().splitlines()]
        return sorted(json.dumps(r, sort_keys=True) for r in rows if r.get("task") == "squad_v2")

    def check(self, done):
        self.assertEqual(done.returncode, 1, done.stderr)  # "broken" fails, and the rest goes on
        self.assertIn("no model that Lathe has written", done.stdout)
        alone = self.sweep("alone")
        self.assertEqual(alone.returncode, 1, alone.stderr)
        self.assertEqual(self.results("runs"), self.results("alone"))
        self.assertEqual(len(self.results("runs")), 3 * len({json.loads(r)["metric"] for r in self.results("runs")}))
        self.assertIn("3 of 4 runs were finished before", done.stdout, "the workers did them")
        nf4 = [json.loads(r) for r in self.results("runs") if json.loads(r)["run"] == "nf4"]
        self.assertIn("baseline_delta", nf4[0], "runs of different workers are compared")

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun (Debian: openmpi-bin)")
    def test_mpi(self):
        self.check(self.sweep("runs", "--launcher", "mpi", "--processes", "3", "--launcher-args", "--oversubscribe",
                              OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))

    @unittest.skipUnless(shutil.which("slurmctld") and shutil.which("slurmd") and shutil.which("sbatch"), "no Slurm (Debian: slurm-wlm)")
    @unittest.skipUnless(os.geteuid() == 0, "a Slurm of its own needs root")
    def test_slurm(self):
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        conf = self.folder / "slurm.conf"
        conf.write_text(SLURM.format(host=host, folder=self.folder, ports=free_ports(2), cpus=os.cpu_count()))
        environment = dict(os.environ, SLURM_CONF=str(conf))
        for daemon in ("slurmctld", "slurmd"):
            log = open(self.folder / f"{daemon}.log", "w")
            process = subprocess.Popen([daemon, "-D"], env=environment, stdout=log, stderr=log, start_new_session=True)
            self.addCleanup(log.close)
            self.addCleanup(lambda p=process: (os.killpg(p.pid, signal.SIGKILL) if p.poll() is None else None, p.wait()))
        for _ in range(120):
            state = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True)
            if state.stdout.strip() == "idle":
                break
            time.sleep(0.5)
        else:
            self.skipTest("Slurm does not come up here: " + (self.folder / "slurmctld.log").read_text()[-500:])
        self.check(self.sweep("runs", "--launcher", "slurm", SLURM_CONF=str(conf)))
        self.assertTrue((self.folder / "runs/spread/slurm-0.log").exists())

    def test_a_launcher_that_is_missing_is_named(self):
        done = self.sweep("runs", "--launcher", "mpi", PATH="/nonexistent")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("openmpi-bin", done.stderr)


if __name__ == "__main__":
    unittest.main()
