import torch

# The machine may be small and shared; tiny models are fastest on one thread.
torch.set_num_threads(1)
