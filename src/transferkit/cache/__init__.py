"""Values that were computed once, on disk, by the content of the image. For users: see it, limit it, clear it.

    >>> import transferkit as tk
    >>> print(tk.cache.info())              # doctest: +SKIP
    >>> tk.cache.set_limit(20 * 10**9)      # doctest: +SKIP

The values are numbers that the backbone made of photos, not the photos. They tell something about the photos, so only their
user can read the folder. Everything in it may be removed at any time: it is computed again when it is needed.
"""

# What users see is in `__all__`; the rest, "as" itself, is for other rooms.
from .exchange import pull, push
from .shards import KEY as KEY
from .shards import KEY_BYTES as KEY_BYTES
from .shards import Keys as Keys
from .shards import Records as Records
from .shards import Tensors as Tensors
from .shards import content_key as content_key
from .shards import record_dtype as record_dtype
from .store import DEFAULT_LIMIT as DEFAULT_LIMIT
from .store import Store as Store
from .store import has_room_for_temporary as has_room_for_temporary
from .tables import RowsOnDisk as RowsOnDisk
from .tables import Session as Session
from .user import CacheInfo, clear, info, set_limit
from .user import open_store as open_store
from .user import shared_store as shared_store

__all__ = ["CacheInfo", "clear", "info", "pull", "push", "set_limit"]
