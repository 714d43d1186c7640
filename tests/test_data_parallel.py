"""Two processes train as one does, by hand and by DistributedDataParallel; what more devices cost, on paper."""

import json
import os
import runpy
import sys

import pytest
import torch

from experiments import data_parallel
from lenet import tutorial_lenet
from tools.notebook_rules import ROOT

# Rounding, 9e-8 where it was measured; there 20 steps moved a weight by 0.12.
CLOSE = 1e-6


def check(found):
    """Hold what two processes found, now or in the record, to what is said of it."""
    apart = found["largest_differences"]
    assert apart["between ranks"] == 0.0, "to the bit"
    assert apart["by hand, one process"] < CLOSE and apart["DDP, one process"] < CLOSE
    assert apart["by hand, DDP"] == 0.0, "half of a number is exact, before or after the sum"
    assert apart["first weights, last weights"] > 10_000 * CLOSE
    assert (found["processes"], found["backend"]) in ((2, "gloo"), (2, "nccl")) and found["threads_a_process"] >= 1
    assert list(found["step_seconds"]) == list(data_parallel.WAYS) and min(found["step_seconds"].values()) > 0
    assert list(found["all_reduce_seconds"]) == [str(numbers) for numbers in data_parallel.LENGTHS]
    for middle, low, high in found["all_reduce_seconds"].values():
        assert 0 < low <= middle <= high


