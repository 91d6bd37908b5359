"""Many images in one request: what is restored into what, what it would cost, doing it, and the report."""
