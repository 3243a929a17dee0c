"""Training of the pose net, the person detector and the flow net."""
