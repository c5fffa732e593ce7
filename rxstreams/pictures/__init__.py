"""Pictures as text: the graph of a pipeline, and the marble diagrams that operators are described with."""

from rxstreams.pictures.catalogue import table_of_operators
from rxstreams.pictures.graphs import Picture, draw

__all__ = ["Picture", "draw", "table_of_operators"]
