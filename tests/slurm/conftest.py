"""A real Slurm on this machine: slurmctld and slurmd of Debian's packages, one node, two fake GPUs, up in a second."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun", "sinfo")
# The scheduler looks every second.
CONF = """
ClusterName=modbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/slurm
CredType=cred/slurm
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
ReturnToService=2
MpiDefault=none
KillWait=2
OverTimeLimit=0
SchedulerParameters=sched_interval=1,bf_interval=1,bf_resolution=1,batch_sched_delay=0
SlurmdParameters=config_overrides
MaxArraySize=4
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def why_not() -> str | None:
    """Why Slurm cannot run here, or None."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install slurmctld slurmd slurm-client (Slurm 24.11 or newer)"
    if os.geteuid() != 0:
        return "slurmd starts jobs only as root"
    version = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if tuple(map(int, version.split(".")[:2])) < (24, 5):
        return f"Slurm {version} needs munge; these tests need 24.05 or newer, which does not"
    return None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Start the daemons, and point Slurm's commands to them; returns the folder of their files."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    host = socket.gethostname().partition(".")[0]
    # Not below pytest's own folder: paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="modbench-slurm-"))
    for name in ("ctld", "d"):
        (folder / name).mkdir()
    key = folder / "slurm.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    for number in range(2):
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu Type=fake File={folder}/gpu[0-1]\n")
    ports = (_free_port(), _free_port())
    (folder / "slurm.conf").write_text(CONF.format(host=host, user="root", folder=folder, ports=ports))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    try:
        for daemon in ("slurmctld", "slurmd"):
            done = subprocess.run([daemon], capture_output=True, text=True, timeout=30, check=False, env=environment)
            assert done.returncode == 0, f"{daemon}: {done.stdout}{done.stderr}"
        _wait_for_node(folder, environment)
        yield folder
    finally:
        _stop(folder, environment)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point this test to the cluster, with the stubs where jobs find them, since jobs see their submitter's environment."""
    monkeypatch.setenv("SLURM_CONF", str(cluster / "slurm.conf"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    yield cluster
    subprocess.run(["scancel", f"--user={os.getuid()}"], capture_output=True, check=False, timeout=30)


def _wait_for_node(folder: Path, environment: dict[str, str]) -> None:
    until, ask = time.monotonic() + 30, ["sinfo", "-h", "-o", "%T"]
    while "idle" not in subprocess.run(ask, capture_output=True, text=True, check=False, env=environment).stdout:
        assert time.monotonic() < until, (folder / "slurmctld.log").read_text() + (folder / "slurmd.log").read_text()
        time.sleep(0.1)


def _stop(folder: Path, environment: dict[str, str]) -> None:
    cancel = ["scancel", f"--user={os.getuid()}"]
    subprocess.run(cancel, capture_output=True, check=False, timeout=30, env=environment)
    for daemon in ("slurmd", "slurmctld"):
        file = folder / f"{daemon}.pid"
        if file.exists():
            pid = int(file.read_text())
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + 10
            while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
                time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it waits for something that will not come
