"""Implement the tasks of swin2sr_ops in Fractal.

The tasks themselves, with their typed parameters, are in ``swin2sr_ops/fractal_tasks``, and their
manifest is in ``swin2sr_ops``: a Fractal server looks for both in the package that has the
distribution's name.
"""
