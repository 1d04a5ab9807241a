"""What it does to a pair that its data are cut into batches in random order."""

from itertools import product

from torch import nn
from torch.utils.data import DataLoader

from pyvae.batching.batches import Batch, Batches
from pyvae.batching.order import keeps_order
from pyvae.core.rows import check_alike, described, rows_of
from pyvae.errors import RUN_ERRORS, DataError, PairError, PyvaeError, first_lines
from pyvae.inspection.checks import check_data
from pyvae.inspection.inspection import Inspection, inspect_pair, trace_programs
from pyvae.inspection.own_rows import ROWS_ADVICE
from pyvae.inspection.plates import plate_factor
from pyvae.inspection.rows import dependence_on_rows, global_latents, in_plate

__all__ = ["BatchShapes", "check_batches"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_batches(inspection: Inspection, batches: Batches, held_out: Batches | None) -> None:
    """Refuse pairs that batches train to something else than all rows would; batch norm is known to, a little.

    Raises:
        PairError: if a row's densities depend on its place or on other rows, or a latent is one for all data and no
            plate says how many there are.
        DataError: if a batch norm fails on the last batch.
    """
    _check_rows(inspection, batches, held_out)
    _check_global_latents(inspection, batches)
    _check_last_batch(inspection, batches)


class BatchShapes:
    """Looks whether each batch is like the one that was inspected.

    Rows of another size, such as sequences of other lengths, are tried on the pair when they first come: numbers that
    are one for all columns would be taken for each of them, without an error.

    Attributes:
        inspection: of the pair on the first batch.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self._known = {self._signature(inspection.arguments)}

    def check(self, batch: Batch, where: str) -> None:
        """Refuse a batch that does not fit.

        Raises:
            DataError: saying where, and the shapes of both.
        """
        signature = self._signature(batch)
        if signature in self._known:
            return
        first, pair = self.inspection.arguments, self.inspection.pair
        check_alike(batch, first, f"the batch {where}")
        try:
            check_data(inspect_pair(pair, batch))
        except PyvaeError as error:
            raise DataError(
                f"the batch {where} is {described(batch)}, where the first is {described(first)}: {first_lines(error)}"
            ) from error
        self._known.add(signature)

    def _signature(self, batch: Batch) -> tuple:
        columns = self.inspection.columns
        return tuple((t.dtype, t.shape[1:] if i in columns else t.shape) for i, t in enumerate(batch))


def _check_rows(inspection: Inspection, batches: Batches, held_out: Batches | None) -> None:
    found = dependence_on_rows(inspection)
    if found and not _is_whole(batches):
        raise PairError(
            f"{found}; but fit takes {batches.batch_size} of {_number(batches)} rows at a time, in random order. "
            f"Instead, {ROWS_ADVICE}; or {_at_once(batches)}"
        )
    if found and held_out is not None:
        raise PairError(
            f"{found}; data to validate on are other rows, of which it knows nothing. Leave validation out; or "
            f"{ROWS_ADVICE}"
        )


def _number(batches: Batches) -> int | str:
    return "N" if batches.size() is None else batches.size()


def _at_once(batches: Batches) -> str:
    """How to train on all rows at once, in their own order."""
    how = f"batch_size={_number(batches)}"
    loader = isinstance(batches.source, DataLoader)
    return f"train on all rows at once, {f'by DataLoader(…, {how}, shuffle=False)' if loader else how}"


def _is_whole(batches: Batches) -> bool:
    """Whether each batch is all of the data, in their own order."""
    return batches.count() == 1 and batches.shard.count == 1 and keeps_order(batches.source)


def _check_global_latents(inspection: Inspection, batches: Batches) -> None:
    rows, names = batches.size(), global_latents(inspection)
    _check_factors(inspection, names)
    frames = [f for n in inspection.observed for f in inspection.model.nodes[n]["cond_indep_stack"]]
    told = {f.full_size for f in frames if f.name == inspection.data_plate}
    if not names or told == {rows} or (_is_whole(batches) and told <= {None, inspection.size}):
        return
    number = _number(batches)
    raise PairError(
        f"latent {names[0]!r} is one for all {number} rows, of which fit takes {batches.batch_size} at a time: its "
        f"posterior would be that of {min(told, default=batches.batch_size)} rows. Write "
        f'pyro.plate("data", {number}, subsample=x) around the data in both programs, so that a batch counts for all '
        f"rows; or train on all rows at once: batch_size={number}"
    )


def _check_factors(inspection: Inspection, names: list[str]) -> None:
    """Refuse latents with a row for each datapoint that count more, or less, than what is observed of it."""
    sites = inspection.model.nodes
    local = [n for n in inspection.latents if n not in names and not in_plate(sites[n], inspection.data_plate)]
    for name, seen in product(local, inspection.observed):
        here, there = plate_factor(sites[name]), plate_factor(sites[seen])
        if here != there:
            raise PairError(
                f"plates multiply the density of latent {name!r} by {here:g} and that of the observed {seen!r} by "
                f"{there:g}, though both have a row for each datapoint; put both into the same plate, "
                'pyro.plate("data", N, subsample=x)'
            )


def _check_last_batch(inspection: Inspection, batches: Batches) -> None:
    norms = [m for m in inspection.pair.modules() if isinstance(m, _NORMS)]
    if not norms or batches.last_size() != 1:
        return
    one = rows_of(inspection.arguments, slice(1), inspection.columns)
    with inspection.at_rest(seed=0):
        for norm in norms:
            norm.train()
        try:
            trace_programs(inspection.pair, one)
        except RUN_ERRORS as error:
            raise DataError(
                f"the last batch of an epoch has 1 row, of {batches.size()} rows in batches of {batches.batch_size}, "
                f"of which batch norm has no statistics ({first_lines(error)}); choose another batch_size, or leave "
                "out a row"
            ) from error