@pytest.mark.slow
def test_two_processes_end_at_the_weights_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(data_parallel, "PATIENCE", 60)
    data_parallel.launch(2, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    check(found)
    assert found["threads_a_process"] == max(1, os.cpu_count() // 2)


def test_the_record_holds_what_is_said_of_it():
    (run,) = json.loads((ROOT / "results" / "data_parallel.json").read_text(encoding="utf-8"))["runs"]
    check(run)
    assert run["settings"] == data_parallel.SETTINGS and run["load_mnist"] == data_parallel.LOAD
    taken = run["all_reduce_seconds"]
    assert taken["61706"][0] < taken["1000000"][0] < taken["10000000"][0]
    latency, bandwidth = data_parallel.fit_link(2, (1, taken["1"][0]), (10_000_000, taken["10000000"][0]))
    assert 1e-6 < latency < 1e-2 and 1e7 < bandwidth < 1e12


# -------------------------------------------------------------------------------------- the parts of a step


def test_the_shares_of_a_batch_are_equal_and_together_the_batch():
    batches = torch.arange(24).view(3, 8)
    shares = [data_parallel.share(batches, rank, 4) for rank in range(4)]
    assert shares[1].tolist() == [[2, 3], [10, 11], [18, 19]]
    assert torch.equal(torch.cat(shares, dim=1), batches)


def test_gradients_are_averaged_in_one_message(monkeypatch):
    """Three processes, of which the others have twice and three times this one's gradients."""
    messages = []

    def all_reduce(row):
        messages.append(row.shape)
        row.mul_(1 + 2 + 3)

    monkeypatch.setattr(data_parallel.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(data_parallel.distributed, "get_world_size", lambda: 3)
    net = tutorial_lenet()
    for parameter in net.parameters():
        parameter.grad = torch.rand_like(parameter)
    before = [parameter.grad.clone() for parameter in net.parameters()]
    data_parallel.average_gradients(net)
    assert messages == [(61_706,)]
    for parameter, gradient in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_another_processs_weights_are_compared(monkeypatch):
    def all_gather(rows, weights):
        for place, row in enumerate(rows):
            row.copy_(weights - 0.25 * place)

    monkeypatch.setattr(data_parallel.distributed, "all_gather", all_gather)
    monkeypatch.setattr(data_parallel.distributed, "get_world_size", lambda: 3)
    assert data_parallel.difference_between_ranks(torch.ones(4)) == 0.5


# -------------------------------------------------------------------------------------------------- on paper


def test_an_all_reduce_takes_as_long_as_its_messages():
    # Four devices: 6 messages, each 0.001 s and a quarter of 4,000 bytes at 4 MB a second, 0.00025 s.
    assert data_parallel.all_reduce_seconds(4, 1000, 0.001, 4e6) == pytest.approx(0.0075)
    assert data_parallel.all_reduce_seconds(2, 1000, 0.001, 4e6) == pytest.approx(0.003)
    assert data_parallel.all_reduce_seconds(1, 1000, 0.001, 4e6) == 0


@pytest.mark.parametrize(("devices", "small", "large"), [(2, 0.003, 0.007), (4, 0.0075, 0.0135)])
def test_two_lengths_give_latency_and_bandwidth(devices, small, large):
    assert data_parallel.fit_link(devices, (1000, small), (5000, large)) == pytest.approx((0.001, 4e6))


@pytest.mark.parametrize(("small", "large"), [(0.003, 0.003), (0.003, 0.002), (0.001, 0.007)])
def test_times_that_no_link_has_are_refused(small, large):
    message = f"1,000 numbers in {small} s and 5,000 in {large} s do not fit a latency and a bandwidth: measure again"
    with pytest.raises(ValueError, match=message):
        data_parallel.fit_link(2, (1000, small), (5000, large))


def test_a_step_is_a_share_of_the_computing_and_an_all_reduce():
    paper = (0.060, 1000, 0.001, 4e6)
    found = [data_parallel.step_seconds(devices, *paper) for devices in (1, 2, 4)]
    assert found == pytest.approx([0.060, 0.030 + 0.003, 0.015 + 0.0075])


@pytest.mark.parametrize(
    ("compute_seconds", "numbers", "latency", "devices"),
    [
        (0.060, 1000, 0.001, 5),  # M = 0.001: the square root of 58 / 2 is 5.4; 5 take 21.6 ms, 6 take 21.7
        (60_000, 1e9, 0.001, 64),  # a million times larger: 5,385, and 64 digits
        (0.060, 1000, 0.0, 64),  # without latency
        (0.060, 30_000, 0.001, 1),  # M = 0.030 is half of the computing
        (0.060, 31_000, 0.0, 1),  # a little more, without latency
        (6.0, 1_000_000, 1.0, 1),  # M = 1: the square root of 4 / 2 is 1.4; 1 takes 6 s, 2 take 3 + 3: no shorter
    ],
)
def test_more_devices_stop_paying(compute_seconds, numbers, latency, devices):
    assert data_parallel.best_devices(64, compute_seconds, numbers, latency, 4e6) == devices


# ------------------------------------------------------------------------------------------------- bad input


def test_torchrun_says_where_a_process_stands():
    environment = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert data_parallel.place(environment, 64) == (5, 8, 1, 4)


NO_RANK = (
    "There is no RANK in the environment, so torchrun did not start this process: run python -m "
    "torch.distributed.run --standalone --nproc-per-node=2 -m experiments.data_parallel steps FILE"
)
THREE = {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"}
NOT_EQUALLY = (
    "3 processes cannot share a batch of 64 digits equally: give --nproc-per-node one of 1, 2, 4, 8, 16, 32, 64."
)


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["found.json"], {}, NO_RANK),
        (["found.json"], THREE, NOT_EQUALLY),
        ([], {}, "steps needs the name of one file to write to, not 0 names."),
    ],
)
def test_one_sentence_says_what_is_wrong_before_any_work(monkeypatch, arguments, environment, sentence):
    monkeypatch.delenv("RANK", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["data_parallel", "steps", *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(data_parallel.__file__, run_name="__main__")
    assert stop.value.code == sentence


def test_gloo_is_told_the_loopback_interface_unless_the_user_names_one(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo0"), (2, "en0")])
    assert data_parallel.environment()["GLOO_SOCKET_IFNAME"] == "lo0"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "en0")
    assert data_parallel.environment()["GLOO_SOCKET_IFNAME"] == "en0"
