"""The quantized accelerator: networks in, datapath, cost, schedule, simulator, RTL."""

if __name__ != "foldwright.accel":
    raise ImportError(
        f"'accel' was imported as {__name__!r}: import it as 'foldwright.accel', "
        "so that no module is loaded twice"
    )
