"""The classifier: each method of `TransferClassifier` calls the packages below in a few steps."""

from .classifier import TransferClassifier

__all__ = ["TransferClassifier"]
