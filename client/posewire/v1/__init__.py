"""Generated from protos/posewire/v1 by `make proto`; never edited."""
