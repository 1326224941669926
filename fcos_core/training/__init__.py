"""One optimisation step of FCOS, by one worker or several; section 4 of the paper.

A job loops over :meth:`Trainer.step`. Nothing here knows files, or how workers are started.
"""

from fcos_core.training.examples import TrainingBatch, TrainingExample
from fcos_core.training.optimization import OptimizationConfig, rate_factor
from fcos_core.training.process_group import ProcessGroup
from fcos_core.training.trainer import StepReport, Trainer

__all__ = [
    "OptimizationConfig",
    "ProcessGroup",
    "StepReport",
    "Trainer",
    "TrainingBatch",
    "TrainingExample",
    "rate_factor",
]
