"""One convolution on a neutral array of multipliers: loop nests, their referee, an exact mapper, foreign mappings."""
