"""report.html: the answer, gallery, numbers, curves and provenance of a run in one file."""

from esol.report.answer import level
from esol.report.gallery import Gallery, Shot
from esol.report.page import COLUMNS, ReportData, Split, build, counted, percent

__all__ = [
    "COLUMNS",
    "Gallery",
    "ReportData",
    "Shot",
    "Split",
    "build",
    "counted",
    "level",
    "percent",
]
