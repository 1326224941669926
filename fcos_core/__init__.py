"""FCOS itself: tensors in, tensors out. Knows no Ray, Parquet, S3, file layout or command line."""

from fcos_core.checkpoint import load_checkpoint, save_checkpoint
from fcos_core.errors import FcosError
from fcos_core.model.detector import FCOS, build_model
from fcos_core.predictor import Predictor
from fcos_core.structures import Category, Detections, GroundTruth

__all__ = [
    "FCOS",
    "Category",
    "Detections",
    "FcosError",
    "GroundTruth",
    "Predictor",
    "build_model",
    "load_checkpoint",
    "save_checkpoint",
]
