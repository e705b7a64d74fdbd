"""The entropic solver: matrix scaling, in the number range and precision that each problem needs."""

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError, NotConvergedError
from hf_ctkd.ot.iteration import Kernel, Limits
from hf_ctkd.ot.memory import block_bytes
from hf_ctkd.ot.potentials import Gathered, Potentials, centred, dual_value
from hf_ctkd.ot.precision import check_resolvable, check_strength, full_products
from hf_ctkd.ot.problem import OTProblem, PreparedProblem, extremes
from hf_ctkd.ot.solution import EnvelopeValue, OTSolution, Plan, Sensitivity, Status
from hf_ctkd.ot.stabilised import scale, solve_stabilised

_CACHE_BYTES = 2**24
"""Bound to what one block needs on a processor."""
_COPIES = 8
"""Tensors of the size of a kernel, or of the scalings, that a solve holds at once."""
_COARSEST, _FALL = 0.02, 3.0
"""The epsilon schedule: where it begins, relative to the largest cost, and by how much each level is smaller."""
_LOOSE, _LOOSE_STEPS = 1e-3, 200
"""The marginal error to which a level of it is solved, and the most steps spent there."""
_PATIENCE = 1_000
"""Steps with a shared kernel, each far cheaper than one alone, before a problem gets Newton steps of its own."""


