"""Training of restoration models from a folder of clean images.

Run ``python -m swin2sr_ops.training RECIPE.toml --data FOLDER --out RUN`` to train, again to go on
where it was, and ``--export MODEL.safetensors`` to write the model. The recipes of the shipped
models are in ``recipes/``.
"""
