"""The paper's Table 5 and the search of what it leaves open: networks run once, then the tracker alone, many times."""
