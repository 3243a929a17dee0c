"""Evaluates tracks: the official metrics, the paper's ablation, and the search for the tracker's settings.

Each format has a function that scores files, with which `posewire eval` begins; `tables.py` shows what it returns:

    coco.py                 COCO results, by pycocotools; `coco_truth.py` checks the ground truth first
    mot.py                  MOTChallenge text files, by motmetrics and TrackEval
    posetrack_folders.py    PoseTrack JSON, several files at a time

PoseTrack's way from files to scores:

    sequence_files.py       finds and pairs the files of truth and predictions
    posetrack_files.py      reads them; `frame_numbers.py` numbers frames by the names of their pictures
    sequences.py            PoseSequence: the people of each frame, in the form in which everything is scored
    frame_pairs.py          what of it is scored; `ignore_regions.py` leaves out what lies in them
    posetrack.py            poseval's metrics, AP and MOTA of each joint, from the next three
    joint_matching.py       which joints are right, by PCKh
    average_precision.py    AP of a joint
    joint_tracking.py       CLEAR MOT counts of a joint, by motmetrics
    identity.py             HOTA and IDF1, by TrackEval; `pose_similarity.py` is the OKS of the poses

Trackers are compared by two packages:

    ablation                on videos with ground truth: Table 5, and the search for settings
    benchmark_sets          on synthetic scenes with faults of known size, and with other trackers

`sequence_videos.py` finds the video of a sequence, `worker_processes.py` runs several sequences or trackers at a time,
and `speed.py` measures how long scoring takes.
"""
