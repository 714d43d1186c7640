"""Runs on a Ray cluster of two nodes on this machine, one of them killed (`make test-ray`; without ray: skipped)."""

import json
import os
import subprocess
import sys
import time

import pytest

from tools.notebook_rules import ROOT

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which what runs on the cluster keeps its results."""
    pytest.importorskip("ray")
    path = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TEST_FOLDER", str(path))
        # Ray gives its workers way to everything else; on a busy machine these tests would take many minutes.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        yield path


@pytest.fixture(scope="module")
def cluster(folder):
    """A cluster of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.second = found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def start(address, *kinds, folder=None):
    """Start the experiment of ray_runs.py; address: of a cluster, or "none" for one run after the other."""
    environment = os.environ | ({"RAY_TEST_FOLDER": str(folder)} if folder else {})
    command = [sys.executable, "-m", "ray_runs", address, *kinds]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def end(process, status=0):
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == status, printed
    return printed


def runs(folder, kind):
    """Return the SHA-256 of each stored run's weights by its seed."""
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))["runs"]
    found = [(run["seed"], run["sha256"]) for run in found if run["kind"] == kind]
    assert len(dict(found)) == len(found), "each run once"
    return dict(found)


def epochs(folder, kind):
    """Return the lines of the log: seed, epoch, process."""
    path = folder / "log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.split()[1:] for line in lines if line.split()[0] == kind]


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """The folder of the same runs, made one after the other by one process without Ray."""
    path = tmp_path_factory.mktemp("alone")
    end(start("none", "short", "long", folder=path))
    return path


def test_two_nodes_do_all_runs_once_with_the_same_weights_to_the_bit(cluster, folder, alone):
    printed = end(start(cluster.address, "short"))
    assert "4 runs, 2 cores" in printed and len(runs(folder, "short")) == 4
    assert len({process for *_, process in epochs(folder, "short")}) >= 2, "on both nodes"
    assert not list((folder / "unfinished").glob("*.pt"))
    assert runs(folder, "short") == runs(alone, "short")
    assert "0 runs" in end(start(cluster.address, "short")), "what is there is not done again"


def test_two_commands_at_once_share_the_work_and_keep_the_record_whole(cluster, folder):
    for process in [start(cluster.address, "shared") for _ in range(2)]:
        end(process)
    assert len(runs(folder, "shared")) == 4 and len(epochs(folder, "shared")) == 4 * 2


def test_a_run_that_fails_is_named_and_an_address_without_a_cluster_refused(cluster, folder):
    printed = end(start(cluster.address, "broken"), status=1)
    assert "These runs failed:\nbroken, seed 0: RuntimeError('the network is out of order')" in printed
    printed = end(start("127.0.0.1:1", "broken"), status=1)
    assert printed.splitlines()[-1].startswith("No Ray cluster answered at '127.0.0.1:1': ")


def test_a_killed_node_loses_nothing(cluster, folder, alone):
    """The last test: the cluster is left with one node."""
    process = start(cluster.address, "long")
    deadline = time.monotonic() + 200
    while {seed for seed, epoch, _ in epochs(folder, "long") if int(epoch) >= 5} != {"0", "1"}:
        assert process.poll() is None and time.monotonic() < deadline, "both runs are under way"
        time.sleep(0.1)
    cluster.remove_node(cluster.second, allow_graceful=False)
    end(process)
    log = epochs(folder, "long")
    assert len(log) - len({(seed, epoch) for seed, epoch, _ in log}) <= 1, "it went on from its last checkpoint"
    assert len({(seed, process) for seed, _, process in log}) == 3, "in another process"
    assert runs(folder, "long") == runs(alone, "long")
