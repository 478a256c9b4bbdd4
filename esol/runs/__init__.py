"""Run folders: their layout, the table of stages, and work on a stage by its identity."""
