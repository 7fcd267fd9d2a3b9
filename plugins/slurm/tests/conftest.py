"""A real Slurm on this machine: slurmctld and slurmd of Debian's packages, two nodes, two fake GPUs, up in a second."""

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
from quiet import folder_at
from slurm_watching import PATIENCE_S

from modbench.harness.results.run_folder import RunFolder

HERE = Path(__file__).parent
COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun", "sinfo")
NODES = ("one", "two")
# The scheduler looks every second. Most tests use the first node only.
CONF = """
ClusterName=modbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/slurm
CredType=cred/slurm
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldPort={ports[0]}
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
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000 Gres=gpu:fake:2 State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=one Default=YES MaxTime=INFINITE State=UP
PartitionName=both Nodes=one,two MaxTime=INFINITE State=UP
"""


# Where Slurm's commands ask for a credential: one place for the machine (auth/slurm of 24.11), whatever SLURM_CONF says.
CREDENTIALS = "/run/slurmctld/sack.socket"


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
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(CREDENTIALS) == 0:
            return f"another slurmctld answers at {CREDENTIALS}, and its credentials are not those of a second cluster"
    return None


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return folder_at(tmp_path / "run")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Start the daemons, and point Slurm's commands to them; returns the folder of their files."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    host = socket.gethostname().partition(".")[0]
    # Not below pytest's own folder: paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="modbench-slurm-"))
    for name in ("ctld", *(f"d/{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    key = folder / "slurm.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    for number in range(2):
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"NodeName=one Name=gpu Type=fake File={folder}/gpu[0-1]\n")
    ports = [_free_port() for _ in range(1 + len(NODES))]
    (folder / "slurm.conf").write_text(CONF.format(host=host, user="root", folder=folder, ports=ports))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    try:
        for daemon in (["slurmctld"], *(["slurmd", "-N", node] for node in NODES)):
            _start(daemon, folder / f"{daemon[-1]}.pid", environment)
        idle = _wait(["sinfo", "-h", "-N", "-p", "both", "-o", "%T"], ["idle"] * len(NODES), environment)
        assert idle, "".join(log.read_text() for log in folder.glob("*.log"))
        yield folder
    finally:
        _stop(folder, environment)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point this test to the cluster, with the stubs and what they import where jobs find them, as their submitter does."""
    monkeypatch.setenv("SLURM_CONF", str(cluster / "slurm.conf"))
    found = [str(HERE), str(HERE.parents[2] / "tests" / "harness"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    yield cluster
    subprocess.run(["scancel", f"--user={os.getuid()}"], capture_output=True, check=False)


def _start(daemon: list[str], pid_file: Path, environment: dict[str, str]) -> None:
    """Start a daemon and wait until it is up: a slurmd that is started before slurmctld is up may end without a word."""
    done = subprocess.run(daemon, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)
    assert done.returncode == 0, f"{daemon}: {done.stdout}{done.stderr}"
    until = time.monotonic() + PATIENCE_S
    while not pid_file.exists():
        assert time.monotonic() < until, f"{daemon} ended with 0 and wrote no {pid_file.name}"
        time.sleep(0.01)


def _wait(ask: list[str], said: list[str], environment: dict[str, str]) -> bool:
    """Wait until a command says this; whether it did."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        done = subprocess.run(ask, capture_output=True, text=True, check=False, env=environment)
        if done.stdout.split() == said:
            return True
        time.sleep(0.1)
    return False


def _stop(folder: Path, environment: dict[str, str]) -> None:
    """End all jobs, then the daemons: killed, since what they would save in peace is deleted."""
    me = f"--user={os.getuid()}"
    subprocess.run(["scancel", me], capture_output=True, check=False, env=environment)
    _wait(["squeue", "-h", me], [], environment)
    for daemon in (*NODES, "slurmctld"):
        file = folder / f"{daemon}.pid"
        if file.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
