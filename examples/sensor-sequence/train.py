"""Trains a small convolution on made-up temperatures, and exports it into this project.

    python train.py

A sensor sends its last 24 hourly temperatures; the model gives those of the next three hours. The series is made up:
a daily wave whose height and noise differ by sensor. In a project of yours, copy millrace_export.py next to the script.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

folder = Path(__file__).parent
sys.path.insert(0, str(folder.parents[1] / "models" / "training"))
from millrace_export import export  # noqa: E402


class Forecast(nn.Module):
    """[batch, 1, 24] temperatures → [batch, 3]."""

    def __init__(self):
        super().__init__()
        self.pattern = nn.Conv1d(1, 8, kernel_size=5)
        self.next = nn.Linear(8 * 20, 3)

    def forward(self, window):
        centre = window.mean(dim=2)
        patterns = torch.relu(self.pattern((window - centre.unsqueeze(2)) / 5))
        return centre + 5 * self.next(patterns.flatten(1))


def temperatures(sensors: int) -> np.ndarray:
    """[sensors, 27] hourly temperatures in degrees Celsius."""
    random = np.random.default_rng(1)
    hours = np.arange(27) + random.uniform(0, 24, (sensors, 1))
    mean, height = random.normal(12, 6, (sensors, 1)), random.uniform(1, 6, (sensors, 1))
    return mean + height * np.sin(hours * 2 * np.pi / 24) + random.normal(0, 0.3, (sensors, 27))


torch.manual_seed(1)
series = torch.from_numpy(temperatures(2200).astype(np.float32))
windows, following = series[:, None, :24], series[:, 24:]
train = slice(0, 2000)
model = Forecast()
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(300):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(windows[train]), following[train]).backward()
    optimizer.step()

with torch.no_grad():
    error = (model(windows[2000:]) - following[2000:]).abs().mean()
    unchanged = (windows[2000:, 0, -1:] - following[2000:]).abs().mean()
print(
    f"mean error on 200 other sensors: {error:.2f} °C; of the last temperature as forecast: {unchanged:.2f} °C"
)

rows = pd.DataFrame(
    {
        "sensor": [f"sensor-{number}" for number in range(100)],
        "window": [np.round(window.numpy().astype(np.float64), 2) for window in windows[2000:2100]],
    }
)
export(
    model,
    rows,
    folder,
    "forecast",
    key="sensor",
    license="Apache-2.0",
    description="Temperatures of the next three hours, from the last 24, in degrees Celsius.",
    intended_use="Shows a window as input and a vector as output. The temperatures are made up.",
)
