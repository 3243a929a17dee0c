"""The paper's Table 5, and the search for what it leaves open: networks run once, then only the tracker, many times."""
