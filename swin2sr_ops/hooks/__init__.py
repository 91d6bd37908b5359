"""Find plugins and dispatch the hooks to them."""
