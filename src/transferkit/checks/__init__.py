"""The faults of a data set: found, reported, and refused or left out before training."""

from .checks import check_images
from .examination import Examined, check_policy, examine
from .gallery import show_images
from .report import Fault, Report

__all__ = ["Examined", "Fault", "Report", "check_images", "check_policy", "examine", "show_images"]
