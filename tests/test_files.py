"""Files are written whole or not at all, where the user said, and stored networks are the ones of their records."""

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from full_disk import full_disk
from stored import RECORDS
from torch import nn

import lenet_utils
from lenet import LeNet5, tutorial_lenet
from lenet_data import write_whole
from lenet_utils import load_weights, save_weights
from tools.notebook_rules import ROOT

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files, modes or signals")
STORED = ROOT / "weights/original_1998/60000_seed0.safetensors"


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(300, 100)


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_one_sentence(raised, path):
    text = str(raised.value)
    assert str(path) in text and "\n" not in text and text.endswith(".") and len(text) < 500 and "Errno" not in text


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Two folders on one disk: the user's, and the system's for temporary files."""
    mine, system = tmp_path / "mine", tmp_path / "system"
    mine.mkdir()
    system.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(system))
    return SimpleNamespace(mine=mine, system=system)


# ------------------------------------------------------------------------------------------- whole, and where


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_gets_the_mode_of_any_new_file(folders, umask, mode):
    before = os.umask(umask)
    try:
        save_weights(network(), folders.mine / "w.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folders.mine / "w.safetensors").stat().st_mode) == mode


@POSIX
def test_an_old_file_keeps_its_mode(folders):
    path = folders.mine / "w.safetensors"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_weights(network(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and equal(load_weights(network(1), path), network())


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_target_changes(folders, there):
    target, link = folders.mine / "target", folders.mine / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("target")
    save_weights(network(), link)
    assert link.is_symlink() and os.readlink(link) == "target" and equal(load_weights(network(1), target), network())
    assert names(folders.mine) == ["link", "target"] and names(folders.system) == []


def test_a_tilde_is_the_home_folder(folders, monkeypatch):
    home = folders.mine / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(folders.mine)
    save_weights(network(), "~/w.safetensors")
    assert equal(load_weights(network(1), "~/w.safetensors"), network())
    assert names(home) == ["w.safetensors"] and names(folders.mine) == ["home"]


def test_the_users_own_unfinished_file_survives(folders):
    for name in ("w.unfinished", "w.safetensors.unfinished", ".w.safetensors", "w.safetensors.tmp"):
        (folders.mine / name).write_bytes(b"mine")
    before = names(folders.mine)
    save_weights(network(), folders.mine / "w.safetensors")
    assert names(folders.mine) == sorted([*before, "w.safetensors"])
    assert all((folders.mine / name).read_bytes() == b"mine" for name in before)


def test_a_name_may_be_as_long_as_the_system_allows(folders):
    name = "w" * 243 + ".safetensors"
    save_weights(network(), folders.mine / name)
    assert names(folders.mine) == [name]


def refuse_moves_between_folders(monkeypatch, code):
    replace = os.replace

    def move(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(code, os.strerror(code))
        replace(source, target)

    monkeypatch.setattr("os.replace", move)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EACCES])
def test_where_the_systems_folder_cannot_be_used_the_file_is_written_all_the_same(folders, monkeypatch, code):
    """Such as one disk mounted at two places, which has one number but between which nothing can be moved."""
    refuse_moves_between_folders(monkeypatch, code)
    save_weights(network(), folders.mine / "w.safetensors")
    assert names(folders.mine) == ["w.safetensors"] and names(folders.system) == []


def test_a_systems_folder_that_is_not_there_is_done_without(folders, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folders.system / "none"))
    save_weights(network(), folders.mine / "w.safetensors")
    assert names(folders.mine) == ["w.safetensors"]


# ------------------------------------------------------------------------------------------- not at all


def no_folder(path, monkeypatch):
    path = path.parent / "none" / path.name
    return path, path


def a_folder(path, monkeypatch):
    return path.parent, path.parent


def a_file_for_a_folder(path, monkeypatch):
    return path / "w", path / "w"


def a_pipe(path, monkeypatch):
    os.mkfifo(path.parent / "pipe")
    return path.parent / "pipe", path.parent / "pipe"


def a_device(path, monkeypatch):
    try:
        os.mknod(path.parent / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))  # another /dev/full
    except PermissionError:
        pytest.skip("only root makes devices")
    return path.parent / "full", path.parent / "full"


def a_link_to_itself(path, monkeypatch):
    (path.parent / "link").symlink_to("link")
    return path.parent / "link", path.parent / "link"


def a_link_to_no_folder(path, monkeypatch):
    (path.parent / "link").symlink_to("none/w")
    return path.parent / "link", path.parent / "none"


def a_folder_that_may_not_be_written(path, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path.parent.chmod(0o555)
    return path, path


def a_disk_that_is_full_at_the_end(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    return path, "No space left on device"


def a_move_that_is_refused(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    return path, "Permission denied"


def a_name_that_is_too_long(path, monkeypatch):
    return path.parent / ("w" * 300), "File name too long"


OBSTACLES = [
    no_folder, a_folder, a_disk_that_is_full_at_the_end, a_move_that_is_refused,
    *(pytest.param(obstacle, marks=POSIX) for obstacle in (
        a_file_for_a_folder, a_pipe, a_device, a_link_to_itself, a_link_to_no_folder, a_folder_that_may_not_be_written,
        a_name_that_is_too_long,
    )),
]  # fmt: skip


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_cannot_be_written_is_said_in_one_sentence_and_leaves_all_as_it_was(folders, monkeypatch, obstacle):
    old = folders.mine / "w.safetensors"
    old.write_bytes(b"old")
    try:
        path, said = obstacle(old, monkeypatch)
        before = {name: (folders.mine / name).lstat() for name in names(folders.mine)}
        with pytest.raises(OSError) as raised:
            save_weights(network(), path)
        assert_one_sentence(raised, path)
        assert str(said) in str(raised.value)
    finally:
        folders.mine.chmod(0o755)
    assert old.read_bytes() == b"old" and names(folders.system) == []
    after = {name: (folders.mine / name).lstat() for name in names(folders.mine)}
    kept = ("st_ino", "st_mode", "st_size", "st_mtime_ns")
    assert list(after) == list(before)
    assert all(getattr(after[name], part) == getattr(before[name], part) for name in before for part in kept[:4])


@pytest.mark.parametrize("beside", [False, True])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(folders, monkeypatch, beside):
    path = folders.mine / "w.safetensors"
    path.write_bytes(b"old")
    if beside:
        refuse_moves_between_folders(monkeypatch, errno.EXDEV)
    with full_disk(50_000), pytest.raises(OSError) as raised:
        save_weights(network(), path)
    assert_one_sentence(raised, path)
    assert path.read_bytes() == b"old" and names(folders.mine) == ["w.safetensors"] and names(folders.system) == []


@pytest.mark.parametrize("path", [None, 3, b"w.safetensors", ["w"]])
def test_what_is_no_path_is_refused(path):
    for act in (save_weights, load_weights):
        with pytest.raises(ValueError, match="A path must be text or a Path, not "):
            act(network(), path)


# Saves two networks in turn until it is killed; a child for each kill, or torch would be imported 50 times.
SAVES = """
import os, random, shutil, signal, sys, tempfile, time
import torch
from lenet_utils import save_weights
path, tempfile.tempdir = sys.argv[1:]
torch.set_num_threads(1)
nets = [torch.nn.Linear(300, 100) for _ in range(2)]
def saved(net):
    save_weights(net, path)
    with open(path, "rb") as file:
        return file.read()
