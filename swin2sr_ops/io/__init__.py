"""Read and write images: sources and sinks of the built-in formats."""

import logging

# tifffile logs a message for values that it does not understand, such as GDAL's usual nodata value -3.4e+38. A program
# that configures logging gets these messages; without it each opening of the file would print them.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
