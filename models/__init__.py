"""Small quantized networks of our own."""

if __name__ != "foldwright.models":
    raise ImportError(
        f"'models' was imported as {__name__!r}: import it as 'foldwright.models', "
        "so that no module is loaded twice"
    )
