"""From a model and a part to a checked plan: allocation, tiling, schedule, plan, check. `optimize` is that path.

Allocation finds engines; tiling then improves the schedules of the best few designs and of those with the lowest bounds,
in a race, and the fastest of all becomes the plan; placement puts its netlist on the fabric, where the part has one. The
objective "lut" turns this round: the cheapest designs that could reach the target rate are tiled until one does.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.accel.cost import bram36_of_engine
from foldwright.accel.layout import lay_out
from foldwright.accel.layout_cost import datapath_of_layout
from foldwright.accel.network import Network, load_network
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.accel.tilings import tilings_of
from foldwright.agents.buildable import nearest_buildable
from foldwright.agents.params import NoParams, parse_settings
from foldwright.agents.registry import Solver, get_solver
from foldwright.agents.result import Result
from foldwright.agents.search import Search
from foldwright.agents.stop import NO_COST, CpuSeconds, DeterministicTime, Evaluations, StopRule, Watched
from foldwright.config import OptimizeOptions
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.tiling.problem import TilingProblem, TilingSolution
from foldwright.envs.tiling.start import fitted_start
from foldwright.errors import ConfigError, InfeasibleError, InputError, nearest
from foldwright.layout_plans import deep_enough, is_in_space, schedule_cycles, scheduled
from foldwright.netlists.part import load_part
from foldwright.placing import Placed, placement_problem

if TYPE_CHECKING:
    from foldwright.envs.problem import Choices

__all__ = ["DEFAULT_CPU_SECONDS", "Optimized", "optimize"]

DEFAULT_CPU_SECONDS = 20.0
_MILLI = 1000
_ALLOCATION_SHARE = 0.2
_TILING_SHARE = 0.6
_PLACEMENT_SHARE = 0.2
_RUNGS = ((12, 0.35), (3, 0.25), (1, 0.4))
"""Tiling is a race: so many designs stay in it, and share so much of its time; the fastest go on to the next rung."""
_SETTINGS = {"dram_bits_per_cycle": int, "max_engines": int, "technology": str, "buildable": bool}
_BUILDABLE_DESIGNS = 3
_WIDENED_PERMILLE = 100
_PROPOSALS_PER_UNIT = 1_000_000
"""Proposals of the placer in a unit of counted work: each takes a thousandth of the time of a simulated schedule."""

_DEFAULT_SOLVERS = {"allocation": "exact", "tiling": "anneal", "placement": "anneal"}

_Solvers = dict[str, tuple[Solver, Any]]
Tell = Callable[[str, float, int, int], None]
"""Receives progress: stage, CPU seconds, evaluations, best cost."""


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


@dataclass
class _Budget:
    """What the searches may spend, and on which stage it went."""

    options: OptimizeOptions
    tell: Tell | None
    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before = time.process_time()
        if self.tell is not None:
            self.tell(name, 0.0, 0, NO_COST)
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - before

    def done(self, name: str, result: Result) -> None:
        """Tells how a search ended; a stop rule may not be asked after the last step."""
        if self.tell is not None:
            best = result.cost if result.has_solution else NO_COST
            self.tell(name, result.cpu_seconds, result.iterations, best)

    def stop(self, share: float, by_proposals: bool = False, prepared: float = 0.0) -> StopRule:
        """Returns the rule of a search that has a share of the whole, and what was `prepared` for it before on top."""
        if self.options.deterministic is not None and by_proposals:
            return Evaluations(max(1, round(self.options.deterministic * share * _PROPOSALS_PER_UNIT)))
        if self.options.deterministic is not None:
            return DeterministicTime(self.options.deterministic * share)
        return CpuSeconds((self.options.cpu_seconds or DEFAULT_CPU_SECONDS) * share + prepared)

    def watched(self, name: str, share: float, by_proposals: bool = False, prepared: float = 0.0) -> StopRule:
        rule, tell = self.stop(share, by_proposals, prepared), self.tell
        if tell is None:
            return rule
        return Watched(rule, lambda seconds, count, best: tell(name, seconds, count, best))


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
    settings, solvers = _understood(options)
    is_buildable = settings.pop("buildable", False)
    budget = _Budget(options, tell)
    with budget.stage("load"):
        network = load_network(model, options.requant)
    problem = AllocationProblem(
        name=f"allocation/{network.name}-{options.part}",
        workload=network.workload,
        part=options.part,
        budget_lut_percent=options.budget_lut_percent,
        **settings,
    )
    with budget.stage("bound"):
        bound = problem.bound()
    found = _cheapest if options.objective == "lut" else _fastest
    if is_buildable:
        datapath_problem, tiling, allocation, lut_bound = _buildable(
            problem, network, options, solvers, budget
        )
    else:
        datapath_problem, tiling, allocation, lut_bound = found(problem, options, solvers, budget)
    plan = _plan(model, options, problem, datapath_problem, tiling)
    if is_buildable:
        layout = lay_out(network, plan.datapath, tilings=tilings_of(tiling.solution.decisions))
        plan = replace(plan, datapath=deep_enough(datapath_of_layout(layout), plan.datapath))
    placed, placement = _place(plan, options, solvers, budget)
    with budget.stage("check"):
        schedule = datapath_problem.schedule(tiling.solution)
        if is_buildable:  # memories are as deep as the layout's, which may be deeper than the schedule needs
            part = load_part(plan.part)
            schedule = replace(schedule, bram36=sum(bram36_of_engine(e, part) for e in plan.datapath.engines))
        plan.check(schedule)
        if placed is not None:
            placed.check()
    return Optimized(
        plan=plan,
        schedule=schedule,
        network=network,
        objective=options.objective,
        bound_cycles_per_frame=bound.value / _MILLI,
        bound_proof=bound.proof,
        lut_bound=lut_bound,
        allocation=allocation,
        tiling=tiling,
        placed=placed,
        placement=placement,
        cpu_seconds=budget.spent,
        reproducible=options.deterministic is not None,
        in_space=not is_buildable or is_in_space(problem, plan.datapath),
    )


def _understood(options: OptimizeOptions) -> tuple[dict[str, Any], _Solvers]:
    """Returns settings and solvers; tells all that is wrong with them and the part at once."""
    settings: dict[str, Any] = {}
    solvers: _Solvers = {}
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
    return settings, solvers


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


_Found = tuple[TilingProblem, Result, Result | None, int | None]


def _fastest(
    problem: AllocationProblem, options: OptimizeOptions, solvers: _Solvers, budget: _Budget
) -> _Found:
    """Searches for the engines with the most frames per second, then for the schedules of the best few."""
    allocation, designs = _allocate(problem, options, solvers, budget)
    return *_race(_distinct_instances(problem, designs), options, solvers, budget), allocation, None


def _buildable(
    problem: AllocationProblem, network: Network, options: OptimizeOptions, solvers: _Solvers, budget: _Budget
) -> _Found:
    """Searches for engines, then near the best few for what the RTL can be built for; tensors stay on chip."""
    allocation, designs = _allocate(problem, options, solvers, budget)
    instances = _distinct_instances(problem, designs)[:_BUILDABLE_DESIGNS]
    with budget.stage("buildable"):
        best = nearest_buildable(
            network, [instance.datapath for instance in instances], load_part(problem.part), problem.lut_budget,
            problem.technology, stop=budget.watched("buildable", _TILING_SHARE), seed=options.seed,
            schedule_cycles=lambda layout: schedule_cycles(problem, layout),
        )  # fmt: skip
    instance, choices = scheduled(problem, best.layout)
    with budget.stage("tiling"):
        search = Search(
            _beginning_with(instance, choices.tolist()), "resident", Evaluations(1), options.seed, NoParams()
        )
        search.start()
        search.evaluate(choices)
        tiling = search.result()
    return instance, tiling, allocation, None


def _allocate(
    problem: AllocationProblem, options: OptimizeOptions, solvers: _Solvers, budget: _Budget
) -> tuple[Result, list[Choices]]:
    """Searches for engines; returns what was found, and the designs that are worth a schedule, the best first."""
    solver, params = solvers["allocation"]
    with budget.stage("allocation"):
        # the stage before made the bound, and with it what solvers are charged for
        stop = budget.watched("allocation", _ALLOCATION_SHARE, prepared=problem.preparation_seconds)
        allocation = solver(problem, stop=stop, seed=options.seed, params=params)
        budget.done("allocation", allocation)
        if budget.tell is not None and allocation.has_solution:
            budget.tell("allocation", allocation.cpu_seconds, allocation.iterations, allocation.cost)
    if not allocation.has_solution:
        raise InfeasibleError(
            f"{problem.name}: solver {solver.name!r} found no design that fits; give it more time or another solver"
        )
    designs = [np.array(allocation.choices, dtype=np.int64)]
    if solver.name == "exact":
        designs += problem.search.leading()
    return allocation, designs


def _race(
    instances: list[TilingProblem], options: OptimizeOptions, solvers: _Solvers, budget: _Budget
) -> tuple[TilingProblem, Result]:
    """Searches for schedules of all designs shortly, then longer for fewer; returns the fastest with its best schedule.

    A design whose own bound is no better than what another has reached leaves the race.
    """
    found: dict[int, tuple[TilingProblem, Result]] = {}
    runners, saved = list(range(len(instances))), 0.0
    for most, share in _RUNGS:
        runners = runners[:most]
        part, saved = (_TILING_SHARE * share + saved) / len(runners), 0.0
        for k in runners:
            others = min((_rate(*f) for key, f in found.items() if key != k), default=math.inf)
            if instances[k].bound().value / instances[k].datapath.batch_frames >= others:
                saved += part
                continue
            known = found[k][1].choices if k in found else ()
            instance = _beginning_with(instances[k], known or fitted_start(instances[k]).tolist())
            result = _tile(instance, options, solvers, budget, part)
            if k not in found or _rate(instance, result) < _rate(*found[k]):
                found[k] = instance, result
        runners = sorted(found, key=lambda k: _rate(*found[k]))
    return found[runners[0]]


def _beginning_with(instance: TilingProblem, start: Sequence[int]) -> TilingProblem:
    """Returns the instance with another schedule than the one by rule as the start of searches."""
    again = copy.copy(instance)
    vars(again)["start"] = np.array(start, dtype=np.int64)  # where the instance keeps the one by rule
    return again


def _distinct_instances(problem: AllocationProblem, designs: list[Choices]) -> list[TilingProblem]:
    """Returns the tiling instances of designs, those of equal shapes once."""
    instances: dict[tuple[Any, ...], TilingProblem] = {}
    for choices in designs:
        datapath = problem.decode(choices).datapath
        key = (datapath.batch_frames, datapath.assignment, tuple(e.shape for e in datapath.engines))
        if key not in instances:
            instances[key] = _tiling_instance(problem, choices)
    return list(instances.values())


def _tiling_instance(problem: AllocationProblem, choices: Choices) -> TilingProblem:
    solution: AllocationSolution = problem.decode(choices)
    name = problem.name.replace("allocation/", "tiling/")
    pool = problem.pool_bram36(solution.datapath)
    return TilingProblem(name, problem.workload, solution.datapath, pool, problem.part)


def _tile(
    instance: TilingProblem, options: OptimizeOptions, solvers: _Solvers, budget: _Budget, share: float
) -> Result:
    """Returns the solver's schedule of a datapath."""
    solver, params = solvers["tiling"]
    with budget.stage("tiling"):
        result = solver(instance, stop=budget.watched("tiling", share), seed=options.seed, params=params)
        budget.done("tiling", result)
        return result


