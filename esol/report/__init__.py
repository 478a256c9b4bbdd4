"""report.html: numbers, curves, gallery and provenance of a run in one file."""

from esol.report.gallery import Gallery, Shot
from esol.report.page import COLUMNS, ReportData, Split, build, level, percent

__all__ = ["COLUMNS", "Gallery", "ReportData", "Shot", "Split", "build", "level", "percent"]
