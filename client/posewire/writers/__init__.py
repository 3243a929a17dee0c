"""Writers of results: JSON lines, COCO results, PoseTrack annotations, annotated video."""

from posewire.output_files import ResultWriter
from posewire.writers._coco import CocoResultsWriter
from posewire.writers._json_lines import JsonLinesWriter
from posewire.writers._posetrack import PoseTrackWriter
from posewire.writers._video import VideoWriter

__all__ = ["CocoResultsWriter", "JsonLinesWriter", "PoseTrackWriter", "ResultWriter", "VideoWriter"]
