"""VATT (Akbari et al. 2021, arXiv:2104.11178): the video classifier. The model of three modalities is ``VATT``."""

from course.models.registry import register
from course.models.spec import Whole
from course.models.vatt import VATTClassifier

register("vatt_medium", Whole(VATTClassifier), paper="Akbari et al. 2021, arXiv:2104.11178")
