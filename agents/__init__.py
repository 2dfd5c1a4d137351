"""Solvers, learned and classical, behind one `solve` signature."""

if __name__ != "foldwright.agents":
    raise ImportError(
        f"'agents' was imported as {__name__!r}: import it as 'foldwright.agents', "
        "so that no module is loaded twice"
    )
