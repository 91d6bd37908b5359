"""Write outputs that can be resumed and that appear atomically."""
