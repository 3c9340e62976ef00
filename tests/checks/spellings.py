"""Ways to say what an exercise forbids, each the body of a function of x; what is refused, and what is not."""

from course.checks.from_scratch import ALWAYS

ATTENTION = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
CONVOLUTION = (*ALWAYS, "torch.nn.Conv2d", "torch.nn.functional.conv2d")
NORM = (*ALWAYS, "torch.nn.GroupNorm", "torch.nn.functional.group_norm")

# x is (2, 5, 4).
OF_ATTENTION = {
    "efficient": "y = x[:, None]\n"
    "return torch.ops.aten._scaled_dot_product_efficient_attention(y, y, y, None, False)[0][:, 0]",
    "overrideable": "y = x[:, None]\n"
    "return torch.ops.aten._scaled_dot_product_fused_attention_overrideable(y, y, y)[0][:, 0]",
    "nested": "y = torch.nested.nested_tensor([t[:, None] for t in x]).transpose(1, 2).contiguous()\n"
    "return torch.stack([t[0] for t in torch._C._nn.scaled_dot_product_attention(y, y, y).unbind()])",
    "jagged": "y = torch.nested.nested_tensor(list(x), layout=torch.jagged).unflatten(-1, [1, 4]).transpose(1, 2)\n"
    "return torch.stack([t[0] for t in torch._C._nn.scaled_dot_product_attention(y, y, y).unbind()])",
    "traced": "f = torch.jit.trace(lambda x: torch._C._nn.scaled_dot_product_attention(x, x, x), x.detach())\nreturn f(x)",
    "exported graph": "class M(nn.Module):\n    def forward(self, x):\n        return getattr(F, 'scaled_dot_'"
    " + 'product_attention')(x, x, x)\nreturn torch.export.export(M(), (x.detach(),)).module()(x)",
    "symbolic": "class M(nn.Module):\n    def forward(self, x):\n        return torch._C._nn.scaled_dot_product_attention"
    "(x, x, x)\nreturn torch.fx.symbolic_trace(M())(x)",
    "graph by hand": "g = torch.fx.Graph()\ng.output(g.call_function(torch._C._nn.scaled_dot_product_attention, "
    "(g.placeholder('x'),) * 3))\nreturn torch.fx.GraphModule(nn.Module(), g)(x)",
    "packaged operator": "w, b = torch.eye(4).repeat(3, 1), torch.zeros(12)\n"
    "return torch._transform_bias_rescale_qkv(x.detach().repeat(1, 1, 3), b, 1)[0][:, 0]",
    "encoder operator": "w = torch.eye(4)\nb = torch.zeros(4)\nwith torch.no_grad():\n"
    "    return torch._transformer_encoder_layer_fwd(x, 4, 1, w.repeat(3, 1), b.repeat(3), w, b, "
    "False, False, 1e-5, b, b, b, b, w, b, w, b)",
    "jvp": "return torch.func.jvp(lambda y: torch._C._nn.scaled_dot_product_attention(y, y, y), (x,), (x,))[0]",
    "autocast": "with torch.autocast('cpu', dtype=torch.bfloat16):\n"
    "    return torch._C._nn.scaled_dot_product_attention(x, x, x).float()",
    "pool of threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(1) as pool:\n"
    "    return pool.submit(torch._C._nn.scaled_dot_product_attention, x, x, x).result()",
}

