"""Code versions, raised by hand when a stage would give something else from the same inputs.

They are part of every recipe, so raising one rebuilds the stage and what depends on it. They live apart from
the code they speak of because whoever only asks what is up to date should not import torch for it. That of
motions is ``motions.formats.IMPORTER_VERSION``.
"""

TRACKING = "5"
ROLLOUTS = "4"
DATASET = "2"
DIFFUSION = "2"
CLOSED_LOOP = "2"
DEPLOYMENT = "2"
