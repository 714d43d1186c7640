"""load_mnist: what it returns, and what it says about files that are damaged, missing or swapped."""

import http.server
import shutil
import tempfile
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

from lenet_utils import DATA, load_mnist

TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def root(tmp_path):
    """A data folder with its own copy of the two test files."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (TEST_IMAGES, TEST_LABELS):
        shutil.copyfile(DATA / "MNIST" / "raw" / name, raw / name)
    return tmp_path / "data"


def raw_file(root, name=TEST_IMAGES):
    return root / "MNIST" / "raw" / name


@pytest.mark.parametrize(("train", "count"), [(True, 60_000), (False, 10_000)])
def test_shapes_and_types(train, count):
    for size in (28, 32):
        images, labels = load_mnist(train, size=size)
        assert images.shape == (count, 1, size, size) and images.dtype == torch.float32
        assert labels.shape == (count,) and labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(10))


def test_standard_scaling_equals_torchvisions_transforms():
    prepare = transforms.Compose([transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    loader = DataLoader(Subset(MNIST(DATA, train=False, transform=prepare, download=True), range(500)), batch_size=500)
    images, labels = next(iter(loader))
    ours = load_mnist(train=False)
    assert torch.equal(ours[0][:500], images) and torch.equal(ours[1][:500], labels)


def test_paper_scaling_and_padding():
    images, _ = load_mnist(train=False, scaling="paper")
    assert images.min().item() == pytest.approx(-0.1) and images.max().item() == pytest.approx(1.175)
    border = images.clone()
    border[:, :, 2:30, 2:30] = -0.1
    assert torch.allclose(border, torch.tensor(-0.1))


@pytest.mark.parametrize(("arguments", "message"), [({"size": 30}, "30"), ({"scaling": "none"}, "'none'")])
def test_refuses_another_size_or_scaling(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_mnist(train=False, **arguments)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path):
    shutil.copyfile(path.with_name(TEST_LABELS), path)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, corrupt, swap, empty])
def test_refuses_a_damaged_or_swapped_file(root, damage):
    damage(raw_file(root))
    with pytest.raises(ValueError) as raised:
        load_mnist(train=False, root=root)
    message = str(raised.value)
    assert str(raw_file(root)) in message and "Delete it and load again" in message
    assert dict(MNIST.resources)[TEST_IMAGES] in message and message.count("MD5") == 1
    assert sorted(path.name for path in raw_file(root).parent.iterdir()) == [TEST_IMAGES, TEST_LABELS]


def test_a_half_unpacked_file_is_neither_believed_nor_kept(root):
    raw_file(root).with_suffix("").write_bytes(b"\x00" * 1000)
    images, _ = load_mnist(train=False, size=28, root=root)
    assert len(images) == 10_000
    assert not raw_file(root).with_suffix("").exists()


def test_loads_from_a_read_only_folder(root):
    raw = raw_file(root).parent
    before = sorted(raw.iterdir())
    raw.chmod(0o555)
    try:
        assert len(load_mnist(train=False, root=root)[0]) == 10_000
        assert sorted(raw.iterdir()) == before
    finally:
        raw.chmod(0o755)


def test_a_missing_file_in_a_folder_that_cannot_be_written(root, monkeypatch):
    raw_file(root).unlink()

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(OSError, match=f"{TEST_IMAGES} is missing .* cannot be written .* root folder"):
        load_mnist(train=False, root=root)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve a folder on this machine in the place of torchvision's mirrors; return the folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    yield folder
    server.shutdown()
    server.server_close()


def test_downloads_missing_files(tmp_path, mirror):
    for name in (TEST_IMAGES, TEST_LABELS):
        shutil.copyfile(DATA / "MNIST" / "raw" / name, mirror / name)
    images, labels = load_mnist(train=False, root=tmp_path / "new")
    expected = load_mnist(train=False)
    assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
    assert sorted(path.name for path in (tmp_path / "new/MNIST/raw").iterdir()) == [TEST_IMAGES, TEST_LABELS]


@pytest.mark.parametrize("served", [None, b"cut short"])
def test_no_mirror_or_a_broken_one_leaves_nothing_behind(tmp_path, mirror, served):
    if served:
        (mirror / TEST_IMAGES).write_bytes(served)
    with pytest.raises(OSError, match=f"{TEST_IMAGES} is missing and no MNIST mirror could be reached"):
        load_mnist(train=False, root=tmp_path / "new")
    assert list((tmp_path / "new/MNIST/raw").iterdir()) == []


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(OSError, match="connect to the internet, or copy the four .gz files"):
        load_mnist(train=False, root=tmp_path)