# x is (2, 3, 6, 7), K a weight.
_K = "K = torch.ones(4, 3, 2, 2)\n"
OF_CONVOLUTION = {
    "conv1d": "return F.conv1d(x.flatten(2), torch.ones(4, 3, 2))",
    "conv2d": _K + "return F.conv2d(x, K)",
    "conv3d": _K + "return F.conv3d(x[:, :, None], K[:, :, None])[:, :, 0]",
    "torch": _K + "return torch.conv2d(x, K)",
    "convolution": _K + "return torch.convolution(x, K, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)",
    "_convolution": _K + "return torch._convolution(x, K, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, "
    "False, False, False, False)",
    "_convolution_mode": _K + "return torch.ops.aten._convolution_mode(x, K, None, [1, 1], 'valid', [1, 1], 1)",
    "transposed": "return F.conv_transpose2d(x, torch.ones(3, 4, 2, 2))",
    "module 1d": "return nn.Conv1d(3, 4, 2)(x.flatten(2))",
    "module 3d": "return nn.Conv3d(3, 4, (1, 2, 2))(x[:, :, None])[:, :, 0]",
    "lazy module": "return nn.LazyConv3d(4, (1, 2, 2))(x[:, :, None])[:, :, 0]",
    "transposed module": "return nn.ConvTranspose2d(3, 4, 2)(x)",
    "tbc": "return torch.conv_tbc(x[0].permute(2, 1, 0), torch.ones(2, 3, 4), torch.zeros(4))",
    "thnn": _K + "return torch._C._nn.thnn_conv2d(x, K, (2, 2))",
    "slow": _K + "return torch._C._nn.slow_conv3d(x[:, :, None], K[:, :, None], (1, 2, 2))[:, :, 0]",
    "dilated": _K + "return torch._C._nn.slow_conv_dilated2d(x, K, (2, 2))",
    "its inside": _K + "return torch.ops.aten._slow_conv2d_forward(x.detach(), K, (2, 2), None, (1, 1), (0, 0))",
    "depthwise": "return torch._C._nn.conv_depthwise3d(x[:, :, None], torch.ones(3, 1, 1, 2, 2), (1, 2, 2), None, "
    "(1, 1, 1), (0, 0, 0), (1, 1, 1))[:, :, 0]",
    "mkldnn": _K + "return torch.mkldnn_convolution(x.detach(), K, None, [0, 0], [1, 1], [1, 1], 1)",
    "mkldnn layout": _K + "with torch.inference_mode():\n    y = x.to_mkldnn()\n"
    "    return torch.mkldnn_convolution(y, K, None, [0, 0], [1, 1], [1, 1], 1).to_dense()",
    "pointwise": _K + "return torch.ops.mkldnn._convolution_pointwise(x.detach(), K, None, [0, 0], [1, 1], [1, 1], 1, "
    "'none', [], '')",
    "quantised": "w = torch.quantize_per_tensor(torch.ones(4, 3, 2, 2), 0.1, 0, torch.qint8)\n"
    "packed = torch.ops.quantized.conv2d_prepack(w, None, [1, 1], [0, 0], [1, 1], 1)\n"
    "return torch.ops.quantized.conv2d_dynamic(x.detach(), packed)",
    "gradient helper": "return torch.nn.grad.conv2d_input(x.shape, torch.ones(4, 3, 2, 2), torch.ones(2, 4, 5, 6)) + x",
    "backward operator": "return torch.ops.aten.convolution_backward(torch.ones(2, 4, 5, 6), x, torch.ones(4, 3, 2, 2), "
    "None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False])[0] + x",
    "overload": _K + "return torch.ops.aten.convolution.default(x, K, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)",
    "redispatched": _K + "key = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)\nreturn torch.ops.aten.convolution."
    "default.redispatch(key, x, K, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)",
    "no gradients": _K
    + "with torch.inference_mode():\n    return torch.convolution(x, K, None, [1, 1], [0, 0], [1, 1], "
    "False, [0, 0], 1)",
    "joined name": _K
    + "return getattr(torch, 'convolu' + 'tion')(x, K, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)",
    "exec": _K + "space = {}\nexec('import torch\\ndef f(x, k):\\n    return torch.' + 'conv2d(x, k)', space)\n"
    "return space['f'](x, K)",
    "pickled": _K + "import pickle\ngo = pickle.loads(b'ctorch\\nconv2d\\n.')\nreturn go(x, K)",
    "reloaded": "again = importlib.reload(sys.modules['torch.nn.grad'])\n"
    "return again.conv2d_input(x.shape, torch.ones(4, 3, 2, 2), torch.ones(2, 4, 5, 6)) + x",
    "functional_call": "layer = nn.Conv3d(3, 4, (1, 2, 2))\n"
    "return torch.func.functional_call(layer, dict(layer.named_parameters()), x[:, :, None])[:, :, 0]",
    "vmap": _K + "return torch.vmap(lambda image: torch.conv2d(image[None], K)[0])(x)",
    "vjp": _K + "return torch.func.vjp(lambda y: torch.conv2d(y, K), x)[0]",
    "scripted": _K + "run = torch.jit.CompilationUnit('def f(x, k: Tensor):\\n  return torch.convolution(x, k, None, "
    "[1, 1], [0, 0], [1, 1], False, [0, 0], 1)\\n').f\nreturn run(x, K)",
    "scripted module": "layer = torch.jit.script(nn.Conv3d(3, 4, (1, 2, 2)))\nreturn layer(x[:, :, None])[:, :, 0]",
    "own Function": "class Mine(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x, k):\n"
    "        return torch.conv2d(x, k)\n    @staticmethod\n    def backward(ctx, g):\n"
    "        return torch.zeros(2, 3, 6, 7), None\nreturn Mine.apply(x, torch.ones(4, 3, 2, 2))",
    "in its backward": "class Mine(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
    "        return x * 1\n    @staticmethod\n    def backward(ctx, g):\n"
    "        return torch.conv2d(g, torch.ones(3, 3, 1, 1))\n"
    "with torch.enable_grad():\n    y = x.detach().requires_grad_()\n"
    "    return torch.autograd.grad(Mine.apply(y).sum(), y)[0] + x",
    "subclass of tensor": _K + "class T(torch.Tensor):\n    pass\nreturn torch.conv2d(x.detach().as_subclass(T), K)"
    ".as_subclass(torch.Tensor) + 0 * x.sum()",
    "thread": _K + "out = []\ngo = threading.Thread(target=lambda: out.append(torch.conv2d(x, K)))\n"
    "go.start(); go.join()\nreturn out[0]",
    "checkpoint": _K + "from torch.utils.checkpoint import checkpoint\n"
    "return checkpoint(lambda y: torch.conv2d(y, K), x, use_reentrant=False)",
    "caught": _K + "try:\n    return torch.conv2d(x, K)\nexcept BaseException:\n    return x",
    "torchvision": "tv = importlib.import_module('torchvision.ops')\n"
    "return tv.deform_conv2d(x, torch.zeros(2, 8, 5, 6), torch.ones(4, 3, 2, 2))",
}

