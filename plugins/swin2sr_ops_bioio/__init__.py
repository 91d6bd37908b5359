"""Read what bioio's readers open: CZI, LIF, ND2 and others, ``photo.czi`` or ``bioio:photo.czi``."""
