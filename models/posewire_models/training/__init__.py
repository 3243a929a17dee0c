"""Training of the pose network, the person detector and the flow network.

    python -m posewire_models.training pose --config nano-pose --data-root DIR
    python -m posewire_models.training pose --config nano-pose --data-root DIR --resume
    torchrun --nproc-per-node 4 -m posewire_models.training pose --config paper-coco --data-root DIR

A config is a TOML file or the name of one in `configs/`; `--set key=value` changes a setting of it, `--max-minutes`
fits the whole schedule into a wall time. A run's folder holds `checkpoint.pt` (all that resuming needs),
`weights.safetensors` (averaged weights, half precision, ready for a bundle), `curves.csv`, `samples.png` and, if
TensorBoard is installed, its events.

The modules in order: `readers` return `people.Picture`s; `patches` and `scenes` hold them in memory; `pose_augment`,
`scenes` and `flow_pairs` make the inputs of a step; `losses` and `center_targets` define its targets and loss;
`pose_task`, `detector_task` and `flow_task` put that together; `loop` trains any of them; `evaluate` measures the
resulting bundle. Besides there are tools that prepare a training: `teachers` labels pictures, `movenet_trunk` and
`yolox_start` extract trunks from published files, `narrow_head` removes filters from a trained network.
"""
