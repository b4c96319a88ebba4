"""Normalizations of torch.nn, in evaluation mode."""


class torch.nn.BatchNorm1d:
    def forward(self, input):
        # Without running statistics, those of the batch are used.
        return torch.batch_norm(input, self.weight, self.bias, self.running_mean, self.running_var, self.running_mean is None, 0.0 if self.momentum is None else self.momentum, self.eps, True)


class torch.nn.BatchNorm2d(torch.nn.BatchNorm1d):
    pass


class torch.nn.BatchNorm3d(torch.nn.BatchNorm1d):
    pass


class torch.nn.SyncBatchNorm(torch.nn.BatchNorm1d):
    pass


class torch.nn.InstanceNorm1d:
    def forward(self, input):
        return torch.instance_norm(input, self.weight, self.bias, self.running_mean, self.running_var, not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps, True)


class torch.nn.InstanceNorm2d(torch.nn.InstanceNorm1d):
    pass


class torch.nn.InstanceNorm3d(torch.nn.InstanceNorm1d):
    pass


class torch.nn.LayerNorm:
    def forward(self, input):
        return torch.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class torch.nn.RMSNorm:
    def forward(self, input):
        return torch.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class torch.nn.GroupNorm:
    def forward(self, input):
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class torch.nn.LocalResponseNorm:
    def forward(self, input):
        return torch.nn.functional.local_response_norm(input, self.size, self.alpha, self.beta, self.k)
