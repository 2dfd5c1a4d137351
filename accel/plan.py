"""A plan: the accelerator that was found for a network and a part, with everything an export or a check needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foldwright.accel.cost import Utilization, cost, reserve_bram36
from foldwright.accel.datapath import Datapath
from foldwright.accel.datapath_check import datapath_mistakes
from foldwright.accel.schedule import Schedule
from foldwright.accel.schedule_check import check_schedule
from foldwright.accel.workload import ResultKind, Workload
from foldwright.errors import ConfigError, IllegalSolutionError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import load_part

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """Part, workload, datapath and the name of the model file; the schedule has a file of its own.

    `model_sha256` is of the ONNX file, so that an export refuses another network of the same name.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.plan/1"

    model: str
    model_sha256: str
    part: str
    clock_mhz: float
    budget_lut_percent: float
    technology: str
    workload: Workload
    datapath: Datapath

    def __post_init__(self) -> None:
        wrong = []
        if not 1 <= self.clock_mhz <= 1000:
            wrong.append(f"clock_mhz is {self.clock_mhz}, allowed 1..1000")
        if not 0 < self.budget_lut_percent <= 100:
            wrong.append(f"budget_lut_percent is {self.budget_lut_percent}, allowed above 0 to 100")
        if wrong:
            raise ConfigError("plan: " + "; ".join(wrong))

    @property
    def requant(self) -> str:
        """How its network is lowered, one of `network.REQUANT`."""
        kinds = {layer.result for layer in self.workload.layers}
        return "scale_shift" if ResultKind.SCALE_SHIFT in kinds else "thresholds"

    @property
    def lut_budget(self) -> int:
        return int(load_part(self.part).budget.lut * self.budget_lut_percent / 100)

    def utilization(self) -> Utilization:
        """Returns what the plan takes of its part."""
        return cost(self.datapath, load_part(self.part), self.technology)

    def frames_per_second(self, schedule: Schedule) -> float:
        return self.clock_mhz * 1e6 * self.datapath.batch_frames / schedule.cycles_per_round

    def check(self, schedule: Schedule) -> None:
        """Checks plan and schedule together with code of its own.

        Raises:
            IllegalSolutionError: with what is broken.
        """
        part = load_part(self.part)
        wrong = datapath_mistakes(self.workload, self.datapath, part, self.lut_budget, self.technology)
        used = self.utilization()
        if used.bram36 > part.budget.bram36:
            wrong.append(f"{used.bram36} block RAMs, the part has {part.budget.bram36}")
        if wrong:
            raise IllegalSolutionError("plan: " + "; ".join(wrong))
        pool = part.budget.bram36 - reserve_bram36(self.datapath, part)
        check_schedule(self.workload, self.datapath, part, schedule, pool)
