"""Read and write TIFF, OME-TIFF and ImageJ TIFF."""
