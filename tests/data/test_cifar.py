"""Download, check and read CIFAR, against a small archive of the same make, served from this machine."""

import pickle
import time

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from course.data import available, cifar, fetch, load
from tests.small_cifar import CLASSES, make_archive, md5, served


@pytest.fixture
def small(monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path / "data", images=20) as server:
        yield server


def left_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_download_read_and_not_again(small):
    train = load("cifar10", device="cpu")
    assert small.requests == 1 and left_in(small.folder) == {"cifar-10-batches-py"}
    stored = [pickle.loads(small.files[name]) for name in ("data_batch_1", "data_batch_2")]
    expected = np.concatenate([part["data"] for part in stored]).reshape(-1, 3, 32, 32)
    assert train.images.dtype == torch.uint8 and np.array_equal(train.images.numpy(), expected)
    assert train.labels.tolist() == stored[0]["labels"] + stored[1]["labels"] and train.classes == CLASSES
    test = load("cifar10", "test", size=5, device="cpu")
    assert len(test) == 5 and small.requests == 1
    assert {row["name"]: row["state"] for row in available()}["cifar10"] == "here"
    with pytest.raises(ValueError, match="label"):
        load("cifar10", label="texture")


def test_cifar100_has_its_fine_labels(small, monkeypatch):
    files, archive = make_archive("cifar-100-python", ["train"], "test", "meta", "fine_labels", "fine_label_names")
    small.content = archive

    class SmallCIFAR100(CIFAR100):
        url, filename, tgz_md5 = small.url, "small100.tar.gz", md5(archive)
        train_list, test_list = [["train", md5(files["train"])]], [["test", md5(files["test"])]]
        meta = {"filename": "meta", "key": "fine_label_names", "md5": md5(files["meta"])}

    monkeypatch.setattr(cifar, "torchvision_class", lambda name: SmallCIFAR100)
    data = load("cifar100", "test", device="cpu")
    assert data.labels.tolist() == pickle.loads(files["test"])["fine_labels"] and data.classes == CLASSES


def test_the_real_classes_are_torchvisions():
    assert cifar.torchvision_class("cifar10") is CIFAR10 and cifar.torchvision_class("cifar100") is CIFAR100


def test_a_broken_transfer_is_tried_again(small):
    small.plan = ["truncated", "changed", "whole"]
    assert len(load("cifar10", device="cpu")) == 40
    assert small.requests == 3 and left_in(small.folder) == {"cifar-10-batches-py"}


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("changed", "wrong checksum"),
        ("truncated", "network failed"),
        ("missing", "network failed"),
    ],
)
def test_what_never_comes_right_is_never_used(small, action, reason):
    small.plan = [action]
    with pytest.raises(cifar.DataError) as caught:
        load("cifar10")
    assert small.requests == cifar.ATTEMPTS and left_in(small.folder) == set()
    for part in ("cifar10", reason, "course data cifar10", "two_questions"):
        assert part in str(caught.value)


def test_no_server_at_all(small):
    small.server.shutdown()
    small.server.server_close()
    with pytest.raises(cifar.DataError, match="network failed"):
        load("cifar10")
    assert left_in(small.folder) == set()


@pytest.mark.parametrize("value", ["1", "true"])
def test_offline_asks_nobody(small, monkeypatch, value):
    monkeypatch.setenv("COURSE_OFFLINE", value)
    with pytest.raises(cifar.DataError) as caught:
        load("cifar10")
    for part in (str(small.folder), "COURSE_OFFLINE", "course data cifar10", "digits", "small.tar.gz"):
        assert part in str(caught.value)
    assert small.requests == 0 and left_in(small.folder) == set()

    small.folder.mkdir()
    (small.folder / "small.tar.gz").write_bytes(small.archive)  # brought on a stick
    assert len(load("cifar10", device="cpu")) == 40 and small.requests == 0
    assert left_in(small.folder) == {"cifar-10-batches-py", "small.tar.gz"}


def test_a_damaged_archive_is_named_and_not_used(small):
    small.folder.mkdir()
    (small.folder / "small.tar.gz").write_bytes(small.archive[:-7])
    with pytest.raises(cifar.DataError, match="small.tar.gz is damaged"):
        load("cifar10")
    assert small.requests == 0 and left_in(small.folder) == {"small.tar.gz"}


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_damaged_file_is_named_and_replaced_on_request(small, name, how):
    before = load("cifar10", device="cpu")
    path = small.folder / "cifar-10-batches-py" / name
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        path.unlink()
    with pytest.raises(cifar.DataError) as caught:
        load("cifar10")
    for part in (str(path), how, "course data cifar10"):
        assert part in str(caught.value)
    assert small.requests == 1, "load() does not replace what it did not make"
    assert {row["name"]: row["state"] for row in available()}["cifar10"] == "damaged"

    assert fetch("cifar10") == path.parent
    assert small.requests == 2 and left_in(small.folder) == {"cifar-10-batches-py"}
    assert torch.equal(load("cifar10", device="cpu").images, before.images)
    fetch("cifar10")
    assert small.requests == 2, "what is whole is not fetched again"


def test_what_a_killed_download_left_is_removed_and_a_running_one_is_not(small):
    import os

    for name, age in (("unfinished-old", 2 * cifar.STALE_SECONDS), ("unfinished-young", 0)):
        folder = small.folder / name
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"half")
        for path in (folder / "part", folder):
            os.utime(path, (time.time() - age, time.time() - age))
    load("cifar10", device="cpu")
    assert left_in(small.folder) == {"cifar-10-batches-py", "unfinished-young"}


def test_a_folder_that_cannot_be_written(small, monkeypatch):
    small.folder.parent.joinpath("data").write_text("a file where the folder should be")
    with pytest.raises(cifar.DataError, match="COURSE_DATA"):
        load("cifar10")
