"""From a source to a sink, tile by tile."""
