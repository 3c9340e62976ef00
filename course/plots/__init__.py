"""The figures of the lectures: one call, one figure, no plumbing in a notebook.

Every function returns a ``Picture``: a matplotlib ``Figure`` that pyplot knows nothing of. So a notebook
shows it exactly once, where it is the last line of a cell, and ``.savefig("name.png")`` keeps it anywhere.
Images are tensors as the course has them, (C, H, W), uint8 or float, or an ``ImageSet``. Colours are those of
Okabe and Ito ("Color universal design", 2008) and the maps Blues and RdBu: they stay apart for colour-blind
readers and in print.

``images``     images, clips, windows, patches
``attention``  where tokens look
``tables``     matrices, masks, maps of tokens
``charts``     curves and bars
"""

# Each of these is one lecture's own, whose notebook or homework calls it from here.
from course.figures.self_attention import regrouped, weighted_average
from course.figures.start_here import course_map, course_progress, shape_letters
from course.figures.video import reach_in_clip
from course.plots.attention import attention_maps
from course.plots.charts import bars, curves
from course.plots.images import image_grid, misread, patches, video_strip, windows_on_image
from course.plots.tables import matrices, token_maps

__all__ = [
    "attention_maps",
    "bars",
    "course_map",
    "course_progress",
    "curves",
    "image_grid",
    "matrices",
    "misread",
    "patches",
    "reach_in_clip",
    "regrouped",
    "shape_letters",
    "token_maps",
    "video_strip",
    "weighted_average",
    "windows_on_image",
]
