"""Read and write Zarr and OME-Zarr: images, plates, labels."""
