"""Batch normalisation at inference and in training form, channel by channel."""

import numpy as np


def batch_norm(x, gamma, beta, mean, var, epsilon):
    y = np.empty(np.shape(x), np.float64)
    for c in range(y.shape[1]):
        y[:, c] = (x[:, c].astype(np.float64) - mean[c]) / np.sqrt(float(var[c]) + epsilon) * gamma[c] + beta[c]
    return y


def batch_norm_train(x, gamma, beta, epsilon):
    x = np.asarray(x, np.float64)
    mean, var = (np.array([f(x[:, c]) for c in range(x.shape[1])]) for f in (np.mean, np.var))
    return batch_norm(x, gamma, beta, mean, var, epsilon), mean, var
