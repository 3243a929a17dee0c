"""Training of the pose network, the person detector and the flow network.

    python -m posewire_models.training pose --config nano-pose --data-root DIR
    python -m posewire_models.training pose --config nano-pose --data-root DIR --resume
    torchrun --nproc-per-node 4 -m posewire_models.training pose --config paper-coco --data-root DIR

A config is a TOML file or the name of one in `configs/`; `--set key=value` changes a setting of it, `--max-minutes`
fits the whole schedule into a wall time. A run's folder holds `checkpoint.pt` (all that resuming needs),
`weights.safetensors` (averaged weights, half precision, ready for a bundle), `curves.csv`, `samples.png` and, if
TensorBoard is installed, its events.

The modules in the order of a run:

    command, config                              the config, which names data sets
    sources, readers                             data sets to `people.Picture`s
    patches, canvases, textures                  pictures in memory: for the pose net, the detector, the flow net
    drawn_people, synthetic_scenes, flow_scenes  likewise: drawn pictures, whose labels are exact
    pose_augment, canvases, flow_pairs           likewise: inputs of a step; `colour` changes them for all three
    losses, center_targets, yolox_loss           losses of pose and flow, and of the two kinds of detectors
    pose_task, detector_task, flow_task          all of that, put together for one of them
    loop, schedule, averaging                    the loop, which trains any of them
    learning_parts, frozen_parts                 parts of a network that learn at another rate, or not at all
    checkpoint, resuming, example_order          how a run is stopped and goes on
    curves, contact_sheet, measures              what it shows of itself
    evaluate                                     the accuracy of the resulting bundle

Tools that prepare a training: `teachers` and `second_opinion` label pictures; `movenet_trunk` and `yolox_start` extract
trunks from published files; `narrow_head` and `mean_weights` change trained networks; `pack` splits data into parts.
"""
