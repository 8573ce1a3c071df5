"""Preprocessing, backbone and head as one Keras model; where it is cut; the frozen part as a fast function."""

from .extractor import FeatureExtractor, limit_threads, refuse_fork, thread_count
from .fingerprints import checksum_of, graph_digest
from .network import At, Cut, Network, assemble
from .precision import Precision, check_precision, has_fast_half

__all__ = [
    "At", "Cut", "FeatureExtractor", "Network", "Precision", "assemble", "check_precision", "checksum_of", "graph_digest",
    "has_fast_half", "limit_threads", "refuse_fork", "thread_count",
]  # fmt: skip
