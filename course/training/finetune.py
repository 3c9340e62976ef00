"""``at_resolution``, which is part of ``course.models``, under its name in the training of a model."""

from course.models.resizing import at_resolution

__all__ = ["at_resolution"]
