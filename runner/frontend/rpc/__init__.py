"""gRPC, beside HTTP and on the same models: TorchServe's services, the Open Inference Protocol, health.

Imported only where the operator asks for a gRPC address; needs the extra `[grpc]`.
"""
