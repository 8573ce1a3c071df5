"""Training of the head, or of all layers behind a cut, on the values at the cut."""

from .checkpoints import RunFolder, check_resume
from .distribution import check_strategy, replicas_here
from .fitting import cross_validated
from .inputs import extract_features
from .options import FitOptions, LearningRate, Tuning, check_callbacks, check_rate, refuse_rate_setters
from .phases import Trained, train_head, tune
from .recipe import CROSS_VALIDATED, FOLDS
from .scores import Scores
from .wrong_labels import suspicious_labels
