"""Sources of image-report pairs to one clean, split, documented dataset."""

from hilum.data.pair import Film, Pair
from hilum.data.prepare import Estimate, Fractures, Settings, Watch, prepare
from hilum.data.run import cluster, processes
from hilum.data.sources import LAYOUTS, Given, Source, open_source
from hilum.data.work import Refusal, Row, Work

__all__ = [
    "LAYOUTS",
    "Estimate",
    "Film",
    "Fractures",
    "Given",
    "Pair",
    "Refusal",
    "Row",
    "Settings",
    "Source",
    "Watch",
    "Work",
    "cluster",
    "open_source",
    "prepare",
    "processes",
]
