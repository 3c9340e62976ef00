"""Remove a folder in which student code wrote."""

import os
import secrets
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_folder(folder: str | os.PathLike) -> None:
    """All of it, whatever is in it; what cannot be removed stays.

    `shutil.rmtree` goes down by recursion, so that folders a thousand deep end it, and stops at those that their owner
    has closed to himself. Here what lies deeper is moved up, until nothing is deeper than two; no link is followed.
    """
    try:
        top = os.open(folder, _FOLDER)
        try:
            prefix, moved = secrets.token_hex(8), 0
            while folders := _folders_left(top):
                for name in folders:
                    _unlock(name, top)
                    here = os.open(name, _FOLDER, dir_fd=top)
                    try:
                        for inner in _folders_left(here):
                            _unlock(inner, here)  # a folder is moved by who may write in it
                            os.rename(inner, f"{prefix}-{moved}", src_dir_fd=here, dst_dir_fd=top)
                            moved += 1
                    finally:
                        os.close(here)
                    os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        os.rmdir(folder)
    except OSError:
        pass


def _folders_left(place: int) -> list[str]:
    """The folders directly in `place`, after everything else in it was removed."""
    folders = []
    for name in os.listdir(place):
        if _is_folder(name, place):
            folders.append(name)
        else:
            os.unlink(name, dir_fd=place)
    return folders


def _unlock(name: str, place: int) -> None:
    if os.geteuid() != 0 and _is_folder(name, place):  # root needs no leave
        os.chmod(name, 0o700, dir_fd=place)


def _is_folder(name: str, place: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)
