"""Read, identify, download and save weights."""