whole = [saved(net) for net in nets]
assert whole[0] != whole[1]
waits = random.Random(0)
for _ in range(50):
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writes, b"begun")
        while True:
            for net in nets:
                save_weights(net, path)
    assert os.read(reads, 5) == b"begun"
    time.sleep(waits.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(path, "rb") as file:
        assert file.read() in whole, "neither the old file nor the new"
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], os.listdir(os.path.dirname(path))
print("50 kills")
"""


@pytest.mark.slow
@POSIX
def test_fifty_kills_leave_the_old_file_or_the_new_and_nothing_else(folders):
    arguments = [sys.executable, "-c", SAVES, str(folders.mine / "w.safetensors"), str(folders.system)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout == "50 kills\n", done.stderr


# ------------------------------------------------------------------------------------------- networks


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile's own imports
@pytest.mark.parametrize(
    "wrap",
    [torch.compile, nn.DataParallel, lambda net: torch.compile(nn.DataParallel(net))],
    ids=["compiled", "parallel", "both"],
)
def test_a_wrapped_network_is_saved_as_the_network_itself_and_loads_both_ways(folders, wrap):
    path, plain = folders.mine / "w.safetensors", folders.mine / "plain.safetensors"
    torch.manual_seed(0)
    net, other = LeNet5(), LeNet5()
    save_weights(net, plain)
    save_weights(wrap(net), path)
    assert path.read_bytes() == plain.read_bytes()
    wrapped = wrap(other)
    assert load_weights(wrapped, path) is wrapped and equal(other, net)


def tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    return net


def lazy():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    net(torch.zeros(1, 1, 2, 2))
    return net


@pytest.mark.parametrize(
    "make", [tied, lazy, lambda: tutorial_lenet().half(), nn.Identity], ids=["tied", "lazy", "half", "empty"]
)
def test_tied_lazy_half_and_empty_networks_are_saved_and_loaded(folders, make):
    net, other = make(), make()
    save_weights(net, folders.mine / "w.safetensors")
    load_weights(other, folders.mine / "w.safetensors")
    assert equal(net, other)
    assert make is not tied or other[0].weight is other[1].weight


def test_half_weights_load_into_a_float_network_which_stays_float(folders):
    net = tutorial_lenet()
    save_weights(tutorial_lenet().half(), folders.mine / "w.safetensors")
    load_weights(net, folders.mine / "w.safetensors")
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("act", [save_weights, load_weights])
def test_a_lazy_network_that_never_ran_and_what_is_no_network_are_refused(folders, act):
    with pytest.raises(ValueError, match=r"^Sequential\(\) has lazy layers .* run it once"):
        act(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), folders.mine / "w.safetensors")
    with pytest.raises(ValueError, match="belong to a network, an nn.Module, not to a dict"):
        act(network().state_dict() and {}, folders.mine / "w.safetensors")
    assert names(folders.mine) == []


# ------------------------------------------------------------------------------------------- stored networks


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_stored_network_has_the_sha256_of_its_record(path):
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        assert ("weights" in run) == ("sha256" in run)
        if "weights" in run:
            assert hashlib.sha256((ROOT / run["weights"]).read_bytes()).hexdigest() == run["sha256"], run["weights"]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A copy of a stored network and its record; the network's path."""
    for path in (STORED, ROOT / "results/original_1998.json"):
        copy = tmp_path / "copy" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
    monkeypatch.setattr(lenet_utils, "ROOT", (tmp_path / "copy").resolve())
    return tmp_path / "copy" / STORED.relative_to(ROOT)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1  # in the last bit of some weight
    path.write_bytes(content)


