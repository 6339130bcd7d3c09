"""Emphasis projection: a fixed random mixing that makes root entries loud (Diffuse-CLoC; METHOD 2.4).

``s' = [A B s ; s]`` with a diagonal B that is c on emphasised entries and 1 elsewhere, and a Gaussian A.
Noise, loss and inpainting live in the projected space; the Moore-Penrose inverse leads back, exactly for
projected vectors and in the least-squares sense for the model's predictions.
"""

import torch


class EmphasisProjection(torch.nn.Module):
    """Linear map from D normalised features to 2 D; both directions are buffers."""

    forward_matrix: torch.Tensor
    inverse_matrix: torch.Tensor

    def __init__(
        self, permutation: torch.Tensor, sign: torch.Tensor, emphasised: torch.Tensor, c: float, seed: int
    ) -> None:
        """Draw the mixing.

        A is made to commute with the left-right reflection M, ``A = (A0 + M A0 M) / sqrt(2)``, so that a
        mirrored state projects to the mirrored projection. Its entries have variance ``1 / sum(B^2)``:
        features of unit variance mix to unit variance.

        Args:
            permutation: (D,) index of each feature's mirror image.
            sign: (D,) sign of each feature under reflection.
            emphasised: (D,) bool, features multiplied by ``c``.
            c: emphasis; 0 leaves features as they are, without a projection.
            seed: of A.
        """
        super().__init__()
        dim = len(sign)
        if c == 0:
            matrix = torch.eye(dim, dtype=torch.float64)
        else:
            weight = torch.where(emphasised, torch.tensor(c), torch.tensor(1.0)).double()
            generator = torch.Generator().manual_seed(seed)
            a = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / weight.square().sum().sqrt()
            reflection = torch.zeros(dim, dim, dtype=torch.float64)
            reflection[torch.arange(dim), permutation] = sign.double()
            a = (a + reflection @ a @ reflection) / 2**0.5
            matrix = torch.cat([a * weight, torch.eye(dim, dtype=torch.float64)])
        self.dim_in, self.dim_out = dim, len(matrix)
        self.register_buffer("forward_matrix", matrix.float())
        self.register_buffer("inverse_matrix", torch.linalg.pinv(matrix).float())

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised features (..., D) to the space of the diffusion (..., D').

        The last D rows of the matrix are the identity: a copy is cheaper than half of the product.
        """
        mixing = self.forward_matrix[: -self.dim_in]
        return torch.cat([x @ mixing.T, x], -1)

    def unproject(self, x: torch.Tensor) -> torch.Tensor:
        """Map from the space of the diffusion (..., D') to the nearest normalised features (..., D)."""
        return x @ self.inverse_matrix.T
