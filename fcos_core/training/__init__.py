"""One optimisation step of FCOS, alone or among several workers; section 4 of the paper.

A job loops over :meth:`Trainer.step`; nothing here knows files, or who starts the workers.
"""

from fcos_core.training.examples import TrainingBatch, TrainingExample
from fcos_core.training.optimization import OptimizationConfig, rate_factor
from fcos_core.training.peers import Peers
from fcos_core.training.trainer import StepReport, Trainer

__all__ = [
    "OptimizationConfig",
    "Peers",
    "StepReport",
    "Trainer",
    "TrainingBatch",
    "TrainingExample",
    "rate_factor",
]
