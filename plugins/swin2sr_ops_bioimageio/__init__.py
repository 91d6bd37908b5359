"""Use bioimage.io packages as models: ``--model package.zip``, ``--model bioimageio:package.zip``."""
