"""What a model needs of a GPU's memory, told from its config.json before anything is loaded."""

from kodify.capacity.plan import Card, Plan, Run
from kodify.capacity.shape import Shape, read_shape

__all__ = ["Card", "Plan", "Run", "Shape", "read_shape"]
