"""Run, compare and batch a compiled network; nothing here knows what the numbers mean."""
