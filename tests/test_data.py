"""load_mnist: what it returns, and what it says about files that are damaged, missing or swapped."""

import contextlib
import hashlib
import http.server
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
import torch
from full_disk import full_disk
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


@pytest.mark.parametrize("content", ["packed", None])
def test_the_home_folder_may_hold_the_digits(root, monkeypatch, tmp_path, content):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    if content is None:
        shutil.rmtree(root)
        with pytest.raises(OSError) as raised:
            load_mnist(train=False, root="~/data")
        assert str(raised.value).startswith(f"{raw_file(root)} is missing")
    else:
        assert len(load_mnist(train=False, root="~/data")[0]) == 10_000
    assert not (tmp_path / "~").exists()


def test_a_machine_that_forbids_md5_for_secrets_reads_the_digits_all_the_same(root, monkeypatch):
    """As Red Hat's FIPS mode does."""
    md5 = hashlib.md5

    def strict(content, usedforsecurity=True):
        if usedforsecurity:
            raise ValueError("[digital envelope routines] unsupported")
        return md5(content, usedforsecurity=False)

    monkeypatch.setattr("hashlib.md5", strict)
    assert len(load_mnist(train=False, root=root)[0]) == 10_000


# ---------------------------------------------------------------------------------------------- downloads


class Mirror(http.server.BaseHTTPRequestHandler):
    """Answers with what `mirror` below was told to; a request for a file that is not there with 404."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        answer = self.server.answer
        if answer is None:
            packed = DATA / "MNIST" / "raw" / name
            answer = (200, packed.read_bytes()) if packed.exists() else (404, b"")
        code, body, *headers = answer
        self.send_response(code)
        for header in headers or [("Content-Length", str(len(body)))]:
            self.send_header(*header)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(answer=None, certificate=None):
    """Serve on this machine; yield the address. `answer`: code, body and headers, or None for the true files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.answer = answer
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The mirrors of these tests are on this machine, whatever proxy it uses for others."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def assert_one_sentence(raised, root):
    text = str(raised.value)
    assert str(raw_file(root)) in text and "\n" not in text and text.endswith(".") and "?." not in text


def test_downloads_missing_files(tmp_path, monkeypatch):
    with serve() as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        images, labels = load_mnist(train=False, root=tmp_path / "new")
    expected = load_mnist(train=False)
    assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
    assert sorted(path.name for path in (tmp_path / "new/MNIST/raw").iterdir()) == [TEST_IMAGES, TEST_LABELS]


PAGE = b"\n<!DOCTYPE html><html>Please log in</html>"
LENGTH = ("Content-Length", "1000")
SHORT = (DATA / "MNIST" / "raw" / TEST_LABELS).read_bytes()[:-1]
FAULTS = {
    "forbidden": ((403, b"no"), r"answered 403 \(Forbidden\)"),
    "busy": ((503, b"busy"), r"answered 503 \(Service Unavailable\)"),
    "not there": ((404, b""), r"answered 404 \(Not Found\)"),
    "round in circles": ((302, b"", ("Location", "/again"), ("Content-Length", "0")), r"answered 302 \(.*loop"),
    "a proxy's page": ((200, PAGE), r"sent 42 bytes that are not this file but a web page \(perhaps a proxy asks"),
    "a file cut short": ((200, SHORT), r"sent 4,541 bytes that are not this file\."),
    "nothing": ((200, b""), r"sent 0 bytes that are not this file\."),
    "broken off": ((200, b"short", LENGTH, ("Connection", "close")), "broke off in the middle of the file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_why_a_download_failed_is_said_and_nothing_is_left(tmp_path, monkeypatch, fault):
    answer, reason = FAULTS[fault]
    root = tmp_path / "new"
    with serve(answer) as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        with pytest.raises(
            OSError, match=f"{TEST_IMAGES} is missing and could not be downloaded: .*{reason}"
        ) as raised:
            load_mnist(train=False, root=root)
    assert_one_sentence(raised, root)
    assert address in str(raised.value) and f"copy the four .gz files into {root / 'MNIST' / 'raw'}" in str(
        raised.value
    )
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_answers_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", [closed_port(), "http://none.invalid/"])
    with pytest.raises(
        OSError, match=r"127.0.0.1:\d+/ could not be reached .*; http://none.invalid/ could not"
    ) as raised:
        load_mnist(train=False, root=tmp_path / "new")
    assert_one_sentence(raised, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_silent_mirror_is_given_up(tmp_path, monkeypatch):
    def wait(*_, timeout):
        assert timeout == 30
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", wait)
    with pytest.raises(OSError, match=r"could not be reached \(timed out\)") as raised:
        load_mnist(train=False, root=tmp_path / "new")
    assert_one_sentence(raised, tmp_path / "new")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_a_certificate_that_is_not_trusted_is_said(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key.name} -out {certificate.name} -days 1 -subj /CN=none"
    )
    subprocess.run(made.split(), cwd=tmp_path, capture_output=True, check=True)
    with serve(certificate=(certificate, key)) as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        with pytest.raises(OSError, match=r"could not be reached \(.*certificate") as raised:
            load_mnist(train=False, root=tmp_path / "new")
    assert_one_sentence(raised, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("first", [(403, b"no"), (200, PAGE), None])
def test_the_second_mirror_is_asked_where_the_first_fails(tmp_path, monkeypatch, first):
    with serve(first) if first else contextlib.nullcontext(closed_port()) as one, serve() as other:
        monkeypatch.setattr(MNIST, "mirrors", [one, other])
        assert len(load_mnist(train=False, root=tmp_path)[0]) == 10_000


def test_both_mirrors_reasons_are_said(tmp_path, monkeypatch):
    with serve((403, b"no")) as one, serve((200, PAGE)) as other:
        monkeypatch.setattr(MNIST, "mirrors", [one, other])
        with pytest.raises(OSError, match=f"{one} answered 403 .*; {other} sent 42 bytes") as raised:
            load_mnist(train=False, root=tmp_path)
    assert_one_sentence(raised, tmp_path)


def test_a_full_disk_is_said_and_no_half_file_is_left(tmp_path, monkeypatch):
    root = tmp_path / "new"
    with serve() as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        with (
            full_disk(500_000),
            pytest.raises(OSError, match=f"{TEST_IMAGES} cannot be written: File too large") as raised,
        ):
            load_mnist(train=False, root=root)
    assert_one_sentence(raised, root)
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "data").write_bytes(b"a file")
    with serve() as address:
        monkeypatch.setattr(MNIST, "mirrors", [address])
        with pytest.raises(OSError, match="raw cannot be made: .*Give load_mnist another root"):
            load_mnist(train=False, root=tmp_path / "data")


def test_a_folder_in_the_place_of_a_file_is_said(root):
    raw_file(root).unlink()
    raw_file(root).mkdir()
    with pytest.raises(OSError, match=f"{TEST_IMAGES} cannot be read: ") as raised:
        load_mnist(train=False, root=root)
    assert_one_sentence(raised, root)
