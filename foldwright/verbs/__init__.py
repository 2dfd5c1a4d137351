"""What the verbs of the command line do that no room owns: lists and the diagnosis of the installation."""