@dataclass(frozen=True, eq=False)
class Sinkhorn:
    """Entropic optimal transport for batches of problems, by alternate scaling.

    Use it wherever a transport cost has to be cheap or differentiable. For a handful of small problems that need the
    unregularised optimum use `exact`; for two clouds of points use `CloudSinkhorn`. A cost shared by the batch
    takes two matrix products a step and no `[batch, n, m]` tensor, forward or backward. Steps and errors are computed
    in float32 or float64, even under autocast or with TF32 switched on.

    Args:
        epsilon: strength of the entropy, relative to the largest cost of a problem (of its entries with mass, where
            each problem has its own cost); one number, or one per problem `[batch]`. Positive; 1e-3 to 1 is usual, and
            what float64 cannot tell from 0 or from infinity at this `tolerance` is refused.
        max_steps: most steps for a problem, at least 1.
        tolerance: L1 error of the marginals at which a problem is done, positive. Below about 1e-6 use float64.
        on_failure: "raise" `NotConvergedError` when a problem is not done after `max_steps`, or "report" it in
            `OTSolution.status`.
        tau_a: price of `KL(plan 1 | a)`, the deviation from the first marginal, relative to the largest cost, positive.
            Infinite by default: the marginal must be met. A finite one is between 1e-12 and 1e12.
        tau_b: the same for the second marginal.
        max_bytes: limit on the memory for kernels and plans of several problems; larger batches go in blocks. By
            default 256 MiB on a processor, and a quarter of what is free on an accelerator.
        check_every: steps between two reads of the error, each a synchronisation on an accelerator. If it is at least
            `max_steps`, with `on_failure="report"` and one epsilon, the error is never read and every problem takes
            every step: the solver can then be captured in a CUDA graph and, from torch 2.7 on, compiled by
            `torch.compile` without a graph break (see `check` of `OTProblem`).

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", 2013; unbalanced: Chizat et al.,
        "Scaling algorithms for unbalanced optimal transport problems", 2018, with the shift of Sejourne, Vialard and
        Peyre, "Faster unbalanced optimal transport: translation invariant Sinkhorn and 1-D Frank-Wolfe", 2022.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot import OTProblem, Sinkhorn
        >>> b = torch.tensor([[0.25, 0.75]], requires_grad=True)
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> solution = Sinkhorn(epsilon=0.1).solve(OTProblem(cost, torch.tensor([[0.5, 0.5]]), b))
        >>> solution.value.sum().backward()
        >>> bool(b.grad[0, 0] < 0 < b.grad[0, 1])  # moving mass to the first target would make it cheaper
        True
    """

    epsilon: float | Float[Tensor, "batch"] = 0.05
    max_steps: int = 10_000
    _: KW_ONLY
    tolerance: float = 1e-5
    on_failure: Literal["raise", "report"] = "raise"
    tau_a: float = math.inf
    tau_b: float = math.inf
    max_bytes: int | None = None
    check_every: int = 5

    def __post_init__(self) -> None:
        epsilon = self.epsilon
        if isinstance(epsilon, Tensor) and not epsilon.numel():
            raise InvalidArgumentError("`epsilon` must be a number, or one for each problem of the batch, got none.")
        least, most = epsilon.aminmax() if isinstance(epsilon, Tensor) else (epsilon, epsilon)
        if not 0 < least <= most < math.inf:
            raise InvalidArgumentError(f"`epsilon` must be positive and finite, got {self.epsilon}.")
        for name, value in (("tolerance", self.tolerance), ("tau_a", self.tau_a), ("tau_b", self.tau_b)):
            if not value > 0:
                raise InvalidArgumentError(f"`{name}` must be positive, got {value}.")
        for name, tau in (("tau_a", self.tau_a), ("tau_b", self.tau_b)):
            check_strength(name, tau)
        for name, count in (
            ("max_steps", self.max_steps),
            ("max_bytes", self.max_bytes),
            ("check_every", self.check_every),
        ):
            if count is not None and count < 1:
                raise InvalidArgumentError(f"`{name}` must be at least 1, got {count}.")
        if self.on_failure not in ("raise", "report"):
            raise InvalidArgumentError(f"`on_failure` must be 'raise' or 'report', got {self.on_failure!r}.")

    def solve(
        self, problem: OTProblem, *, warm_start: tuple[Float[Tensor, "batch n"], Float[Tensor, "batch m"]] | None = None
    ) -> OTSolution:
        """Solve every problem of the batch.

        Args:
            problem: costs and marginals.
            warm_start: `potentials` of an earlier solution of similar problems, such as the last step of training.

        Returns:
            The entropic optima with their gradient, and the plans, in the order of the problems.

        Raises:
            NotConvergedError: a problem missed the tolerance and `on_failure` is "raise".
            InvalidArgumentError: `warm_start` or `epsilon` does not fit the problem, or `epsilon` or the costs
                beside it are lost in rounding.
        """
        if self._attended and torch.compiler.is_compiling():
            # The loop reads its tensors: traced, it would break into a graph for the steps between each two reads.
            return torch.compiler.disable(self._solved)(problem, warm_start)
        return self._solved(problem, warm_start)

    def _solved(self, problem: OTProblem, warm_start: tuple[Tensor, Tensor] | None) -> OTSolution:
        self._check_fit(problem, warm_start)
        # Autocast would run the matrix products in 16 bits, whose error no number of steps makes up for.
        with torch.no_grad(), torch.autocast(problem.cost.device.type, enabled=False), full_products():
            epsilon = self._epsilon(problem)
            smallest, largest = extremes(epsilon)
            check_resolvable(smallest, self.tolerance, largest=largest, cost=problem.cost.dtype)
            max_bytes = block_bytes(problem.cost.device, self.max_bytes)
            prepared = PreparedProblem.of(problem, epsilon, tau_a=self.tau_a, tau_b=self.tau_b, max_bytes=max_bytes)
            start = torch.zeros_like(prepared.b) if warm_start is None else warm_start[1].detach().to(prepared.b)
            if warm_start is None:
                start = self._annealed(prepared, start)
            solved = self._solve(prepared, start, self._limits())
            f, g = centred(prepared, solved.f, solved.g)
            value, for_a, for_b = dual_value(prepared, f, g)
            done = (solved.error <= self.tolerance) & value.isfinite()
            status = torch.where(done, Status.CONVERGED.value, Status.OUT_OF_STEPS.value)
        self._check_converged(solved, value, status)
        plan = Plan(prepared, f, g, max_bytes)
        value = EnvelopeValue.apply(problem.a, problem.b, problem.cost, value, Sensitivity(plan, for_a, for_b))
        dtype = problem.dtype
        error = solved.error.to(dtype)
        return OTSolution(value.to(dtype), (f.to(dtype), g.to(dtype)), error, solved.steps, status, plan)

    @property
    def _attended(self) -> bool:
        """Whether the host reads tensors, and what it does next depends on them; see `check_every`."""
        return self.check_every < self.max_steps or self.on_failure == "raise" or isinstance(self.epsilon, Tensor)

    def _epsilon(self, problem: OTProblem) -> float | Tensor:
        if isinstance(self.epsilon, Tensor):
            return self.epsilon.detach().to(problem.cost.device, torch.float64)
        return self.epsilon

    def _limits(self) -> Limits:
        return Limits(self.max_steps, self.tolerance, self.check_every)

    def _annealed(self, prepared: PreparedProblem, start: Tensor) -> Tensor:
        """The potential to start from at a small epsilon, after loose solves at larger ones: the epsilon schedule."""
        levels = max(0, math.ceil(math.log(_COARSEST * prepared.sharpest, _FALL)))
        limits = replace(self._limits(), steps=min(self.max_steps, _LOOSE_STEPS), tolerance=_LOOSE)
        for level in range(levels, 0, -1):
            factor = _FALL**level
            epsilon = torch.maximum(
                prepared.epsilon, torch.minimum(prepared.epsilon * factor, _COARSEST * prepared.scale)
            )
            sharpest = max(prepared.sharpest / factor, 1 / _COARSEST)
            start = self._solve(replace(prepared, epsilon=epsilon, sharpest=sharpest), start, limits).g
        return start

    def _solve(self, prepared: PreparedProblem, start: Tensor, limits: Limits) -> Potentials:
        if prepared.cost.dim() == 3:
            return self._solve_each(prepared, start, limits)
        if not limits.attended and prepared.sharpest > prepared.safe_exponent:
            return self._solve_each(prepared, start, limits)  # the host would not see where scaling underflows
        return self._solve_shared(prepared, start, limits)

    def _solve_shared(self, prepared: PreparedProblem, start: Tensor, limits: Limits) -> Potentials:
        """Scale one kernel for all problems of one epsilon; those that underflow or converge slowly get their own."""
        out = Gathered.empty(prepared)
        index = torch.arange(len(start), device=start.device)
        together = replace(limits, steps=min(limits.steps, _PATIENCE)) if limits.attended else limits
        for rows in prepared.alike():
            self._scale_shared(prepared.select(rows), start[rows], together, (index[rows], out))
        if limits.attended and len(left := out.unfinished(limits.tolerance, limits.steps)):
            before = out.read(left)
            g = torch.where(before.error.isnan()[:, None], start[left], before.g)
            rest = replace(limits, steps=max(1, limits.steps - int(before.steps.max())))
            solved = self._solve_each(prepared.select(left), g, rest)
            out.write(left, replace(solved, steps=solved.steps + before.steps))
        return out.potentials

    def _scale_shared(
        self, prepared: PreparedProblem, start: Tensor, limits: Limits, into: tuple[Tensor, Gathered]
    ) -> None:
        index, out = into
        kernel = Kernel.of(torch.exp(-prepared.cost / prepared.epsilon[0]))
        limits = replace(limits, guarded=prepared.sharpest > prepared.safe_exponent)
        for rows in prepared.blocks(self._block(prepared, prepared.a[0].nbytes + prepared.b[0].nbytes)):
            out.write(index[rows], scale(kernel, prepared.select(rows), start[rows], limits))

    def _solve_each(self, prepared: PreparedProblem, start: Tensor, limits: Limits) -> Potentials:
        out = Gathered.empty(prepared)
        index = torch.arange(len(start), device=start.device)
        for rows in prepared.blocks(self._block(prepared, prepared.a[0].numel() * prepared.b[0].nbytes)):
            out.write(index[rows], solve_stabilised(prepared.select(rows), start[rows], limits))
        return out.potentials

    def _block(self, prepared: PreparedProblem, bytes_each: int) -> int:
        """Problems in a block: on a processor as many as fit in its cache, which is faster than all at once."""
        limit = min(prepared.max_bytes, _CACHE_BYTES) if prepared.a.device.type == "cpu" else prepared.max_bytes
        return max(1, limit // (_COPIES * bytes_each))

    def _check_fit(self, problem: OTProblem, warm_start: tuple[Tensor, Tensor] | None) -> None:
        batch, n, m = problem.shape
        if isinstance(self.epsilon, Tensor) and tuple(self.epsilon.shape) not in ((), (batch,)):
            raise InvalidArgumentError(
                f"`epsilon` must be one number or one per problem [{batch}], got shape {list(self.epsilon.shape)}."
            )
        if warm_start is None:
            return
        shapes = [list(potential.shape) for potential in warm_start]
        if shapes != [[batch, n], [batch, m]]:
            raise InvalidArgumentError(
                f"`warm_start` must have shapes [{batch}, {n}] and [{batch}, {m}], got {shapes}."
            )
        if problem.check and not all(bool(torch.isfinite(potential).all()) for potential in warm_start):
            raise InvalidArgumentError("`warm_start` has a NaN or infinite entry. Leave it out after a failed solve.")

    def _check_converged(self, solved: Potentials, value: Tensor, status: Tensor) -> None:
        if self.on_failure == "raise" and bool((status != Status.CONVERGED).any()):
            if not bool((solved.error.isfinite() & value.isfinite()).all()):
                raise NotConvergedError(
                    f"Sinkhorn came to numbers outside of the range of {value.dtype}. Divide `cost` by its largest "
                    "entry, or pass on_failure='report'."
                )
            worst = float(solved.error.max())
            raise NotConvergedError(
                f"Sinkhorn stopped after {int(solved.steps.max())} steps with marginal error {worst:.2g}. "
                "Increase `max_steps` or `epsilon`, or pass on_failure='report'."
            )
