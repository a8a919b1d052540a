"""What a supernet puts into a network: masked layers, their masks, switchable BatchNorm."""
