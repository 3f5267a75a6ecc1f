"""The film encoder: a whole film to a few located proposals.

A convolutional trunk (strides 2 to 32), two attention layers over the whole film at stride 32,
and a stride-8 map with fine detail. Centres of findings are peaks of a heatmap on that map
(Zhou et al., Objects as Points, arXiv 1904.07850); each peak becomes one token, with its
surroundings, so a decoder reads fractures at 5 mm steps without attending to 6,400 places. It
gets no other tokens. A fracture is a matter of a millimetre, and a small nodule hardly differs from
two ribs that cross: their places are looked at once more, at the film's own resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.models.embedded.configuration import FilmEncoderConfig

# A score is told by how far it lies above each of these logits: a network reads steps more easily
# than one number.
STEPS = tuple(range(-6, 4))
_UNSET: Any = None  # ModelOutput wants a default for every field


@dataclass
class FilmEncoderOutput(ModelOutput):
    """What one batch of films gives.

    ``last_hidden_state`` (B, P, hidden): one token a proposal, in the order of
    ``config.classes``. ``boxes`` (B, P, 4): xyxy in pixels of the encoder's input. ``scores``
    (B, P): logits. ``attributes`` (B, P, 26): logits of every answer of
    :data:`~hilum.models.embedded.attributes.ATTRIBUTES`. The rest is for training: ``seen`` (B, P,
    F), what the tokens were made of before any second look, ``heatmaps`` (B, C, H, W) and ``sizes``
    (B, 2C, H, W) at stride 8, ``ribs`` (B, 36, H, W) and the maps that proposals are read from.
    """

    last_hidden_state: Tensor = _UNSET
    boxes: Tensor = _UNSET
    scores: Tensor = _UNSET
    attributes: Tensor = _UNSET
    seen: Tensor = _UNSET
    cells: Tensor = _UNSET
    heatmaps: Tensor = _UNSET
    sizes: Tensor = _UNSET
    ribs: Tensor = _UNSET
    detail: Tensor = _UNSET
    context: Tensor = _UNSET


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, width, H, W) to maps of the same shape."""
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def _conv(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


class Glimpse(nn.Module):
    """A second look: pieces of the film, cut out around places where a finding may be."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _conv(1, 16),
            _conv(16, 32, 2),
            Block(32),
            _conv(32, 64, 2),
            Block(64),
            _conv(64, width, 2),
        )
        self.there = nn.Linear(width + 1, 1)
        self.token = nn.Linear(width + len(STEPS), hidden)

    def forward(self, pieces: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Pieces (N, 1, side, side), heatmap logits (N,) to features (N, F) and logits (N,).

        A piece's own mean and spread are taken out: how the film was exposed does not matter. After
        training each piece is looked at mirrored too: a finding is one on either side.
        """
        mean = pieces.mean((2, 3), keepdim=True)
        spread = pieces.std((2, 3), keepdim=True)
        pieces = (pieces - mean) / (spread + 0.05)
        ways = [pieces] if self.training else [pieces, pieces.flip(3)]
        seen = self.trunk(torch.cat(ways)).mean((2, 3)).float()
        seen = torch.stack(seen.chunk(len(ways))).mean(0)
        return seen, self.there(torch.cat([seen, score[:, None]], 1))[:, 0]

    def tokens(self, seen: Tensor, logits: Tensor) -> Tensor:
        """What is added to the tokens of these places, (B, G, hidden)."""
        steps = torch.tensor(STEPS, device=logits.device)
        told = (2 * (logits[..., None] - steps)).sigmoid()
        return torch.as_tensor(self.token(torch.cat([seen, told], -1)))


class Proposals(nn.Module):
    """What the maps show at a place, read as one class, to one token."""

    def __init__(self, config: FilmEncoderConfig) -> None:
        super().__init__()
        wide = config.hidden_size
        width = config.detail + config.ribs * config.regions + wide + len(STEPS) + 16
        self.mlp = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, wide))
        self.kind = nn.Embedding(len(config.classes), wide)
        self.slot = nn.Embedding(sum(config.classes.values()), wide)
        self.norm = nn.LayerNorm(wide)
        self.attributes = nn.Linear(wide, sum(ATTRIBUTES.values()))
        self.kinds = [c for c, keep in enumerate(config.classes.values()) for _ in range(keep)]

    def describe(self, seen: Tensor, kind: Tensor) -> Tensor:
        """Tokens (B, N, hidden) of any places: features (B, N, F) read as classes (B, N)."""
        tokens: Tensor = self.norm(self.mlp(seen) + self.kind(kind))
        return tokens

    def forward(self, seen: Tensor) -> Tensor:
        """Tokens (B, P, hidden) of the proposals, in the order of the slots."""
        kind = torch.tensor(self.kinds, device=seen.device).expand(seen.shape[:2])
        return self.describe(seen, kind) + self.slot.weight


