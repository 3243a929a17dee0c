"""Networks, estimators, bundles and training of posewire; torch, no gRPC."""
