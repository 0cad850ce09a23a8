"""Brings features and transcripts from elsewhere into ctckit's own format.

A reader a format makes a `Manifest` of rows, `stores.py` and its like say where features lie, `pairing.py` brings
both together and writes; `telling.py` tells from the content what a source is.
"""

from ctckit.data.importers.bonito import import_bonito
from ctckit.data.importers.copying import copy_clips, import_hdf5, writer_like
from ctckit.data.importers.folder import import_folder
from ctckit.data.importers.padded import import_padded, is_padded
from ctckit.data.importers.pairing import Imported, Wishes
from ctckit.data.importers.telling import kind_of_manifest, kind_of_source

__all__ = [
    "Imported",
    "Wishes",
    "copy_clips",
    "import_bonito",
    "import_folder",
    "import_hdf5",
    "import_padded",
    "is_padded",
    "kind_of_manifest",
    "kind_of_source",
    "writer_like",
]