def test_one_flipped_bit_in_a_stored_network_is_noticed(stored, monkeypatch):
    net = load_weights(LeNet5(), stored)
    flip(stored)
    other = LeNet5()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    monkeypatch.chdir(stored.parent)
    for path in (stored, stored.name, stored.parent / ".." / "original_1998" / stored.name):
        with pytest.raises(
            ValueError, match=r"is not the file of its record: its SHA-256 is .*, expected .*\. `git checkout` of it"
        ) as raised:
            load_weights(other, path)
        assert_one_sentence(raised, path)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items()) and not equal(net, other)


def test_a_network_of_the_users_own_may_lie_anywhere(stored):
    torch.manual_seed(0)
    mine = LeNet5()
    for path in (stored.with_name("mine.safetensors"), stored.parent.parent / "mine.safetensors"):
        save_weights(mine, path)
        assert equal(load_weights(LeNet5(), path), mine)
    shutil.copyfile(stored, stored.parent.parent / "copy.safetensors")
    flip(stored.parent.parent / "copy.safetensors")
    load_weights(LeNet5(), stored.parent.parent / "copy.safetensors")  # no record tells of it


def pt_file(path):
    torch.save(network().state_dict(), path)


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", encoding="utf-8")


def cut_short(path):
    save_weights(network(), path)
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("make", [pt_file, lfs_pointer, cut_short, lambda path: path.write_bytes(b"")])
def test_what_is_no_weights_file_is_said_in_one_sentence(folders, make):
    path = folders.mine / "w.safetensors"
    make(path)
    net = network()
    with pytest.raises(ValueError, match="is not a weights file in safetensors format, or it is damaged") as raised:
        load_weights(net, path)
    assert_one_sentence(raised, path)
    assert equal(net, network())


def test_a_folder_and_a_missing_file_are_said_in_one_sentence(folders):
    with pytest.raises(IsADirectoryError, match="is a folder, not a weights file") as raised:
        load_weights(network(), folders.mine)
    assert_one_sentence(raised, folders.mine)
    with pytest.raises(FileNotFoundError, match="There is no weights file ") as raised:
        load_weights(network(), folders.mine / "none")
    assert_one_sentence(raised, folders.mine / "none")


def test_write_whole_writes_just_these_bytes(folders):
    for content in (b"", b"one", b"\x00" * 100_000):
        write_whole(str(folders.mine / "file"), content)
        assert (folders.mine / "file").read_bytes() == content
