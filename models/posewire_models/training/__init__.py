"""Training of the pose net, the person detector and the flow net.

    python -m posewire_models.training pose --config nano-pose --data-root DIR
    python -m posewire_models.training pose --config nano-pose --data-root DIR --resume
    torchrun --nproc-per-node 4 -m posewire_models.training pose --config paper-coco --data-root DIR

A config is a TOML file or the name of one in `configs/`; `--set key=value` changes a setting of it, `--max-minutes`
fits the whole schedule into a wall time. A run's folder holds `checkpoint.pt` (all that resuming needs),
`weights.safetensors` (averaged weights, half precision, ready for a bundle), `curves.csv`, `samples.png` and, where
TensorBoard is installed, its events.

The order of the modules: `readers` give `people.Picture`s; `patches` and `scenes` hold them in memory; `pose_augment`,
`scenes` and `flow_pairs` draw what a step sees; `losses` and `center_targets` say what it is to learn; `pose_task`,
`detector_task` and `flow_task` put that together; `loop` trains any of them; `evaluate` measures the resulting bundle.
Beside them stand the tools that make a start: `teachers` label pictures, `movenet_trunk` and `yolox_start` take trunks
out of published files, `narrow_head` takes filters out of a trained net.
"""
