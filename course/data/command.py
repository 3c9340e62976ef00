"""``course data [NAME]``."""

import sys

from course.data.catalogue import available, fetch
from course.data.cifar import DataError
from course.data_folder import data_folder


def data_command(name: str | None) -> int:
    """List the data sets, or fetch one; 0 if all is well, 1 if the set cannot be had."""
    if name is None:
        _print_table(available())
        print(f"\nDownloads go to {data_folder()} (COURSE_DATA names another); `course data NAME` fetches.")
        return 0
    try:
        where = fetch(name)
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name} is in {where}" if where else f"{name} needs no download: it is made when loaded")
    return 0


def _print_table(rows: list[dict]) -> None:
    columns = ["name", "state", "images", "size", "what", "where"]
    widths = {c: max(len(c), *(len(str(row[c])) for row in rows)) for c in columns[:-1]}
    for row in [dict(zip(columns, columns)), *rows]:
        print("  ".join(str(row[c]).ljust(widths.get(c, 0)) for c in columns).rstrip())
