"""What leaves the project: RTL with its memory images; later vendor projects and host drivers."""
