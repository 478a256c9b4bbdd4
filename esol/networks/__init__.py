"""Networks: plain modules that know nothing of training, files or settings."""
