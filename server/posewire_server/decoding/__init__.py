"""From encoded bytes to frames, on the CPU or by a GPU's decoders; headers are read before pixels are."""
