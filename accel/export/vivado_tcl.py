"""The Tcl that builds the bitstream: a block design around the accelerator, then synthesis, placement and routing.

Vivado's flow without a project on disk (UG892, UG835, UG994). `source_mgmt_mode All` is what lets a block design take a
module by reference there. Settings of the processor are those of the board; PYNQ's boot image has made them before.
"""

from __future__ import annotations

from dataclasses import dataclass

from foldwright.accel.export.host_numbers import REGISTERS_BASE, REGISTERS_SPAN
from foldwright.accel.export.vivado_wrapper import WRAPPER

__all__ = ["BOARDS", "Board", "build_tcl", "out_of_context_xdc"]


@dataclass(frozen=True, slots=True)
class Board:
    """A board that the export knows. `fabric` is the part by Foldwright's name, `processor` the settings of its PS7."""

    name: str
    fabric: str
    dram_mib: int
    processor: tuple[tuple[str, str], ...]


BOARDS = {
    "xc7z020clg400-1": Board(
        "PYNQ-Z1",
        "xc7z020",
        512,
        (
            ("PCW_CRYSTAL_PERIPHERAL_FREQMHZ", "50"),
            ("PCW_APU_PERIPHERAL_FREQMHZ", "650"),
            ("PCW_UIPARAM_DDR_FREQ_MHZ", "525"),
            ("PCW_UIPARAM_DDR_BUS_WIDTH", "16 Bit"),
            ("PCW_UIPARAM_DDR_PARTNO", "MT41J256M16 RE-125"),
        ),
    )
}
"""Boards by the full name of their part. The processor's values are those of the board's own base design."""

_FCLK_MHZ = 100  # what the clock wizard takes: the processor's clock, one that its dividers give exactly

