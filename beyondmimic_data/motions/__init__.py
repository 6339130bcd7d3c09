"""Reference motions: clips, importers, the retargeter, the gait synthesiser and quality checks."""
