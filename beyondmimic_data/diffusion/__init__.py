"""Stage 2: joint state-action diffusion (BeyondMimic v3 §IV): features, model, training and sampling."""
