"""Stage 2 in one command on a machine that has nothing: no Ray, no Dagster, no store, no motions, minutes.

``python -m pipelines.stage2_bare --help``
"""