# x is (2, 3, 6, 7).
OF_NORM = {
    "group_norm": "return F.group_norm(x, 1)",
    "native": "return torch.native_group_norm(x, None, None, 2, 3, 42, 1, 1e-5)[0]",
    "module": "return vars(nn)['Group' + 'Norm'](1, 3)(x)",
    "instance_norm": "return F.instance_norm(x.reshape(1, 2, -1)).view_as(x)",
    "instance module": "return nn.InstanceNorm1d(2)(x.reshape(1, 2, -1)).view_as(x)",
    "torch instance_norm": "return torch.instance_norm(x.reshape(1, 2, -1), None, None, None, None, True, 0.1, 1e-5, "
    "False).view_as(x)",
    "batch_norm": "return F.batch_norm(x.reshape(1, 2, -1), None, None, training=True).view_as(x)",
    "batch module": "return nn.BatchNorm1d(2, affine=False)(x.reshape(1, 2, -1)).view_as(x)",
    "native_batch_norm": "return torch.native_batch_norm(x.reshape(1, 2, -1), None, None, None, None, True, 0.1, 1e-5)[0]"
    ".view_as(x)",
    "legit": "return torch.ops.aten._native_batch_norm_legit(x.reshape(1, 2, -1), None, None, True, 0.1, 1e-5)[0]"
    ".view_as(x)",
    "its index": "return torch._batch_norm_impl_index(x.reshape(1, 2, -1), None, None, None, None, True, 0.1, 1e-5, "
    "False)[0].view_as(x)",
    "functional update": "return torch.ops.aten._batch_norm_with_update(x.reshape(1, 2, -1), None, None, torch.zeros(2), "
    "torch.ones(2), 0.1, 1e-5)[0].view_as(x)",
    "no gradients": "with torch.inference_mode():\n    return torch.group_norm(x, 1)",
}

HONEST_CONVOLUTION = {
    "unfolded": "y = F.unfold(x, 2)\nreturn (torch.ones(4, 12) @ y).view(2, 4, 5, 6)",
    "windows": "return torch.einsum('bchwij,dcij->bdhw', x.unfold(2, 2, 1).unfold(3, 2, 1), torch.ones(4, 3, 2, 2))",
    "by Fourier": "K = torch.ones(3, 2, 2)\nf = torch.fft.rfft2(x, s=(8, 8)) * torch.fft.rfft2(K, s=(8, 8)).conj()\n"
    "return torch.fft.irfft2(f.sum(1), s=(8, 8))[:, :5, :6]",
    "layers": "return nn.LayerNorm(7)(nn.Linear(7, 7)(x)).softmax(-1) + F.avg_pool2d(x, 3, 1, 1)",
    "loop": "rows = [x[:, :, i:i + 2, j:j + 2].flatten(1).sum(1) for i in range(5) for j in range(6)]\n"
    "return torch.stack(rows, 1).view(2, 5, 6)",
    "padded sums": "return F.pad(x, (1, 0, 1, 0)).cumsum(2).cumsum(3)",
    "own Function of plain steps": "class Mine(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
    "        return x * 2\n    @staticmethod\n    def backward(ctx, g):\n        return g * 2\n"
    "return Mine.apply(x)",
    "vmap of plain steps": "return torch.vmap(lambda image: image.flatten() @ torch.ones(126, 5))(x)",
    "recurrent": "return nn.GRU(7, 4, batch_first=True)(x.flatten(0, 1))[0]",
}

HONEST_NORM = {
    "statistics": "v, m = torch.var_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)\nreturn (x - m) / (v + 1e-5).sqrt()",
    "layer norm of all": "return F.layer_norm(x, x.shape[1:])",
    "standardised": "y = x.flatten(1)\ny = y - y.mean(1, keepdim=True)\n"
    "return (F.normalize(y, dim=1) * y.shape[1] ** 0.5).view_as(x)",
    "convolution": "return F.conv2d(x, torch.ones(3, 1, 1, 1), groups=3)",
}
