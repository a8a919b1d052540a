"""The V2 protocol over gRPC, on the same way to a model as HTTP; needs the extra `downshift[grpc]`."""
