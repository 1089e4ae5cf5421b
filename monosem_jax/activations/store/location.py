"""Locations of stores: those of `monosem_jax.runtime.kvstore`."""

from monosem_jax.runtime.kvstore import Location as Location
from monosem_jax.runtime.kvstore import context as context
from monosem_jax.runtime.kvstore import last_part as last_part
