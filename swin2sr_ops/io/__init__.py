"""Pixels in and out: sources and sinks of the built-in formats."""

import logging

# tifffile logs what it does not understand, such as the usual nodata value -3.4e+38 of GDAL. A program that
# configures logging gets that; else it would be printed once for each time that the file is opened.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
