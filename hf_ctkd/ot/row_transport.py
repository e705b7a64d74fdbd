"""One optimal transport of all rows onto the target classes: soft targets whose class shares fit a prior."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot.precision import check_resolvable, check_strength, full_products, resolving_dtype
from hf_ctkd.ot.problem import require_tensor
from hf_ctkd.ot.streaming import solve_streamed

_BLOCK_BYTES, _BLOCK_BYTES_DEVICE = 2**19, 2**26
"""Of a block of log posteriors: on a processor one that stays in its cache."""


@dataclass(frozen=True)
class RowTransport:
    """A solved transport of rows onto classes, as one potential for each class.

    The soft target of a row is `softmax((log_posterior + potential) / epsilon)`. For a row that was transported this is
    its row of the plan, scaled to sum to one; a new row has its soft target from the same potential.

    Args:
        potential: `[classes]`, in nats: what is added to a class's log posterior so that class shares come out right.
        epsilon: strength of the entropic term, in nats.
        marginal_error: L1 distance of the class shares from the required ones: the prior, or, where it is relaxed, the
            shares of the optimum, `prior exp(-potential / prior_strength)`.
        steps: passes over the rows.
    """

    potential: Float[Tensor, " classes"]
    epsilon: float
    marginal_error: float = 0.0
    steps: int = 0


def transport_rows(
    log_posterior: Float[Tensor, "rows columns"] | Callable[[], Iterable[Tensor]],
    prior: Shaped[Tensor, "..."],
    *,
    epsilon: float = 0.25,
    prior_strength: float = 1.0,
    max_steps: int = 2000,
    tolerance: float = 1e-4,
) -> RowTransport:
    """Transport all rows, of equal mass, onto the classes, whose masses follow a prior, at cost `-log posterior`.

    Use it where the class prior is known or well estimated: a wrong prior does harm, so lower `prior_strength` the less
    sure it is. The problem is solved over class potentials alone (one number a
    class), as the row side has a closed form, in blocks of rows: memory does not grow with the rows.

    Args:
        log_posterior: log probabilities of the classes for every row; `-inf` forbids a class to a row. A tensor, which
            may be memory-mapped, or a function that starts a pass over the rows in chunks `[some rows, classes]`,
            always the same ones. There is one pass a step, six to twelve in all.
        prior: `[classes]`, class shares or counts, not negative, at least one positive; scaled to sum to one.
        epsilon: strength of the entropic term in nats, positive; below 1 it
            makes soft targets sharper than the posteriors.
        prior_strength: price in nats of `KL(class shares | prior)`, not negative; infinity holds the prior exactly, 0
            ignores it, others are between 1e-12 and 1e12. With 50 labels on digits, balanced or not, 1 was best or near
            it for every teacher, and infinity cost a good teacher 5 to 15 points: the shares of a few hundred rows are
            never exactly the prior.
        max_steps: most passes.
        tolerance: L1 error of the class shares to reach, positive.

    Returns:
        The potential of each class, which gives the soft target of any row.

    Raises:
        InvalidArgumentError: if an argument is out of its range.
        NotConvergedError: if `max_steps` passes do not reach `tolerance`.

    Reference:
        Entropic transport after Cuturi, arXiv:1306.0895; relaxed marginals after Chizat et al., arXiv:1607.05816. The
        use for soft targets is this library's.

    Example:
        >>> import torch
        >>> posterior = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
        >>> transport = transport_rows(posterior.log(), torch.tensor([0.5, 0.5]), prior_strength=float("inf"))
        >>> ((posterior.log() + transport.potential) / transport.epsilon).softmax(dim=1).mean(dim=0).round(decimals=3)
        tensor([0.5000, 0.5000])
    """
    for name, value in (("epsilon", epsilon), ("tolerance", tolerance)):
        if not 0 < value < math.inf:
            raise InvalidArgumentError(f"`{name}` must be positive and finite, got {value}.")
    if not prior_strength >= 0:
        raise InvalidArgumentError(f"`prior_strength` must not be negative, got {prior_strength}.")
    if prior_strength:
        check_strength("prior_strength", prior_strength)
    check_resolvable(epsilon, tolerance)
    require_tensor("prior", prior)
    if not callable(log_posterior):
        require_tensor("log_posterior", log_posterior)
        if log_posterior.dim() != 2:
            raise InvalidArgumentError(
                f"`log_posterior` must have two dimensions, `[rows, classes]`, got {list(log_posterior.shape)}."
            )
    _check_prior(prior)
    if not prior.is_floating_point():  # counts: potentials are no whole numbers
        prior = prior.to(torch.get_default_dtype())
    chunks = _in_chunks(log_posterior)
    _check_rows(chunks, prior, exact=math.isinf(prior_strength))
    shares = prior.detach().double() / prior.sum().double()
    if prior_strength == 0:
        return RowTransport(torch.where(prior > 0, 0.0, -torch.inf).to(prior), epsilon)

    least = resolving_dtype(epsilon, tolerance)

    def log_kernel() -> Iterator[Tensor]:
        return (chunk.to(torch.promote_types(chunk.dtype, least)) / epsilon for chunk in chunks())

    with torch.no_grad(), torch.autocast(prior.device.type, enabled=False), full_products():
        solved = solve_streamed(
            log_kernel, shares, epsilon=epsilon, tau=prior_strength, max_steps=max_steps, tolerance=tolerance
        )
    return RowTransport((solved.g * epsilon).to(prior.dtype), epsilon, solved.marginal_error, solved.steps)


def _in_chunks(log_posterior: Tensor | Callable[[], Iterable[Tensor]]) -> Callable[[], Iterator[Tensor]]:
    """Passes over the rows in blocks, however large the chunks are in which they come."""

    def blocks() -> Iterator[Tensor]:
        for chunk in (log_posterior,) if isinstance(log_posterior, Tensor) else log_posterior():
            most = _BLOCK_BYTES if chunk.device.type == "cpu" else _BLOCK_BYTES_DEVICE
            yield from chunk.detach().split(max(1, most // (4 * chunk.shape[1])))

    return blocks


def _check_prior(prior: Shaped[Tensor, "..."]) -> None:
    if prior.dim() != 1:
        raise InvalidArgumentError(f"`prior` must have one share for each class, `[classes]`, got {list(prior.shape)}.")
    if bool((prior < 0).any()) or not bool(torch.isfinite(prior).all()) or not float(prior.sum()) > 0:
        raise InvalidArgumentError(
            f"`prior` must hold finite shares, none negative and not all 0, got {prior.tolist()}."
        )


def _check_rows(chunks: Callable[[], Iterator[Tensor]], prior: Float[Tensor, " classes"], *, exact: bool) -> None:
    rows, unreached = 0, prior > 0
    for chunk in chunks():
        rows += len(chunk)
        if chunk.dim() != 2 or chunk.shape[1] != len(prior):
            raise InvalidArgumentError(
                f"`prior` must have one share for each class of `log_posterior` {list(chunk.shape)}, got {len(prior)}."
            )
        allowed = chunk.masked_fill(prior.to(chunk.device) == 0, -torch.inf)
        best = allowed.amax(dim=1)
        unreached &= ~(allowed > -torch.inf).any(dim=0).to(unreached.device)
        if bool(chunk.isnan().any()) or not bool(((best > -torch.inf) & (best < torch.inf)).all()):
            raise InvalidArgumentError(
                "`log_posterior` must give every row at least one possible class, without NaN or positive infinity. "
                "Clamp probabilities first."
            )
    if not rows:
        raise InvalidArgumentError("`log_posterior` must hold at least one row, got none.")
    if exact and bool(unreached.any()):
        raise InvalidArgumentError(
            f"`log_posterior` forbids class {int(unreached.int().argmax())} to every row, but its share of `prior` "
            "must be met. Clamp probabilities first, or pass a finite `prior_strength`."
        )
