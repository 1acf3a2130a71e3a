"""Training on several processes: collectives, a parameter server, every kind of parallelism, and a simulator.

The engine is ``torch.distributed``: gloo on CPUs, NCCL on GPUs. :func:`launch` starts the processes on this machine,
``torchrun`` on one or many.
"""

from dlopt.distributed.launch import Outcome, init_group, launch, report, watch
from dlopt.distributed.parameter_server import ParameterServer, ServerLog, Worker
from dlopt.distributed.store import Store, compensated, staleness_aware

__all__ = ["Outcome", "ParameterServer", "ServerLog", "Store", "Worker", "compensated", "init_group", "launch",
           "report", "staleness_aware", "watch"]
