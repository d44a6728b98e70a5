"""The lab of the kernels: compiled without a GPU and read, or interpreted with every address recorded."""
