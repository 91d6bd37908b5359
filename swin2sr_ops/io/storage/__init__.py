"""Read and write files and objects on any storage."""
