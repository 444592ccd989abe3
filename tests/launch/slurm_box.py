"""A Slurm of two nodes on this machine, for tests: its own ports and folder, no accounts, no munge; gone at the end.
The way to run several slurmd on one host is Slurm's own: slurmd -N NAME with a port a node (slurm.conf(5))."""
import getpass
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

CONF = """
ClusterName=box
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=300
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
TmpFS={folder}/tmp-%n
"""


def why_not():
    """Why there can be no Slurm here; None where there can."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")
               if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    return f"no {', '.join(missing)}: launch/setup --slurm installs them" if missing else None


def free_ports():
    """Three: one for slurmctld, and two in a row for the nodes."""
    while True:
        sockets = [socket.socket() for _ in range(3)]
        try:
            sockets[0].bind(("127.0.0.1", 0))
            sockets[1].bind(("127.0.0.1", 0))
            sockets[2].bind(("127.0.0.1", sockets[1].getsockname()[1] + 1))
            return [s.getsockname()[1] for s in sockets]
        except (OSError, OverflowError):
            continue
        finally:
            for s in sockets:
                s.close()


class Slurm:
    """Its jobs write to `folder`, unless told otherwise."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-slurm-"))
        self.daemons = []
        self.folder = self.root / "work"
        for name in ("state", "work", "tmp-n1", "tmp-n2"):
            (self.root / name).mkdir()
        conf = self.root / "slurm.conf"
        conf.write_text(CONF.format(host=socket.gethostname().split(".")[0], user=getpass.getuser(),
                                    folder=self.root, ports=free_ports()))
        # vader would take the two nodes for one, whose processes share memory.
        self.environment = {**{k: v for k, v in os.environ.items() if not k.startswith("SLURM")},
                            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "SLURM_CONF": str(conf),
                            "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo",
                            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        try:
            self.start("slurmctld", "-D")
            self.await_true(lambda: self.call("scontrol", "ping", check=False).returncode == 0, 30, "slurmctld")
            for node in ("n1", "n2"):
                self.start("slurmd", "-D", "-N", node)
            self.await_true(lambda: self.call("sinfo", "-h", "-o", "%T %D").stdout.strip() == "idle 2", 60, "nodes")
        except BaseException:
            self.stop()
            raise

    def start(self, *words):
        log = open(self.root / f"{'-'.join(words)}.out", "w")
        # They end with the test, however that ends.
        self.daemons.append(subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *words], env=self.environment, stdout=log, stderr=log,
                                             stdin=subprocess.DEVNULL, cwd=self.root))
        log.close()

    def call(self, *words, check=True, **options):
        done = subprocess.run([str(word) for word in words], env=self.environment, capture_output=True, text=True,
                              check=False, timeout=120, cwd=self.folder, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}")
        return done

    def await_true(self, holds, seconds, what):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not in {seconds} s\n{self.logs()}")
            time.sleep(0.2)

    def logs(self):
        return "".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.root.glob("*.log")))

    def submit(self, *words):
        return re.search(r"\d+", self.call("sbatch", "--parsable", *words).stdout).group()

    def show(self, job):
        """A job's fields, by name."""
        said = self.call("scontrol", "show", "job", job, check=False).stdout
        return dict(re.findall(r"(\w+)=(\S*)", said))

    def await_end(self, job, seconds=300):
        self.await_true(lambda: self.show(job).get("JobState") in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED",
                                                                  "NODE_FAIL", "OUT_OF_MEMORY"), seconds, f"job {job}")
        return self.show(job)

    def stop(self):
        if self.daemons and self.daemons[0].poll() is None:
            self.call("scancel", "--user", getpass.getuser(), check=False)
            end = time.monotonic() + 20
            while self.call("squeue", "-h", check=False).stdout.strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.root, ignore_errors=True)
