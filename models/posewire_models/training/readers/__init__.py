"""Readers of label files. All but `read_poses` return `Picture`s in the joint set that is trained."""

from posewire_models.training.readers.coco import read_coco
from posewire_models.training.readers.lsp import read_lsp_extended
from posewire_models.training.readers.poses import read_poses
from posewire_models.training.readers.posetrack import read_posetrack
from posewire_models.training.readers.teacher import read_teacher

__all__ = ["read_coco", "read_lsp_extended", "read_poses", "read_posetrack", "read_teacher"]
