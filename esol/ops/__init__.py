"""Pure tensor functions, importing nothing of the project."""
