"""Reading of files: unpacking, rows of cells, values of cells, and what stands in two files."""