def _rate(instance: TilingProblem, result: Result) -> float:
    """Returns cycles per frame; infinite without a solution."""
    return result.cost / instance.datapath.batch_frames if result.has_solution else math.inf


def _cheapest(
    problem: AllocationProblem, options: OptimizeOptions, solvers: _Solvers, budget: _Budget
) -> _Found:
    """Tiles designs from the cheapest on until one reaches the target rate.

    Designs come from the frontier at the target's time, then at up to `_WIDENED_PERMILLE` less.
    """
    assert options.target_fps is not None  # the options say so
    target = math.floor(options.clock_mhz * 1e6 * _MILLI / options.target_fps)
    fixed = problem.lut_budget - int(problem.tables[4][2])
    stop = budget.stop(1.0)
    lut_bound, tried, before = None, 0, time.process_time()
    for less in range(0, _WIDENED_PERMILLE + 1, 5):
        for luts, choices in problem.search.cheapest(target * (1000 - less) // 1000):
            lut_bound = luts + fixed if lut_bound is None else lut_bound
            if stop(time.process_time() - before, tried, 0):
                break
            tried += 1
            if not 0 < problem.cost_of(choices) <= target * 1.05:
                continue
            instance = _tiling_instance(problem, choices)
            result = _tile(instance, options, solvers, budget, 0.05)
            if _rate(instance, result) * _MILLI <= target:
                return instance, result, None, lut_bound
    fastest = options.clock_mhz * 1e6 * _MILLI / problem.bound().value
    raise InfeasibleError(
        f"{problem.name}: no design found that reaches {options.target_fps:g} frames per second at {options.clock_mhz:g} MHz "
        f"within {problem.lut_budget} LUTs ({tried} tried); no design of the space is faster than {fastest:.0f}; "
        "lower --target-fps or raise --budget-lut-percent or --cpu-seconds"
    )


def _place(
    plan: Plan, options: OptimizeOptions, solvers: _Solvers, budget: _Budget
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


def _plan(
    model: str | Path,
    options: OptimizeOptions,
    problem: AllocationProblem,
    instance: TilingProblem,
    tiling: Result,
) -> Plan:
    solution: TilingSolution = tiling.solution
    return Plan(
        model=Path(model).name,
        model_sha256=hashlib.sha256(Path(model).read_bytes()).hexdigest(),
        part=options.part,
        clock_mhz=options.clock_mhz,
        budget_lut_percent=options.budget_lut_percent,
        technology=problem.technology,
        workload=problem.workload,
        datapath=instance.sized_datapath(solution),
    )
