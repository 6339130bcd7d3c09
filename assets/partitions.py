"""The one partition set of the graph."""

import warnings

import dagster as dg

# A check of one skill must not block the others. Only checks with partitions can say that, and in Dagster
# 1.13 these are a preview.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

SKILLS = "skills"

skills = dg.DynamicPartitionsDefinition(name=SKILLS)
"""A key is a motion's path in the motion folder without suffix, ``/`` as ``__``, or a skill's name."""
