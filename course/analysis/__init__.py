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
``tangent_kernel``         how alike are two images to a training, and how evenly is everything learned?
``feature_visualisation``  which image excites a class the most?
``probes``                 what are frozen features good for? (and pixels, the control)
``attention_mask``         does the class token's attention fit the object?
``features``               what comes out of every layer, for all of these
``plots``                  figures of all these
"""

from course.analysis.attention import attention_weights
from course.analysis.attention_mask import attention_masks, iou
from course.analysis.cka import cka
from course.analysis.detection import average_precision
from course.analysis.distance import mean_attention_distance
from course.analysis.feature_visualisation import most_exciting
from course.analysis.filters import principal_filters
from course.analysis.positions import position_similarity
from course.analysis.probes import PIXELS, frozen_features, knn, linear_probe
from course.analysis.receptive_field import receptive_fields
from course.analysis.robustness import occlusion, shuffling
from course.analysis.rollout import rollout, rollout_maps
from course.analysis.segmentation import iou_by_size, mean_iou
from course.analysis.sharpness import direction, largest_eigenvalue, loss_surface
from course.analysis.tangent_kernel import condition_number, tangent_kernel

__all__ = [
    "PIXELS",
    "attention_masks",
    "attention_weights",
    "average_precision",
    "cka",
    "condition_number",
    "direction",
    "frozen_features",
    "iou",
    "iou_by_size",
    "knn",
    "largest_eigenvalue",
    "linear_probe",
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
    "tangent_kernel",
]
