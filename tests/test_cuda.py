"""What only a CUDA GPU can show (`make gpu` runs this file there); a machine without one skips it."""

import copy

import pytest
import torch

from experiments import modern_lenet as ladder
from experiments import own_kernel, speed
from lenet import modern_lenet, tutorial_lenet
from lenet_utils import evaluate, fit, load_mnist, load_weights, predict, save_weights, seed_everything

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def digits():
    return [part[:1000] for part in load_mnist(train=True, size=28, device=CUDA)]


def on_cpu(data):
    return [part.cpu() for part in data]


def test_fit_trains_where_the_digits_are_and_tests_wherever_those_are(digits):
    seed_everything(0)
    nets = [tutorial_lenet() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    on_gpu = fit(nets[0], digits, on_cpu(digits), epochs=2, lr=0.9, plot=False)
    expected = fit(nets[1], on_cpu(digits), digits, epochs=2, lr=0.9, plot=False)
    assert {parameter.device.type for parameter in nets[0].parameters()} == {"cuda"}
    assert {parameter.device.type for parameter in nets[1].parameters()} == {"cpu"}
    assert on_gpu["train_loss"] == pytest.approx(expected["train_loss"], abs=1e-3)


def test_evaluate_and_predict_leave_network_and_digits_where_they_are(digits):
    net = tutorial_lenet().to(CUDA)
    assert predict(net, digits[0].cpu()).device.type == "cpu" and predict(net, digits[0]).device.type == "cuda"
    assert evaluate(net, on_cpu(digits)) == evaluate(net, digits)
    assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}


def test_weights_saved_on_the_gpu_load_on_a_cpu(tmp_path):
    net = modern_lenet().to(CUDA)
    save_weights(net, tmp_path / "net.safetensors")
    loaded = load_weights(modern_lenet(), tmp_path / "net.safetensors")
    for ours, theirs in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert theirs.device.type == "cpu" and torch.equal(ours.cpu(), theirs)


def test_the_ladder_trains_as_on_a_cpu():
    few = [part[:1000] for part in load_mnist(train=True, scaling="paper", device=CUDA)]
    settings = ladder.rung("batch normalisation") | {"epochs": 1}
    _, _, on_gpu = ladder.train(settings, 0, few)
    _, _, expected = ladder.train(settings, 0, on_cpu(few))
    assert on_gpu["train_loss"] == pytest.approx(expected["train_loss"], abs=0.02)
    _, average, _ = ladder.train(ladder.rung("60 epochs") | {"epochs": 2}, 0, few)
    assert evaluate(average, few) > 0.3


def test_recording_a_graph_takes_its_steps_back(digits):
    torch.manual_seed(3)
    expected = own_kernel.relu_lenet().to(CUDA)
    training = speed.QuickTraining({"epochs": 1, "batch_size": 64, "lr": 0.01}, 3, digits)
    for ours, theirs in zip(training.net.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert all(not tensor.any() for state in training.optimizer.state.values() for tensor in state.values())
    before = copy.deepcopy(training.net.state_dict())
    training.train()
    assert any(not torch.equal(before[name], tensor) for name, tensor in training.net.state_dict().items())


def test_the_gpus_own_clock_names_the_operations(digits):
    left = torch.randn(4096, 4096, device=CUDA)
    found = speed.kernel_seconds(lambda: [left @ left for _ in range(5)])
    rate = 5 * 2 * 4096**3 / found["aten::mm"]
    assert set(found) == {"aten::mm"} and 0.2 * speed.matmul_rate(CUDA) < rate < 5 * speed.matmul_rate(CUDA)
