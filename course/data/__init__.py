"""Data sets as tensors on the device: real ones that are downloaded, offline ones that are made.

``images, labels = load("digits")``
"""

from course.data.catalogue import available, fetch, load
from course.data.cifar import DataError
from course.data.imageset import ImageSet, default_device
from course.data.photographs import PANS, panned, photographs
from course.data.sequences import SequenceSet

__all__ = [
    "PANS",
    "DataError",
    "ImageSet",
    "SequenceSet",
    "available",
    "default_device",
    "fetch",
    "load",
    "panned",
    "photographs",
]
