"""The accelerator's hardware, written in Amaranth; its modules are imported one by one."""
