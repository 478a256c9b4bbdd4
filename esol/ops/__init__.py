"""Pure tensor functions: they import nothing of the project and know no settings and no files."""
