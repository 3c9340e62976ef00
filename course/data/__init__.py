"""Data sets as tensors on the device: real ones that are downloaded, and offline ones that are made in seconds.

``images, labels = load("digits")``
"""

from course.data.catalogue import available, fetch, load
from course.data.imageset import ImageSet, default_device

__all__ = ["ImageSet", "available", "default_device", "fetch", "load"]
