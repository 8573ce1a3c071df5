"""The cache: values computed from images, on disk, keyed by image content. Users can show, limit, clear and copy it.

    >>> import transferkit as tk
    >>> print(tk.cache.info())              # doctest: +SKIP
    >>> tk.cache.set_limit(20 * 10**9)      # doctest: +SKIP

The values are features and tiny thumbnails of photos, not the photos. They reveal something about the photos, so only
their user can read the folder. Anything in it may be removed at any time; it is computed again when needed.
"""

# `__all__` is what users see; names imported "as" themselves are for other subpackages.
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
