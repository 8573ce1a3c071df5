"""Find and report the faults of a data set before training."""

from .checks import check_images, diagnose
from .gallery import show_images
from .report import Fault, Report

__all__ = ["Fault", "Report", "check_images", "diagnose", "show_images"]
