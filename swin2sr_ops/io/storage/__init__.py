"""Files and objects, wherever they are stored."""
