"""From a model and a part to a checked plan: allocation, tiling, schedule, plan, check. `optimize` is that path.

Allocation finds engines; tiling then improves the schedules of the best few designs and of those with the lowest bounds,
in a race, and the fastest of all becomes the plan; placement puts its netlist on the fabric, where the part has one. The
objective "lut" turns this round: the cheapest designs that could reach the target rate are tiled until one does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldwright.accel.network import Network, load_network
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.accel.workload import Workload
from foldwright.agents.params import parse_settings
from foldwright.agents.registry import Solver, get_solver
from foldwright.agents.result import Result
from foldwright.budget import Budget, Tell
from foldwright.config import OptimizeOptions
from foldwright.designs import Design, design_finder
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.errors import ConfigError, InfeasibleError, InputError, nearest
from foldwright.netlists.part import load_part
from foldwright.pareto import Pareto
from foldwright.placing import Placed, placement_problem
from foldwright.race import Solvers
from foldwright.sweep import DEFAULT_POINTS, pareto_of, sweep

__all__ = ["Optimized", "Planned", "optimize", "optimize_workload"]

_MILLI = 1000
_PLACEMENT_SHARE = 0.2
_MOST_POINTS = 64
_SETTINGS = {
    "dram_bits_per_cycle": int,
    "max_engines": int,
    "technology": str,
    "buildable": bool,
    "pareto_points": int,
}
_DEFAULT_SOLVERS = {"allocation": "exact", "tiling": "anneal", "placement": "anneal"}


@dataclass(frozen=True)
class Optimized:
    """A plan with its schedule and what was proven about both.

    `bound` and `lut_bound` are of the whole design space, in which a buildable plan need not lie (`in_space`); `tiling`
    is the search on the plan's own datapath. `placed` and `placement` are None where nothing is known of the part's
    fabric.
    """

    plan: Plan
    schedule: Schedule
    network: Network
    objective: str
    bound_cycles_per_frame: float
    bound_proof: str
    lut_bound: int | None
    allocation: Result | None
    tiling: Result
    placed: Placed | None
    placement: Result | None
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    reproducible: bool = False
    in_space: bool = True
    pareto: Pareto | None = None

    @property
    def cycles_per_frame(self) -> float:
        return self.schedule.cycles_per_round / self.plan.datapath.batch_frames

    @property
    def fps(self) -> float:
        return self.plan.frames_per_second(self.schedule)

    @property
    def gap(self) -> float:
        """How far the objective is from the bound of the whole design space, less one; a plan outside may be below it."""
        if self.lut_bound is not None:
            return self.plan.utilization().lut / self.lut_bound - 1
        gap = self.cycles_per_frame / self.bound_cycles_per_frame - 1
        return max(0.0, gap) if self.in_space else gap

    @property
    def schedule_gap(self) -> float:
        """How far the schedule is from the bound of its datapath, less one."""
        return self.schedule.cycles_per_round / self.tiling.bound - 1

    @property
    def status(self) -> str:
        return "optimal" if self.in_space and self.gap == 0 else "feasible"


@dataclass(frozen=True)
class Planned:
    """A checked plan with the design that it is made of, the front that it lies on, if asked for, and the instance searched."""

    plan: Plan
    design: Design
    pareto: Pareto | None
    whole: AllocationProblem
    cpu_seconds: dict[str, float]


def optimize(model: str | Path, options: OptimizeOptions, tell: Tell | None = None) -> Optimized:
    """Returns the best accelerator found for a model on a part, checked independently.

    Args:
        model: path of an ONNX file.
        options: part, clock, objective, budgets, solvers and seed.
        tell: receives the progress of the searches.

    Raises:
        InputError: the model, the part or an option is wrong.
        InfeasibleError: no design fits the budgets, or none reaches the target rate.
        IllegalSolutionError: the referee refuses the plan; there is none then.
    """
    asked = _understood(options)
    budget = Budget(options, tell)
    with budget.stage("load"):
        network = load_network(model, options.requant)
    sha256 = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    planned = _planned(network.workload, (Path(model).name, sha256), options, asked, budget, network)
    placed, placement = _place(planned.plan, options, asked.solvers, budget)
    if placed is not None:
        with budget.stage("check"):
            placed.check()
    design, bound = planned.design, planned.whole.bound()
    return Optimized(
        plan=planned.plan,
        schedule=design.schedule,
        network=network,
        objective=options.objective,
        bound_cycles_per_frame=bound.value / _MILLI,
        bound_proof=bound.proof,
        lut_bound=design.lut_bound,
        allocation=design.allocation,
        tiling=design.tiling,
        placed=placed,
        placement=placement,
        cpu_seconds=budget.spent,
        reproducible=options.deterministic is not None,
        in_space=design.in_space,
        pareto=planned.pareto,
    )


def optimize_workload(workload: Workload, options: OptimizeOptions, tell: Tell | None = None) -> Planned:
    """Returns what `optimize` finds for the shapes of a network: checked by the same referees, neither placed nor for export.

    Raises:
        InputError, InfeasibleError, IllegalSolutionError: as `optimize`; plans that can be built need a model.
    """
    asked = _understood(options)
    if asked.is_buildable:
        raise ConfigError(
            f"{workload.name}: set buildable=true needs a model, not shapes alone; leave it out"
        )
    return _planned(workload, (workload.name, ""), options, asked, Budget(options, tell))


def _planned(
    workload: Workload, model: tuple[str, str], options: OptimizeOptions, asked: _Asked, budget: Budget,
    network: Network | None = None,
) -> Planned:  # fmt: skip
    """Searches for designs and returns the best as a checked plan; `model` is the name and the sum of its file."""
    problem = AllocationProblem(
        name=f"allocation/{workload.name}-{options.part}",
        workload=workload,
        part=options.part,
        budget_lut_percent=options.budget_lut_percent,
        **asked.settings,
    )
    with budget.stage("bound"):
        problem.bound()
    find = design_finder(options, asked.solvers, network if asked.is_buildable else None)
    designs = sweep(problem, find, budget, asked.points) if options.pareto else [find(problem, budget, ())]
    design = min(designs, key=lambda d: (d.cycles_per_frame, d.used.lut))
    plan = Plan(
        model=model[0],
        model_sha256=model[1],
        part=options.part,
        clock_mhz=options.clock_mhz,
        budget_lut_percent=options.budget_lut_percent,
        technology=problem.technology,
        workload=workload,
        datapath=design.datapath,
    )
    with budget.stage("check"):
        plan.check(design.schedule)
        front = pareto_of(designs, plan) if options.pareto else None
    return Planned(plan, design, front, problem, budget.spent)


@dataclass(frozen=True)
class _Asked:
    """Settings of the problem and solvers by problem, understood; the points of a front; whether the RTL is to be built."""

    settings: dict[str, Any]
    solvers: Solvers
    points: int
    is_buildable: bool


def _understood(options: OptimizeOptions) -> _Asked:
    """Returns what options ask for; tells all that is wrong with settings, solvers and the part at once."""
    settings: dict[str, Any] = {}
    solvers: Solvers = {}
    wrong: list[InputError] = []
    try:
        load_part(options.part)
    except InputError as error:
        wrong.append(error)
    try:
        settings = _settings(options)
    except InputError as error:
        wrong.append(error)
    for kind in _DEFAULT_SOLVERS:
        try:
            solvers[kind] = _solver(options, kind)
        except InputError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ConfigError("\n".join(dict.fromkeys(map(str, wrong))))
    points, is_buildable = settings.pop("pareto_points", DEFAULT_POINTS), settings.pop("buildable", False)
    return _Asked(settings, solvers, points, is_buildable)


def _settings(options: OptimizeOptions) -> dict[str, Any]:
    """Returns the `--set` values that shape the problem; those of solvers are left to `_solver`."""
    known = [*_SETTINGS, *(f"{kind}.PARAM" for kind in _DEFAULT_SOLVERS)]
    out, wrong = {}, []
    for key, value in options.set.items():
        if key.partition(".")[0] in _DEFAULT_SOLVERS and "." in key:
            continue
        kind = _SETTINGS.get(key)
        if kind is None:
            wrong.append(f"set {key!r} is not a setting; {nearest(key, known)}")
        elif kind is int and (not isinstance(value, int) or isinstance(value, bool)):
            wrong.append(f"set {key}={value!r} must be a whole number")
        elif kind is bool and str(value).lower() not in ("true", "false"):
            wrong.append(f"set {key}={value!r} must be true or false")
        elif key == "pareto_points" and not (options.pareto and 2 <= value <= _MOST_POINTS):
            wrong.append(f"set pareto_points={value} must be 2..{_MOST_POINTS}, and goes with --pareto only")
        elif key == "buildable" and str(value).lower() == "true" and options.objective == "lut":
            wrong.append('set buildable=true goes with objective "fps" only; leave one of them out')
        else:
            out[key] = str(value).lower() == "true" if kind is bool else kind(value)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return out


def _solver(options: OptimizeOptions, kind: str) -> tuple[Solver, Any]:
    name = options.solver_for(kind, _DEFAULT_SOLVERS[kind])
    if kind == "allocation" and options.objective == "lut":
        if any(given.startswith("allocation=") and given != "allocation=exact" for given in options.solver):
            raise ConfigError(
                f'--solver allocation={name}: objective "lut" takes the cheapest designs from the exact frontier; '
                "remove it or give allocation=exact"
            )
        name = "exact"
    solver = get_solver(name)
    given = {k.partition(".")[2]: str(v) for k, v in options.set.items() if k.startswith(f"{kind}.")}
    return solver, solver.make_params(parse_settings(given), kind)


def _place(
    plan: Plan, options: OptimizeOptions, solvers: Solvers, budget: Budget
) -> tuple[Placed | None, Result | None]:
    """Places the plan's netlist, where the part has a fabric."""
    problem = placement_problem(plan)
    if problem is None:
        return None, None
    solver, params = solvers["placement"]
    with budget.stage("placement"):
        stop = budget.watched("placement", _PLACEMENT_SHARE, by_proposals=solver.name == "anneal")
        result = solver(problem, stop=stop, seed=options.seed, params=params)
        budget.done("placement", result)
    if not result.has_solution:
        raise InfeasibleError(
            f"{problem.name}: solver {solver.name!r} placed nothing; give it more time or another solver"
        )
    return Placed(problem, result.solution), result
