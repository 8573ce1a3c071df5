"""Preprocessing, backbone and head as one Keras model; its cuts; its frozen layers as a fast function."""

from .extractor import FeatureExtractor, limit_threads, nodes_of, refuse_fork, thread_count
from .fingerprints import checksum_of, graph_digest
from .network import At, Cut, Network, assemble
from .precision import Precision, check_precision, has_fast_half
