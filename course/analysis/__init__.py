"""Looking into trained networks: what they attend to, how layers resemble each other, what breaks them.

``attention``              which weights did every attention layer use?
``rollout``                from which patches does the answer come, through all layers?
``distance``               how far, in pixels, does each head look?
``positions``              which positions did the network learn to be alike?
``filters``                what does the first layer look for?
``token_grid``             where in the image does a token stand?
``cka``                    which layers, of one network or of two, are alike?
``receptive_field``        how much does each pixel move the middle of a layer?
``robustness``             what is left of the accuracy when patches are gone or change places?
``segmentation``           how well do masks agree, for small objects and for large ones?
``detection``              how well are boxes found?
``sharpness``              how sharply does the loss bend around the weights?
``feature_visualisation``  which image excites a class the most?
``features``               what comes out of every layer, for all of these
``plots``                  figures of all these
"""

from course.analysis.attention import attention_weights
from course.analysis.cka import cka
from course.analysis.detection import average_precision
from course.analysis.distance import mean_attention_distance
from course.analysis.feature_visualisation import most_exciting
from course.analysis.filters import principal_filters
from course.analysis.positions import position_similarity
from course.analysis.receptive_field import receptive_fields
from course.analysis.robustness import occlusion, shuffling
from course.analysis.rollout import rollout, rollout_maps
from course.analysis.segmentation import iou_by_size, mean_iou
from course.analysis.sharpness import direction, largest_eigenvalue, loss_surface

__all__ = [
    "attention_weights",
    "average_precision",
    "cka",
    "direction",
    "iou_by_size",
    "largest_eigenvalue",
    "loss_surface",
    "mean_attention_distance",
    "mean_iou",
    "most_exciting",
    "occlusion",
    "position_similarity",
    "principal_filters",
    "receptive_fields",
    "rollout",
    "rollout_maps",
    "shuffling",
]
