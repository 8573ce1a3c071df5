"""A classifier <-> one ``.keras`` file, written atomically, read as data only.

`archive` is the zip file and its hash, `manifest` the description of the classifier, `weights` its weights; `writing`
and `loading` put them together, and `card` describes the classifier in words.
"""

from .card import model_card
from .files import Place, check_target
from .loading import SavedClassifier, open_saved, read_typicality, rebuild
from .manifest import FORMAT_VERSION, Manifest
from .writing import describe, save
