"""Where everything is kept that the course downloads or measures once."""

import os
from pathlib import Path


def data_folder() -> Path:
    """What ``COURSE_DATA`` names, else ``course`` in the user's cache folder."""
    if chosen := os.environ.get("COURSE_DATA", "").strip():
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("course"))
