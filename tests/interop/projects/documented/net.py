import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return torch.log_softmax(self.fc(x), dim=1)
