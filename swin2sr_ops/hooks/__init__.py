"""Plugins: who answers which hook."""
