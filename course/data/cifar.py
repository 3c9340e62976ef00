"""CIFAR-10 and CIFAR-100: torchvision reads them, pooch downloads them, nothing unchecked is ever used.

Address and checksums are those of torchvision's classes. Download and unpacking happen in a folder of their
own inside the data folder, which is renamed into place only when every file is right; a run that is killed
leaves only that folder, and the next one removes it.
"""

import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

from course.data_folder import data_folder
from course.notebook import in_notebook
from course.progress_bar import CellOutput, progress_bar

ATTEMPTS = 4
TIMEOUT_SECONDS = 30  # without a byte
UNFINISHED = "unfinished-"
STALE_SECONDS = 3600


class DataError(RuntimeError):
    """A data set that is not here, cannot be fetched, or is damaged; the message says what to do."""


class NotHere(DataError):
    """It is not here, and there is no network to fetch it from."""


def torchvision_class(name: str):
    """torchvision's class of that set, imported here: it takes a second, and the offline sets do without."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def forbids_network() -> bool:
    return os.environ.get("COURSE_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def damaged_file(dataset, folder: Path) -> Path | None:
    """The first file of the unpacked set that is missing or has a wrong checksum; None if all are right."""
    from torchvision.datasets.utils import check_integrity

    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    for filename, md5 in files:
        path = folder / dataset.base_folder / filename
        if not check_integrity(path, md5):
            return path
    return None


def state(name: str) -> tuple[str, Path]:
    """``"here"``, ``"not here"`` or ``"damaged"``, and the folder."""
    dataset, folder = torchvision_class(name), data_folder()
    unpacked = folder / dataset.base_folder
    if not unpacked.is_dir():
        return "not here", unpacked
    return ("damaged" if damaged_file(dataset, folder) else "here"), unpacked


def read(name: str, split: str) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[str]]]:
    """All images of a split, uint8 (N, 3, 32, 32), ``{"class": (N,)}`` and its names; fetched if not here.

    Raises:
        DataError: not here and not to be fetched, or a damaged file.
    """
    dataset, folder = torchvision_class(name), data_folder()
    if not (folder / dataset.base_folder).is_dir():
        fetch(name)
    elif damaged := damaged_file(dataset, folder):
        raise DataError(
            f"{name}: the file {damaged} is {'damaged' if damaged.exists() else 'missing'}. "
            f"`course data {name}` fetches the set again and replaces it."
        )
    loaded = dataset(folder, train=split == "train")
    images = loaded.data.transpose(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
    return images, {"class": np.array(loaded.targets, dtype=np.int64)}, {"class": list(loaded.classes)}


def fetch(name: str) -> Path:
    """Make sure that the set is in the data folder and whole, by downloading it if need be.

    An archive that someone has put into the data folder is used instead of the network.

    Returns:
        The folder of the unpacked set.

    Raises:
        DataError: no network, or it failed; nothing half-fetched is left.
    """
    dataset, folder = torchvision_class(name), data_folder()
    unpacked = folder / dataset.base_folder
    if damaged_file(dataset, folder) is None:
        return unpacked
    archive = folder / dataset.filename
    if not archive.exists() and forbids_network():
        raise NotHere(
            f"{name} is not here: it was looked for in {unpacked}, and COURSE_OFFLINE forbids the network. "
            f"With the network, `course data {name}` fetches it (or put {dataset.filename} into {folder}). "
            "Without: digits, two_questions and digit_video need no download."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
            if not archive.exists():
                archive = _download(name, dataset, Path(unfinished))
            _check_and_unpack(name, dataset, archive, Path(unfinished))
            if unpacked.exists():  # damaged, as found above
                unpacked.rename(Path(unfinished) / "damaged")
            (Path(unfinished) / dataset.base_folder).rename(unpacked)
    except OSError as error:
        raise DataError(
            f"{name} cannot be stored in {folder}: {error}. Free some space there (400 MB), "
            "or name another folder in COURSE_DATA."
        ) from error
    return unpacked


def _remove_stale(folder: Path) -> None:
    """Remove what a killed download left. A young folder may belong to a download that is going on."""
    for left in folder.glob(UNFINISHED + "*"):
        newest = max((path.stat().st_mtime for path in [left, *left.rglob("*")]), default=0)
        if time.time() - newest > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _download(name: str, dataset, folder: Path) -> Path:
    import pooch
    import requests

    output = CellOutput() if in_notebook() else None

    def transfer(url: str, output_file: str, _) -> None:
        # One bar for each attempt. Its total is 1 until the server tells the size: pooch asks for bool(bar).
        with progress_bar(1, output, desc=f"{name}: download", unit="B", unit_scale=True) as bar:
            download = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT_SECONDS)
            download(url, output_file, _)

    pooch.get_logger().setLevel("WARNING")  # what it logs would leave paths in the notebook
    store = pooch.create(
        path=folder,
        base_url="",
        registry={dataset.filename: f"md5:{dataset.tgz_md5}"},
        urls={dataset.filename: dataset.url},
        retry_if_failed=ATTEMPTS - 1,
    )
    try:
        archive = Path(store.fetch(dataset.filename, downloader=transfer))
        if output and output.handle:
            output.show({"text/plain": f"{name}: downloaded"})
        return archive
    except requests.exceptions.RequestException as error:
        reason = f"the network failed {ATTEMPTS} times ({type(error).__name__})"
    except ValueError:  # pooch's word for a wrong checksum
        reason = f"what came was not the file it should be (wrong checksum), {ATTEMPTS} times"
    raise NotHere(
        f"{name} could not be downloaded: {reason}. Nothing of it was kept. Check the network and run "
        f"`course data {name}` again, or put {dataset.filename}, fetched elsewhere, into {data_folder()}. "
        "Without it: digits, two_questions and digit_video need no download."
    )


def _check_and_unpack(name: str, dataset, archive: Path, into: Path) -> None:
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(archive, dataset.tgz_md5):
        raise DataError(
            f"{name}: the archive {archive} is damaged (wrong checksum) and was not used. "
            f"Delete it and run `course data {name}`."
        )
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    if damaged := damaged_file(dataset, into):
        raise DataError(
            f"{name}: {damaged.name} came out of {archive.name} damaged. Run "
            f"`course data {name}` again; if it happens again, the disk is not to be trusted."
        )
