"""Draws people onto pictures: skeletons coloured by id, boxes, labels, trails."""

from posewire.overlay._people import color_of, draw_people
from posewire.overlay._trails import Trails

__all__ = ["Trails", "color_of", "draw_people"]
