"""Co-simulation of a whole accelerator: Verilator, a host over AXI4-Lite, a DRAM over AXI4, and the protocol's referee."""
