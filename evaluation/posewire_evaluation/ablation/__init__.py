"""The paper's Table 5, and the search for what it leaves open: networks run once, then only the tracker, many times.

    data_set.py, videos.py    videos with their ground truth, and their frames
    networks.py               the networks to compare, and what identifies their outputs
    recording.py, cache.py    runs them once; keeps their outputs on disk
    replay.py                 the tracker on these outputs
    scores.py                 from tracked people to scores
    variants.py               all of that, for several settings of the tracker in parallel
    table_5.py, search.py     the two questions

`tables.py` and `plots.py` write the answers.
"""
