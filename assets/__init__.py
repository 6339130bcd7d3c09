"""The graph's assets: one module a stage, each with its asset, its checks and one plain builder function.

A builder computes the recipe of what is wanted, returns the complete artifact of that recipe if there is one,
and builds it otherwise. Assets only call their builder and show a person what came out.
"""