class FilmEncoder(PreTrainedModel):
    """Films (B, 1, S, S) to :class:`FilmEncoderOutput`."""

    config_class = FilmEncoderConfig
    base_model_prefix = "film_encoder"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: FilmEncoderConfig) -> None:
        super().__init__(config)
        c2, c4, c8, c16, c32 = config.channels
        d, wide = config.detail, config.hidden_size
        self.stride2 = _conv(1, c2, 2)
        self.stride4 = nn.Sequential(_conv(c2, c4, 2), Block(c4))
        self.stride8 = nn.Sequential(_conv(c4, c8, 2), Block(c8), Block(c8))
        self.stride16 = nn.Sequential(_conv(c8, c16, 2), Block(c16), Block(c16))
        self.stride32 = nn.Sequential(_conv(c16, c32, 2), Block(c32))
        cells = (config.image_size // 32) ** 2
        self.project = nn.Linear(c32, wide)
        self.position = nn.Parameter(torch.zeros(1, cells, wide))
        self.attention = nn.ModuleList(
            nn.TransformerEncoderLayer(
                wide,
                config.attention_heads,
                2 * wide,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.attention_layers)
        )
        self.down32 = nn.Conv2d(wide, c16, 1)
        self.down16 = nn.Conv2d(c16, d, 1)
        self.lateral8 = nn.Conv2d(c8, d, 1)
        self.mix8 = _conv(d, d)
        self.rib_map = nn.Conv2d(d, config.ribs * config.regions, 1)
        self.heat = nn.Sequential(_conv(d, d), nn.Conv2d(d, 3 * len(config.classes), 1))
        self.proposals = Proposals(config)
        self.glimpses = nn.ModuleDict(
            {name: Glimpse(config.glimpse, wide) for name in config.looks}
        )
        ends = dict(zip(config.classes, accumulate(config.classes.values()), strict=True))
        self.slots = {name: slice(ends[name] - config.classes[name], ends[name]) for name in ends}
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            nn.init.xavier_uniform_(module.in_proj_weight)
            nn.init.zeros_(module.in_proj_bias)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif module is self:
            nn.init.normal_(self.position, std=0.02)
            last: Any = self.heat[-1]
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, 0.0)
            # a film is mostly background: start from a probability near 0.02 everywhere
            nn.init.constant_(last.bias[: len(self.config.classes)], -4.0)

    def forward(
        self, pixel_values: Tensor, second_look: bool = True, **_: object
    ) -> FilmEncoderOutput:
        """Read a batch of films, (B, 1, S, S), scaled by the image processor.

        Without ``second_look`` all scores are the heatmap's.
        """
        x8 = self.stride8(self.stride4(self.stride2(pixel_values)))
        x16 = self.stride16(x8)
        x32 = self.stride32(x16)
        side = x32.shape[-1]
        tokens = self.project(x32.flatten(2).transpose(1, 2)) + self.position
        for layer in self.attention:
            tokens = layer(tokens)
        context = tokens.transpose(1, 2).unflatten(2, (side, side))
        p16 = x16 + F.interpolate(self.down32(context), scale_factor=2.0)
        p8 = self.lateral8(x8) + F.interpolate(self.down16(F.relu(p16)), scale_factor=2.0)
        detail = self.mix8(p8)
        classes = len(self.config.classes)
        heat = self.heat(detail).float()
        out = FilmEncoderOutput(
            heatmaps=heat[:, :classes],
            sizes=heat[:, classes:],
            ribs=self.rib_map(detail).float(),
            detail=detail,
            context=context,
        )
        out.seen = self._peaks(out)
        tokens = self.proposals(out.seen.to(self.proposals.norm.weight.dtype))
        if second_look:
            for name in self.config.looks:
                scores = out.scores[:, self.slots[name]]
                seen, scores = self.look_again(name, self.pieces(name, pixel_values, out), scores)
                out.scores[:, self.slots[name]] = scores
                tokens = self.told(name, tokens, seen, scores)
        out.last_hidden_state = tokens
        out.attributes = self.proposals.attributes(tokens)
        return out

    def told(self, name: str, tokens: Tensor, seen: Tensor, logits: Tensor) -> Tensor:
        """The tokens (B, P, hidden), those of this class told what its second look saw."""
        more = torch.zeros_like(tokens)
        more[:, self.slots[name]] = self.glimpse(name).tokens(seen, logits).to(tokens.dtype)
        return tokens + more

    def pieces(self, name: str, films: Tensor, out: FilmEncoderOutput) -> Tensor:
        """The films (B, 1, S, S) around each place of this class, (B, G, 1, side, side)."""
        size, half = films.shape[-1], self.config.looks[name] // 2
        x, y = self.places(name, out).unbind(-1)
        reach = torch.arange(-half, half, device=films.device)
        rows = (y[..., None] + reach).clamp(0, size - 1)
        columns = (x[..., None] + reach).clamp(0, size - 1)
        film = torch.arange(len(films), device=films.device)[:, None, None, None]
        return films[film, 0, rows[..., :, None], columns[..., None, :]].unsqueeze(2)

    def places(self, name: str, out: FilmEncoderOutput) -> Tensor:
        """Where this class may be, (B, G, 2): x, y in pixels of the input."""
        cells, width = out.cells[:, self.slots[name]], out.heatmaps.shape[-1]
        return torch.stack([cells % width, cells // width], -1) * 8 + 4

    def look_again(self, name: str, pieces: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, G, F) and logits (B, G) of places, from the heatmap's logits (B, G)."""
        seen, logits = self.glimpse(name)(pieces.flatten(0, 1), scores.flatten().float())
        shape = pieces.shape[:2]
        return seen.unflatten(0, shape), logits.unflatten(0, shape).to(scores.dtype)

    def glimpse(self, name: str) -> Glimpse:
        """The second look at this class."""
        return cast(Glimpse, self.glimpses[name])

    def _peaks(self, out: FilmEncoderOutput) -> Tensor:
        """Find the best peaks of each class; fills boxes, scores and cells; returns features."""
        heat = out.heatmaps.detach()
        peaks = torch.where(heat == F.max_pool2d(heat, 3, 1, 1), heat, heat - 20)
        best = [peaks[:, c].flatten(1).topk(n) for c, n in enumerate(self.config.classes.values())]
        out.scores = torch.cat([b.values for b in best], 1)
        out.cells = torch.cat([b.indices for b in best], 1)
        kind = torch.tensor(self.proposals.kinds, device=heat.device).expand_as(out.cells)
        out.boxes = self._boxes(out, kind)
        return self.look(out, out.cells, kind)

    def _boxes(self, out: FilmEncoderOutput, kind: Tensor) -> Tensor:
        batch, _, height, width = out.heatmaps.shape
        sizes = out.sizes.detach().unflatten(1, (-1, 2)).flatten(3)  # B, C, 2, HW
        rows = torch.arange(batch, device=kind.device)[:, None]
        half = sizes[rows, kind, :, out.cells].exp() * 4
        x = (out.cells % width + 0.5) * 8 - 0.5
        y = (out.cells // width + 0.5) * 8 - 0.5
        centre = torch.stack([x, y], -1)
        limit = height * 8 - 1
        return torch.cat([(centre - half).clamp(0, limit), (centre + half).clamp(0, limit)], -1)

    def look(self, out: FilmEncoderOutput, cells: Tensor, kind: Tensor) -> Tensor:
        """Features (B, N, F) of stride-8 cells (B, N), read as classes ``kind`` (B, N)."""
        _, _, height, width = out.heatmaps.shape
        rows = torch.arange(len(cells), device=cells.device)[:, None]
        x, y = cells % width, cells // width
        side = out.context.shape[-1]
        coarse = (y * side // height) * side + x * side // width
        score = out.heatmaps.detach().flatten(2)[rows, kind, cells]
        steps = torch.tensor(STEPS, device=score.device)
        seen = [
            out.detail.flatten(2).transpose(1, 2)[rows, cells],
            out.ribs.flatten(2).transpose(1, 2)[rows, cells],
            out.context.flatten(2).transpose(1, 2)[rows, coarse],
            (2 * (score[..., None] - steps)).sigmoid(),
            _waves(x / width, y / height),
        ]
        return torch.cat([s.float() for s in seen], -1)


def _waves(x: Tensor, y: Tensor) -> Tensor:
    """Sines and cosines of a place, 16 numbers."""
    turns = math.pi * 2.0 ** torch.arange(4, device=x.device)
    angles = torch.cat([x[..., None] * turns, y[..., None] * turns], -1)
    return torch.cat([angles.sin(), angles.cos()], -1)