_BUILD = r"""# Builds the accelerator for the @BOARD@. Run it with Vivado, 2020.2 or newer:
#
#   vivado -mode batch -source build.tcl                  bitstream, for the board
#   vivado -mode batch -source build.tcl -tclargs core    the accelerator alone: what it takes and how fast it is
#
# Everything that it writes lies in `build` beside this file.

set part {@PART@}
set clock_mhz {@CLOCK@}
set here [file normalize [file dirname [info script]]]
set out [file join $here build]
source [file join $here memories.tcl]

# Returns the first file of a name below a folder, hidden folders too.
proc find_file {folder name} {
    set path [file join $folder $name]
    if {[file isfile $path]} { return $path }
    foreach below [lsort [glob -nocomplain -directory $folder -types d -- * .*]] {
        if {[file tail $below] in {. ..}} { continue }
        set found [find_file $below $name]
        if {$found ne ""} { return $found }
    }
    return ""
}

proc make_system {clock_mhz} {
    create_bd_design system
    create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps7
    set_property -dict {
@PROCESSOR@
    } [get_bd_cells ps7]
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
        -config {make_external "FIXED_IO, DDR" apply_board_preset "0" Master "Disable" Slave "Disable"} \
        [get_bd_cells ps7]
    create_bd_cell -type ip -vlnv xilinx.com:ip:clk_wiz clock
    set_property -dict [list \
        CONFIG.PRIM_SOURCE {No_buffer} \
        CONFIG.PRIM_IN_FREQ {@FCLK@} \
        CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $clock_mhz \
        CONFIG.USE_RESET {false} \
        CONFIG.USE_LOCKED {true} \
    ] [get_bd_cells clock]
    create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
    create_bd_cell -type module -reference @WRAPPER@ accelerator
    foreach bus {control memory} {
        create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $bus
        set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 1} [get_bd_cells $bus]
    }

    foreach {from to} {
        ps7/M_AXI_GP0      control/S00_AXI
        control/M00_AXI    accelerator/s_axi
        accelerator/m_axi  memory/S00_AXI
        memory/M00_AXI     ps7/S_AXI_HP0
    } { connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to] }
    connect_bd_net [get_bd_pins ps7/FCLK_CLK0] [get_bd_pins clock/clk_in1]
    foreach pin {
        accelerator/aclk control/aclk memory/aclk reset/slowest_sync_clk
        ps7/M_AXI_GP0_ACLK ps7/S_AXI_HP0_ACLK
    } { connect_bd_net [get_bd_pins clock/clk_out1] [get_bd_pins $pin] }
    connect_bd_net [get_bd_pins ps7/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]
    connect_bd_net [get_bd_pins clock/locked] [get_bd_pins reset/dcm_locked]
    foreach pin {accelerator/aresetn control/aresetn memory/aresetn} {
        connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
    }

    assign_bd_address -offset @BASE@ -range @SPAN@ -target_address_space [get_bd_addr_spaces ps7/Data] \
        [get_bd_addr_segs accelerator/s_axi/reg0] -force
    assign_bd_address -offset 0x00000000 -range @DRAM@M -target_address_space [get_bd_addr_spaces accelerator/m_axi] \
        [get_bd_addr_segs ps7/S_AXI_HP0/HP0_DDR_LOWOCM] -force
    validate_bd_design
    save_bd_design
}

# Stops where synthesis has renamed a cell that the floorplan means, instead of ignoring it.
proc check_cells {patterns} {
    foreach pattern $patterns {
        if {[llength [get_cells -quiet -hierarchical -filter "NAME =~ $pattern"]] == 0} {
            error "no cell is named $pattern after synthesis; correct accelerator.xdc and memories.tcl, or empty both"
        }
    }
}

# Gives the block RAMs of each memory the sites that were found for it, as far as both go.
proc lock_memories {memory_sites} {
    foreach {patterns sites} $memory_sites {
        set rams {}
        foreach pattern $patterns {
            set found [get_cells -quiet -hierarchical -filter "NAME =~ $pattern && REF_NAME == RAMB36E1"]
            set rams [concat $rams [lsort -dictionary $found]]
        }
        foreach ram $rams site $sites {
            if {$ram eq "" || $site eq ""} { break }
            if {[llength [get_sites -quiet $site]] == 0} { error "the part has no site $site" }
            set_property LOC $site [get_cells $ram]
        }
        if {[llength $rams] == 0} { puts "WARNING: no block RAM is named $patterns; the tool places them" }
        puts "[llength $rams] block RAMs of $patterns, [llength $sites] sites"
    }
}

proc implement {out name} {
    opt_design
    place_design
    phys_opt_design
    route_design
    write_checkpoint -force [file join $out $name.dcp]
    report_utilization -hierarchical -file [file join $out utilization.txt]
    report_timing_summary -file [file join $out timing.txt]
    set slack [get_property SLACK [get_timing_paths -delay_type max -max_paths 1]]
    if {$slack < 0} {
        error "the clock is too fast by $slack ns: see timing.txt, and export again with a lower clock"
    }
    puts "worst setup slack $slack ns"
}

set target [expr {$argc > 0 ? [lindex $argv 0] : "bitstream"}]
if {$target ni {bitstream core}} { error "unknown target $target; known: bitstream, core" }

file mkdir $out
cd $out
create_project -in_memory -part $part
set_property source_mgmt_mode All [current_project]
read_verilog [list [file join $here accelerator.v] [file join $here accelerator_axi.v]]
update_compile_order -fileset sources_1

if {$target eq "core"} {
    read_xdc -mode out_of_context [file join $here accelerator_ooc.xdc]
    synth_design -top @WRAPPER@ -part $part -mode out_of_context -flatten_hierarchy rebuilt
} else {
    make_system $clock_mhz
    set_property synth_checkpoint_mode None [get_files system.bd]
    generate_target all [get_files system.bd]
    make_wrapper -files [get_files system.bd] -top
    set wrapper [find_file $out system_wrapper.v]
    if {$wrapper eq ""} { error "the block design has no wrapper below $out" }
    read_verilog $wrapper
    update_compile_order -fileset sources_1
    synth_design -top system_wrapper -part $part -flatten_hierarchy rebuilt
}
check_cells $expected_cells
read_xdc [file join $here accelerator.xdc]
lock_memories $memory_sites
implement $out $target

if {$target eq "bitstream"} {
    write_bitstream -force [file join $out accelerator.bit]
    set handoff [find_file $out system.hwh]
    if {$handoff eq ""} { error "the block design has no hardware handoff (.hwh) below $out" }
    file copy -force $handoff [file join $out accelerator.hwh]
    # PYNQ needs no .xsa; some versions write it for projects on disk only.
    if {[catch {write_hw_platform -fixed -force -include_bit -file [file join $out accelerator.xsa]} why]} {
        puts "no accelerator.xsa: $why"
    }
}
"""


def build_tcl(part: str, clock_mhz: float, data_bits: int) -> str:
    """Returns the text of `build.tcl`; the part must be one of `BOARDS`."""
    board = BOARDS[part]
    settings = [
        *board.processor,
        ("PCW_FPGA0_PERIPHERAL_FREQMHZ", str(_FCLK_MHZ)),
        ("PCW_EN_CLK0_PORT", "1"),
        ("PCW_EN_RST0_PORT", "1"),
        ("PCW_USE_M_AXI_GP0", "1"),
        ("PCW_USE_S_AXI_HP0", "1"),
        ("PCW_S_AXI_HP0_DATA_WIDTH", str(data_bits)),
    ]
    marks = {
        "BOARD": board.name,
        "PART": part,
        "CLOCK": f"{clock_mhz:g}",
        "PROCESSOR": "\n".join(f"        CONFIG.{name} {{{value}}}" for name, value in settings),
        "FCLK": str(_FCLK_MHZ),
        "WRAPPER": WRAPPER,
        "BASE": f"{REGISTERS_BASE:#010x}",
        "SPAN": f"{REGISTERS_SPAN // 1024}K",
        "DRAM": str(board.dram_mib),
    }
    text = _BUILD
    for mark, value in marks.items():
        text = text.replace(f"@{mark}@", value)
    return text


def out_of_context_xdc(clock_mhz: float) -> str:
    """Returns the text of `accelerator_ooc.xdc`: the clock of the accelerator where it is built alone."""
    return (
        "# The clock of the accelerator built alone; in the whole design the clock wizard makes it.\n"
        f"create_clock -name aclk -period {1000 / clock_mhz:.3f} [get_ports aclk]\n"
    )
