"""The domain: motions, tracking, rollouts, diffusion, guidance, deployment. No orchestration, no store."""
