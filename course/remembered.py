"""What a command found out, kept for the next time in ``build/remembered/``, which git ignores and `make clean` empties.

It is kept in the folder that it is about: a fresh clone remembers nothing, and no folder is taken for another. Every entry
carries a key, a digest of the contents (never the dates) of all that the finding depends on; under another key nothing
is remembered. Where a memory is damaged or cannot be written, all is worked out anew. Only commands that a person types have one:
a function that is called, by a test for example, works everything out anew.
"""

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import course
from course.atomic import write_atomically

PACKAGE = Path(course.__file__).resolve().parent
NOT_OURS = ("__pycache__", ".ipynb_checkpoints")


class Memory:
    """Texts by name and key below a folder, one file each.

    Args:
        folder: of the repository, or of a student's tree.
    """

    def __init__(self, folder: Path):
        self._folder = folder / "build" / "remembered"

    @staticmethod
    def beside_the_package() -> "Memory | None":
        """That of the folder which the package stands in; None where it was installed among others."""
        return Memory(PACKAGE.parent) if (PACKAGE.parent / "pyproject.toml").is_file() else None

    def recall(self, name: str, key: str) -> str | None:
        """What was kept under this name with this very key."""
        try:
            text = (self._folder / name).read_bytes().decode()
        except (OSError, ValueError):
            return None
        kept, _, rest = text.partition("\n")
        digest, _, text = rest.partition("\n")
        return text if kept == key and digest == digest_of(text.encode()) else None

    def keep(self, name: str, key: str, text: str) -> None:
        try:
            write_atomically(self._folder / name, f"{key}\n{digest_of(text.encode())}\n{text}".encode())
        except OSError:  # then it is worked out again next time
            pass


def digest_of(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def digest_of_files(root: Path, paths: Iterable[Path]) -> str:
    """Of names and contents, in the order of the names; a file that is missing counts as such."""
    parts = []
    for path in sorted(paths):
        name = path.relative_to(root).as_posix().encode()
        parts += [name, b"+" + path.read_bytes() if path.is_file() else b"-"]
    return digest_of(*parts)


def files_below(folder: Path) -> list[Path]:
    """All files, sorted, without what Python and JupyterLab leave behind."""
    found = folder.rglob("*") if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file() and not set(path.parts) & set(NOT_OURS))


@cache  # the code that runs is the one that was loaded
def code_and_versions() -> str:
    """Digest of the package `course`, of Python and of the version of everything that is installed."""
    return digest_of(digest_of_files(PACKAGE, files_below(PACKAGE)).encode(), _versions().encode())


def _versions() -> str:
    installed = sorted((found.metadata["Name"] or "", found.version or "") for found in distributions())
    return repr((platform.python_version(), platform.machine(), installed))
