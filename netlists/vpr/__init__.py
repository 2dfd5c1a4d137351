"""The files of VPR (VTR 9): packed netlists, architectures as fabrics, placements. Read, written, and judged by VPR itself."""
