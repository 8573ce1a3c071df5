"""Prediction and feature extraction as functions of a batch, for engines that run them on many machines."""

from .features import FeatureBatch
from .predict import PredictBatch

__all__ = ["FeatureBatch", "PredictBatch"]
